"""The SEI of the paper and its ablations: `python -m benchmarks.sei [ROW ...] --nep89 FILE`.

Rows: full (the rules planner), one_shot_first and one_shot_last (Ablation B: reference MD of the
same structures and one fit, as many labels as the first and the last data set of `full`), manual
(Ablation A: one structure of each of the five components), error (the paper's selection by true
error), random (any valid plan). Each is an ordinary campaign on structures that are prepared once a
seed; what was begun goes on, a result that stands is not made again. Every potential is then held
against MD by the reference on the held-out four-layer cell outside the campaign. `--table` writes
docs/sei.md from the results.
"""

import argparse
import json
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import yaml

from atomistics.settling_effort import MOST_KEPT
from benchmarks.campaigns import facts, nep89, planner, stands
from benchmarks.closed_loop.policies import DECISIONS, POLICIES, by_schedule
from benchmarks.sei import mobility, table
from campaign.actions.sample import Sample
from campaign.files import write_record, write_text
from campaign.folder import Campaign
from campaign.lock import locked
from campaign.plan import Plan
from campaign.situation import Situation
from planner.decide import next_plan

ANSWERS = Path(__file__).parents[2] / "config/examples/sei/answers.yaml"
ATOMS = {"short": {"atoms": 50}, "small": {"atoms": 50}, "paper": {}}  # of a cell; 100 by default
KEPT = {"short": 3}  # training structures of a category that are kept, beside the held-out one
CALLS = 200_000  # what a row other than `full` may spend: its labels are what is compared
INTERVAL = 10  # steps between labels of reference MD
ROWS = ("full", "one_shot_first", "one_shot_last", "manual", "error", "random")


def main() -> None:
    """Run the rows that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sei", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--nep89", type=Path, help="nep89.txt (`make nep89` fetches it)")
    parser.add_argument("--size", choices=ATOMS, default="small")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--work", type=Path, default=Path("build/sei"), help="campaigns")
    parser.add_argument("--hours", type=float, default=8.0, help="wall time of one campaign")
    parser.add_argument("--picoseconds", type=float, default=10.0, help="of the comparison")
    parser.add_argument("--table", action="store_true", help="only docs/sei.md")
    given = parser.parse_args()
    if unknown := sorted(set(given.rows) - set(ROWS)):
        parser.error(f"no row {unknown[0]}")
    if not given.table and not given.nep89:
        parser.error("--nep89: which file")
    for seed in [] if given.table else map(int, given.seeds.split(",")):
        for row in given.rows or ROWS:
            path = table.RESULTS / f"{given.size}-{seed}-{row}.json"
            if not stands(path):
                result = {"row": row, "seed": seed, "size": given.size, **run(row, seed, given)}
                write_text(path, json.dumps(result, indent=1) + "\n")
                sys.stdout.write(f"{path.name}: {result['verdict']}\n")
    table.write()


def run(row: str, seed: int, given: argparse.Namespace) -> dict:
    """One campaign to its verdict, and what its potential is worth."""
    work = given.work.resolve() / f"{given.size}-{seed}"
    folder = work / row
    prepared(work / "prepared", seed, given)
    if not (folder / "Snakefile").is_file():
        changes = settings(row, work)
        source = work / f"{row}.source"
        subprocess.run(["cp", "-r", work / "prepared", source], check=True)
        config = yaml.safe_load((source / "config.yaml").read_text())
        for key, value in changes.items():
            config[key] = {**config.get(key, {}), **value} if isinstance(value, dict) else value
        (source / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        if stopped := planner(["init", source, folder], work, given.hours):
            raise SystemExit(f"{folder}: {stopped}")
    if row in ("full", "error"):
        stopped = planner(["run", "--campaign", folder], work, given.hours)
    else:
        stopped = led(folder, work, row, seed)
    result = facts(folder) | ({"stopped": stopped} if stopped else {})
    result["log"] = log(folder)
    result["learning"] = learning(folder)
    if not stopped and (folder / "result/potential.almtp").is_file():
        result |= mobility.compared(work, folder, given.picoseconds)
    return result


def prepared(folder: Path, seed: int, given: argparse.Namespace) -> None:
    """The structures of a seed, built once."""
    if (folder / "Snakefile").is_file():
        return
    answers = yaml.safe_load(ANSWERS.read_text()) | ATOMS[given.size]
    answers["reference"] = nep89(given.nep89)
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_suffix(".answers.yaml")
    path.write_text(yaml.safe_dump(answers, sort_keys=False))
    prepare = ["prepare", "--answers", path]
    if stopped := planner([*prepare, "--only", "plan", folder], folder.parent, given.hours):
        raise SystemExit(f"{folder}: {stopped}")
    path = folder / "structures/plan.yaml"
    plan = yaml.safe_load(path.read_text()) | {"seed": seed}
    stacked = json.dumps([c for c in plan["categories"] if c["role"] != "component"])
    for category in plan["categories"]:
        training = [v for v in category["variants"] if not v["held_out"]]
        kept = KEPT.get(given.size, len(training))  # the last differs most from the first
        dropped = {v["id"] for v in training[kept - 1 : -1]}
        if category["role"] == "component":  # stacks are built of some
            dropped = {name for name in dropped if f'"{name}"' not in stacked}
        category["variants"] = [v for v in category["variants"] if v["id"] not in dropped]
    path.write_text(yaml.safe_dump(plan))
    if stopped := planner([*prepare, folder], folder.parent, given.hours):
        raise SystemExit(f"{folder}: {stopped}")


def settings(row: str, work: Path) -> dict:
    """What a row's config.yaml sets beside the prepared one."""
    if row == "error":
        return {"select_data": {"method": "error"}}
    if row == "full":
        return {}
    states = sorted((work / "full").glob("iterations/*/state.yaml"))
    if not states or not Campaign.at(work / "full").state().verdict:
        raise SystemExit(f"{work / 'full'}: no verdict yet; {row} is matched to its labels")
    full, changes = Campaign.at(work / "full"), {"planner": "manual"}
    counts = [full.state(n).spent.labels for n in range(1, len(states) + 1)]
    if row == "random":
        return changes | {"limits": {"labels": counts[-1], "reference_calls": CALLS}}
    first = next(n for n in range(1, len(states) + 1) if full.state(n).models)
    labels = counts[first - 1] if row == "one_shot_first" else counts[-1]
    # a gate counts what settling might give at most; the plan aims at what it did give `full`
    slack = MOST_KEPT * len(full.structures)
    limits = {"labels": labels + slack, "reference_calls": CALLS, "target_share": 0}
    limits["decisions"] = DECISIONS["fixed"]
    moved = {"steps": INTERVAL, "interval": INTERVAL}  # MD at all; the plan says how long
    return changes | {"limits": limits, "reference_sample": moved}


def matched(work: Path, folder: Path) -> tuple[int, float]:
    """Labels that a one shot may have, and how many of them a structure's settling gives."""
    full = Campaign.at(work / "full")
    labels = Campaign.at(folder).config.limits.labels - MOST_KEPT * len(full.structures)
    state = next(s for n in range(1, full.last + 1) if (s := full.state(n)).spent.labels)
    first = full.plan(state.iteration)
    settled = state.spent.labels - first.parameters.cost(state).labels
    training = sum(len(group.structures) for group in first.sample.groups)
    return labels, settled / training


def led(folder: Path, work: Path, row: str, seed: int) -> str:
    """Carry a campaign to its verdict by plans of a policy; what stopped it, or nothing."""
    if row == "random":
        lead = POLICIES["random"]
    else:
        labels, settled = matched(work, folder)
        lead = partial(one_shot, labels=labels, settled=settled, by_hand=row == "manual")
    while True:
        with locked(folder, f"benchmarks.sei, {row}"):
            here = Campaign.at(folder)
            if here.pending is None and here.state().verdict:
                return ""
            if here.pending is None:
                situation = here.situation()
                chance = random.Random(f"{row}/{seed}/{situation.iteration}")
                write_record(folder / "draft.yaml", lead(situation, chance))
                next_plan(here, folder / "draft.yaml")
        snakemake = Path(sys.executable).with_name("snakemake")
        with (folder / "snakemake.log").open("a") as stream:
            done = subprocess.run(
                [snakemake], cwd=folder, stdout=stream, stderr=stream, check=False
            )
        if done.returncode:
            return (folder / "snakemake.log").read_text().strip().splitlines()[-1][:300]


def one_shot(
    sit: Situation, chance: random.Random, labels: int, settled: float, by_hand: bool
) -> Plan:
    """All labels by reference MD, then one fit; `by_hand` from one structure of each component.

    The MD is as long as the labels allow that settling does not give (`settled` a structure), hot
    only where that is too few for every temperature.
    """
    plan = by_schedule(sit, chance)
    if plan.sample is None:
        return plan
    groups = [g.model_copy(update={"ensembles": ["nvt"]}) for g in plan.sample.groups]
    if by_hand:
        first = [s.name for s in sit.state.subsystems if s.stage == 1]
        groups = [g for g in groups if g.subsystem in first]
        groups = [g.model_copy(update={"structures": g.structures[:1]}) for g in groups]
    room = labels - round(settled * sum(len(g.structures) for g in groups))
    bare = {"groups": groups, "steps": INTERVAL, "compression": [], "rattle": 0}
    begun = plan.sample.model_copy(update=bare)
    if begun.cost(sit.state).labels > room:
        groups = [g.model_copy(update={"temperatures": g.temperatures[-1:]}) for g in groups]
        begun = begun.model_copy(update={"groups": groups})
    return plan.model_copy(update={"sample": longest(begun, sit, room)})


def longest(section: Sample, sit: Situation, labels: int) -> Sample:
    """The same sampling with MD as long as the labels allow."""
    while True:
        longer = section.model_copy(update={"steps": section.steps + section.interval})
        if longer.cost(sit.state).labels > labels or longer.steps > 100_000:
            return section
        section = longer


def learning(folder: Path) -> list[dict]:
    """Held-out force error of the four layers, eV/Å, of every sound fit, and its labels."""
    here, curve = Campaign.at(folder), []
    for record in here.state().models:
        errors = [
            e.force_mae
            for e in record.errors
            if e.split == "held_out" and e.subsystem == mobility.CELL.partition("-")[0]
        ]
        if record.status != "refused" and errors:
            labels = here.state(int(record.id[1:])).spent.labels
            curve.append({"labels": labels, "force_mae": round(errors[0], 5)})
    return curve


def log(folder: Path) -> list[dict]:
    """One line an iteration: what was done, why, and what came of it."""
    rows = []
    for path in sorted(folder.glob("iterations/*/plan.yaml")):
        plan = yaml.safe_load(path.read_text())
        state = path.with_name("state.yaml")
        if not state.is_file():
            break
        done = yaml.safe_load(state.read_text())
        rows.append(
            {
                "iteration": plan["iteration"],
                "action": plan["action"],
                "reason": plan["reason"],
                "outcome": done["history"][-1]["note"],
                "labels": done["spent"]["labels"],
                "calls": done["spent"]["reference_calls"],
            }
        )
    return rows


if __name__ == "__main__":
    main()
