"""CPU seconds of training: motep 0.2.0 BFGS, own BFGS, own Gauss-Newton, on one core.

    python benchmarks/training/against_motep.py [--levels 8 12 16] [--held-out] [--ranks]

From an untrained potential (random radial functions, linear coefficients solved; the same start
for all) to the loss MLIP-3 reached in its logs of ../shared/data/mtp from a trained start. motep is
too slow to run to the end: its cost is the measured CPU of one of its loss-and-gradient evaluations
times the evaluations scipy's BFGS, its optimiser, needs for the same loss with this kernel.
--held-out: CPU until the held-out force error that own BFGS has after 400 iterations, on
Li-C-O-H, Si and Li (mlearn). --ranks: wall seconds of `mlp train` on two ranks against one.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.formats.almtp import write_potential
from mtp.formats.cfg import read_cfg, write_cfg
from mtp.parallel import Ranks
from mtp.potential import Potential, untrained
from mtp.training.loss import LossWeights
from mtp.training.objective import Objective, survey
from mtp.training.optimisers import OptimiserState, bfgs, first_state, gauss_newton
from mtp.training.pretraining import first_part, pretrain
from mtp.training.starting_point import with_min_dist, with_random_functions

SHARED = Path(__file__).parents[3] / "shared/data"
WEIGHTS = LossWeights(1.0, 0.01, 0.0, weight_scaling=2, weight_scaling_forces=1)
GOALS = {8: ("train50", 0.0065228948), 12: ("train50", 0.011564036), 16: ("train20", 0.016059)}
SPECIES = ["Li", "C", "O", "H"]


def main() -> None:
    """Print one line per level, data set or number of ranks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", type=int, nargs="*", default=list(GOALS))
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--ranks", action="store_true")
    given = parser.parse_args()
    for level in given.levels:
        print(to_the_goal(level), flush=True)
    if given.held_out:
        for name in ("Li-C-O-H", "Si", "Li"):
            print(to_held_out_error(name), flush=True)
    if given.ranks:
        print(two_ranks(), flush=True)


def to_the_goal(level: int) -> str:
    """CPU seconds of each optimiser to the loss of MLIP-3's log."""
    name, goal = GOALS[level]
    configurations = shared_cfg(name)
    began = time.process_time()
    problem, x = started(level, 4, configurations)
    preparation = time.process_time() - began
    own = {f.__name__: run_until(problem, x, f, goal) for f in (bfgs, default)}
    evaluations = scipy_evaluations(problem, x, goal)
    motep = evaluations * motep_evaluation(problem.potential.with_parameters(x), configurations[:4])
    motep *= sum(map(len, configurations))
    text = f"L{level} {name} to f={goal:.6f}: motep {motep:.1f} s ({evaluations} evaluations)"
    for method, (minimisation, count) in own.items():
        seconds = preparation + minimisation
        text += f"; own {method} {seconds:.2f} s ({count}), {motep / seconds:.0f} times less"
    return text


def started(
    level: int, species: int, configurations: list[Configuration], cutoff: float = 5.0
) -> tuple[Objective, np.ndarray]:
    """The objective and the starting coefficients that `mlp train` makes of a new potential."""
    loads, shortest = survey(configurations, cutoff)
    potential = with_min_dist(untrained(level, species, max_dist=cutoff), shortest)
    potential = with_random_functions(potential, np.random.default_rng(0))
    problem = Objective(Ranks(), potential, configurations, [], WEIGHTS, loads)
    return problem, problem.solve_linear(problem.rescale().parameters)


def default(problem: Objective, state: OptimiserState) -> Iterator[OptimiserState]:
    """What `mlp train` does from an untrained potential: pre-training, then Gauss-Newton."""
    steps = pretrain(problem, first_part(problem, state))
    for last in steps:
        yield last
    yield from gauss_newton(problem, last)


def run_until(problem: Objective, x: np.ndarray, optimiser: object, goal: float) -> tuple:
    """CPU seconds and evaluations until the loss reaches the goal."""
    began = time.process_time()
    for state in islice(optimiser(problem, first_state(problem, x)), 3000):
        if state.value <= goal and not state.part:
            break
    return time.process_time() - began, state.evaluations


class ReachedError(Exception):
    """The goal."""


def scipy_evaluations(problem: Objective, x: np.ndarray, goal: float) -> int:
    """Evaluations of scipy's BFGS until the loss reaches the goal."""
    count = 0

    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal count
        count += 1
        value, gradient = problem.value_and_gradient(x)
        if value <= goal:
            raise ReachedError
        return value, gradient

    with suppress(ReachedError):
        minimize(function, x, jac=True, method="BFGS", options={"maxiter": 3000, "gtol": 1e-9})
    return count


def motep_evaluation(potential: Potential, configurations: list[Configuration]) -> float:
    """CPU seconds per atom of one loss and gradient of motep's C engine, neighbours cached."""
    from motep.io.mlip.mtp import read_mtp
    from motep.loss import LossFunction, LossSetting

    with tempfile.TemporaryDirectory() as folder:
        write_potential(Path(folder) / "p.mtp", potential)
        data = read_mtp(Path(folder) / "p.mtp")
    data.species = [3, 6, 8, 1][: potential.species_count]
    images = [c.to_atoms(SPECIES) for c in configurations]
    loss = LossFunction(images, data, LossSetting(stress_weight=0.0), engine="cext")
    x = data.parameters
    times = []
    for _ in range(3):
        began = time.process_time()
        loss(x)
        loss.jac(x)
        times.append(time.process_time() - began)
    return min(times) / sum(map(len, configurations))


def to_held_out_error(name: str) -> str:
    """CPU seconds of Gauss-Newton until the held-out force error of 400 iterations of BFGS."""
    train, test, species, level = held_out_data(name)
    problem, x = started(level, species, train)
    records = {"bfgs": held_out_course(problem, x, bfgs, test)}
    best = min(error for _, error in records["bfgs"])
    records["default"] = held_out_course(problem, x, default, test, best)
    text = f"{name} L{level}, {len(train)} + {len(test)} configurations: lowest held-out force RMSE"
    text += f" of BFGS {best:.4f} eV/A; CPU s to reach x times it (BFGS, Gauss-Newton):"
    for factor in (1.2, 1.1, 1.05, 1.0):
        cpu = [next((t for t, e in records[f] if e <= factor * best), np.nan) for f in records]
        text += f" {factor}: {cpu[0]:.1f}, {cpu[1]:.1f} ({cpu[0] / cpu[1]:.1f} times less);"
    return text


def held_out_course(
    problem: Objective,
    x: np.ndarray,
    optimiser: object,
    test: list[Configuration],
    goal: float = 0.0,
) -> list[tuple[float, float]]:
    """CPU seconds and held-out force RMSE (component, eV/angstrom) to a goal, or 400 iterations."""
    engine, spent, course = Engine(problem.potential), 0.0, []
    near, labels = engine.neighbours(test), np.concatenate([c.forces for c in test])
    mark = time.process_time()
    for state in islice(optimiser(problem, first_state(problem, x)), 2000 if goal else 400):
        spent += time.process_time() - mark
        if state.iteration % 4 == 0:
            engine.update(state.x)
            forces = np.concatenate([e.forces for e in engine.evaluate(near)])
            course.append((spent, float(np.sqrt(np.mean((forces - labels) ** 2)))))
            if course[-1][1] <= goal:
                break
        mark = time.process_time()
    return course


def held_out_data(name: str) -> tuple[list[Configuration], list[Configuration], int, int]:
    """Training set, held-out set, number of species, level."""
    if name == "Li-C-O-H":
        return shared_cfg("train"), shared_cfg("test"), 4, 12
    sets = [mlearn(SHARED / f"mlearn/{name}-{part}.json.gz") for part in ("training", "test")]
    return *sets, 1, 16


def mlearn(path: Path) -> list[Configuration]:
    """Configurations of the mlearn data (one species, no stresses)."""
    configurations = []
    for entry in json.loads(gzip.decompress(path.read_bytes())):
        structure, outputs = entry["structure"], entry["outputs"]
        positions = np.array([site["xyz"] for site in structure["sites"]])
        configurations.append(
            Configuration(
                np.array(structure["lattice"]["matrix"]),
                np.zeros(len(positions), int),
                positions,
                float(outputs["energy"]),
                np.array(outputs["forces"]),
            )
        )
    return configurations


def shared_cfg(name: str) -> list[Configuration]:
    """Configurations of a gzipped .cfg file of the shared data."""
    with tempfile.NamedTemporaryFile(suffix=".cfg") as file:
        file.write(gzip.decompress((SHARED / f"mtp/{name}.cfg.gz").read_bytes()))
        file.flush()
        return read_cfg(file.name)


def two_ranks() -> str:
    """Wall seconds of 60 iterations at level 16 on one and on two ranks."""
    mpiexec, seconds = Path(sys.executable).with_name("mpiexec"), []
    with tempfile.TemporaryDirectory() as folder:
        configurations = [replace(c, virial=None) for c in shared_cfg("train")]
        write_cfg(Path(folder) / "t.cfg", configurations)
        words = ["train", "t.cfg", "--level=16", "--species=4", "--iteration_limit=60"]
        for ranks in (1, 2):
            command = [str(mpiexec), "-n", str(ranks), sys.executable, "-m", "mtp.cli", *words]
            command += [f"--save_to={ranks}.mtp", f"--log={ranks}.log", "--optimizer=bfgs"]
            command += ["--weights=mlip"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            log = (Path(folder) / f"{ranks}.log").read_text().splitlines()
            last = [line for line in log if line.startswith("BFGS iter")][-1]
            seconds.append(float(last.split()[4]))
    return f"60 BFGS iterations at L16: one rank {seconds[0]:.1f} s, two ranks {seconds[1]:.1f} s"


if __name__ == "__main__":
    main()
