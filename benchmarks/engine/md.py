"""MD at constant temperature through the ASE calculator: how much of the CPU the kernel takes.

    python benchmarks/engine/md.py [--steps 10000] [--level 12] [--repeats 5 5 2] [--engine lammps]
    python benchmarks/engine/md.py --table    # both engines at 40, 200, 1,000 and 5,000 atoms

A Ni-Cu-Ag-Au solid solution (fcc, 200 atoms, a potential fitted to ASE's EMT) at 300 K with Bussi's
thermostat, as every `sample` of a campaign runs it. CPU time, not the clock: other jobs on the
machine do not count. They empty its caches, though, and Python pays more for that than the kernel:
the last line is of the undisturbed steps, by the clock.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

from atomistics.md.plain import Outcome, run
from atomistics.md.plain_protocol import Protocol
from mtp import _kernel
from mtp.calculator import MTP
from mtp.configuration import from_atoms
from mtp.parallel import Ranks
from mtp.potential import Potential, untrained
from mtp.training.fit import TrainingOptions, train

if TYPE_CHECKING:
    from ase import Atoms

SPECIES = ["Ni", "Cu", "Ag", "Au"]
LATTICE = 3.85  # Å, cubic, about what EMT relaxes the mixture to
ITERATIONS = 40


def main() -> None:
    """Print the share of the kernel, of the neighbour list and of everything else."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--level", type=int, default=12)
    parser.add_argument("--repeats", type=int, nargs=3, default=[5, 5, 2])
    parser.add_argument("--engine", choices=["ase", "lammps"], default="ase")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    potential = fitted(given.level)
    if given.table:
        table(potential)
        return
    repeats, steps = tuple(given.repeats), given.steps
    spent, total, outcome, rebuilt, quiet = measured(potential, repeats, steps, given.engine)
    kelvin = np.mean([frame.get_temperature() for frame in outcome.frames[-50:]])
    calls, size = steps + 1, len(outcome.frames[0])
    print(
        f"L{given.level}, {size} atoms, {outcome.steps} steps by {given.engine}, stop: "
        f"{outcome.stop}, {kelvin:.0f} K, list built {rebuilt} times: {total:.1f} s of CPU, "
        f"{total / calls * 1e3:.2f} ms per step, {total / calls / size * 1e6:.2f} µs per atom"
    )
    spent["outside"] = total - sum(spent.values())
    for name, seconds in spent.items():
        print(f"{name:18}{seconds / total:6.1%}{seconds / calls / size * 1e6:8.2f} µs per atom")
    print(f"outside, of steps nothing else disturbed: {quiet:.1%}")


def table(potential: Potential) -> None:
    """A row a size: CPU of a step by either engine, and its ratio to kernel and lists in it."""
    print(
        "atoms   kernel  with lists      ASE      LAMMPS   (ms of CPU a step; ratio to the former)"
    )
    for repeats in ((5, 2, 1), (5, 5, 2), (10, 5, 5), (25, 10, 5)):
        size = 4 * int(np.prod(repeats))
        steps = max(40, 200_000 // size)
        cells = []
        for engine in ("ase", "lammps"):
            spent, total, *_ = measured(potential, repeats, steps, engine)
            bare, lists = spent["kernel"], sum(spent.values())
            cells.append((1e3 * total / steps, total / lists))
        kernel = f"{1e3 * bare / steps:9.3f}{1e3 * lists / steps:12.3f}"
        print(f"{size:5}{kernel}" + "".join(f"{cost:9.3f} {ratio:4.2f}" for cost, ratio in cells))


def measured(
    potential: Potential, repeats: tuple[int, int, int], steps: int, engine: str
) -> tuple[dict[str, float], float, Outcome, int, float]:
    """CPU seconds of kernel and lists, and of the whole run; the run; how often lists were built;
    what share of a step lies outside of both where kernel, list and the rest are as quick as in
    the quickest twentieth of the steps."""
    atoms, calculator = alloy(repeats, seed=0), MTP(potential, SPECIES)
    protocol = Protocol("nvt", 300.0, steps, interval=100)
    # what is imported once is no part of a step
    run(atoms, MTP(potential, SPECIES), replace(protocol, steps=1), engine=engine)
    owners = {
        "kernel": (_kernel, "evaluate"),
        "neighbours moved": (_kernel.Neighbours, "move"),
        "neighbours built": (_kernel.Neighbours, "add"),
    }
    functions = [getattr(*owner) for owner in owners.values()]
    spent = {name: timed(*owner) for name, owner in owners.items()}
    began = time.process_time()
    outcome = run(atoms, calculator, protocol, engine=engine)
    total = time.process_time() - began
    for owner, function in zip(owners.values(), functions, strict=True):
        setattr(*owner, function)
    timings = {name: np.array(calls).reshape(-1, 3) for name, calls in spent.items()}
    sums = {name: float(calls[:, 0].sum()) for name, calls in timings.items()}
    (began, ended), moved = timings["kernel"][:, 1:].T, timings["neighbours moved"]
    kernel, between, moving = (
        np.percentile(seconds, 5)
        for seconds in (ended - began, began[1:] - ended[:-1], moved[:, 2] - moved[:, 1])
    )
    quiet = float((between - moving) / (kernel + between))
    return sums, total, outcome, calculator.list.rebuilt, quiet


def timed(owner: object, name: str) -> list[tuple[float, float, float]]:
    """CPU seconds, begin and end by the clock of every call of `owner.name` from now on."""
    function, calls = getattr(owner, name), []

    def timed(*arguments: object) -> object:
        cpu, began = time.process_time(), time.perf_counter()
        try:
            return function(*arguments)
        finally:
            ended = time.perf_counter()
            calls.append((time.process_time() - cpu, began, ended))

    setattr(owner, name, timed)
    return calls


def fitted(level: int) -> Potential:
    """A potential that keeps the crystal: 24 rattled cells of 32 atoms labelled by EMT."""
    configurations = []
    for seed in range(24):
        atoms = alloy((2, 2, 2), seed)
        atoms.set_cell(atoms.cell * (0.97 + 0.0025 * seed), scale_atoms=True)
        atoms.rattle(0.05 + 0.01 * (seed % 12), seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        atoms.get_stress()
        configurations.append(from_atoms(atoms, SPECIES))
    options = TrainingOptions(iteration_limit=ITERATIONS)
    return train(Ranks(), untrained(level, 4), configurations, [], options, silent)


def silent(line: str) -> None:
    """Say nothing of the fit."""


def alloy(repeats: tuple[int, int, int], seed: int) -> Atoms:
    """Fcc with the four elements at random, equally many of each."""
    atoms = bulk("Cu", "fcc", LATTICE, cubic=True).repeat(repeats)
    kinds = np.resize(SPECIES, len(atoms))
    atoms.set_chemical_symbols(np.random.default_rng(seed).permutation(kinds).tolist())
    return atoms


if __name__ == "__main__":
    main()
