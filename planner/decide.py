"""`planner next`: one decision, written as the next iteration's plan with its record."""

import json
from pathlib import Path
from typing import Any

import planner
from planner import rules
from planner.campaign import Campaign
from planner.errors import UserError
from planner.files import canonical_json, dump_yaml, sha256, write_record, write_text
from planner.gates import check, require
from planner.plan import Plan


def next_plan(campaign: Campaign) -> Plan:
    """Return the pending plan, or decide, check and write the next one.

    `plan.yaml` is written last: an iteration without it does not exist, so a decision that was
    interrupted is simply taken again.
    """
    if pending := campaign.pending:
        return pending
    state = campaign.state()
    if state.verdict:
        raise UserError(f"{campaign.folder}: the campaign has ended: {state.verdict.outcome}")
    situation = campaign.situation()
    plan = rules.decide(situation)
    require(plan, situation)
    folder = campaign.iteration(plan.iteration)
    write_record(folder / "config.yaml", campaign.config)
    write_text(folder / "decision.json", json.dumps(record(plan, campaign), indent=1) + "\n")
    write_record(folder / "plan.yaml", plan)
    vars(campaign).pop("last", None)
    return plan


def record(plan: Plan, campaign: Campaign) -> dict[str, Any]:
    """What was decided from what: enough to rebuild the plan byte for byte."""
    gates = [verdict.model_dump() for verdict in check(plan, campaign.situation())]
    return {
        "backend": campaign.config.planner,
        "planner": planner.__version__,
        "iteration": plan.iteration,
        "state_sha256": plan.state_sha256,
        "config_sha256": sha256(dump_yaml(campaign.config)),
        "task_sha256": sha256(canonical_json(campaign.task.model_dump(mode="json"))),
        "plan_sha256": sha256(dump_yaml(plan)),
        "core_seconds": campaign.core_seconds(),
        "rule": plan.rule,
        "gates": gates,
        "previous_decision_sha256": _previous(campaign.iteration(plan.iteration - 1)),
    }


def _previous(folder: Path) -> str:
    path = folder / "decision.json"
    return sha256(path.read_text(encoding="utf-8")) if path.is_file() else "start"
