"""`planner status`: where the campaign stands, from files only."""

import json
from pathlib import Path
from typing import Any

from atomistics.yaml_files import read_text
from campaign.approval import refusal
from campaign.calls import calls
from campaign.errors import UserError
from campaign.files import read_json
from campaign.folder import Campaign
from campaign.integrity import changes, kept, unread
from campaign.plan import Plan
from campaign.provenance import source
from campaign.terminal import plain


def status(campaign: Campaign) -> dict[str, Any]:
    """Counts, spending, the curriculum and the pending plan, ready for JSON."""
    state, limits = campaign.state(), campaign.config.limits
    plan, ratio = campaign.pending, calls(campaign)
    folder = campaign.iteration(plan.iteration) if plan else None
    return {
        "campaign": campaign.task.name,
        "iteration": state.iteration,
        "verdict": state.verdict.outcome if state.verdict else None,
        "changed": _changed(campaign, plan),
        "unread": unread(campaign),
        "pending": None
        if plan is None or folder is None
        else {
            "iteration": plan.iteration,
            "action": plan.action,
            "reason": plan.reason,
            "source": source(campaign, plan),
            "approval": _approval(campaign, plan),
            "chunks_done": len(list(folder.glob(f"{plan.action}/chunks/*.json"))),
            "progress": _written(folder / "progress.json"),
            "fit": _last_line(folder / "train/train.log"),
            "queue": _written(folder / "queue.json"),
        },
        "spent": {**state.spent.model_dump(), "core_hours": campaign.core_seconds() / 3600},
        "calls": {**ratio._asdict(), "summary": str(ratio)},
        "limits": limits.model_dump(),
        "subsystems": [s.model_dump() for s in state.subsystems],
        "history": [entry.model_dump() for entry in state.history],
    }


def _changed(campaign: Campaign, plan: Plan | None) -> list[str]:
    """What was changed by hand, or cannot even be read; of the data what is quickly looked at."""
    try:
        return [*changes(campaign, plan, data=False), *kept(campaign)]
    except UserError as error:
        return [str(error)]


def _approval(campaign: Campaign, plan: Plan) -> str | None:
    """Why the plan may not run yet; None where it may, or where that cannot be read."""
    try:
        return refusal(campaign, plan)
    except UserError:
        return None  # of plan, state or configuration, which `_changed` names


def _written(path: Path) -> dict[str, Any] | None:
    """What the run has left here of its progress; None before it did."""
    try:
        return read_json(path)
    except UserError:
        return None


def _last_line(path: Path) -> str | None:
    """The last line of a fit's log, which tells its loss and the time left; None without one."""
    try:
        return plain(read_text(path).splitlines()[-1], 100)
    except (UserError, IndexError):
        return None


def _under_way(plan: dict[str, Any]) -> list[str]:
    """Lines on progress and queue, each with the time it was seen."""
    try:
        return _plan_lines(plan)
    except (AttributeError, LookupError, TypeError, ValueError):
        return ["      progress.json, queue.json: not whole; the next job writes them anew"]


def _plan_lines(plan: dict[str, Any]) -> list[str]:
    lines = []
    if report := plan["progress"]:
        seconds = report["seconds_left"]
        left = "the fit runs" if seconds is None else f"about {seconds / 60:.1f} min left"
        lines.append(f"      {report['done']}/{report['jobs']} jobs done, {left} at {report['at']}")
        lines += [f"      {plan['fit']}"] if seconds is None and plan["fit"] else []
    if report := plan["queue"]:
        states = ", ".join(f"{n} {state.lower()}" for state, n in report["states"].items())
        why = ", ".join(f"{reason} ({n})" for reason, n in report["waiting_for"].items())
        waiting = f"; waiting for {why}" if why else ""
        lines.append(f"      queue: {states or 'empty'}{waiting} at {report['at']}")
        lines += [
            f"      held: job {job} by {_holder(reason)} ({plain(reason, 80)}) until it is released"
            for job, reason in report.get("held", {}).items()
        ]
        lines += [
            f"      SLURM takes no job now: {plain(text, 300)}; it is asked again"
            for text in report.get("refused", [])
        ]
    return lines


def _holder(reason: str) -> str:
    return "an administrator" if "admin" in reason.lower() else "you (scontrol release)"


def render(status: dict[str, Any]) -> str:
    """For people."""
    spent, limits = status["spent"], status["limits"]
    head, plan = status["verdict"] or "running", status["pending"]
    waits = f"; {plan['action']} waits (source: {plan['source']})" if plan else ""
    lines = [
        f"{status['campaign']}: {head} after {status['iteration']} iterations{waits}",
        *(f"  CHANGED  {plain(text, 600)}" for text in status["changed"]),
        *([f"  {status['unread']}"] if status["unread"] else []),
        (
            f"  labels {spent['labels']}/{limits['labels']}, reference calls"
            f" {spent['reference_calls']}/{limits['reference_calls']},"
            + (f" explorer calls {spent['explorer_calls']}," if "explorer_calls" in spent else "")
            + " core-hours"
            f" {spent['core_hours']:.2f}/{limits['core_hours']:g}"
        ),
        *([f"  {status['calls']['summary']}"] if status["calls"]["summary"] else []),
        "",
        (
            f"  {'subsystem':<18}{'stage':>6}{'labels':>8}{'rounds':>8}{'early stops':>13}"
            f"{'K':>6}{'held-out F MAE':>16}  evaluation"
        ),
    ]
    for s in status["subsystems"]:
        stops, mae = s["early_stop_fraction"], s["held_out_force_mae"]
        lines.append(
            f"  {s['name']:<18}{s['stage']:>6}{s['labels']:>8}{s['rounds']:>8}"
            f"{'-' if stops is None else f'{stops:.0%}':>13}{s['sampled_temperature'] or '-':>6}"
            f"{'-' if mae is None else f'{mae:.4f} eV/Å':>16}  {s['evaluation'] or '-'}"
        )
    lines.append("")
    lines += [
        f"  {e['iteration']:>3} {e['action']:<15}{e['outcome']:<9}{plain(e['note'], 300)}"
        for e in status["history"]
    ]
    if status["pending"]:
        plan = status["pending"]
        reason = plain(plan["reason"], 600)
        lines.append(f"  {plan['iteration']:>3} {plan['action']:<15}waiting  {reason}")
        lines += [f"      {plain(plan['approval'], 600)}"] if plan["approval"] else []
        lines += _under_way(plan)
    return "\n".join(lines)


def closing(campaign: Campaign) -> str:
    """The last lines of a campaign: verdict, potential, report, bill."""
    state = campaign.state()
    if state.verdict is None:
        raise UserError(f"{campaign.folder}: the campaign has no verdict yet")
    spent, result = state.spent, campaign.result
    explored = f" {spent.explorer_calls} explorer calls," if spent.explorer_calls else ""
    lines = [
        f"verdict    {state.verdict.outcome}",
        *(f"           {plain(r, 600)}" for r in state.verdict.reasons),
    ]
    if state.verdict.model:
        lines.append(f"potential  {result / 'potential.almtp'}  ({state.verdict.model})")
    lines += [
        f"report     {result / 'report.html'}",
        (
            f"bill       {spent.labels} labels, {spent.reference_calls} reference calls,{explored}"
            f" {spent.md_steps} MD steps,"
            f" {campaign.core_seconds() / 60:.1f} core-minutes in {state.iteration} iterations"
        ),
        *([f"           {ratio}"] if (ratio := str(calls(campaign))) else []),
    ]
    return "\n".join(lines)


def as_json(status: dict[str, Any]) -> str:
    """For machines."""
    return json.dumps(status, indent=1)
