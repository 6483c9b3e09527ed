"""What a plan costs at most, before it runs: the one estimate that gates, audit and rules share."""

import math

from atomistics.settling_effort import MOST_KEPT
from campaign.actions.section import Cost, Section
from campaign.actions.train import Train
from campaign.plan import ACTION_OF, Plan
from campaign.situation import Situation
from campaign.starts import calls_at_most, single_points, unsettled

# until the campaign's own were measured; core-seconds
STEP_OF_ATOM = 2e-5  # of MD with a model of level 12
FIT_OF_ATOM = 1e-4  # of one iteration of a fit at level 12
USUAL_ATOMS = 100
FRAME_BYTES = 100  # an atom of a kept snapshot, compressed
GB = 1e9


def cost(plan: Plan, situation: Situation) -> Cost:
    """Upper bounds of a plan, with prices as they have been so far."""
    return price(plan.parameters, situation)


def price(section: Section, situation: Situation) -> Cost:
    """Upper bounds of an action with these parameters.

    An explorer settles in place of the reference, and what it settled has no label.
    """
    explorer = situation.config.explorer
    bare = section.cost(situation.state, situation.protocols)
    single = len(single_points(section, situation.state, situation.structures))
    settled = settling_calls(section, situation) + single
    calls = bare.reference_calls + (0 if explorer else settled)
    explored = bare.explorer_calls + (settled if explorer else 0)
    learns = bare.labels and not section.held_out and not explorer
    repeated = section.repeated_steps(situation)
    each, exploring = seconds_per_call(situation), seconds_per_exploring(situation)
    of_step = exploring if bare.explorer_calls else each
    moving = serial = 0.0
    if (action := ACTION_OF[type(section)]) in ("sample", "model_eval"):
        # MD with the reference or the explorer has a call a step
        own = max(0, bare.md_steps - bare.reference_calls - bare.explorer_calls)
        moving = seconds_per_step(situation, action)
        serial = moving * own / max(1, bare.runs) if own else 0.0
        moving *= own + repeated
    if bare.md_steps and not serial:
        serial = of_step * bare.md_steps / max(1, bare.runs)
    fitting = fit_seconds(section, situation) if isinstance(section, Train) else 0.0
    return bare.model_copy(
        update={
            "reference_calls": calls,
            "explorer_calls": explored,
            "labels": bare.labels + (settling_labels(section, situation) + single if learns else 0),
            "core_seconds": calls * each + explored * exploring + moving + fitting,
            "md_steps": bare.md_steps + repeated,
            "disk": bare.snapshots * atoms_of(situation) * FRAME_BYTES / GB,
            "longest_run": serial,
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
    """Core-seconds of a reference call: as measured, else the configured guess or less."""
    if situation.rates.reference_call is not None:
        return situation.rates.reference_call
    guess = situation.config.reference.seconds_per_call
    calls = situation.state.spent.reference_calls
    measured = situation.core_seconds / calls if calls else 0.0
    return min(guess, measured) if measured > 0 else guess


def seconds_per_exploring(situation: Situation) -> float:
    """Core-seconds of a call of the explorer: as measured, else as configured; 0 without one."""
    explorer = situation.config.explorer
    if explorer is None:
        return 0.0
    return situation.rates.explorer_call or explorer.seconds_per_call


def seconds_per_step(situation: Situation, action: str) -> float:
    """Core-seconds of an MD step with a model: of the action, else of sampling, else a guess."""
    measured = situation.rates.model_step
    return measured.get(action, measured.get("sample", STEP_OF_ATOM * atoms_of(situation)))


def fit_seconds(fit: Train, situation: Situation) -> float:
    """Core-seconds of a fit: frames times the most iterations, a level up twice as costly."""
    config, state = situation.config.mlp, situation.state
    frames = sum(d.labels - len(d.excluded) for d in state.datasets if d.id in fit.datasets)
    iterations = config.passes(fit.effort)
    each = situation.rates.frame_iteration
    if each is None:
        each = FIT_OF_ATOM * atoms_of(situation) * 2 ** ((config.level - 12) / 2)
    return frames * iterations * each * 2 ** (((fit.level or config.level) - config.level) / 2)


def atoms_of(situation: Situation) -> float:
    """Atoms of a frame, by what was sampled so far."""
    groups = [g for s in situation.state.samples for g in s.groups]
    frames, atoms = sum(g.snapshots for g in groups), sum(g.atoms for g in groups)
    return atoms / frames if frames and atoms else USUAL_ATOMS


def steps_for(picoseconds: float, timestep: float) -> int:
    """MD steps that make so many ps at a time step in fs."""
    return max(2, math.ceil(picoseconds * 1000 / timestep - 1e-9))
