"""`python -m benchmarks.closed_loop OUT`: equal labels for every policy, error against labels.

Policies: rules, random, fixed (the paper's Ablation B), patient (fixed, fitted eight times as
long), llm (llm.base_url, key from the environment) and replay (llm.records; else the answers of
OUT/llm-SEED). Each campaign is an ordinary one; what was begun goes on.
"""

import argparse
import json
import random
import sys
from pathlib import Path

from benchmarks.closed_loop.direct import carry_out
from benchmarks.closed_loop.policies import DECISIONS, POLICIES
from benchmarks.closed_loop.score import Scores, draw, score, table
from benchmarks.closed_loop.system import fresh_frames, make_source
from campaign.create import create
from campaign.files import write_record, write_text
from campaign.folder import Campaign
from campaign.lock import locked
from planner.decide import next_plan

BACKENDS = {"llm": "anthropic", "replay": "replay"}


def lead(folder: Path, policy: str, seed: int) -> Campaign:
    """Carry a campaign to its verdict under a policy; the same from wherever it was left."""
    with locked(folder, f"closed loop, {policy}"):
        while True:
            here = Campaign.at(folder)
            if here.pending is None and here.state().verdict:
                return here
            brought = None
            if here.pending is None and policy not in BACKENDS:
                situation = here.situation()
                brought = folder / "draft.yaml"
                chance = random.Random(f"{policy}/{seed}/{situation.iteration}")
                write_record(brought, POLICIES[policy](situation, chance))
            plan = next_plan(here, brought)
            sys.stderr.write(f"{folder.name}: {plan.iteration} {plan.action}\n")
            carry_out(Campaign.at(folder))


def begun(given: argparse.Namespace, policy: str, seed: int) -> Path:
    """The campaign's folder, made unless it exists."""
    folder = given.out / f"{policy}-{seed}"
    if not folder.exists():
        extra = {}
        if policy in BACKENDS:
            records = {"records": f"../llm-{seed}"} if policy == "replay" else {}
            extra = {"planner": BACKENDS[policy], "llm": {**records, **given.llm}}
        if policy in DECISIONS:
            extra["limits"] = {"decisions": DECISIONS[policy]}
        source = given.out / f".source-{policy}-{seed}"
        create(str(make_source(source, seed, (given.labels, given.highest), extra)), folder)
    return folder


def main(argv: list[str] | None = None) -> int:
    """Run, score, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.closed_loop")
    parser.add_argument("out", type=Path)
    parser.add_argument("--policies", default="rules,random,fixed,patient")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--labels", type=int, default=120)
    parser.add_argument("--highest", type=int, default=900, help="temperature of the task, K")
    parser.add_argument("--llm", type=json.loads, default={}, help="llm section as JSON")
    given = parser.parse_args(argv)
    scores: Scores = {}
    frames = fresh_frames(given.highest)
    for policy in given.policies.split(","):
        for seed in map(int, given.seeds.split(",")):
            here = lead(begun(given, policy, seed), policy, seed)
            scores.setdefault(policy, {})[str(seed)] = score(here, frames)
            write_text(given.out / "scores.json", json.dumps(scores, indent=1) + "\n")
    draw(scores, given.labels, given.out / "curves.svg")
    sys.stdout.write(table(scores, given.labels) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
