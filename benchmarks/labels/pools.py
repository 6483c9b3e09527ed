"""Pools of labelled frames, in the order they were made, and held-out frames of runs of their own.

Zuo's elements come as published. `sei` is MD by NEP89 (calorine) of lithium carbonate, lithium
fluoride and liquid ethylene carbonate, every frame with NEP89's label: its runs are correlated,
as those of a campaign are, and so every tenth step is a candidate.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.spacegroup import crystal

from atomistics.builders.building import build
from atomistics.builders.families import PARAMETERS
from benchmarks.training.published import configurations
from mtp.configuration import Configuration, from_atoms
from mtp.formats.cfg import read_cfg, write_cfg

ELEMENTS = ("Mo", "Ge", "Si", "Li")
SEI_SPECIES = ("H", "Li", "C", "O", "F")
INTERVAL, SETTLE = 10, 200  # steps of 1 fs: between candidates, before the first
FRAMES = {"train": 60, "test": 20}  # of each run
TEMPERATURES = {"train": (300, 600, 900), "test": (400, 800)}  # K


def pool(name: str, data: Path, nep: Path, cache: Path) -> dict[str, list[Configuration]]:
    """Frames to choose from ("train") and to judge by ("test").

    Parameters
    ----------
    name : an element of Zuo's, or `sei`
    data : folder of NAME-training.json.gz
    nep : file of NEP89
    cache : where frames that were computed lie

    Returns
    -------
    both parts, Å, eV, eV/Å
    """
    if name in ELEMENTS:
        parts = {"train": "training", "test": "test"}
        frames = {k: configurations(data / f"{name}-{v}.json.gz") for k, v in parts.items()}
    else:
        frames = {part: list(_sei(part, nep, cache)) for part in FRAMES}
    for part in frames.values():
        for number, frame in enumerate(part):
            frame.features = {"number": str(number)}
    return frames


def _sei(part: str, nep: Path, cache: Path) -> Iterator[Configuration]:
    from calorine.calculators import CPUNEP

    for name, start in _starts().items():
        for temperature in TEMPERATURES[part]:
            path = cache / f"sei-{part}-{name}-{temperature}.cfg"
            if not path.is_file():
                run = _run(start.copy(), CPUNEP(str(nep)), temperature, FRAMES[part])
                write_cfg(path, [from_atoms(atoms, list(SEI_SPECIES)) for atoms in run])
            yield from read_cfg(path)


def _run(atoms: Atoms, calculator: Calculator, temperature: float, frames: int) -> list[Atoms]:
    rng = np.random.default_rng(temperature)
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * temperature, rng=rng)
    friction = 0.02 / units.fs
    md = Langevin(atoms, units.fs, temperature_K=temperature, friction=friction, rng=rng)
    md.run(SETTLE)
    kept = []
    for _ in range(frames):
        md.run(INTERVAL)
        frame = atoms.copy()
        frame.calc = _labels(atoms)
        kept.append(frame)
    return kept


def _labels(atoms: Atoms) -> Calculator:
    from ase.calculators.singlepoint import SinglePointCalculator

    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    return SinglePointCalculator(atoms, energy=energy, forces=forces, stress=atoms.get_stress())


def _starts() -> dict[str, Atoms]:
    """Cells of 48 to 80 atoms at about their densities."""
    fluoride = bulk("LiF", "rocksalt", a=4.03, cubic=True).repeat(2)
    carbonate = crystal(  # Effenberger and Zemann, Z. Kristallogr. 150, 133 (1979)
        ["Li", "C", "O", "O"],
        [
            (0.19671, 0.4486, 0.83461),
            (0, 0.0656, 0.25),
            (0, 0.3206, 0.25),
            (0.1461, -0.0669, 0.3131),
        ],
        spacegroup=15,
        cellpar=[8.359, 4.9725, 6.1975, 90, 114.83, 90],
    ).repeat((1, 2, 1))
    liquid = {"components": [{"smiles": "O=C1OCCO1", "count": 6}], "density_g_cm3": 1.32}
    electrolyte = PARAMETERS.validate_python({"family": "molecule", **liquid})
    return {
        "fluoride": fluoride,
        "carbonate": carbonate,
        "electrolyte": build(electrolyte, 1, Path()),
    }
