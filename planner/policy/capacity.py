"""Rules for what labels cannot mend: a potential too small, energies off by a constant."""

from collections.abc import Callable, Iterable
from typing import Literal

from campaign.budget import accurate_seconds
from campaign.identifiers import iteration_of
from campaign.results import Errors
from campaign.situation import Situation
from campaign.state import ModelRecord, SubsystemState
from campaign.verdict import meets_errors
from planner.policy import ending, parameters
from planner.policy.comparison import errors_of, scattered
from planner.policy.curriculum import CHEAP, FEWEST_A_ROUND, labels_since
from planner.policy.draft import Draft, keys_of

ALIKE = 0.8  # training over held-out error, from which both are the same
CLEARLY = 1.1  # times the bound
ERRORS = {"force_mae": "eV/Å", "energy_mae": "eV/atom"}
GAIN = 0.9  # of the error before: less is no gain
RULE = "R6-capacity"
MOST_STEPS = 8
NEAR = 5.0  # times the bound: a first fit further off there alone lacks more than iterations
LARGE = 2.0  # times the bound, from which an offset is no matter of a few labels
LONGER = 1.5  # times the length of the runs before: MD that goes on for so much longer has learnt


def plateau(sit: Situation) -> Draft | None:
    """A finished fit is as far off on what it was fitted to as on what it never saw.

    Then the basis cannot hold what is asked of it, and labels would be bought for nothing: a higher
    level first, more radial polynomials next, a longer cutoff last, each begun from the smaller
    potential. A quick fit may merely be unfinished: one that labels brought nothing is finished
    first.
    """
    model = sit.model
    flat = [s for s in sit.state.subsystems if model and held_back(sit, s, model)]
    if model is None or not flat:
        return None
    compared = "; ".join(f"{s.name} {held_back(sit, s, model)}" for s in flat)
    keys = [
        f"models.{model.id}.errors.{i}.{key}" for i in range(len(model.errors)) for key in ERRORS
    ]
    if model.effort == "quick":
        if not any(levelled(sit, s, model) for s in flat):
            return None
        reason = f"Training and held-out errors agree ({compared}): finish the fit before labels."
        return Draft(parameters.train(sit, "continue", "accurate"), reason, keys)
    if not larger(sit, model) or sum(h.rule == RULE for h in sit.state.history) >= MOST_STEPS:
        return at_the_bound(sit, model, flat, compared)
    why = f"Training and held-out errors agree above the target ({compared})"
    return enlarge(sit, model, "accurate", f"{why}, where labels cannot help", keys)


def first_fit(sit: Situation) -> Draft | None:
    """The first fit to a subsystem misses what targets ask for, and finishing it is cheap.

    MD with a fit that is merely unfinished stops everywhere, and shows frames that no good one
    comes to: ethylene carbonate ran ten times longer with 300 iterations than with 60. What a later
    stage brings, elements that no fit had seen, say, is no better known after 60.
    """
    model = sit.model
    if model is None or model.effort == "accurate":
        return None
    if sit.pending or any(sample.model == model.id for sample in sit.state.samples):
        return None
    if accurate_seconds(sit) >= CHEAP * sit.config.limits.core_hours * 3600:
        return None
    bound = sit.state.targets.force_mae
    before = [m for m in sit.state.usable_models if m.id != model.id]
    learnt = {e.subsystem for m in before for e in m.errors if e.split == "train"}
    names = [s.name for s in sit.state.subsystems if s.name not in learnt]
    if before:  # it has learnt the rest: only what it was fitted to tells whether it is finished
        own = {e.subsystem: e.force_mae for e in model.errors if e.split == "train"}
        names = [name for name in names if own.get(name, 0.0) > CLEARLY * bound]
    fitted = [e for name in names if (e := errors_of(model, name, "held_out"))]
    off = [e for e in fitted if CLEARLY * bound < e.force_mae and unfinished(model, e, bound)]
    if not off:
        return None
    misses = ", ".join(f"{e.subsystem} {e.force_mae:.3g} eV/Å" for e in off)
    keys = [f"models.{model.id}.errors.{i}.force_mae" for i in range(len(model.errors))]
    what = "The first fit to it" if before else "The first fit"
    reason = f"{what} is a quick one and off ({misses}): finish it before MD is run with it."
    return Draft(parameters.train(sit, "continue", "accurate"), reason, keys)


def unfinished(model: ModelRecord, e: Errors, bound: float) -> bool:
    """Whether iterations may mend held-out errors: they are near, or those on its own frames are
    as large; far off on what it never saw alone, a fit lacks data."""
    own = errors_of(model, e.subsystem, "train")
    return e.force_mae < NEAR * bound or (own is not None and own.force_mae >= ALIKE * e.force_mae)


def outgrown(sit: Situation) -> Draft | None:
    """MD stayed unstable over two rounds of labels, and the fit is as far off on them as elsewhere.

    Errors of a component may be within its bound and its pressure is not: a potential that must
    average over many substances boils one and presses the other, whatever is labelled. The labels
    of the second round go into a larger one.
    """
    model = sit.model
    if model is None or sit.pending or not larger(sit, model):
        return None
    raised = [h.iteration for h in sit.state.history if h.rule == RULE and h.action == "train"]
    since = raised[-1] if raised else 0
    new = {g.subsystem for d in sit.unused for g in d.groups if g.labels}
    small = [
        s
        for s in sit.state.subsystems
        if s.name in new
        and labels_since(sit, s, since) >= FEWEST_A_ROUND
        and underfitted(sit, s, model)
        and twice_unstable(sit, s, since)
    ]
    if not small or len(raised) >= MOST_STEPS:
        return None
    names = ", ".join(s.name for s in small)
    why = (
        f"{names}: unstable in two rounds, and errors on what was learnt are those on what was not"
    )
    keys = keys_of(small, "rounds", "early_stop_fraction", "held_out_force_mae")
    return enlarge(sit, model, "quick", why, keys)


def enlarge(
    sit: Situation,
    model: ModelRecord,
    effort: Literal["quick", "accurate"],
    why: str,
    keys: Iterable[str],
) -> Draft:
    """A fit of the next size, begun from the smaller potential."""
    sizes = larger(sit, model)
    (key, value), *_ = sizes.items()
    reason = f"{why}: {key.replace('_', ' ')} {value:g}, from {model.id}."
    return Draft(parameters.train(sit, "continue", effort, **sizes), reason, keys)


def underfitted(sit: Situation, s: SubsystemState, model: ModelRecord) -> bool:
    """Whether a fit is no better on its own frames, and than a target asks of the same atoms."""
    own, ours = (errors_of(model, s.name, split) for split in ("train", "held_out"))
    if own is None or ours is None:
        return False
    return own.force_mae >= max(ALIKE * ours.force_mae, sit.state.targets.force_mae)


def twice_unstable(sit: Situation, s: SubsystemState, since: int) -> bool:
    """Whether its last two samplings by a model were unstable, both after an iteration.

    Not where the runs of the second went on for clearly longer: then labels do help.
    """
    later = [group for record, group in sit.samplings(s.name) if iteration_of(record.id) > since]
    limit = sit.config.rules.unstable_above
    if len(later) < 2 or any((g.stopped or 0.0) <= limit for g in later[-2:]):
        return False
    before, now = ((g.picoseconds or 0.0) / max(g.runs, 1) for g in later[-2:])
    return not before or now < LONGER * before


def at_the_bound(
    sit: Situation, model: ModelRecord, flat: list[SubsystemState], compared: str
) -> Draft | None:
    """No larger potential is allowed and labels do not help: run it once, then say so.

    Where MD is unstable or another target is open labels still teach, whatever the errors are;
    a component that is held back is no verdict on a target.
    """
    if all(s.role != "target" for s in flat):
        return None
    if any(s not in flat and not meets_errors(sit.state, s, model) for s in sit.targets):
        return None
    why = f"Training and held-out errors agree above the target ({compared})"
    last = "no larger potential is allowed (mlp.bounds)"
    return run_once(sit, model, f"{why}; {last}") or (
        ending.end(sit, "failed", f"{why}, and {last}.", keys_of(flat, "held_out_force_mae"))
        if survives(sit, model)
        else None
    )


def run_once(sit: Situation, model: ModelRecord, why: str) -> Draft | None:
    """The evaluation of every target with a model that labels cannot mend; None once it is done."""
    due = [s for s in sit.targets if sit.baselines(s.name) and not sit.evaluated(s.name, model.id)]
    if not due:
        return None
    names = [name for s in due for name in sit.baselines(s.name)]
    keys = keys_of(due, "evaluation", "evaluated_model")
    return Draft(
        parameters.model_eval(sit, model.id, names), f"{why}: see how it does in MD.", keys
    )


def survives(sit: Situation, model: ModelRecord) -> bool:
    """Whether every target was run with this model to the end."""
    rows = [sit.evaluated(s.name, model.id) for s in sit.targets]
    return all(rows) and all(e.status == "ok" for row in rows for e in row)


def held_back(sit: Situation, s: SubsystemState, model: ModelRecord) -> str | None:
    """The error of a subsystem that labels do not bring down, in words: of forces, or of energies.

    It is as large on training as on held-out frames, misses its bound by more than a tenth, and
    does not fall. It is held against the fit before to other labels: that it beats a quick or
    smaller one to the same says what optimiser and basis bring, not what labels do. Energies have
    one number a frame, and fall late: without a fit before they say nothing; nor do energies that
    are all off by the same.
    """
    own, ours = (errors_of(model, s.name, split) for split in ("train", "held_out"))
    before = errors_before(sit, s, model)
    if own is None or ours is None:
        return None
    targets = sit.state.targets
    for key, unit in ERRORS.items():
        now, fitted = getattr(ours, key), getattr(own, key)
        bound = getattr(targets, key) * targets.slack(s.role)
        comparable = key == "force_mae" or (before is not None and scattered(ours))
        falling = before is not None and now < GAIN * getattr(before, key)
        if now > CLEARLY * bound and fitted >= ALIKE * now and comparable and not falling:
            return f"{now:.3g} {unit}"
    return None


def errors_before(sit: Situation, s: SubsystemState, model: ModelRecord) -> Errors | None:
    """Held-out errors of the fit before to other labels."""
    older = [m for m in sit.state.usable_models if set(m.datasets) != set(model.datasets)]
    return errors_of(older[-1], s.name, "held_out") if older else None


def levelled(sit: Situation, s: SubsystemState, model: ModelRecord) -> bool:
    """Whether the labels of this subsystem that the newest fit took in brought nothing."""
    older = [m for m in sit.state.usable_models if m.id != model.id][-1:]
    before = errors_of(older[0], s.name, "held_out") if older else None
    now = errors_of(model, s.name, "held_out")
    if before is None or now is None:
        return False
    new = [d for d in sit.state.datasets if d.id in model.datasets]
    new = [d for d in new if d.id not in older[0].datasets]
    return any(g.subsystem == s.name and g.labels for d in new for g in d.groups)


def larger(sit: Situation, model: ModelRecord) -> dict[str, float]:
    """The next size within the configured bounds; none where all are reached."""
    config = sit.config.mlp
    level = model.level or config.level
    if level < config.bounds.level:
        return {"level": min(config.bounds.level, level + 4)}
    size = model.radial_basis or config.radial_basis
    if size < config.bounds.radial_basis:
        return {"radial_basis": min(config.bounds.radial_basis, size + 4)}
    cutoff = model.cutoff or config.cutoff
    if cutoff < config.bounds.cutoff:
        return {"cutoff": min(config.bounds.cutoff, round(cutoff + 0.5, 3))}
    return {}


def offset(sit: Situation) -> Draft | None:
    """Forces are right and all energies of a target are off by the same: no frame is missing.

    A continued fit may have lost the zero of energy; one from scratch finds it. Where that does
    not, training and held-out energies have two zeros, and labels of more configurations would
    carry the same constant: a person compares cells and k-points.
    """
    model = sit.model
    shifted = [s for s in sit.targets if model and off_by_a_constant(sit, s, model)]
    if model is None or not shifted:
        return None
    compared = "; ".join(
        f"{s.name} {e.energy_mae:.3g} eV/atom"
        for s in shifted
        if (e := errors_of(model, s.name, "held_out"))
    )
    why = f"Energies are off by a constant ({compared}) where forces are right"
    keys = [f"models.{model.id}.errors.{i}.energy_mae" for i in range(len(model.errors))]
    if model.parent or model.effort == "quick":
        return Draft(
            parameters.train(sit, "scratch", "accurate"), f"{why}: fit from scratch.", keys
        )
    reason = f"{why}, from scratch too: hold cells and k-points of both references side by side."
    once = run_once(sit, model, why)
    return once or (ending.end(sit, "blocked", reason, keys) if survives(sit, model) else None)


def off_by_a_constant(sit: Situation, s: SubsystemState, model: ModelRecord) -> bool:
    """Whether held-out energies miss their bound by far and alike, and forces do not."""
    e, targets = errors_of(model, s.name, "held_out"), sit.state.targets
    return (
        e is not None
        and e.frames >= 2
        and e.energy_mae > LARGE * targets.energy_mae
        and not scattered(e)
        and e.force_mae <= targets.force_mae
    )


CAPACITY: tuple[tuple[str, Callable[[Situation], Draft | None]], ...] = (
    ("R6-first-fit", first_fit),
    (RULE, plateau),
    (RULE, outgrown),
    ("R6-offset", offset),
)
