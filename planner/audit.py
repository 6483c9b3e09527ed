"""`planner audit`: what a plan would do and cost, before a core-hour is spent."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from planner.campaign import Campaign
from planner.errors import UserError
from planner.gates import Verdict, check, cost
from planner.ledger import totals
from planner.plan import Plan


@dataclass(frozen=True)
class Audit:
    """The pending plan seen from outside."""

    plan: Plan
    jobs: dict[str, int]
    reference_calls: int
    labels: int
    md_steps: int
    core_hours: float
    spent: dict[str, float]
    gates: list[Verdict]

    @property
    def denied(self) -> list[str]:
        """Gates that forbid the plan."""
        return [f"{v.gate}: {v.detail}" for v in self.gates if v.verdict == "deny"]

    def as_json(self) -> str:
        """For machines."""
        data = asdict(self) | {
            "plan": self.plan.model_dump(mode="json", exclude_none=True),
            "gates": [v.model_dump() for v in self.gates],
        }
        return json.dumps(data, indent=1)


def audit(campaign: Campaign) -> Audit:
    """Audit the pending plan; UserError when there is none."""
    plan = campaign.pending
    if plan is None:
        raise UserError(f"{campaign.folder}: no plan waits here; `planner next` writes one")
    gates = check(plan, campaign.situation())
    price = cost(plan, campaign.situation())
    state = campaign.state()
    denied = any(v.verdict == "deny" for v in gates)
    return Audit(
        plan=plan,
        jobs={} if denied else dry_run(campaign.folder),
        reference_calls=price.reference_calls,
        labels=price.labels,
        md_steps=price.md_steps,
        core_hours=core_hours(campaign, plan, price.reference_calls, price.md_steps),
        spent={**state.spent.model_dump(), "core_hours": campaign.core_seconds() / 3600},
        gates=gates,
    )


def dry_run(folder: Path) -> dict[str, int]:
    """Jobs by rule as `snakemake -n` counts them."""
    done = subprocess.run(
        [*snakemake(), "-n", "--nolock"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(last_line(done.stdout + done.stderr))
    table = re.search(r"Job stats:\n.*\n-+.*\n((?:.+\n)+)", done.stdout + done.stderr)
    rows = [line.split() for line in table.group(1).splitlines()] if table else []
    skipped = ("total", "all", "campaign")
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[0] not in skipped}


def snakemake() -> list[str]:
    """The Snakemake of this installation."""
    return [str(Path(sys.executable).with_name("snakemake"))]


def last_line(text: str) -> str:
    """The line of a job's output that says what was wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.search(r"error|mtpilot:|No space", line, re.IGNORECASE)]
    return (named or lines or ["no output"])[-1][:500]


def core_hours(campaign: Campaign, plan: Plan, calls: int, steps: int) -> float:
    """Estimate from what a call or an MD step has cost so far, else from the configuration."""
    seen = totals(campaign.iteration(campaign.sealed) / "ledger.jsonl").get("by_action", {})
    paid = [seen[a] for a in ("reference_calc", "select_data") if seen.get(a)]
    bought = sum(a["reference_calls"] for a in paid)
    per_call = (
        sum(a["core_seconds"] for a in paid) / bought
        if bought
        else campaign.config.reference.seconds_per_call
    )
    last = seen.get("train")
    fits = max(1, len(campaign.state().models))
    training = last["core_seconds"] / fits if last and plan.action == "train" else 0.0
    own = seen.get("sample")
    moved = plan.action in ("sample", "model_eval") and steps > calls and own and own["md_steps"]
    per_step = own["core_seconds"] / own["md_steps"] if moved else 0.0
    return (calls * per_call + max(0, steps - calls) * per_step + training) / 3600


def render(seen: Audit, limits: Any) -> str:
    """For people: a page that fits a terminal."""
    plan = seen.plan
    section = plan.parameters.model_dump(mode="json", exclude_none=True)
    lines = [
        f"iteration {plan.iteration}: {plan.action}"
        + (f"  (rule {plan.rule})" if plan.rule else ""),
        f"  reason    {plan.reason}",
        *(f"  evidence  {e.key} = {e.value}" for e in plan.evidence),
        *(f"  {key:<9} {json.dumps(value)}" for key, value in section.items() if key != "seed"),
        "  jobs      " + (", ".join(f"{n} x {rule}" for rule, n in seen.jobs.items()) or "none"),
        (
            f"  cost      at most {seen.reference_calls} reference calls, {seen.labels} labels,"
            f" {seen.md_steps} MD steps; about {seen.core_hours:.2f} core-hours"
        ),
        (
            f"  bill      {seen.spent['labels']:.0f}/{limits.labels} labels,"
            f" {seen.spent['reference_calls']:.0f}/{limits.reference_calls} reference calls,"
            f" {seen.spent['core_hours']:.2f}/{limits.core_hours:g} core-hours spent so far"
        ),
        *(f"  {v.verdict:<9} {v.gate}: {v.detail}" for v in seen.gates if v.verdict != "pass"),
        f"  gates     {sum(v.verdict == 'pass' for v in seen.gates)} passed",
        "  run it    snakemake        (or: snakemake --profile slurm, planner run)",
    ]
    return "\n".join(lines)


def environment() -> dict[str, str]:
    """The environment of child processes: no colour, no terminal tricks."""
    return {**os.environ, "NO_COLOR": "1"}
