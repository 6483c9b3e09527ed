"""Fits held against each other: per subsystem, on the held-out frames of both."""

from collections.abc import Iterable

from campaign.results import Errors
from campaign.situation import Situation
from campaign.state import ModelRecord

WORSE = 1.25  # times the force error before
FORGOTTEN = 2.0  # times the force error before, beyond the target's own bound
WORSE_ENERGY = 2.0  # times the energy error before: of the same frames, but one number a frame
CONSTANT = 1.05  # RMSE over MAE of energies that are all off by the same; 1.25 where they scatter


def errors_of(model: ModelRecord, subsystem: str, split: str) -> Errors | None:
    """Errors of a fit on one subsystem."""
    matching = (e for e in model.errors if e.subsystem == subsystem and e.split == split)
    return next(matching, None)


def scattered(errors: Errors) -> bool:
    """Whether energies are not merely all off by the same."""
    return errors.energy_rmse > CONSTANT * errors.energy_mae


def worse_on_common_frames(sit: Situation, model: ModelRecord, other: ModelRecord) -> list[str]:
    """Subsystems, in words, on whose held-out frames a fit misses a bound and `other` is better.

    A component may be further off than a target; one that was as good as a target has to be, and
    is no more, was forgotten. A constant that all energies are off by is no matter of the frames
    and does not count.
    """
    targets, worse = sit.state.targets, []
    for mine in (e for e in model.errors if e.split == "held_out"):
        theirs = errors_of(other, mine.subsystem, "held_out")
        if theirs is None or theirs.frames != mine.frames:
            continue
        slack = targets.slack(sit.state.subsystem(mine.subsystem).role)
        name, now, before = mine.subsystem, mine.force_mae, theirs.force_mae
        forgotten = now > targets.force_mae and now > FORGOTTEN * before
        if forgotten or (now > slack * targets.force_mae and now > WORSE * before):
            worse.append(f"{name} {now:.3g} eV/Å, before {before:.3g}")
            continue
        now, before = mine.energy_mae, theirs.energy_mae
        missed = now > slack * targets.energy_mae and now > WORSE_ENERGY * before
        if missed and scattered(mine):
            worse.append(f"{name} {now:.3g} eV/atom, before {before:.3g}")
    return worse


def soundest(sit: Situation) -> ModelRecord | None:
    """The newest fit, or the newest of those before that it is worse than on common frames."""
    model = sit.model
    for other in reversed(sit.state.usable_models[:-1]):
        if model and worse_on_common_frames(sit, model, other):
            return other
    return model


def taken_back(sit: Situation, datasets: Iterable[str]) -> int:
    """Fits to the same data that were rolled back: another seed did not help."""
    same = set(datasets)
    return sum(m.status == "rolled_back" and set(m.datasets) == same for m in sit.state.models)


def given_up(sit: Situation) -> bool:
    """Whether two fits to all active data were rolled back: more labels before a third."""
    return taken_back(sit, (d.id for d in sit.active)) >= 2
