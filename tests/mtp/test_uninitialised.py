"""No pass reads memory it has not written: a build that fills its buffers with NaN agrees.

Such a read once gave a NaN now and then, in lanes that are multiplied by zero: MD with grades
died at random after some hundred sound steps.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from campaign import TOOLKIT
from mtp.configuration import Configuration
from mtp.engine import Engine, Labels, Weights
from mtp.neighbours import neighbours
from mtp.potential import untrained


def test_poisoned_build_gives_the_same_bits(tmp_path: Path) -> None:
    shutil.copytree(TOOLKIT / "mtp", tmp_path / "lib/mtp", ignore=shutil.ignore_patterns("*.so"))
    subprocess.run(
        [
            sys.executable,
            "setup.py",
            "-q",
            "build_ext",
            "--build-lib",
            str(tmp_path / "lib"),
            "--build-temp",
            str(tmp_path / "temp"),
        ],
        cwd=TOOLKIT,
        env={**os.environ, "CXXFLAGS": "-DMTP_POISON", "CFLAGS": "-DMTP_POISON"},
        check=True,
        timeout=600,
        capture_output=True,
    )
    ours, theirs = computed(TOOLKIT, tmp_path), computed(tmp_path / "lib", tmp_path)
    for name, values in ours.items():
        assert np.isfinite(theirs[name]).all(), name
        assert np.array_equal(values, theirs[name]), name


def computed(packages: Path, folder: Path) -> dict[str, np.ndarray]:
    """The passes in a process that imports `mtp` from `packages`."""
    code = f"import sys; sys.path.insert(0, {str(packages)!r}); sys.argv = {[str(folder)]!r};"
    code += f"exec(compile(open({__file__!r}).read(), 'passes', 'exec'))"
    paths = f"{packages}:{TOOLKIT}"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        check=True,
    )
    with np.load(folder / "passes.npz") as file:
        return dict(file)


def examples() -> list[Configuration]:
    """Every count of neighbours modulo the lanes, species in any order."""
    rng = np.random.default_rng(3)
    return [
        Configuration(
            cell=np.eye(3) * 7.0,
            types=rng.integers(0, 3, size),
            positions=rng.uniform(0, 7, (size, 3)),
        )
        for size in (1, 2, 5, 9, 14, 23, 31)
    ]


def passes(configurations: list[Configuration]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    blank = untrained(10, 3, 1.0, 5.0, 8)
    count = blank.parameter_count
    engine = Engine(blank.with_parameters(rng.normal(size=count) * 0.1))
    near = neighbours(configurations, 5.0)
    atoms, number = near.atom_count, len(configurations)
    targets = Labels(np.zeros(number), np.zeros((atoms, 3)), np.zeros((number, 6)))
    weights = Weights(np.ones(number), np.ones(number), np.ones(number))
    loss = engine.loss_and_gradient(near, targets, weights)
    second = engine.gauss_newton(near, targets, weights)
    found = {
        "gradient": loss.gradient,
        "forces": loss.forces,
        "virial": loss.virial,
        "sites": engine.site_rows(near),
        "matrix": np.asarray(second.matrix),
        "vector": np.asarray(second.vector),
    }
    for index, seen in enumerate(engine.evaluate(near)):
        found[f"energy {index}"] = np.array([seen.energy])
        found[f"force {index}"] = seen.forces
    return found


if __name__ == "__main__":
    np.savez(Path(sys.argv[0]) / "passes.npz", **passes(examples()))
