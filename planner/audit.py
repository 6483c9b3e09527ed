"""`planner audit`: what a plan would do and cost, before a core-hour is spent."""

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from campaign import approval
from campaign.cost import cost
from campaign.errors import UserError
from campaign.estimate import core_hours
from campaign.folder import Campaign
from campaign.gates import GateVerdict, check
from campaign.plan import Plan
from campaign.run import dry_run
from campaign.situation import Situation
from campaign.terminal import plain
from campaign.verdict import open_targets
from planner import record, spending
from planner.policy import rules


@dataclass(frozen=True)
class Audit:
    """The pending plan seen from outside."""

    plan: Plan
    jobs: dict[str, int]
    reference_calls: int
    labels: int
    md_steps: int
    core_hours: float
    state: dict[str, Any]
    spent: dict[str, float]
    limits: dict[str, float | None]
    gates: list[GateVerdict]
    source: str
    rules: dict[str, Any]
    untrusted: dict[str, str]
    waiting: str | None
    folder: Path

    @property
    def command(self) -> str:
        """What to type next, from where one stands."""
        if self.denied:
            return "nothing: a gate denies it; planner next --plan FILE brings another plan"
        here = self.folder.resolve() == Path.cwd()
        words = [] if here else [f"cd {shlex.quote(str(self.folder))}"]
        words += ["planner approve"] if self.waiting else []
        return " && ".join([*words, "snakemake"])

    @property
    def denied(self) -> list[str]:
        """Gates that forbid the plan."""
        return [f"{v.gate}: {v.detail}" for v in self.gates if v.verdict == "deny"]

    def as_json(self) -> str:
        """For machines."""
        data = asdict(self) | {
            "plan": self.plan.model_dump(mode="json", exclude_none=True),
            "gates": [v.model_dump() for v in self.gates],
            "command": self.command,
            "folder": str(self.folder),
        }
        return json.dumps(data, indent=1)


def audit(campaign: Campaign) -> Audit:
    """Audit the pending plan; UserError when there is none."""
    plan = campaign.pending
    if plan is None:
        raise UserError(f"{campaign.folder}: no plan waits here; `planner next` writes one")
    gates = [*check(plan, campaign.situation()), *spending.verdicts(campaign, campaign.sealed)]
    price = cost(plan, campaign.situation())
    recorded = (campaign.iteration(plan.iteration) / "decision.json").is_file()
    used = spending.spent(campaign, plan.iteration if recorded else campaign.sealed)
    settings = campaign.config.llm
    denied = any(v.verdict == "deny" for v in gates)
    return Audit(
        plan=plan,
        jobs={} if denied else dry_run(campaign.folder),
        reference_calls=price.reference_calls,
        labels=price.labels,
        md_steps=price.md_steps,
        core_hours=core_hours(campaign, plan, price.reference_calls, price.md_steps),
        state=brief(campaign.situation()),
        spent={
            **campaign.state().spent.model_dump(),
            "core_hours": campaign.core_seconds() / 3600,
            "tokens": used.tokens,
            "money": used.money,
        },
        limits={
            **campaign.config.limits.model_dump(),
            "tokens": settings.tokens,
            "money": settings.money,
        },
        gates=gates,
        folder=campaign.folder,
        **_provenance(campaign, plan),
    )


def brief(sit: Situation) -> dict[str, Any]:
    """The state a plan was decided from, as short as it can be told."""
    keys = {"stage", "labels", "rounds", "early_stop_fraction", "evaluation"}
    return {
        "iterations": sit.state.iteration,
        "model": sit.model.id if sit.model else None,
        "force_mae": sit.model.force_mae("held_out") if sit.model else None,
        "open_targets": open_targets(sit.state, sit.model.id) if sit.model else ["no model yet"],
        "subsystems": {s.name: s.model_dump(include=keys) for s in sit.state.subsystems},
    }


def _provenance(campaign: Campaign, plan: Plan) -> dict[str, Any]:
    """Where the plan comes from, and what the rules would do instead at which cost."""
    try:
        known = record.load(campaign.iteration(plan.iteration))
    except UserError:
        known = {"source": "a plan without a record"}
    edited = approval.edited(campaign, plan)
    situation = campaign.situation()
    own = rules.decide(situation)
    mine, theirs = cost(plan, situation), cost(own, situation)
    hours = [
        core_hours(campaign, p, c.reference_calls, c.md_steps)
        for p, c in ((plan, mine), (own, theirs))
    ]
    return {
        "source": f"{known['source']}, edited by hand" if edited else known["source"],
        "rules": {
            "rule": own.rule,
            "action": own.action,
            "reason": own.reason,
            "same": own.fingerprint == plan.fingerprint,
            "labels_more": theirs.labels - mine.labels,
            "core_hours_more": hours[1] - hours[0],
        },
        "untrusted": known.get("untrusted", {}),
        "waiting": approval.refusal(campaign, plan),
    }


def render(seen: Audit) -> str:
    """For people: a page that fits a terminal."""
    plan = seen.plan
    section = plan.parameters.model_dump(mode="json", exclude_none=True)
    lines = [
        f"iteration {plan.iteration}: {plan.action}"
        + (f"  (rule {plan.rule})" if plan.rule else f"  (by {seen.source})"),
        *_state(seen.state),
        f"  reason    {plain(plan.reason, 600)}",
        *(f"  evidence  {e.key} = {plain(str(e.value), 200)}" for e in plan.evidence),
        *(f"  {key:<9} {json.dumps(value)}" for key, value in section.items() if key != "seed"),
        "  jobs      " + (", ".join(f"{n} x {rule}" for rule, n in seen.jobs.items()) or "none"),
        (
            f"  cost      at most {seen.reference_calls} reference calls, {seen.labels} labels,"
            f" {seen.md_steps} MD steps; about {seen.core_hours:.2f} core-hours"
        ),
        *_bill(seen.spent, seen.limits),
        *(
            f"  {v.verdict:<9} {v.gate}: {plain(v.detail, 300)}"
            for v in seen.gates
            if v.verdict != "pass"
        ),
        f"  gates     {sum(v.verdict == 'pass' for v in seen.gates)} passed",
        *_rules(seen),
        *(
            f"  untrusted {k}: {json.dumps(v, ensure_ascii=False)}"
            for k, v in seen.untrusted.items()
        ),
        *([f"  waiting   {seen.waiting}"] if seen.waiting else []),
        f"  run it    {seen.command}",
    ]
    return "\n".join(lines)


def _bill(spent: dict[str, float], limits: dict[str, float | None]) -> list[str]:
    lines = [
        (
            f"  bill      {spent['labels']}/{limits['labels']} labels,"
            f" {spent['reference_calls']}/{limits['reference_calls']} reference calls,"
            f" {spent['core_hours']:.2f}/{limits['core_hours']:g} core-hours spent so far"
        )
    ]
    if spent["tokens"]:
        asked = f"{spent['tokens']}/{limits['tokens']} tokens"
        lines.append(f"  asking    {asked}, {spent['money']:.2f}/{limits['money']:g} USD so far")
    return lines


def _state(state: dict[str, Any]) -> list[str]:
    mae = state["force_mae"]
    error = "" if mae is None else f", held-out force MAE {mae:.4f} eV/Å"
    lines = [f"  state     after {state['iterations']} iterations: {state['model']}{error}"]
    for name, s in state["subsystems"].items():
        stops = s["early_stop_fraction"]
        told = "never sampled" if stops is None else f"{stops:.0%} early stops"
        lines.append(
            f"            {name}: stage {s['stage']}, {s['labels']} labels, {s['rounds']} rounds,"
            f" {told}, evaluation {s['evaluation'] or 'none'}"
        )
    if missed := state["open_targets"]:
        lines.append(f"            open: {plain('; '.join(missed[:3]), 300)}")
    return lines


def _rules(seen: Audit) -> list[str]:
    own = seen.rules
    if own["same"]:
        return [] if seen.source == "rules" else [f"  rules     the same ({own['rule']})"]
    return [
        f"  rules     {own['action']} ({own['rule']}): {plain(own['reason'], 600)}",
        (
            f"            {own['labels_more']:+d} labels, {own['core_hours_more']:+.2f} core-hours"
            " against this plan"
        ),
    ]
