"""Held-out error against number of labels: `python -m benchmarks.labels POOL STRATEGY ...`.

A row is one pool (Mo, Ge, Si, Li: Zuo's elements; sei: MD by NEP89), one strategy and one seed. It
begins with a few frames at random, the same for every strategy, fits, chooses a batch, and so on
to twice, four times, eight times as many. Held-out mean absolute errors after each fit, and the
reference calls spent by then, go to benchmarks/labels/results/POOL-STRATEGY-SEED.json; what stands
there is not computed again. `--table` prints all that stand.
"""

import argparse
import json
import os
import random
import sys
import time
from functools import partial
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

from benchmarks.labels import table
from benchmarks.labels.pools import ELEMENTS, SEI_SPECIES, pool
from benchmarks.labels.strategies import STRATEGIES, Round
from benchmarks.training.published import DATA, held_out_errors
from mtp.configuration import Configuration
from mtp.parallel import Ranks
from mtp.potential import Potential, untrained
from mtp.training.fit import TrainingOptions, train
from mtp.training.loss import LossWeights

LEVELS = {"sei": 8}  # else 12
FIRST, DOUBLINGS = 12, 3
PASSES = {"sei": 300}  # else 60; after 30 passes the optimiser, not the labels, limits sei
WEIGHTS = LossWeights(energy_weight=10.0)


def main() -> None:
    """Compute the rows that lack, or print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.labels", description=__doc__)
    parser.add_argument("pool", nargs="?", choices=(*ELEMENTS, "sei"))
    parser.add_argument("strategies", nargs="*", metavar="STRATEGY", help=", ".join(STRATEGIES))
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--data", type=Path, default=DATA, help="NAME-training.json.gz of elements")
    parser.add_argument("--nep89", type=Path, default=Path("config/examples/sei/nep89.txt"))
    parser.add_argument("--cache", type=Path, default=Path("build/labels"), help="frames of sei")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table or not given.pool:
        print("\n".join(table.lines()))
        return
    if unknown := sorted(set(given.strategies) - set(STRATEGIES)):
        parser.error(f"no strategy {unknown[0]}")
    given.cache.mkdir(parents=True, exist_ok=True)
    frames = pool(given.pool, given.data, given.nep89, given.cache)
    for seed in map(int, given.seeds.split(",")):
        for name in given.strategies or STRATEGIES:
            path = table.RESULTS / f"{given.pool}-{name}-{seed}.json"
            if not path.is_file():
                rows = list(row(given.pool, frames, name, seed))
                path.write_text(json.dumps(rows, indent=1) + "\n")
                sys.stderr.write(f"{path.name}: {rows[-1]}\n")


def row(name: str, frames: dict[str, list[Configuration]], strategy: str, seed: int) -> list[dict]:
    """Errors at each number of labels."""
    left = list(frames["train"])
    chosen = random.Random(seed).sample(range(len(left)), FIRST)
    labelled: list[Configuration] = []
    calls, results, began = 0, [], time.process_time()
    for doubling in range(DOUBLINGS + 1):
        labelled += [left[i] for i in chosen]
        calls = max(calls, len(labelled))
        taken = set(chosen)
        left = [c for i, c in enumerate(left) if i not in taken]
        fitted = fit(name, labelled, seed)
        energy, force, _ = held_out_errors(fitted, frames["test"])
        results.append({"labels": len(labelled), "calls": calls, "energy": energy, "force": force})
        if doubling < DOUBLINGS:
            refit = partial(fit, name, list(labelled), anywhere=True)
            now = Round(fitted, labelled, left, len(labelled), seed, refit)
            chosen = STRATEGIES[strategy](now)
            calls = len(frames["train"]) if strategy == "error" else calls
    results[-1]["cpu_s"] = time.process_time() - began
    return results


def fit(name: str, frames: list[Configuration], seed: int, *, anywhere: bool = False) -> Potential:
    """A potential fitted from scratch; `anywhere` from random coefficients."""
    species = len(SEI_SPECIES) if name == "sei" else 1
    blank = untrained(LEVELS.get(name, 12), species)
    options = TrainingOptions(
        weights=WEIGHTS, iteration_limit=PASSES.get(name, 60), seed=seed, init_random=anywhere
    )
    return train(Ranks(), blank, frames, [], options, lambda _: None)


if __name__ == "__main__":
    main()
