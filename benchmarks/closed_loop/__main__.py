"""`python -m benchmarks.closed_loop OUT`: equal labels for every policy, error against labels.

Policies: rules, random, fixed (the paper's Ablation B), llm (llm.base_url, key from the
environment) and replay (llm.records). Each campaign is an ordinary one; what was begun goes on.
"""

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.closed_loop.policies import POLICIES
from benchmarks.closed_loop.system import SPECIES, fresh_frames, make_source
from mtp.calculator import MTP
from planner.campaign import Campaign
from planner.create import create
from planner.decide import next_plan
from planner.files import write_record, write_text
from planner.lock import locked
from planner.loop import Iteration, carry_out

LIVE = ("llm", "replay")


def lead(folder: Path, policy: str, seed: int) -> Campaign:
    """Carry a campaign to its verdict under a policy; the same from wherever it was left."""
    with locked(folder, f"closed loop, {policy}") as lock:
        while True:
            here = Campaign.at(folder)
            if here.pending is None and here.state().verdict:
                return here
            brought = None
            if here.pending is None and policy not in LIVE:
                situation = here.situation()
                brought = folder / "draft.yaml"
                chance = random.Random(f"{policy}/{seed}/{situation.iteration}")
                write_record(brought, POLICIES[policy](situation, chance))
            plan = next_plan(here, brought)
            sys.stderr.write(f"{folder.name}: {plan.iteration} {plan.action}\n")
            carry_out(Iteration(Campaign.at(folder), plan, lock, None), lambda _: None)


def curve(here: Campaign, frames: list) -> list[dict[str, Any]]:
    """Force MAE (eV/Å per component) on the test frames after every sound fit, and the labels."""
    points = []
    for record in here.state().models:
        if record.status == "refused":
            continue
        number = int(record.id[1:])
        calculator = MTP(here.iteration(number) / "train/model.almtp", SPECIES)
        errors = []
        for frame in frames:
            atoms = frame.copy()
            atoms.calc = calculator
            errors.append(np.abs(atoms.get_forces() - frame.arrays["reference_forces"]).mean())
        labels = here.state(number).spent.labels
        points.append({"iteration": number, "labels": labels, "force_mae": float(np.mean(errors))})
    return points


def draw(curves: dict[str, dict[str, list[dict[str, Any]]]], path: Path) -> None:
    """Every seed a thin line of the best model so far, every policy a colour."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for number, (policy, seeds) in enumerate(curves.items()):
        for points in seeds.values():
            labels = [p["labels"] for p in points]
            best = np.minimum.accumulate([p["force_mae"] for p in points])
            axes.plot(labels, best, "o-", color=f"C{number}", alpha=0.6, markersize=3)
        axes.plot([], [], color=f"C{number}", label=f"{policy} ({len(seeds)} seeds)")
    axes.set(xlabel="labels", ylabel="force MAE on fresh frames (eV/Å)", yscale="log")
    axes.legend()
    figure.savefig(path)


def summary(curves: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """Final error of each policy: mean and range over seeds."""
    lines = []
    for policy, seeds in curves.items():
        last = [min(p["force_mae"] for p in points) for points in seeds.values() if points]
        labels = [points[-1]["labels"] for points in seeds.values() if points]
        if last:
            lines.append(
                f"{policy:<8} {len(last)} of {len(seeds)} seeds with a model, force MAE"
                f" {np.mean(last):.4f} eV/Å ({min(last):.4f} to {max(last):.4f}),"
                f" {np.mean(labels):.0f} labels"
            )
        else:
            lines.append(f"{policy:<8} no model in {len(seeds)} seeds")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run, score, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.closed_loop")
    parser.add_argument("out", type=Path)
    parser.add_argument("--policies", default="rules,random,fixed")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--labels", type=int, default=120)
    parser.add_argument("--llm", type=json.loads, default={}, help="llm section as JSON")
    given = parser.parse_args(argv)
    frames, curves = fresh_frames(), {}
    backends = {"llm": "anthropic", "replay": "replay"}
    for policy in given.policies.split(","):
        for seed in map(int, given.seeds.split(",")):
            folder = given.out / f"{policy}-{seed}"
            if not folder.exists():
                extra = {"planner": backends[policy], "llm": given.llm} if policy in LIVE else {}
                source = given.out / f".source-{policy}-{seed}"
                create(str(make_source(source, seed, given.labels, extra)), folder)
            points = curve(lead(folder, policy, seed), frames)
            curves.setdefault(policy, {})[str(seed)] = points
            write_text(given.out / "curves.json", json.dumps(curves, indent=1) + "\n")
    draw(curves, given.out / "curves.svg")
    sys.stdout.write(summary(curves) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
