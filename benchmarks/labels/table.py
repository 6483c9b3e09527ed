"""The table of all rows that stand: mean and standard error over seeds."""

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.campaigns import markdown

RESULTS = Path(__file__).parent / "results"


def lines() -> list[str]:
    """One table a pool: force error (eV/Å) and energy error (meV/atom) at each number of labels,
    the lowest force error at the most labels first.
    """
    pools: dict[str, dict[str, list[list[dict]]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(RESULTS.glob("*.json")):
        name, strategy, _ = path.stem.split("-")
        pools[name][strategy].append(json.loads(path.read_text()))
    text = []
    for name, strategies in pools.items():
        counts = [r["labels"] for r in next(iter(strategies.values()))[0]]
        head = [name, "seeds", *(f"{n}" for n in counts), "reference calls"]
        body = sorted(strategies.items(), key=lambda item: _mean(item[1], "force", len(counts) - 1))
        text += [*markdown(head, (_row(k, v, len(counts)) for k, v in body)), ""]
    return text


def _row(strategy: str, seeds: list[list[dict]], count: int) -> Iterable[str]:
    def cell(key: str, digits: int, step: int) -> str:
        values = [rows[step][key] for rows in seeds]
        error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
        return f"{np.mean(values):.{digits}f} ± {error:.{digits}f}"

    cells = [f"{cell('force', 4, k)}, {cell('energy', 2, k)}" for k in range(count)]
    return [strategy, str(len(seeds)), *cells, str(max(r[-1]["calls"] for r in seeds))]


def _mean(seeds: list[list[dict]], key: str, step: int) -> float:
    return float(np.mean([rows[step][key] for rows in seeds]))
