"""Molecular hydrogen under pressure: xTB explores, pw.x labels; seconds a label, no k-points."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.io import write

PSEUDOPOTENTIALS = Path("/usr/share/espresso/pseudo")
OPTIONS: dict[str, Any] = {
    "command": "pw.x",
    "pseudo_dir": str(PSEUDOPOTENTIALS),
    "pseudopotentials": {"H": "H.pz-vbc.UPF"},
    "kspacing": 0.2,
    "input_data": {
        "control": {"tstress": True, "tprnfor": True},
        "system": {"ecutwfc": 25, "nosym": True},
        "electrons": {"conv_thr": 1e-8},
    },
}
TASK = {
    "name": "hydrogen",
    "description": "H2 at 300 K and the density of some GPa",
    "species": ["H"],
    "temperature": 300,
    "subsystems": [{"name": "fluid", "stage": 1, "role": "target", "max_temperature": 1000}],
    "targets": {
        "force_mae": 0.25,
        "energy_mae": 0.02,
        "density_deviation": 0.05,
        "rdf_overlap": 0.8,
        "stable_ps": 0.2,
    },
}
CONFIG: dict[str, Any] = {
    "explorer": {"method": "gfn1-xtb", "seconds_per_call": 0.1},
    "reference": {"method": "espresso", "options": OPTIONS, "seconds_per_call": 3.0},
    "mlp": {
        "level": 8,
        "cutoff": 4.5,
        "radial_basis": 10,
        "quick_iterations": 150,
        "accurate_iterations": 400,
    },
    "md": {"timestep": 0.5},
    "settle": {"crystal": 10, "packing": 40, "warm": 20, "warm_packing": 40},
    "reference_calc": {"ensemble": "nvt", "steps": 120, "interval": 6, "labels": 5},
    "explorer_sample": {
        "temperatures": [300, 1000],
        "ensembles": ["nvt"],
        "steps": 500,
        "interval": 10,
        "compression": [0.97, 1.03],
        "rattle": 4,
        "labels": 60,
    },
    "model_sample": {"steps": 400, "interval": 10, "ensembles": ["nvt"]},
    "model_eval": {"interval": 10, "fresh_frames": 4},
    "limits": {"labels": 160, "reference_calls": 240, "core_hours": 1.0, "decisions": 24},
    "label_jobs": 2,
    "runs_per_job": 4,
    "reference_runs_per_job": 10,
}


def packed(length: float, seed: int) -> Atoms:
    """Four molecules on an fcc lattice, each turned at random; `length` in Å.

    Bonds of 0.70 Å are too short, so that settling takes it for a packing: relaxed, then warmed.
    """
    generator = np.random.default_rng(seed)
    atoms = Atoms(cell=[length] * 3, pbc=True)
    for site in ((0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)):
        half = generator.normal(size=3)
        half *= 0.35 / np.linalg.norm(half)
        centre = np.array(site) * length
        atoms += Atoms("H2", [centre - half, centre + half])
    return atoms


def make_source(folder: Path) -> Path:
    """A folder that `planner init` takes."""
    (folder / "structures").mkdir(parents=True)
    index = []
    for name, length, seed in (("h2_a", 5.0, 1), ("h2_b", 4.8, 2), ("h2_held", 4.9, 3)):
        path = folder / "structures" / f"{name}.extxyz"
        write(path, packed(length, seed))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entry = {"id": name, "file": path.name, "subsystem": "fluid", "family": "molecule"}
        entry |= {"held_out": name == "h2_held", "description": "H2", "sha256": digest}
        index.append(entry | {"fixed_cell": True})
    (folder / "structures/index.yaml").write_text(yaml.safe_dump(index))
    (folder / "task.yaml").write_text(yaml.safe_dump(TASK, sort_keys=False))
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    return folder
