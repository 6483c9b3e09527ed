"""The curriculum: which stage is being learnt, what it needs next, at which temperatures.

Stages go from components to the target. A stage is learnt when MD with the model is stable on all
its subsystems at their highest temperature (or the labels on offer have run dry before), and, if
it was ever unstable or holds a target, when an evaluation has passed. Source: guidance and trace
of the paper (appendices E and G).
"""

from dataclasses import dataclass
from typing import Literal

from atomistics.properties.asked import KINDS, TAUGHT, Kind, kind_of
from campaign.actions.select_data import SelectGroup
from campaign.budget import accurate_seconds, decisions_left, in_a_hurry, judged, purse
from campaign.identifiers import iteration_of
from campaign.results import SampleGroupResult
from campaign.situation import Situation
from campaign.state import SubsystemState
from campaign.verdict import (
    beyond,
    held,
    margin_temperature,
    meets_errors,
    property_targets,
    shortfalls,
)

LAST_ROUNDS = 2
CHEAP = 0.001  # of the core-hours allowed, for a fit
SAME = 3  # samplings of one window in a row
BRIEF = 0.1  # ps of a run that taught nothing
FEWEST_A_ROUND = 24  # labels a round may take however little is known: a score and a few
LEARNT = ("duplicate",)  # rejections of what is learnt already
Need = Literal["sample", "evaluate", "improve", "finish"]


@dataclass(frozen=True)
class Focus:
    """The first stage with something left to do, and what; 0 stands for the final verdict."""

    stage: int
    need: Need
    subsystems: list[SubsystemState]


def focus(sit: Situation, model: str | None) -> Focus:
    """What the campaign needs next if `model` is (or were) its newest.

    The verdict is about the targets: where they have passed with it, their parts may be as they
    are.
    """
    if decisions_left(sit) <= 4 and model and not judged(sit) and sit.targets:
        return Focus(0, "evaluate", sit.targets)  # too few for another round
    passed = model and all(
        s.evaluation == "passed" and s.evaluated_model == model for s in sit.targets
    )
    heart = [s for s in sit.state.subsystems if not passed or s.role == "target"]
    for stage in sorted({s.stage for s in heart}):
        of_it = [s for s in heart if s.stage == stage]
        if good := [s for s in of_it if unproven(sit, s, model)]:
            return Focus(stage, "evaluate", good)
        open_ = [s for s in of_it if not settled(sit, s)]
        if open_:
            return Focus(stage, "sample", open_)
        spared = in_a_hurry(sit) and all(s.role != "target" for s in of_it)
        if not spared and any(s.role == "target" or ever_unstable(sit, s) for s in of_it):
            able = [s for s in of_it if sit.baselines(s.name)]
            if open_subsystem := _judge(sit, able, model, stage):
                return open_subsystem
    last_word = [s for s in sit.targets if s.evaluated_model != model or unseen(sit, s)]
    if last_word:
        return Focus(0, "evaluate", last_word)
    return Focus(0, "finish", sit.targets)


def worth_accuracy(sit: Situation, model: str | None) -> bool:
    """Whether an evaluation that deserves an accurate fit comes next if `model` is the newest (None
    stands for a new fit): of a target always, of components where the fit is cheap, since theirs
    are not the last labels that the potential takes in."""
    here = focus(sit, model)
    final = any(s.role == "target" for s in here.subsystems)
    cheap = CHEAP * sit.config.limits.core_hours * 3600
    return here.need == "evaluate" and (final or accurate_seconds(sit) < cheap)


def unproven(sit: Situation, s: SubsystemState, model: str | None) -> bool:
    """Whether `model` meets the error targets of a target and nobody ran it at its use.

    Errors say what labels can mend; what MD does with a potential only MD shows, and it is cheap
    beside labels. So a fit that is good enough is evaluated before another label is bought.
    """
    record = next((m for m in sit.state.usable_models if m.id == model), None)
    return (
        s.role == "target"
        and record is not None
        and s.evaluated_model != model
        and bool(sit.baselines(s.name))
        and meets_errors(sit.state, s, record)
    )


def unseen(sit: Situation, s: SubsystemState) -> bool:
    """Whether a held-out structure with a reference was never run with the evaluated model where it
    will be used: colder, anything is stable."""
    rows = sit.evaluated(s.name, s.evaluated_model or "")
    evaluated = {e.structure for e in rows if e.temperature == sit.task.temperature}
    return not evaluated.issuperset(sit.baselines(s.name))


def _judge(
    sit: Situation, judged: list[SubsystemState], model: str | None, stage: int
) -> Focus | None:
    usable = {m.id for m in sit.state.usable_models}
    due = [
        s
        for s in judged
        if s.evaluation is None
        or s.evaluated_model not in usable
        or (s.evaluation == "failed" and s.evaluated_model != model and not excused(sit, s))
    ]
    if due:
        return Focus(stage, "evaluate", due)
    bad = [s for s in judged if s.evaluation == "failed" and not excused(sit, s)]
    return Focus(stage, "improve", bad) if bad else None


def settled(sit: Situation, s: SubsystemState) -> bool:
    """Whether sampling this subsystem further would teach little."""
    if not sit.training(s.name):
        return True
    if s.role != "target" and (
        in_a_hurry(sit) or not purse(sit, s) or barren(sit, s) or passed_over(sit, s)
    ):
        return True  # what is left is the target's, or it is learnt without this part
    spent = s.rounds >= sit.config.rules.max_rounds
    tested = s.role == "target" and sit.model and s.evaluated_model == sit.model.id
    if sit.model and tested and (s.evaluation == "failed" or not spent):
        # where it is used: failed is for `improve`, passed leaves the margin above
        return s.evaluation == "failed" or not beyond(sit.state, s, sit.model.id)
    if not s.rounds or s.early_stop_fraction is None or mostly_lost(sit, s):
        return spent and stable_once(sit, s)  # no run of the last round gave a trajectory
    if unstable(sit, s):
        return spent and stable_once(sit, s)
    hot = spent or (s.sampled_temperature or 0) >= ceiling(sit, s)
    return hot or run_dry(sit, s) or overtaken(sit, s)


def overtaken(sit: Situation, s: SubsystemState) -> bool:
    """Whether a later stage is being explored: an earlier one that is stable goes no hotter then.

    It was left for good reason, and what is left of the budget belongs to what comes after it.
    """
    return s.role != "target" and any(o.rounds for o in sit.state.subsystems if o.stage > s.stage)


def unstable(sit: Situation, s: SubsystemState) -> bool:
    """Whether too many runs of the last sampling stopped early, or led to what is unphysical."""
    fraction = s.early_stop_fraction
    return fraction is not None and (fraction > sit.config.rules.unstable_above or debris(s))


def severe(sit: Situation, s: SubsystemState) -> bool:
    """Whether most runs of the last sampling stopped early, or led to what is unphysical."""
    return (s.early_stop_fraction or 0.0) > sit.config.rules.severe_above or debris(s)


def debris(s: SubsystemState) -> bool:
    """Whether most snapshots of the last selection were thrown away as unphysical.

    What was thrown away was not learnt, and runs that end there are not stable, watchdog or no.
    """
    rejected = s.selection.rejected if s.selection else ()
    thrown = sum(c.count for c in rejected if c.kind not in LEARNT)
    return burst(s) or (s.selection is not None and 2 * thrown > s.selection.candidates)


def burst(s: SubsystemState) -> bool:
    """Whether the labels last bought were mostly thrown away for forces beyond what is allowed.

    The reference answered, as it did for the labels there are: what it was asked of was broken.
    """
    if s.selection is None or not s.labels:
        return False
    torn = sum(c.count for c in s.selection.failed if c.kind == "forces_too_large")
    others = sum(c.count for c in s.selection.failed) - torn
    return torn > s.selection.labels + others


def run_dry(sit: Situation, s: SubsystemState) -> bool:
    """Whether the last selection found less than half of what it was allowed to label.

    Not where snapshots were unphysical or labels failed.
    """
    selection = s.selection
    if selection is None or sum(c.count for c in selection.failed) > selection.labels:
        return False
    if debris(s):
        return False
    allowed = SelectGroup(subsystem=s.name, fraction=sit.config.select_data.stable)
    return 2 * selection.labels < allowed.quota(selection.candidates) or selection.candidates == 0


def mostly_lost(sit: Situation, s: SubsystemState) -> bool:
    """Whether most runs of the last sampling gave no trajectory: the rest shows no stability."""
    samplings = sit.samplings(s.name)
    return bool(samplings) and lost(samplings[-1][1])


def lost(group: SampleGroupResult) -> bool:
    """Whether most runs gave no trajectory."""
    return 2 * group.failed_runs > group.runs


def stopped(group: SampleGroupResult) -> float | None:
    """Fraction of the runs with a trajectory that stopped early, false alarms apart."""
    return group.stopped


def ever_unstable(sit: Situation, s: SubsystemState) -> bool:
    """Whether any sampling of this subsystem was unstable."""
    limit = sit.config.rules.unstable_above
    past = [stopped(group) for _, group in sit.samplings(s.name)]
    return unstable(sit, s) or any(f is not None and f > limit for f in past)


def stable_once(sit: Situation, s: SubsystemState) -> bool:
    """Whether some sampling at or above the temperature of use was stable."""
    limit = sit.config.rules.unstable_above
    return any(
        (f := stopped(group)) is not None
        and f <= limit
        and not lost(group)
        and group.temperature_high >= use_of(sit, s)
        for _, group in sit.samplings(s.name)
    )


def excused(sit: Situation, s: SubsystemState) -> bool:
    """A failed evaluation off the target holds the campaign up for one improvement only."""
    if s.role == "target":
        return False
    failures = sum(s.name in e.failed for e in sit.state.evaluations)
    tried = s.rounds >= sit.config.rules.max_rounds or not sit.training(s.name)
    return failures >= 2 or tried or sampled_since_evaluation(sit, s)


def sampled_since_evaluation(sit: Situation, s: SubsystemState) -> bool:
    """Whether the newest sampling came after the newest evaluation, with the evaluated model."""
    evaluations = [e.iteration for e in sit.state.evaluations if s.name in e.failed + e.passed]
    samplings = sit.samplings(s.name)
    if not samplings or not evaluations:
        return False
    record = samplings[-1][0]
    return iteration_of(record.id) > evaluations[-1] and record.model == s.evaluated_model


def lesson(sit: Situation, s: SubsystemState) -> list[Kind]:
    """Kinds of the properties whose targets its newest evaluations miss, and no other target."""
    evaluated = sit.evaluated(s.name, s.evaluated_model or "")
    asked = property_targets(s, sit.state.targets)
    if any(shortfalls(e, s.role, sit.state.targets) for e in evaluated):
        return []
    slack = sit.state.targets.slack(s.role)
    missed = {kind_of(t.name) for t in asked for e in evaluated if not held(e, t, slack).met}
    return [kind for kind in KINDS if kind in missed & TAUGHT]


def jobs_failed(sit: Situation, s: SubsystemState) -> int:
    """Samplings in a row that gave hardly a trajectory of this subsystem."""
    gone = [stopped(group) is None or lost(group) for _, group in reversed(sit.samplings(s.name))]
    return ([*gone, False]).index(False)


def stuck(sit: Situation, s: SubsystemState) -> bool:
    """Unstable, and the newest model is the very one that was unstable: nothing was learnt."""
    samplings = sit.samplings(s.name)
    if not unstable(sit, s) or not samplings or sit.model is None:
        return False
    return samplings[-1][0].model == sit.model.id


def stopped_at_once(sit: Situation, s: SubsystemState) -> bool:
    """Whether the runs of two rounds in a row ended as they began, and next to no label came of it.

    What MD with the model never reaches it cannot teach.
    """
    last = sit.samplings(s.name)[-2:]
    brief = [g for _, g in last if g.picoseconds is not None and g.picoseconds < BRIEF * g.runs]
    if len(brief) < 2 or not unstable(sit, s):
        return False
    return labels_since(sit, s, iteration_of(last[0][0].id)) < FEWEST_A_ROUND


def labels_since(sit: Situation, s: SubsystemState, iteration: int) -> int:
    """Labels of a subsystem that selections of later iterations bought."""
    late = {
        h.iteration
        for h in sit.state.history
        if h.action == "select_data" and h.iteration > iteration
    }
    groups = [g for d in sit.state.datasets if iteration_of(d.id) in late for g in d.groups]
    return sum(g.labels for g in groups if g.subsystem == s.name)


def labelled(sit: Situation) -> set[str]:
    """Subsystems that active data sets hold labels of."""
    return {g.subsystem for d in sit.active for g in d.groups if g.labels}


def unbegun(sit: Situation) -> list[SubsystemState]:
    """Subsystems of which nothing was ever computed, whatever their stage."""
    with_labels = labelled(sit)
    return [s for s in sit.state.subsystems if s.name not in with_labels and not referred(sit, s)]


def barren(sit: Situation, s: SubsystemState) -> bool:
    """Whether two samplings with the reference left no label of it."""
    return s.name not in labelled(sit) and referred(sit, s) > 1


def referred(sit: Situation, s: SubsystemState) -> int:
    """Samplings of this subsystem with the reference, or with the explorer in its place."""
    records = [r for r in sit.state.samples if r.method != "model"]
    return sum(any(g.subsystem == s.name for g in r.groups) for r in records)


def hopeless(sit: Situation, s: SubsystemState) -> bool:
    """Unstable after the last round allowed, and never stable where it will be used, alone."""
    spent = s.rounds >= sit.config.rules.max_rounds
    bad = unstable(sit, s) or s.early_stop_fraction is None or mostly_lost(sit, s)
    return spent and bad and not stable_once(sit, s) and run_at_use(sit, s)


def passed_over(sit: Situation, s: SubsystemState) -> bool:
    """A part that never became stable, beside a target that is being learnt and does: the verdict
    is about the target, which may hold where its parts alone do not."""
    explored = [t for t in sit.targets if t.rounds]
    return s.role != "target" and any(not unstable(sit, t) for t in explored) and hopeless(sit, s)


def run_at_use(sit: Situation, s: SubsystemState) -> bool:
    """Whether it was ever run at the temperature of use and nowhere hotter.

    Stops over a ladder of temperatures do not say that a potential fails where it is used.
    """
    most = 1.07 * use_of(sit, s)
    return any(0 < group.temperature_high <= most for _, group in sit.samplings(s.name))


def use_of(sit: Situation, s: SubsystemState) -> int:
    """Temperature of use, K, no higher than a subsystem may be heated."""
    return min(sit.task.temperature, s.max_temperature)


def early_stops(sit: Situation, s: SubsystemState) -> list[float]:
    """When the runs of its last evaluation that stopped early did, ps."""
    rows = sit.evaluated(s.name, s.evaluated_model or "")
    return [e.picoseconds for e in rows if e.status == "early_stop"]


def dies_later(sit: Situation, s: SubsystemState) -> bool:
    """Whether its last evaluation died later than any of its samplings ran, where that is known."""
    lives = early_stops(sit, s)
    longest = [
        g.picoseconds / kept
        for _, g in sit.samplings(s.name)
        if g.picoseconds is not None and (kept := g.runs - g.failed_runs) > 0
    ]
    return bool(lives and longest) and max(lives) > max(longest)


def ceiling(sit: Situation, s: SubsystemState) -> int:
    """Temperature a subsystem is taken to; components need basic accuracy only (appendix E).

    A target is taken as far as its margin: hotter, a solid melts and a liquid decomposes, and
    stops there say nothing of the use.
    """
    if s.role == "target":
        return margin_temperature(sit.state, s)
    return first_high(sit, s) if s.role == "component" else s.max_temperature


def first_high(sit: Situation, s: SubsystemState) -> int:
    """Where a stage starts: what the reference covered, then what every earlier stage reached."""
    earlier = [o for o in sit.state.subsystems if o.stage < s.stage and o.sampled_temperature]
    if earlier:
        return min(s.max_temperature, *(o.sampled_temperature or 0 for o in earlier))
    if s.role == "target":
        return margin_temperature(sit.state, s)
    return min([s.max_temperature, *sorted(sit.config.reference_sample.temperatures)[-1:]])


def window(sit: Situation, s: SubsystemState) -> tuple[int, int]:
    """Lowest and highest temperature of the next sampling with a model, K.

    A window that was run three times of late tells nothing the fourth, by turns with another
    neither: cooler where it was unstable, where it was stable at the temperature of use alone.
    """
    low, high = _window(sit, s)
    before = [(g.temperature_low, g.temperature_high) for _, g in sit.samplings(s.name)]
    if high > low and before[-2 * SAME :].count((low, high)) >= SAME:
        step = sit.config.model_sample.temperature_step
        return low, max(low, high - step) if unstable(sit, s) else low
    return low, high


def _window(sit: Situation, s: SubsystemState) -> tuple[int, int]:
    """The window by the last sampling.

    Once stable the window climbs by a step; where a part of the runs stopped early only its hot
    end is run again, on a model that has learnt from the stops; where most did, it cools.
    """
    step = sit.config.model_sample.temperature_step
    low = use_of(sit, s)
    high = s.sampled_temperature
    last = s.rounds >= sit.config.rules.max_rounds - LAST_ROUNDS and not stable_once(sit, s)
    if high is None or last:
        # before giving up: where it will be used and nowhere else
        return low, low if last else max(low, first_high(sit, s))
    high = min(high, s.max_temperature)
    if s.early_stop_fraction is None:
        return low, max(low, high)
    if severe(sit, s):
        return low, max(low, high - step)
    before = s.previous_early_stop_fraction
    if not unstable(sit, s):
        return low, max(low, min(ceiling(sit, s), high + step))
    if before is None or s.early_stop_fraction < before:
        return max(low, high - step // 2), max(low, min(ceiling(sit, s), high + step))
    return low, max(low, high)


def ladder(low: int, high: int, rungs: int) -> list[int]:
    """Temperatures from low to high, evenly spaced, in whole 10 K between the ends."""
    if rungs == 1 or high <= low:
        return [high]
    between = [round((low + (high - low) * i / (rungs - 1)) / 10) * 10 for i in range(1, rungs - 1)]
    return sorted({low, *(t for t in between if low < t < high), high})
