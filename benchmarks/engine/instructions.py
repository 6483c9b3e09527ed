"""CPU per atom of the kernel by each instruction set of this processor, in turns on one core.

    python benchmarks/engine/instructions.py [--cfg train.cfg.gz] [--levels 8 12 16 20]

EFS, the loss with its gradient, and the rows of a Gauss-Newton matrix, in microseconds an atom, and
for the first two the share of what dgemm reaches in the same run, with the widest vectors it knows.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))
from against_motep import SHARED, best, data, dgemm_rate, operations, random_potential, read

from mtp import _kernel
from mtp.engine import Engine
from mtp.neighbours import neighbours

if TYPE_CHECKING:
    from collections.abc import Callable

    from mtp.configuration import Configuration

FRAMES, ROUNDS = 60, 7


def main() -> None:
    """Print a line a level and instruction set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cfg", type=Path, default=SHARED)
    parser.add_argument("--levels", type=int, nargs="+", default=[8, 12, 16, 20])
    given = parser.parse_args()
    configurations, limit = read(given.cfg)[:FRAMES], dgemm_rate()
    print(
        f"dgemm on this core: {limit / 1e9:.1f} Gflop/s; µs of CPU an atom, share of dgemm's rate"
    )
    print("level  instructions    EFS        gradient      rows")
    for level in given.levels:
        for line in lines(level, configurations, limit):
            print(line, flush=True)


def lines(level: int, configurations: list[Configuration], limit: float) -> list[str]:
    """A line for each instruction set, all timed in turns."""
    potential = random_potential(level)
    engine = Engine(potential)
    near = neighbours(configurations, potential.max_dist)
    targets, weights = data(configurations)
    names = _kernel.instruction_sets()

    def timed(name: str, work: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            _kernel.use(name)
            work()

        return run

    passes = (
        lambda: engine.evaluate(near),
        lambda: engine.loss_and_gradient(near, targets, weights),
        lambda: engine.configuration_rows(near, 0, linear=False),
    )
    seconds = best([timed(name, work) for name in names for work in passes], ROUNDS)
    atoms, counts = near.atom_count, operations(potential, near.kernel.pair_count / near.atom_count)
    made = []
    for number, name in enumerate(names):
        efs, gradient, rows = seconds[3 * number : 3 * number + 3]
        shares = [n * atoms / s / limit for n, s in zip(counts, (efs, gradient), strict=True)]
        made.append(
            f"{level:5d}  {name:12}{1e6 * efs / atoms:7.2f} {shares[0]:4.0%}"
            f"{1e6 * gradient / atoms:9.2f} {shares[1]:4.0%}"
            f"{1e6 * rows / len(configurations[0].types):10.0f}"
        )
    return made


if __name__ == "__main__":
    main()
