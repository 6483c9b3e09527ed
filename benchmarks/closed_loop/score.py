"""What a comparison shows: a table of the potentials handed over, error against labels as SVG."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.closed_loop.system import SPECIES, force_mae, stable_picoseconds
from campaign.folder import Campaign
from mtp.calculator import MTP

Scores = dict[str, dict[str, dict[str, Any]]]
HEAD = (
    "| policy | seeds | labels | decisions | force MAE (eV/Å) at {half} labels | at end | MD, ps |"
)


def score(here: Campaign, frames: list) -> dict[str, Any]:
    """Every sound fit of a campaign on the fresh frames, and what the campaign handed over."""
    state, curve = here.state(), []
    for record in state.models:
        if record.status != "refused":
            number = int(record.id[1:])
            curve.append(
                {
                    "model": record.id,
                    "labels": here.state(number).spent.labels,
                    "force_mae": force_mae(_potential(here, record.id), frames),
                }
            )
    verdict = state.verdict
    chosen = verdict.model if verdict else None
    last = next((p for p in curve if p["model"] == chosen), None)
    return {
        "curve": curve,
        "labels": state.spent.labels,
        "reference_calls": state.spent.reference_calls,
        "decisions": state.iteration,
        "outcome": verdict.outcome if verdict else None,
        "force_mae": last["force_mae"] if last else None,
        "picoseconds": stable_picoseconds(_potential(here, chosen), _highest(here))
        if chosen
        else 0.0,
    }


def _highest(here: Campaign) -> int:
    return max(s.max_temperature for s in here.task.subsystems)


def _potential(here: Campaign, model: str) -> MTP:
    return MTP(here.iteration(int(model[1:])) / "train/model.almtp", SPECIES)


def newest(curve: list[dict[str, Any]], labels: float) -> float:
    """Error of the newest fit within so many labels; nan before the first."""
    errors = [p["force_mae"] for p in curve if p["labels"] <= labels]
    return errors[-1] if errors else float("nan")


def table(scores: Scores, budget: int) -> str:
    """Markdown: median over seeds, and the range in brackets."""
    lines = [HEAD.format(half=budget // 2), "|" + "---|" * 7]
    for policy, seeds in scores.items():
        runs = list(seeds.values())
        half = [newest(run["curve"], budget // 2) for run in runs]
        last = [run["force_mae"] for run in runs if run["force_mae"] is not None]
        cells = (
            policy,
            str(len(runs)),
            _spread([r["labels"] for r in runs], ".0f"),
            _spread([r["decisions"] for r in runs], ".0f"),
            _spread(half, ".4f"),
            _spread(last, ".4f"),
            _spread([r["picoseconds"] for r in runs], ".2f"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: list[float], form: str) -> str:
    finite = [v for v in values if np.isfinite(v)]
    if not finite:
        return "none"
    missing = f", {len(values) - len(finite)} without" if len(finite) < len(values) else ""
    low, middle, high = (format(f(finite), form) for f in (min, np.median, max))
    return f"{middle} ({low} to {high}{missing})"


def draw(scores: Scores, budget: int, path: Path) -> None:
    """Every campaign a thin line of its newest fit, every policy's median a thick one."""
    mpl.rcParams.update({"svg.hashsalt": "closed loop", "svg.fonttype": "none"})
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    grid = np.arange(budget + 1)
    for number, (policy, seeds) in enumerate(scores.items()):
        lines = []
        for run in seeds.values():
            lines.append([newest(run["curve"], labels) for labels in grid])
            axes.step(grid, lines[-1], where="post", color=f"C{number}", alpha=0.25, linewidth=0.8)
        label = f"{policy} ({len(seeds)} seeds)"
        middle = np.median(lines, axis=0)  # nan until every seed has a fit
        axes.step(grid, middle, where="post", color=f"C{number}", linewidth=2.2, label=label)
    axes.set(xlabel="labels", ylabel="force MAE on fresh frames (eV/Å)", yscale="log")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})
