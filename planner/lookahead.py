"""`planner audit --lookahead K`: the rules rolled forward, if all goes well and if much goes ill.

A projection to plan budgets with, not a forecast: results are made up, at the most and the least
favourable, and reduced into the state as real ones are.
"""

from dataclasses import dataclass, replace

from campaign.cost import cost
from campaign.folder import Campaign
from campaign.plan import Plan
from campaign.reduce import after
from campaign.situation import Situation
from planner.policy import rules

OUTLOOKS = ("optimistic", "pessimistic")


@dataclass(frozen=True)
class Step:
    """One projected decision."""

    action: str
    rule: str | None
    labels: int
    reference_calls: int


def lookahead(campaign: Campaign, plan: Plan, most: int) -> dict[str, list[Step]]:
    """Decisions after `plan`, by outlook, until the projected end or `most` of them."""
    return {outlook: _rolled(campaign.situation(), plan, most, outlook) for outlook in OUTLOOKS}


def _rolled(sit: Situation, plan: Plan, most: int, outlook: str) -> list[Step]:
    steps: list[Step] = []
    for _ in range(most + 1):
        bound = cost(plan, sit)
        steps.append(Step(plan.action, plan.rule, bound.labels, bound.reference_calls))
        result = plan.parameters.project(plan.iteration, sit, bound, outlook == "optimistic")
        state = after(sit.state, plan, result, ("projected", "projected"))
        if state.verdict:
            break
        seconds = sit.core_seconds + bound.core_seconds
        sit = replace(sit, state=state, core_seconds=seconds, state_sha256=f"{plan.iteration:064x}")
        plan = rules.decide(sit)
    return steps[1:]


def render(rolled: dict[str, list[Step]]) -> str:
    """A line an outlook: actions in order, and what they would add to the bill."""
    lines = ["  after it, by the rules (a projection):"]
    for outlook, steps in rolled.items():
        labels = sum(s.labels for s in steps)
        calls = sum(s.reference_calls for s in steps)
        actions = " > ".join(s.action for s in steps) or "nothing"
        lines.append(f"  {outlook:<12} {actions}")
        lines.append(f"               up to {labels} labels, {calls} reference calls more")
    return "\n".join(lines)
