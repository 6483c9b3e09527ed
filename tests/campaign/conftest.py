"""A campaign on an EMT reference: real parts throughout, seconds instead of minutes."""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.io import write

TASK = {
    "name": "copper-silver",
    "description": "Cu and a Cu/Ag alloy with an EMT reference, for tests",
    "species": ["Cu", "Ag"],
    "temperature": 300,
    "subsystems": [
        {"name": "copper", "stage": 1, "role": "component", "max_temperature": 800},
        {"name": "alloy", "stage": 1, "role": "target", "max_temperature": 600},
    ],
    "targets": {
        "force_mae": 0.06,
        "energy_mae": 0.05,
        "density_deviation": 0.05,
        "rdf_overlap": 0.6,
        "stable_ps": 0.4,
    },
}
CONFIG = {
    "reference": {
        "method": "ase",
        "calculator": "ase.calculators.emt:EMT",
        "seconds_per_call": 0.01,
    },
    "mlp": {"level": 6, "quick_iterations": 15, "accurate_iterations": 25},
    "md": {"timestep": 4.0},
    "reference_calc": {"steps": 20, "interval": 4},
    "reference_sample": {
        "temperatures": [600],
        "ensembles": ["nvt"],
        "steps": 40,
        "interval": 8,
        "compression": [0.97, 1.03],
        "rattle": 2,
    },
    "model_sample": {"steps": 60, "interval": 6},
    "model_eval": {"interval": 10, "fresh_frames": 2},
    "limits": {"labels": 200, "reference_calls": 2000, "core_hours": 10.0, "decisions": 25},
    "label_jobs": 2,
    "runs_per_job": 4,
}


def _structures() -> dict[str, tuple[str, bool, Atoms]]:
    generator = np.random.default_rng(7)
    alloy = bulk("Cu", a=3.85, cubic=True).repeat(2)
    mixed, other = alloy.copy(), alloy.copy()
    mixed.symbols[generator.permutation(32)[:16]] = "Ag"
    other.symbols[generator.permutation(32)[:16]] = "Ag"
    return {
        "cu_small": ("copper", False, bulk("Cu", a=3.6, cubic=True).repeat(2)),
        "cu_held": ("copper", True, bulk("Cu", a=3.62, cubic=True).repeat(2)),
        "alloy_a": ("alloy", False, mixed),
        "alloy_held": ("alloy", True, other),
    }


def make_source(folder: Path) -> Path:
    """A folder that `planner init` takes: task, config, structures with their index."""
    (folder / "structures").mkdir(parents=True)
    entries = []
    for name, (subsystem, held_out, atoms) in _structures().items():
        path = folder / "structures" / f"{name}.extxyz"
        write(path, atoms)
        entries.append(
            {
                "id": name,
                "file": path.name,
                "subsystem": subsystem,
                "family": "solid",
                "held_out": held_out,
                "description": f"{name} for tests",
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        )
    (folder / "structures/index.yaml").write_text(yaml.safe_dump(entries))
    (folder / "task.yaml").write_text(yaml.safe_dump(TASK, sort_keys=False))
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    return folder


def planner(*words: str, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """The real command, as a user types it inside a campaign folder."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("planner")), *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
        env=clean(),
        **options,
    )


def clean() -> dict[str, str]:
    """An environment as in a fresh shell without the virtual environment.

    PYTHONPATH stays: set, it says which checkout is tested, and an editable install is another.
    """
    return {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("source") / "copper_silver")


@pytest.fixture
def campaign(source: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "campaign"
    done = planner("init", str(source), str(folder), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return folder


@contextmanager
def one_worker(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder that all of xdist's workers share, for one of them at a time."""
    shared = factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield shared / name


@pytest.fixture(scope="session")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same campaign carried to its verdict, undisturbed; one for all of xdist's workers."""
    with one_worker(tmp_path_factory, "finished") as shared:
        folder = shared / "campaign"
        if not shared.exists():
            shared.mkdir()
            assert planner("init", str(source), str(folder), cwd=shared).returncode == 0
            done = planner("run", cwd=folder)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return folder
