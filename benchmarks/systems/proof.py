"""A potential run at its temperature of use outside the campaign, beside the reference itself.

Plain ASE integrators with seeds of their own; of the toolkit only the calculator, the builder of
the reference and the reader of frames are used.
"""

from functools import partial
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.bussi import Bussi
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import IsotropicMTKNPT, MaskedMTKNPT
from ase.md.nptberendsen import Inhomogeneous_NPTBerendsen
from ase.md.velocitydistribution import thermalize_momenta

from atomistics import dataset
from atomistics.reference.methods import reference_calculator
from campaign.folder import Campaign
from mtp.calculator import MTP

PICOSECONDS = 20.0
REFERENCE_PICOSECONDS = 5.0  # of what does not flow
SETTLING = 2.0  # ps, of a stack
LABELLED = 450  # frames of the last three quarters whose pressures are compared
LIQUID = 2.5  # GPa: stiffer is no molecular liquid; a volume wanders for longer than such a run
RUNS = 3  # more of a liquid, by the model alone
HOT = 2.0  # times the temperature asked for; a run above it has come apart


def proof(folder: Path, model: str) -> dict:
    """20 ps with the potential from where the reference's MD ended, then 5 ps with the reference.

    The reference goes on from the last frame of the potential's run, which has settled: what it
    makes of it in 5 ps, or 20 of what flows, is drift of its own, not that of a packing. A liquid
    of some dozen molecules keeps its structure, and with it the error of its pressure, for longer
    than 20 ps: of it there are RUNS more from other starts, by the model.
    """
    campaign = Campaign.at(folder)
    task = campaign.task
    target = next(s.name for s in task.subsystems if s.role == "target")
    ready = [r for r in campaign.state().reference if r.subsystem == target and r.status == "ok"]
    if not ready:
        return {"proof": "no held-out structure with a reference trajectory"}
    name = ready[0].structure
    path = sorted(folder.glob(f"iterations/*/reference_calc/runs/{name}.h5"))[-1]
    start = dataset.read(path)[-1]
    index = yaml.safe_load((folder / "structures/index.yaml").read_text())
    fixed = bool(next(e for e in index if e["id"] == name).get("fixed_cell"))
    calculator = MTP(folder / "result/potential.almtp", species=list(task.species))
    timestep, kelvin = campaign.config.md.timestep, float(task.temperature)
    pressure = None if fixed or not start.pbc.all() else campaign.config.md.pressure
    run = simulate(start, calculator, kelvin, timestep, PICOSECONDS, pressure)
    frames = run.pop("frames")
    oracle = reference_calculator(campaign.config.reference, folder)
    gfn1 = campaign.config.reference.method == "gfn1-xtb"  # seconds a call
    settled = frames[-1] if run["stable"] else start
    kinds = {p.kind for p in task.material.phases} if task.material else set()
    liquid = kinds == {"liquid"}
    runs = [frames]
    for seed, other in enumerate(starts(folder, target) if liquid and not gfn1 else [], start=1):
        more = simulate(other, calculator, kelvin, timestep, PICOSECONDS, pressure, seed)
        runs.append(more.pop("frames"))
        run |= {} if more["stable"] else more
    own = {}
    if not gfn1 and pressure is not None:
        length = PICOSECONDS if kinds & {"liquid", "melt", "polymer"} else REFERENCE_PICOSECONDS
        own = simulate(settled, oracle, kelvin, timestep, length, pressure)
    return {
        "proof_structure": name,
        "proof_model": model,
        **run,
        "reference_density": own.get("density"),
        "reference_density_error": own.get("density_error"),
        **compared(runs, oracle, kelvin, pressure is not None, gfn1, liquid),
    }


def starts(folder: Path, subsystem: str) -> list[Atoms]:
    """Packings of a subsystem as the reference settled them for the first data, a few."""
    paths = sorted(folder.glob("iterations/*/settle/runs/*.h5"))
    last = [dataset.read(path)[-1] for path in paths]
    index = yaml.safe_load((folder / "structures/index.yaml").read_text())
    held_out = {entry["id"] for entry in index if entry["held_out"]}
    own = [a for a in last if a.info["subsystem"] == subsystem and a.pbc.all()]
    return [a for a in own if a.info["structure"] not in held_out][:RUNS]


def stacked(atoms: Atoms, step: float, kelvin: float, pressure: float) -> MolecularDynamics:
    """NPT of layers, whose height follows its own stress (GPa) and nothing else changes.

    By weak coupling: a Nosé-Hoover barostat swings so far from a fresh stack that a film between
    two solids tears.
    """
    return Inhomogeneous_NPTBerendsen(
        atoms,
        step,
        temperature_K=kelvin,
        pressure_au=pressure * units.GPa,
        taut=100 * units.fs,
        taup=1000 * units.fs,
        compressibility_au=0.1 / units.GPa,
        mask=(0, 0, 1),
    )


def simulate(
    start: Atoms,
    calculator: Calculator,
    kelvin: float,
    timestep: float,
    picoseconds: float,
    pressure: float | None,
    seed: int = 0,
) -> dict:
    """Mean density (g/cm3) over the second half and its error, whether it held, and frames.

    The error is that of the mean of five blocks.
    `pressure` in GPa; None: constant volume.
    """
    atoms = Atoms(start.numbers, start.positions, cell=start.cell, pbc=start.pbc)
    atoms.info["layers"] = start.info.get("layers", "")
    layered = _layered(atoms)
    atoms.calc = calculator
    random = np.random.default_rng(20261128 + seed)
    thermalize_momenta(atoms, temperature_K=kelvin, rng=random)
    step = timestep * units.fs
    if pressure is None:
        dynamics = Bussi(atoms, step, kelvin, taut=100 * units.fs, rng=random)
    else:
        barostat = IsotropicMTKNPT
        if layered:  # settled first; weak coupling would damp the fluctuations that are measured
            stacked(atoms, step, kelvin, pressure).run(round(SETTLING * 1000 / timestep))
            barostat = partial(MaskedMTKNPT, mask=np.array([False, False, True]))
        dynamics = barostat(
            atoms,
            step,
            temperature_K=kelvin,
            pressure_au=pressure * units.GPa,
            tdamp=100 * units.fs,
            pdamp=1000 * units.fs,
        )
    blocks = 4 * LABELLED // 3
    densities, frames = [], []
    for block in range(blocks):
        dynamics.run(max(1, round(picoseconds * 1000 / timestep / blocks)))
        temperature = atoms.get_temperature()
        if not np.isfinite(temperature) or temperature > HOT * kelvin + 300:
            at = (block + 1) / blocks * picoseconds
            return {
                "stable": False,
                "broke": f"{temperature:.0f} K at {at:.1f} ps",
                "frames": frames,
            }
        densities.append(atoms.get_masses().sum() / units.kg * 1e27 / atoms.get_volume())
        frame = atoms.copy()
        frame.arrays["model_forces"] = atoms.get_forces()
        frame.info["model_pressure"] = _pressure(atoms) if pressure is not None else 0.0
        frames.append(frame)
    if pressure is None:
        return {"stable": True, "density": None, "frames": frames}
    late = np.mean(np.reshape(densities[blocks // 2 :], (5, -1)), axis=1)
    figures = {"density": late.mean(), "density_error": late.std(ddof=1) / 5**0.5}
    return {"stable": True, **{k: round(float(v), 5) for k, v in figures.items()}, "frames": frames}


def compared(
    runs: list[list[Atoms]],
    oracle: Calculator,
    kelvin: float,
    npt: bool,
    costly: bool,
    liquid: bool,
) -> dict:
    """Errors of the model on its own late frames, and what its pressure makes of the density.

    d ln rho = kappa (P_reference - P_model) over the model's own NPT run, kappa from its volumes:
    sharper than two means of a few ps, for both potentials see the same frames, and blind to what
    the reference would make of their structure. The error is that
    of the mean over five blocks of one run, over two of each of several.
    """
    stride = (5 if costly else 1) * len(runs)
    late = [frame for frames in runs for frame in frames[len(frames) // 4 :: stride]]
    forces, pressures = [], []
    for frame in late:
        frame.calc = oracle
        forces.append(np.abs(frame.arrays["model_forces"] - frame.get_forces()).mean())
        if npt:
            pressures.append(frame.info["model_pressure"] - _pressure(frame))
    figures = {"fresh_force_mae": round(float(np.mean(forces)), 5)} if forces else {}
    if len(pressures) < 50:
        return figures
    volumes = np.array([a.get_volume() for a in runs[0][len(runs[0]) // 4 :]])
    times = np.arange(len(volumes))
    about = volumes - np.polynomial.Polynomial.fit(times, volumes, 1)(times)  # drift is no noise
    softness = about.var() / (units.kB * kelvin * volumes.mean()) * units.GPa
    softness = max(softness, 1 / LIQUID) if liquid else softness
    blocks = 5 if len(runs) == 1 else 2 * len(runs)
    parts = np.array([np.mean(part) for part in np.array_split(pressures, blocks)])
    return figures | {
        "pressure_bias": round(float(np.mean(pressures)), 5),
        "density_bias": round(float(-softness * np.mean(pressures)), 5),
        "density_bias_error": round(float(softness * parts.std(ddof=1) / blocks**0.5), 5),
    }


def _pressure(atoms: Atoms) -> float:
    """GPa, without that of the momenta; of a stack along its height."""
    stress = atoms.get_stress()
    return -float(stress[2] if _layered(atoms) else stress[:3].mean()) / units.GPa


def _layered(atoms: Atoms) -> bool:
    return " " in str(atoms.info.get("layers", ""))
