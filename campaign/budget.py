"""What the limits leave, what of it is set aside for the target, and when they are reached."""

from collections.abc import Mapping

from atomistics.settling_effort import MOST_KEPT
from campaign.actions.model_eval import ModelEval
from campaign.actions.section import Cost
from campaign.actions.train import Train
from campaign.cost import price, seconds_per_call, steps_for
from campaign.situation import Situation
from campaign.starts import calls_at_most
from campaign.state import SubsystemState

NEARLY = 0.02
FEW = 5  # labels that make no round
HOURS_RESERVED = 0.1  # of the limit of core-hours or of wall-hours, at least
ENOUGH = 4  # times what the smallest beginning takes


def left(sit: Situation) -> Cost:
    """What the limits leave, the last evaluation set aside; calls are paid in core-hours too."""
    limits, spent = sit.config.limits, sit.state.spent
    seconds = max(0.0, limits.core_hours * 3600 - sit.core_seconds)
    calls = max(0, limits.reference_calls - spent.reference_calls - reserved_calls(sit))
    return Cost(
        reference_calls=min(calls, int(seconds / max(seconds_per_call(sit), 1e-9))),
        labels=max(0, limits.labels - spent.labels),
        core_seconds=seconds,
    )


def decisions_left(sit: Situation) -> int:
    """Decisions that may still be taken, the end included."""
    return sit.config.limits.decisions - sit.state.iteration


def reserved_calls(sit: Situation) -> int:
    """Reference calls the evaluation of the targets will need."""
    held_out = sum(len(sit.held_out(s.name)) for s in sit.targets)
    fresh = max(sit.config.model_eval.fresh_frames, sit.config.model_eval.fresh_most)
    return min(held_out * fresh, sit.config.limits.reference_calls)


def reserved_seconds(sit: Situation) -> float:
    """Core-seconds of an accurate fit to all data and of the evaluation of the targets with it."""
    names = [name for s in sit.targets for name in sit.held_out(s.name)]
    model = sit.model.id if sit.model else "m000"
    seconds = 0.0
    if sit.active and (sit.model is None or sit.unused):
        seconds += accurate_seconds(sit)
    if names and not judged(sit):
        steps = steps_for(sit.state.targets.stable_ps, sit.config.md.timestep)
        last = ModelEval(
            model=model,
            structures=names,
            temperature=sit.task.temperature,
            steps=steps,
            most_steps=sit.config.model_eval.longest * steps,
            interval=min(sit.config.model_eval.interval, steps),
            fresh_frames=reserved_calls(sit) // len(names),
            seed=0,
        )
        seconds += price(last, sit).core_seconds
    return seconds


def accurate_seconds(sit: Situation) -> float:
    """Core-seconds of an accurate fit to all active data."""
    names = [d.id for d in sit.active]
    return price(
        Train(start="scratch", effort="accurate", datasets=names, seed=0), sit
    ).core_seconds


def judged(sit: Situation) -> bool:
    """Whether the newest model was evaluated on every target."""
    return bool(sit.model) and all(sit.evaluated(s.name, sit.model.id) for s in sit.targets)


def reached(sit: Situation) -> str | None:
    """The limit that leaves room for the last evaluation only, in words."""
    limits, spent = sit.config.limits, sit.state.spent
    owed = 1 + (bool(sit.active) and (bool(sit.unused) or sit.model is None))
    owed += sit.model is None or bool(sit.unused) or not judged(sit)
    if decisions_left(sit) <= owed:
        return f"{sit.state.iteration} of {limits.decisions} decisions taken"
    seconds = limits.core_hours * 3600
    if seconds - sit.core_seconds <= max(HOURS_RESERVED * seconds, reserved_seconds(sit)):
        spending = f"{sit.core_seconds / 3600:.2f} of {limits.core_hours:g} core-hours spent"
        return f"{spending}; the last evaluation takes {reserved_seconds(sit) / 3600:.3g}"
    wall = sit.config.limits.wall_hours
    if wall and sit.wall_hours >= (1 - HOURS_RESERVED) * wall:
        return f"{sit.wall_hours:.4g} of {wall:g} hours have passed"
    room = left(sit)
    if room.labels <= max(NEARLY * limits.labels, min(FEW, limits.labels / 10)):
        return f"{spent.labels} of {limits.labels} labels bought"
    if room.reference_calls <= NEARLY * min(limits.labels, limits.reference_calls):
        return f"{spent.reference_calls} of {limits.reference_calls} reference calls made"
    return None


def too_small(sit: Situation) -> str | None:
    """The limit that hardly holds a beginning: reference MD, and a label a subsystem."""
    if sit.active:
        return None
    with_reference = {r.structure for r in sit.state.reference}
    missing = sum(s.held_out and s.id not in with_reference for s in sit.structures)
    settling = calls_at_most(sit.config.settle)
    shortest = 4 * (2 * sit.config.reference_calc.interval + 1) + settling
    room = left(sit)
    if room.reference_calls < ENOUGH * (missing * shortest + settling + 1):
        return f"limits.reference_calls, core_hours: {room.reference_calls} calls are left"
    if room.labels < ENOUGH * (MOST_KEPT + 1):
        return f"limits.labels: {room.labels} are left"
    return None


def exhausted(sit: Situation) -> str | None:
    """Why a campaign may end for want of budget, in words; None while it has some."""
    wall = sit.config.limits.wall_hours
    if wall and sit.wall_hours >= wall:
        return f"limits.wall_hours: {sit.wall_hours:.4g} of {wall:g} have passed"
    if decisions_left(sit) <= 4 and (sit.pending or judged(sit)):
        return f"{sit.state.iteration} of {sit.config.limits.decisions} decisions taken"
    return reached(sit) or too_small(sit)


def purses(sit: Situation) -> dict[str, tuple[frozenset[str], int]]:
    """By role off the targets: the subsystems that share a purse, and labels still in it.

    So that early stages leave the target what it needs: components together get what
    `limits.target_share` does not set aside, components and interfaces half of that besides.
    """
    if not any(sit.training(s.name) for s in sit.targets):
        return {}  # the target cannot be sampled: its parts must carry it
    limits, purse_of_role = sit.config.limits, {}
    for role, roles, share in (
        ("component", ("component",), limits.target_share),
        ("interface", ("component", "interface"), limits.target_share / 2),
    ):
        own = [s for s in sit.state.subsystems if s.role in roles]
        room = int((1 - share) * limits.labels) - sum(s.labels for s in own)
        purse_of_role[role] = (frozenset(s.name for s in own), max(0, room))
    return purse_of_role


def purse(sit: Situation, s: SubsystemState) -> int:
    """Labels that a subsystem may still have."""
    rooms = [room for names, room in purses(sit).values() if s.name in names]
    return min([left(sit).labels, *rooms])


def overdrawn(sit: Situation, labels: Mapping[str, float]) -> list[tuple[str, int, int]]:
    """Purses that cannot pay these labels by subsystem: role, labels asked for, labels in it."""
    short = []
    for role, (names, room) in purses(sit).items():
        asked = round(sum(count for name, count in labels.items() if name in names))
        if asked > room:
            short.append((role, asked, room))
    return short


def in_a_hurry(sit: Situation) -> bool:
    """Whether the decisions left are those the target needs.

    Counted back from the end: sample, label, fit, evaluate, end; and one that goes wrong.
    """
    return decisions_left(sit) <= 6
