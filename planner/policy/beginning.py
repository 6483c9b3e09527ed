"""Rules of the beginning: the baseline first, then the first data set."""

from collections.abc import Callable

from campaign.situation import Situation
from campaign.state import SubsystemState
from planner.policy import ending, parameters
from planner.policy.curriculum import focus, labelled, referred
from planner.policy.draft import Draft, keys_of


def no_structures(sit: Situation) -> Draft | None:
    """Nothing to learn from or nothing to judge by: seen before anything is spent."""
    blind = [s.name for s in sit.targets if not sit.held_out(s.name)]
    if blind:
        reason = f"Target {', '.join(blind)} has no held-out structure to be judged by."
        return ending.end(sit, "blocked", reason, keys_of(sit.targets, "role"))
    if not any(sit.training(s.name) for s in sit.state.subsystems):
        reason = "Every structure is held out: nothing may be sampled."
        return ending.end(sit, "blocked", reason, ("subsystems.count",))
    return None


def imported(sit: Situation) -> Draft | None:
    """Labels brought along are fitted before anything is computed."""
    return None if sit.state.iteration or not sit.active else fit_of_imported(sit)


def fit_of_imported(sit: Situation) -> Draft:
    """From scratch, and at once to its end."""
    section = parameters.train(sit, "scratch", "accurate")
    count = sum(d.labels for d in sit.active)
    return Draft(section, f"{count} imported labels: fit them first.", ("datasets.count",))


def first_reference(sit: Situation) -> Draft | None:
    """Reference MD of every held-out structure, once; what failed, once more."""
    referred = {r.structure for r in sit.state.reference}
    everyone = [s.id for s in sit.structures if s.held_out]
    missing = [name for name in everyone if name not in referred]
    failed = [r.structure for r in sit.state.reference if r.status == "failed"]
    wanted = missing or [name for name in failed if name in everyone]
    tries = len(sit.outcomes("reference_calc"))
    if not wanted or tries >= 2:
        return None
    section = parameters.reference_calc(sit, wanted)
    if section is None:
        return ending.wind_up(sit, "limits.reference_calls leaves no reference MD")
    why = "have no reference trajectory yet" if missing else "gave none at the first attempt"
    keys = ("reference.count", *(f"reference.{name}.status" for name in wanted))
    return Draft(section, f"{len(wanted)} held-out structures {why}.", keys)


def no_baseline(sit: Situation) -> Draft | None:
    """A target without a reference trajectory cannot be judged."""
    bare = [s.name for s in sit.targets if not sit.baselines(s.name)]
    if not bare:
        return None
    keys = [f"reference.{r.structure}.status" for r in sit.state.reference]
    reason = f"No reference trajectory of target {', '.join(bare)}: nothing can be validated."
    return ending.end(sit, "blocked", reason, ("reference.count", *keys))


def first_data(sit: Situation) -> Draft | None:
    """The first data set comes from the reference: its sampling, or its labels of an explorer's."""
    if sit.active:
        return None
    tries = sum(s.method != "model" for s in sit.state.samples)
    keys, share = ("datasets.count", "spent.labels"), parameters.SHARE_OF_FIRST_DATA
    whose = "explorer" if sit.config.explorer else "reference"
    if sit.pending:
        section = parameters.first_labels(sit, share)
        reason = "No labels yet: a D-optimal choice of what the explorer made gets them."
    elif tries >= 2:
        reason = f"{tries} samplings with the {whose} left no usable label."
        return ending.end(sit, "blocked", reason, keys)
    else:
        able = [s for s in sit.state.subsystems if sit.training(s.name)]
        begun = _with_every_element(sit, able)
        own = share * len(begun) / len(able)
        section = parameters.first_sample(sit, begun, own) or parameters.first_sample(
            sit, begun, share
        )
        first = [s for s in begun if s.stage == begun[0].stage]
        of = "" if begun == able else f" of stage {begun[0].stage}"
        besides = ", ".join(s.name for s in begun if s not in first)
        and_more = f" and, for an element that these lack, {besides}" if besides else ""
        reason = f"There are no labels yet: sample every subsystem{of}{and_more} by {whose}."
    if section is None:
        return ending.wind_up(sit, "the limits leave no room for a first data set")
    return Draft(section, reason, keys)


def _with_every_element(sit: Situation, able: list[SubsystemState]) -> list[SubsystemState]:
    """Those of the first stage, and of later ones what brings an element that they lack.

    A fit without a label of an element is refused. What each holds is known by its held-out
    structures; where it is not, by nothing but such a refusal.
    """
    first = min(s.stage for s in able)
    begun = [s for s in able if s.stage == first]
    own = {s.name: _elements(sit, s) for s in able}
    if not all(own[s.name] for s in begun):
        return begun
    have = set().union(*(own[s.name] for s in begun))
    for s in sorted(able, key=lambda s: s.stage):
        if own[s.name] - have:
            begun.append(s)
            have |= own[s.name]
    return begun


def _elements(sit: Situation, s: SubsystemState) -> set[str]:
    return {e for r in sit.state.reference if r.subsystem == s.name for e in r.species or ()}


def unlabelled(sit: Situation) -> Draft | None:
    """A subsystem none of whose labels came about: no model that never saw it may explore it."""
    with_labels = labelled(sit)
    due = focus(sit, sit.model.id if sit.model else None)
    lost = [
        s
        for s in sit.state.subsystems
        if s.name not in with_labels and sit.training(s.name) and referred(sit, s) == 1
        if s.stage <= due.stage
    ]
    offered = {g.subsystem for s in sit.pending for g in s.groups if g.snapshots}
    lost = [s for s in lost if s.name not in offered]
    section = parameters.first_sample(sit, lost, 0.5) if lost else None
    if section is None:
        return None
    whose = section.method
    reason = f"{', '.join(s.name for s in lost)}: no label yet; sample by {whose} once more."
    return Draft(section, reason, keys_of(lost, "labels"))


def without_reference(sit: Situation) -> Draft | None:
    """No reference: the imported labels are fitted, and a fit is all that can be had of them."""
    if sit.config.limits.reference_calls:
        return None
    keys = ("datasets.count", "models.count")
    if not sit.active:
        reason = "limits.reference_calls is 0 and no label is there: raise it, or import labels."
        return ending.end(sit, "blocked", reason, keys)
    if sit.refusals:
        return ending.end(sit, "failed", "The fit to the imported labels was refused.", keys)
    if sit.model is None:
        return fit_of_imported(sit)
    reason = f"{sit.model.id} is fitted to the imported labels; no reference, no more to do."
    return ending.end(sit, "fitted", reason, keys)


BEGINNING: tuple[tuple[str, Callable[[Situation], Draft | None]], ...] = (
    ("R1-no-structures", no_structures),
    ("R1-imported", imported),
    ("R1-reference", first_reference),
    ("R2-no-baseline", no_baseline),
    ("R3-first-data", first_data),
    ("R3-unlabelled", unlabelled),
)
