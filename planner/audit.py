"""`planner audit`: what a plan would do and cost, before a core-hour is spent."""

import json
import shlex
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from campaign import approval
from campaign.calls import calls
from campaign.cost import cost
from campaign.errors import UserError
from campaign.folder import Campaign
from campaign.gates import GateVerdict, check
from campaign.integrity import kept, require_unchanged
from campaign.plan import Plan
from campaign.provenance import source
from campaign.run import dry_run
from campaign.situation import Situation
from campaign.terminal import plain, table
from campaign.verdict import open_targets
from planner import record, spending
from planner.policy import rules

WIDTH = 88  # beside the labels: a page of 100 columns


@dataclass(frozen=True)
class Audit:
    """The pending plan seen from outside."""

    plan: Plan
    jobs: dict[str, int]
    reference_calls: int
    explorer_calls: int
    labels: int
    md_steps: int
    core_hours: float
    state: dict[str, Any]
    spent: dict[str, float]
    limits: dict[str, float | None]
    gates: list[GateVerdict]
    changed: list[str]
    source: str
    provenance: str
    rules: dict[str, Any]
    untrusted: dict[str, str]
    waiting: str | None
    calls: str
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
    require_unchanged(campaign, plan)
    judged = approval.as_judged(campaign, plan)
    gates = [*check(judged, campaign.situation()), *spending.verdicts(campaign, campaign.finalized)]
    price = cost(plan, campaign.situation())
    recorded = (campaign.iteration(plan.iteration) / "decision.json").is_file()
    used = spending.spent(campaign, plan.iteration if recorded else campaign.finalized)
    settings = campaign.config.llm
    denied = any(v.verdict == "deny" for v in gates)
    return Audit(
        plan=plan,
        jobs={} if denied else dry_run(campaign.folder),
        reference_calls=price.reference_calls,
        explorer_calls=price.explorer_calls,
        labels=price.labels,
        md_steps=price.md_steps,
        core_hours=price.core_seconds / 3600,
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
        changed=list(kept(campaign)),
        calls=str(calls(campaign)),
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
        recorded = record.load(campaign.iteration(plan.iteration))
    except UserError:
        recorded = {"source": "a plan without a record"}
    edited = approval.edited(campaign, plan)
    situation = campaign.situation()
    own = rules.decide(situation)
    mine, theirs = cost(plan, situation), cost(own, situation)
    return {
        "source": f"{recorded['source']}, edited by hand" if edited else recorded["source"],
        "provenance": source(campaign, plan),
        "rules": {
            "rule": own.rule,
            "action": own.action,
            "reason": own.reason,
            "differs": _differences(plan, own),
            "same": own.fingerprint == plan.fingerprint,
            "labels_more": theirs.labels - mine.labels,
            "core_hours_more": (theirs.core_seconds - mine.core_seconds) / 3600,
        },
        "untrusted": recorded.get("untrusted", {}),
        "waiting": approval.refusal(campaign, plan),
    }


def _differences(plan: Plan, own: Plan) -> dict[str, list[Any]]:
    """Parameters of the same action that the rules would have set otherwise: theirs second."""
    if plan.action != own.action:
        return {}
    mine, theirs = (
        p.parameters.model_dump(mode="json", exclude_none=True, exclude={"seed"})
        for p in (plan, own)
    )
    keys = dict.fromkeys([*mine, *theirs])
    return {k: [mine.get(k), theirs.get(k)] for k in keys if mine.get(k) != theirs.get(k)}


def render(audited: Audit) -> str:
    """For people: what it is and why, its price, what speaks against it, then the state."""
    plan = audited.plan
    return "\n".join(
        [
            f"iteration {plan.iteration}: {plan.action}  (source: {audited.provenance})",
            *_labelled("reason", textwrap.wrap(plain(plan.reason, 600), WIDTH)),
            *_labelled("plan", _parameters(plan)),
            *_labelled("jobs", [", ".join(f"{n} {rule}" for rule, n in audited.jobs.items())]),
            *_labelled("cost", [*table(_costs(audited)), audited.calls]),
            *(
                f"  {v.verdict:<9} {v.gate}: {plain(v.detail, 300)}"
                for v in audited.gates
                if v.verdict != "pass"
            ),
            *(f"  CHANGED   {plain(text, 600)}" for text in audited.changed),
            f"  gates     {sum(v.verdict == 'pass' for v in audited.gates)} passed",
            *_labelled("rules", _rules(audited)),
            *(
                f"  untrusted {k}: {json.dumps(v, ensure_ascii=False)}"
                for k, v in audited.untrusted.items()
            ),
            *_labelled("evidence", [f"{e.key} = {_short(e.value)}" for e in plan.evidence]),
            *_labelled("state", _state(audited.state)),
            *([f"  waiting   {audited.waiting}"] if audited.waiting else []),
            f"  run it    {audited.command}",
        ]
    )


def _labelled(label: str, lines: list[str]) -> list[str]:
    """Lines of a paragraph, the first beside its label; nothing where there are none."""
    return [f"  {label if i == 0 else '':<9} {line}" for i, line in enumerate(filter(None, lines))]


def _short(value: object) -> str:
    return plain(value if isinstance(value, str) else json.dumps(value), 200)


def _parameters(plan: Plan) -> list[str]:
    """Every parameter but the seed: a line each, lists in a row, lists of records as a table."""
    lines = []
    section = plan.parameters.model_dump(mode="json", exclude_none=True, exclude={"seed"})
    longest = max(map(len, section), default=0)
    for key, value in section.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            heads = list(dict.fromkeys(name for row in value for name in row))
            rows = [heads, *([_cell(row.get(name)) for name in heads] for row in value)]
            lines += [f"{key}:", *(f"  {line}" for line in table(rows))]
        else:
            first, *rest = textwrap.wrap(_cell(value), WIDTH - longest) or ["none"]
            lines += [f"{key:<{longest}}  {first}", *(" " * (longest + 2) + part for part in rest)]
    return lines


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or "-"
    return "-" if value is None else _short(value)


def _costs(audited: Audit) -> list[list[str]]:
    """What the plan takes at most, beside what was spent and the limit."""
    spent, limits = audited.spent, audited.limits
    rows = [
        ["at most", "this plan", "so far", "limit"],
        *(
            [key.replace("_", " "), f"{asked}", f"{spent[key]}", _cell(limits[key])]
            for key, asked in (
                ("labels", audited.labels),
                ("reference_calls", audited.reference_calls),
            )
        ),
        *_explored(audited, spent),
        ["MD steps", f"{audited.md_steps}", f"{_md_steps(spent)}", "-"],
        [
            "core-hours, about",
            f"{audited.core_hours:.2f}",
            f"{spent['core_hours']:.2f}",
            f"{limits['core_hours']:g}",
        ],
    ]
    if spent["tokens"]:  # this plan's are spent
        rows += [
            ["tokens", "-", f"{spent['tokens']}", _cell(limits["tokens"])],
            ["USD", "-", f"{spent['money']:.2f}", f"{limits['money']:g}"],
        ]
    return rows


def _explored(audited: Audit, spent: dict[str, float]) -> list[list[str]]:
    """A line of the explorer's calls, apart from the reference's, where it has any."""
    before = spent.get("explorer_calls", 0)
    if not (audited.explorer_calls or before):
        return []
    return [["explorer calls", f"{audited.explorer_calls}", f"{before}", "-"]]


def _md_steps(spent: dict[str, float]) -> float:
    kinds = ("reference", "explorer", "model")
    return sum(spent.get(f"{kind}_md_steps", 0) for kind in kinds)


def _state(state: dict[str, Any]) -> list[str]:
    if not state["iterations"]:
        return ["nothing has been done yet"]
    mae = state["force_mae"]
    error = "" if mae is None else f" with a held-out force MAE of {mae:.4f} eV/Å"
    newest = f"the newest model is {state['model']}{error}" if state["model"] else "no model yet"
    rows = [["subsystem", "stage", "labels", "rounds", "early stops", "evaluation"]]
    for name, s in state["subsystems"].items():
        stops = s["early_stop_fraction"]
        stopped = "never sampled" if stops is None else f"{stops:.0%}"
        numbers = [f"{s[key]}" for key in ("stage", "labels", "rounds")]
        rows.append([name, *numbers, stopped, s["evaluation"] or "none"])
    lines = [f"after iteration {state['iterations']}: {newest}", *table(rows)]
    if missed := state["open_targets"] if state["model"] else []:
        more = f"; {len(missed) - 3} more" if len(missed) > 3 else ""
        lines += textwrap.wrap(f"open: {plain('; '.join(missed[:3]), 300)}{more}", WIDTH)
    return lines


def _rules(audited: Audit) -> list[str]:
    """What the rules would have done, where it is not this."""
    own = audited.rules
    if own["same"]:
        return [] if audited.source == "rules" else [f"the same ({own['rule']})"]
    rows = [["parameter", "this plan", "rules"]]
    rows += [[key, *(plain(_cell(v), 40) for v in pair)] for key, pair in own["differs"].items()]
    return [
        *textwrap.wrap(f"{own['action']} ({own['rule']}): {plain(own['reason'], 600)}", WIDTH),
        (
            f"{own['labels_more']:+d} labels, {own['core_hours_more']:+.2f} core-hours"
            " against this plan"
        ),
        *(table(rows) if own["differs"] else []),
    ]
