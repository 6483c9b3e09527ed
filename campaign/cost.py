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
    """Upper bounds of an action with these parameters."""
    bare = section.cost(situation.state, situation.protocols)
    single = len(single_points(section, situation.state, situation.structures))
    calls = bare.reference_calls + settling_calls(section, situation) + single
    learns = bare.labels and not section.held_out
    repeated = section.repeated_steps(situation)
    moving = 0.0
    if (action := ACTION_OF[type(section)]) in ("sample", "model_eval"):
        # MD with the reference has a call a step
        own = max(0, bare.md_steps - bare.reference_calls)
        moving = seconds_per_step(situation, action)
        serial = moving * own / max(1, bare.runs) if own else 0.0
        moving *= own + repeated
    else:
        serial = 0.0
    each = seconds_per_call(situation)
    if bare.md_steps and not serial:
        serial = each * bare.md_steps / max(1, bare.runs)
    fitting = fit_seconds(section, situation) if isinstance(section, Train) else 0.0
    return bare.model_copy(
        update={
            "reference_calls": calls,
            "labels": bare.labels + (settling_labels(section, situation) + single if learns else 0),
            "core_seconds": calls * each + moving + fitting,
            "md_steps": bare.md_steps + repeated,
            "disk": bare.snapshots * atoms_of(situation) * FRAME_BYTES / GB,
            "longest_run": serial,
        }
    )


def bare_calls(plan: Plan, situation: Situation) -> int:
    """Reference calls at most of an action's own items."""
    return plan.parameters.cost(situation.state, situation.protocols).reference_calls


def settling_calls(section: Section, situation: Situation) -> int:
    """Reference calls at most of settling the structures an action is the first to use."""
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


def seconds_per_step(situation: Situation, action: str) -> float:
    """Core-seconds of an MD step with a model: of the action, else of sampling, else a guess."""
    measured = situation.rates.model_step
    return measured.get(action, measured.get("sample", STEP_OF_ATOM * atoms_of(situation)))


def fit_seconds(fit: Train, situation: Situation) -> float:
    """Core-seconds of a fit: frames times the most iterations, a level up twice as dear."""
    config, state = situation.config.mlp, situation.state
    frames = sum(d.labels - len(d.excluded) for d in state.datasets if d.id in fit.datasets)
    iterations = getattr(config, f"{fit.effort}_iterations")
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
