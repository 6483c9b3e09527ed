"""A cheap exact reference: copper and a copper-silver alloy by effective medium theory (ASE)."""

import hashlib
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.io import write
from ase.md.bussi import Bussi
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from atomistics.md import plain as md
from atomistics.md.plain_protocol import Protocol
from atomistics.md.watchdog import Limits, Watchdog

SPECIES = ["Cu", "Ag"]
WARM_UP = 50  # steps of 4 fs between fresh frames, five times as many before the first
TASK = {
    "name": "copper-silver",
    "description": "Copper and a copper-silver alloy; the reference is EMT.",
    "species": SPECIES,
    "temperature": 300,
    "subsystems": [
        {"name": "copper", "stage": 1, "role": "component"},
        {"name": "alloy", "stage": 2, "role": "target"},
    ],
    # a force error out of reach: no policy stops before its budget because it is content
    "targets": {
        "force_mae": 0.002,
        "energy_mae": 0.005,
        "density_deviation": 0.02,
        "rdf_overlap": 0.9,
        "stable_ps": 0.8,
    },
}
CONFIG = {
    "reference": {
        "method": "ase",
        "calculator": "ase.calculators.emt:EMT",
        "seconds_per_call": 0.01,
    },
    "mlp": {"level": 8},
    "md": {"timestep": 4.0},
    # crystals of EMT at rest: labels are few and all of them the policies' own
    "settle": {"crystal": 0, "packing": 0, "warm": 0, "warm_packing": 0},
    "reference_calc": {"steps": 60, "interval": 6},
    "reference_sample": {
        "ensembles": ["nvt"],
        "steps": 40,
        "interval": 8,
        "compression": [0.97, 1.03],
        "rattle": 2,
    },
    "model_sample": {"steps": 120, "interval": 6},
    "model_eval": {"interval": 10, "fresh_frames": 2},
    "approval": {"mode": "auto"},
    "label_jobs": 20,
    "runs_per_job": 20,
}


def make_source(folder: Path, seed: int, limits: tuple[int, int], extra: dict) -> Path:
    """A folder for `planner init`; `limits` are labels and K, `seed` draws the alloys' order."""
    labels, highest = limits
    (folder / "structures").mkdir(parents=True)
    generator, entries = np.random.default_rng(seed), []
    for name, subsystem, held_out in (
        ("cu", "copper", False),
        ("cu-held", "copper", True),
        ("alloy-a", "alloy", False),
        ("alloy-b", "alloy", False),
        ("alloy-held", "alloy", True),
    ):
        path = folder / "structures" / f"{name}.extxyz"
        write(path, _crystal(generator, 16 if subsystem == "alloy" else 0))
        entries.append(
            {
                "id": name,
                "file": path.name,
                "subsystem": subsystem,
                "family": "solid",
                "held_out": held_out,
                "description": f"{name}, fcc, 32 atoms",
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        )
    config = {**CONFIG, "seed": seed, **extra}
    config["limits"] = {
        "labels": labels,
        "reference_calls": 40 * labels,
        "core_hours": 20.0,
        "decisions": 40,
        **extra.get("limits", {}),
    }
    config["reference_sample"] = {**CONFIG["reference_sample"], "temperatures": [300, highest]}
    subsystems = [{**s, "max_temperature": highest} for s in TASK["subsystems"]]
    task = {**TASK, "subsystems": subsystems}
    for file, data in (
        ("structures/index.yaml", entries),
        ("task.yaml", task),
        ("config.yaml", config),
    ):
        (folder / file).write_text(yaml.safe_dump(data, sort_keys=False))
    return folder


def _crystal(generator: np.random.Generator, silver: int) -> Atoms:
    atoms = bulk("Cu", a=3.85 if silver else 3.61, cubic=True).repeat(2)
    atoms.symbols[generator.permutation(len(atoms))[:silver]] = "Ag"
    return atoms


def fresh_frames(highest: int, count: int = 30) -> list[Atoms]:
    """Alloy frames from EMT MD at 300 K to `highest` that no campaign sees; forces in eV/Å."""
    generator, frames = np.random.default_rng(987_654), []
    for kelvin in (300, (300 + highest) // 2, highest):
        atoms = _crystal(generator, 16)
        atoms.calc = EMT()
        run = _thermostat(atoms, kelvin, generator)
        run.run(5 * WARM_UP)
        for _ in range(count // 3):
            run.run(WARM_UP)
            kept = atoms.copy()
            kept.arrays["reference_forces"] = atoms.get_forces()
            frames.append(kept)
    return frames


def _thermostat(atoms: Atoms, kelvin: float, generator: np.random.Generator) -> Bussi:
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * kelvin, rng=generator)
    return Bussi(atoms, 4 * units.fs, temperature_K=kelvin, taut=100 * units.fs, rng=generator)


def force_mae(calculator: Calculator, frames: list[Atoms]) -> float:
    """Mean absolute error of the forces on frames of `fresh_frames`, eV/Å per component."""
    errors = []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = calculator
        errors.append(np.abs(atoms.get_forces() - frame.arrays["reference_forces"]).mean())
    return float(np.mean(errors))


def stable_picoseconds(
    calculator: Calculator, kelvin: int, runs: int = 6, steps: int = 500
) -> float:
    """Mean length of NVT MD of fresh alloys before the watchdog stops it, of 2 ps."""
    generator, lengths = np.random.default_rng(424_242), []
    for seed in range(runs):
        protocol = Protocol("nvt", kelvin, steps, timestep=4.0, seed=seed)
        limits = Limits(temperature=2.5 * kelvin, min_distance=1.8)
        ended = md.run(_crystal(generator, 16), calculator, protocol, Watchdog(limits))
        lengths.append(ended.steps * 4.0 / 1000)
    return float(np.mean(lengths))
