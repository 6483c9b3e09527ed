"""What a plan costs at most, before it runs."""

import math

from atomistics.settling_effort import MOST_KEPT
from campaign.actions.section import Cost, Section
from campaign.plan import Plan
from campaign.situation import Situation
from campaign.starts import calls_at_most, single_points, unsettled


def cost(plan: Plan, situation: Situation) -> Cost:
    """Upper bounds of a plan, with the price of a call as it has been so far.

    An explorer settles in place of the reference, and what it settled has no label.
    """
    section, explorer = plan.parameters, situation.config.explorer
    bare = section.cost(situation.state, situation.protocols)
    settling = settling_calls(section, situation)
    single = len(single_points(section, situation.state, situation.structures))
    settled = settling + single
    calls = bare.reference_calls + (0 if explorer else settled)
    explored = bare.explorer_calls + (settled if explorer else 0)
    learns = bare.labels and not section.held_out and not explorer
    return bare.model_copy(
        update={
            "reference_calls": calls,
            "explorer_calls": explored,
            "labels": bare.labels + (settling_labels(section, situation) + single if learns else 0),
            "core_seconds": calls * seconds_per_call(situation)
            + (explored * explorer.seconds_per_call if explorer else 0.0),
            "md_steps": bare.md_steps + section.repeated_steps(situation),
        }
    )


def bare_calls(plan: Plan, situation: Situation) -> int:
    """Calls at most of an action's own items, of the reference or else of the explorer."""
    own = plan.parameters.cost(situation.state, situation.protocols)
    return own.reference_calls or own.explorer_calls


def settling_calls(section: Section, situation: Situation) -> int:
    """Calls at most of settling the structures an action is the first to use."""
    settling = situation.config.settle
    named = section.named_structures()
    return len(unsettled(named, situation.state, settling)) * calls_at_most(settling)


def settling_labels(section: Section, situation: Situation) -> int:
    """Labels at most that come of it."""
    named = section.named_structures()
    return MOST_KEPT * len(unsettled(named, situation.state, situation.config.settle))


def seconds_per_call(situation: Situation) -> float:
    """Core-seconds of a reference call: the configured guess, or less once the bill shows it."""
    guess = situation.config.reference.seconds_per_call
    calls = situation.state.spent.reference_calls
    measured = situation.core_seconds / calls if calls else 0.0
    return min(guess, measured) if measured else guess


def steps_for(picoseconds: float, timestep: float) -> int:
    """MD steps that make so many ps at a time step in fs."""
    return max(2, math.ceil(picoseconds * 1000 / timestep - 1e-9))
