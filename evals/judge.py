"""Whether a plan is acceptable in a scenario, and how sure one can be of a share."""

import math
from typing import Any

from campaign.gates import check
from campaign.plan import Plan
from evals.states import Scenario


def facts(plan: Plan) -> dict[str, Any]:
    """What conditions may speak of: parameters, and per subsystem high, low, fraction."""
    section = plan.parameters.model_dump(mode="json", exclude_none=True)
    statements = {key: value for key, value in section.items() if key != "groups"}
    groups = section.get("groups", [])
    if groups:
        statements["groups"] = [g["subsystem"] for g in groups]
    for group in groups:
        name = group["subsystem"]
        if group.get("temperatures"):
            statements[f"high.{name}"] = max(group["temperatures"])
            statements[f"low.{name}"] = min(group["temperatures"])
        if "fraction" in group:
            statements[f"fraction.{name}"] = group["fraction"]
    return statements


def fits(plan: Plan, wanted: dict[str, Any]) -> bool:
    """Whether a plan is what an entry of `acceptable` or `forbidden` describes."""
    stated = facts(plan)
    return plan.action == wanted["action"] and all(
        _holds(stated.get(key), condition) for key, condition in wanted.items() if key != "action"
    )


def _holds(value: Any, condition: Any) -> bool:
    if not isinstance(condition, dict):
        same = sorted(map(str, value)) if isinstance(value, list) else value
        return same == (sorted(map(str, condition)) if isinstance(condition, list) else condition)
    checks = {
        "min": lambda v, bound: v is not None and v >= bound,
        "max": lambda v, bound: v is not None and v <= bound,
        "any": lambda v, choices: v in choices,
        "has": lambda v, item: v is not None and item in v,
        "lacks": lambda v, item: v is None or item not in v,
        "given": lambda v, wanted: (v is not None and v != []) == wanted,
    }
    return all(checks[name](value, bound) for name, bound in condition.items())


def verdict(scenario: Scenario, plan: Plan) -> str:
    """acceptable, forbidden, denied (by a gate) or other."""
    if any(v.verdict == "deny" for v in check(plan, scenario.situation)):
        return "denied"
    if any(fits(plan, wanted) for wanted in scenario.forbidden):
        return "forbidden"
    return "acceptable" if any(fits(plan, wanted) for wanted in scenario.acceptable) else "other"


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Interval of a share at 95 % (Wilson 1927), sound for few trials and shares near 0 and 1."""
    if not total:
        return 0.0, 1.0
    p = hits / total
    centre = p + z * z / (2 * total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
