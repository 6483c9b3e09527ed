"""Labels held against each other by the work from frame to frame; the potential is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, Hartree

from mtp.cli import main
from mtp.formats.extxyz import write_extxyz
from mtp.reading.work import contradiction

Change = Callable[[dict], dict]


def copper(number: int = 30, strain: float = 0.02, change: Change = dict) -> list[Atoms]:
    """Rattled and strained copper with EMT's labels, changed."""
    rng, frames = np.random.default_rng(0), []
    for _ in range(number):
        atoms = bulk("Cu", cubic=True).repeat((2, 2, 2))
        tilt = rng.normal(0, strain, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + (tilt + tilt.T) / 2), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.04, (len(atoms), 3)) + rng.normal(0, 3, 3)
        atoms.calc = EMT()
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        labels |= {"stress": atoms.get_stress(), "count": len(atoms)}
        labels |= change(labels)
        del labels["count"]
        atoms.wrap()
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    return frames


def scaled(**factors: float) -> Change:
    return lambda labels: {name: labels[name] * factor for name, factor in factors.items()}


@pytest.mark.parametrize(
    ("change", "strain", "says"),
    [
        (dict, 0.0, ""),
        (dict, 0.02, ""),
        (scaled(energy=1 / Hartree, forces=Bohr / Hartree, stress=0.0), 0.0, "lengths in Å"),
        (scaled(energy=1 / Hartree), 0.0, "energies were in Hartree"),
        (scaled(energy=2 / Hartree, stress=2 / Hartree), 0.0, "energies were in Rydberg"),
        (scaled(forces=Bohr / Hartree), 0.0, "forces were in Hartree/Bohr"),
        (scaled(forces=-1), 0.0, "forces had the other sign"),
        (lambda own: {"energy": own["energy"] / own["count"]}, 0.0, "those of one atom"),
        (lambda own: {"forces": own["forces"][::-1]}, 0.0, "not as forces and stresses say"),
        (scaled(stress=-1), 0.02, "of the work of the stress"),
        (scaled(stress=1 / 160.2), 0.02, "of the work of the stress"),
        (scaled(stress=10), 0.02, "of the work of the stress"),
    ],
)
def test_labels_that_do_not_belong_together(change, strain, says) -> None:
    said = contradiction(copper(30, strain, change))
    assert says in said
    assert bool(says) == bool(said)


def test_energies_of_other_frames() -> None:
    frames = copper(40, 0.0)
    for one, other in zip(frames, frames[3:], strict=False):
        one.calc.results["energy"] = other.calc.results["energy"]
    assert "not as forces" in contradiction(frames)


def test_what_is_too_far_apart_or_too_little_tells_nothing() -> None:
    turned = copper(30, 0.0, scaled(forces=-1))
    assert contradiction(turned[:3]) == ""
    assert contradiction([]) == ""
    far = [molecule("CH4") for _ in range(30)]
    for number, atoms in enumerate(far):
        atoms.rotate(number * 60, "x")
        atoms.calc = SinglePointCalculator(atoms, energy=number, forces=atoms.positions)
    assert contradiction(far) == ""
    for atoms in turned:
        del atoms.calc.results["forces"]
    assert contradiction(turned) == ""


def test_convert_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for change, says in ((dict, False), (scaled(forces=-1), True)):
        with (tmp_path / "a.xyz").open("w") as stream:
            write_extxyz(stream, copper(30, 0.0, change))
        words = [str(tmp_path / "a.xyz"), str(tmp_path / "a.cfg"), "--input_format=extxyz"]
        assert main(["convert", *words]) == 0
        assert ("warning: from frame to frame" in capsys.readouterr().out) == says
