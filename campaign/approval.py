"""Leave to run: bound to the very bytes of the plan, the state it was decided from, and its config.

In mode `auto` nothing is asked. Otherwise `approval.json` must name the hashes of what would run,
so that neither a plan edited after its approval nor one for another state can start.
"""

import getpass
import json
import time
from pathlib import Path
from typing import Any

from atomistics.yaml_files import read_text
from campaign.cost import cost
from campaign.errors import UserError
from campaign.files import read_json, sha256, write_text
from campaign.folder import Campaign
from campaign.gates import check, require
from campaign.integrity import require_unchanged
from campaign.plan import Plan


class ApprovalError(UserError):
    """A plan that waits for somebody's approval."""

    status = 2


def mode(campaign: Campaign) -> str:
    """The approval mode in force."""
    chosen = campaign.config.approval.mode
    return chosen or ("auto-cheap" if campaign.config.planner == "anthropic" else "auto")


def bound(campaign: Campaign, plan: Plan) -> dict[str, str]:
    """Hashes of what would run, as it stands on disk."""
    folder = campaign.iteration(plan.iteration)
    return {
        "plan_sha256": _hash(folder / "plan.yaml"),
        "config_sha256": _hash(folder / "config.yaml"),
        "state_sha256": campaign.state_sha256(),
    }


def edited(campaign: Campaign, plan: Plan) -> bool:
    """Whether plan.yaml is no longer what was decided."""
    folder = campaign.iteration(plan.iteration)
    return _read(folder / "decision.json").get("plan_sha256") != _hash(folder / "plan.yaml")


def as_judged(campaign: Campaign, plan: Plan) -> Plan:
    """The pending plan as gates see it: no rule stands behind one that a hand has changed."""
    return plan.model_copy(update={"rule": None}) if edited(campaign, plan) else plan


def refusal(campaign: Campaign, plan: Plan) -> str | None:
    """Why the pending plan may not run yet, in one line; None when it may."""
    path = campaign.iteration(plan.iteration) / "approval.json"
    if not path.exists() and mode(campaign) == "auto":
        return None
    given = _read(path)
    now = bound(campaign, plan)
    if all(given.get(key) == value for key, value in now.items()):
        return None
    if path.exists():
        key = next(key for key, value in now.items() if given.get(key) != value)
        return (
            f"{path}: {key}: approved was another {key.split('_')[0]}; read `planner audit` and"
            " approve again with `planner approve`"
        )
    why = (
        _not_cheap(campaign, plan) if mode(campaign) == "auto-cheap" else "approval.mode is manual"
    )
    if why is None:
        return None
    place = f"iterations/{plan.iteration:03d}/plan.yaml"
    return f"{place}: {plan.action} is not approved ({why}): `planner audit`, `planner approve`"


def _not_cheap(campaign: Campaign, plan: Plan) -> str | None:
    """What makes a plan more than cheap."""
    limits, situation = campaign.config.approval, campaign.situation()
    if edited(campaign, plan):
        return "plan.yaml was edited after the decision"
    if plan.parameters.always_asks:
        return f"{plan.action} is never cheap"
    price = cost(plan, situation)
    if price.labels > limits.labels:
        return f"up to {price.labels} labels, approval.labels is {limits.labels}"
    if plan.action not in ("reference_calc", "prune") and not campaign.bill(campaign.finalized).get(
        plan.action
    ):
        return f"no {plan.action} has been measured yet"
    hours = price.core_seconds / 3600
    if hours > limits.core_hours:
        return f"about {hours:.2f} core-hours, approval.core_hours is {limits.core_hours:g}"
    warned = [v.gate for v in check(plan, situation) if v.verdict == "warn"]
    return f"gate {warned[0]} warns" if warned else None


def overtime(campaign: Campaign) -> str | None:
    """Why nothing may begin any more, in one line; None while there is time on the wall left."""
    limit, passed = campaign.config.limits.wall_hours, campaign.wall_hours
    if not limit or passed < limit:
        return None
    return (
        f"config.yaml: limits.wall_hours: {passed:.4g} of {limit:g} have passed; raise it to go on"
    )


def approve(campaign: Campaign) -> dict[str, Any]:
    """Give the pending plan leave to run as it stands."""
    plan = campaign.pending
    if plan is None:
        raise UserError(f"{campaign.folder}: no plan waits here; `planner next` writes one")
    require_unchanged(campaign, plan)
    require(as_judged(campaign, plan), campaign.situation())
    given = {
        **bound(campaign, plan),
        "mode": mode(campaign),
        "by": getpass.getuser(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    path = campaign.iteration(plan.iteration) / "approval.json"
    write_text(path, json.dumps(given, indent=1) + "\n")
    return given


def require_approved(campaign: Campaign, plan: Plan) -> None:
    """Raise ApprovalError when the plan may not run yet."""
    if text := refusal(campaign, plan):
        raise ApprovalError(text)


def _hash(path: Path) -> str:
    return sha256(read_text(path)) if path.is_file() else "missing"


def _read(path: Path) -> dict[str, Any]:
    try:
        data = read_json(path)
    except UserError:
        return {}
    return data if isinstance(data, dict) else {}
