"""What a plan costs at most, before it runs."""

import math

from campaign.actions.section import Cost
from campaign.plan import Plan
from campaign.situation import Situation


def cost(plan: Plan, situation: Situation) -> Cost:
    """Upper bounds of a plan, with the price of a reference call as it has been so far."""
    section = plan.parameters
    bare = section.cost(situation.state, situation.protocols)
    seconds = bare.reference_calls * seconds_per_call(situation)
    steps = bare.md_steps + section.repeated_steps(situation)
    return bare.model_copy(update={"core_seconds": seconds, "md_steps": steps})


def seconds_per_call(situation: Situation) -> float:
    """Core-seconds of a reference call: the configured guess, or less once the bill shows it."""
    guess = situation.config.reference.seconds_per_call
    calls = situation.state.spent.reference_calls
    measured = situation.core_seconds / calls if calls else 0.0
    return min(guess, measured) if measured else guess


def steps_for(picoseconds: float, timestep: float) -> int:
    """MD steps that make so many ps at a time step in fs."""
    return max(2, math.ceil(picoseconds * 1000 / timestep - 1e-9))
