"""MD at constant temperature through the ASE calculator: how much of the CPU the kernel takes.

    python benchmarks/engine/md.py [--steps 10000] [--level 12] [--repeats 5 5 2]

A Ni-Cu-Ag-Au solid solution (fcc, 200 atoms, a potential fitted to ASE's EMT) at 300 K with Bussi's
thermostat, as every `sample` of a campaign runs it. CPU time, not the clock: other jobs on the
machine do not count.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

from atomistics.md.plain import run
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
    given = parser.parse_args()
    potential = fitted(given.level)
    atoms = alloy(tuple(given.repeats), seed=0)
    calculator = MTP(potential, SPECIES)
    spent = {
        "kernel": timed(_kernel, "evaluate"),
        "neighbours moved": timed(_kernel.Neighbours, "move"),
        "neighbours built": timed(_kernel.Neighbours, "add"),
    }
    began = time.process_time()
    outcome = run(atoms, calculator, Protocol("nvt", 300.0, given.steps, interval=100))
    total = time.process_time() - began
    kelvin = np.mean([frame.get_temperature() for frame in outcome.frames[-50:]])
    calls = given.steps + 1
    print(
        f"L{given.level}, {len(atoms)} atoms, {outcome.steps} steps, stop: {outcome.stop}, "
        f"{kelvin:.0f} K, list built {calculator.list.rebuilt} times: {total:.1f} s of CPU, "
        f"{total / calls * 1e3:.2f} ms per step, {total / calls / len(atoms) * 1e6:.2f} µs per atom"
    )
    shares = {name: sum(seconds) for name, seconds in spent.items()}
    shares["Python and ASE"] = total - sum(shares.values())
    for name, seconds in shares.items():
        print(
            f"{name:18}{seconds / total:6.1%}{seconds / calls / len(atoms) * 1e6:8.2f} µs per atom"
        )


def timed(owner: object, name: str) -> list[float]:
    """CPU seconds of every call of `owner.name` from now on."""
    function, seconds = getattr(owner, name), []

    def timed(*arguments: object) -> object:
        began = time.process_time()
        try:
            return function(*arguments)
        finally:
            seconds.append(time.process_time() - began)

    setattr(owner, name, timed)
    return seconds


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
