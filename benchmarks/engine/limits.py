"""Neighbour list, MaxVol, peak memory, two threads and ranks, and selection from a long stream.

    python benchmarks/engine/limits.py [--cfg train.cfg.gz] [--environments 200000]

The default data are the Li-C-O-H cells of ../shared/data/mtp (200 configurations, 14,531 atoms,
four species); any labelled .cfg will do. Two threads and ranks are timed by the clock, so the
machine must be idle: the load it had is printed. Everything else is CPU time or memory.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from against_motep import SHARED, best, random_potential, read

from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.formats.almtp import write_potential
from mtp.formats.cfg import write_cfg
from mtp.neighbours import neighbours
from mtp.parallel import balanced_shares
from mtp.potential import untrained
from mtp.selection.maxvol import MaxVol
from mtp.selection.selector import RowWeights, Selector
from mtp.training.loss import LossWeights, labels_of
from mtp.training.objective import survey

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVEL = 16
ROWS = 4000
COUNTED = """
import sys
from mtp.cli import main
status = main(sys.argv[1:])
print(*[line for line in open("/proc/self/status") if line.startswith("VmHWM")], file=sys.stderr)
sys.exit(status)
"""
STREAM_LEVEL, STREAM_ATOMS = 12, 50


def main() -> None:
    """Print one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cfg", type=Path, default=SHARED)
    parser.add_argument("--environments", type=int, default=200_000)
    given = parser.parse_args()
    configurations = read(given.cfg)
    print(neighbour_list(configurations))
    print(maxvol(configurations))
    for line in memory(configurations):
        print(line, flush=True)
    print(two_shares(configurations), flush=True)
    print(two_threads(configurations), flush=True)
    for line in stream(given.environments):
        print(line, flush=True)


def neighbour_list(configurations: list[Configuration]) -> str:
    """CPU of the lists of all configurations within 5 Å."""
    near = neighbours(configurations, 5.0)
    (seconds,) = best([lambda: neighbours(configurations, 5.0)], 5)
    pairs = near.kernel.pair_count / near.atom_count
    return f"neighbour list: {seconds / near.atom_count * 1e6:.2f} µs per atom, {pairs:.0f} pairs"


def maxvol(configurations: list[Configuration]) -> str:
    """CPU of MaxVol from the regularised start over rows of real environments."""
    engine = Engine(random_potential(LEVEL))
    rows = engine.site_rows(engine.neighbours(configurations[: ROWS // 30]))[:ROWS]
    labels = [(k, 0) for k in range(len(rows))]
    active = MaxVol.start(rows.shape[1])
    (seconds,) = best([lambda: MaxVol.start(rows.shape[1]).add(rows, labels)], 3)
    active.add(rows, labels)
    worst = active.grades(rows).max()
    return (
        f"MaxVol of {len(rows)} x {rows.shape[1]}: {seconds:.2f} s, {len(active.swaps)} rows "
        f"entered, largest grade then {worst:.4f}"
    )


def memory(configurations: list[Configuration]) -> Iterator[str]:
    """Peak memory of whole `mlp` processes at level 16 on all configurations."""
    with tempfile.TemporaryDirectory() as folder:
        write_cfg(Path(folder) / "set.cfg", configurations)
        write_potential(Path(folder) / "p.mtp", random_potential(LEVEL))
        write_potential(Path(folder) / "new.mtp", untrained(LEVEL, 4))
        verbs = {
            "calculate_efs": "p.mtp set.cfg --output_filename=o.cfg",
            "train, BFGS": "new.mtp set.cfg --save_to=o.mtp --iteration_limit=2 --optimizer=bfgs",
            "train": "new.mtp set.cfg --save_to=o.mtp --iteration_limit=2",
        }
        for name, words in verbs.items():
            used = peak([name.split(",")[0], *words.split()], folder)
            yield f"peak memory of mlp {name} at L{LEVEL}: {used:.0f} MB"


def peak(words: list[str], folder: str) -> float:
    """Largest resident memory of one `mlp`, MB, as the kernel counts it from its start."""
    command = [sys.executable, "-c", COUNTED, *words]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return int(done.stderr.split()[-2]) / 1024


def two_shares(configurations: list[Configuration]) -> str:
    """CPU of all work over that of the busier of two ranks: what their clock can gain at most."""
    engine = Engine(random_potential(LEVEL))
    loads, _ = survey(configurations, engine.potential.max_dist)
    shares = [range(len(configurations)), *balanced_shares(loads, 2)]
    calls = []
    for share in shares:
        part = [configurations[i] for i in share]
        arguments = (engine.neighbours(part), *labels_of(part, LossWeights()))
        calls.append(partial(engine.loss_and_gradient, *arguments))
    whole, *parts = best(calls, 5)
    return f"shares of two ranks: at most {whole / max(parts):.2f} times one, by CPU"


def two_threads(configurations: list[Configuration]) -> str:
    """Wall time of loss and gradient on one and two threads, in turn, best of five."""
    potential = random_potential(LEVEL)
    targets, weights = labels_of(configurations, LossWeights())
    engines = [Engine(potential, threads) for threads in (1, 2)]
    near, seconds = engines[0].neighbours(configurations), [np.inf, np.inf]
    for _ in range(5):
        for number, engine in enumerate(engines):
            began = time.perf_counter()
            engine.loss_and_gradient(near, targets, weights)
            seconds[number] = min(seconds[number], time.perf_counter() - began)
    return (
        f"two threads: {seconds[0] / seconds[1]:.2f} times one by the clock, load "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores "
        "(two ranks: benchmarks/training/against_motep.py --levels --ranks)"
    )


def stream(environments: int) -> Iterator[str]:
    """Peak memory of this process while it selects from environments that are made on the way."""
    selector = Selector(random_potential(STREAM_LEVEL), RowWeights.of_mode("nbh"))
    for part in range(4):
        began = time.process_time()
        selector.add(random_cells(part, environments // 4 // STREAM_ATOMS))
        streamed = selector.next_key * STREAM_ATOMS
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        yield (
            f"selected from {streamed} environments at L{STREAM_LEVEL}: {len(selector.sources)} "
            f"configurations, {used:.0f} MB, {time.process_time() - began:.0f} s of CPU"
        )


def random_cells(seed: int, count: int) -> Iterator[Configuration]:
    """Rattled simple cubic cells of four species at random densities."""
    rng = np.random.default_rng(seed)
    grid = np.array(list(np.ndindex(5, 5, 2)), float)
    for _ in range(count):
        spacing = rng.uniform(1.9, 2.4)
        positions = spacing * (grid + rng.normal(0, 0.08, grid.shape))
        cell = spacing * np.diag([5.0, 5.0, 2.0])
        yield Configuration(cell, rng.integers(0, 4, len(grid)), positions)


if __name__ == "__main__":
    main()
