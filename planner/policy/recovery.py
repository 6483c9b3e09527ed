"""Rules for what went wrong: refused fits, regressions, failed labels, failed evaluations."""

import math
from collections.abc import Callable, Iterable

from campaign.actions.prune import FEW, MOST_OUTLIERS, Prune
from campaign.results import EvaluatedStructure, FrameSet, SampleGroupResult
from campaign.situation import Situation
from campaign.state import DatasetRecord, ModelRecord, SubsystemState
from campaign.verdict import misses, property_targets
from planner.policy import ending, parameters
from planner.policy.comparison import (
    errors_of,
    given_up,
    taken_back,
    worse_on_common_frames,
)
from planner.policy.curriculum import burst, unbegun, worth_accuracy
from planner.policy.draft import Draft, keys_of

CHANCE = 0.05
MOSTLY = 10  # failed labels to one that came about
BETTER = 1.1  # times that of a fit that is clearly better


def labels_fail(sit: Situation) -> Draft | None:
    """Twice in a row every label failed: the reference is at fault."""
    outcomes = sit.outcomes("select_data")[-2:]
    torn = any(burst(s) for s in sit.state.subsystems)
    if outcomes != ["failed", "failed"] or sit.pending or torn:
        return labels_of_one_fail(sit)
    reason = "Every label of the last two selections was quarantined: mend the reference method."
    key = f"history.{sit.last('select_data')}.outcome"
    return ending.end(sit, "blocked", reason, (key, "spent.labels"))


def labels_of_one_fail(sit: Situation) -> Draft | None:
    """Twice in a row nearly every label of one subsystem failed, whatever the others gave.

    A third try pays for the same failures: its electrons, its size or its starts want mending.
    """
    bad = [s for s in sit.state.subsystems if not burst(s) and failures_in_a_row(sit, s) >= 2]
    if not bad:
        return None
    named = []
    for s in bad:
        groups = [g for d in sit.state.datasets for g in d.groups if g.subsystem == s.name]
        kinds = sorted({c.kind for g in groups for c in g.failed})
        named.append(f"{s.name} ({', '.join(kinds)})")
    reason = f"Nearly every label of {'; '.join(named)} failed, twice: mend its reference."
    return ending.end(sit, "blocked", reason, keys_of(bad, "labels", "rounds"))


def failures_in_a_row(sit: Situation, s: SubsystemState) -> int:
    """Selections in a row, newest first, in which hardly a label of those paid for came about."""
    groups = [g for d in sit.state.datasets for g in d.groups if g.subsystem == s.name]
    if s.selection and s.selection not in groups:
        groups.append(s.selection)
    paid = [
        sum(c.count for c in g.failed) > MOSTLY * g.labels for g in groups if g.failed or g.labels
    ]
    return ([*reversed(paid), False]).index(False)


def refused(sit: Situation) -> Draft | None:
    """A refused fit: another seed from scratch, then less data, then the end."""
    count = sit.refusals
    if not count:
        return None
    last = sit.state.models[-1]
    keys = ("models.count", f"models.{last.id}.status", f"models.{last.id}.failure")
    rest = unbegun(sit) if last.failure == "species" else []
    if section := parameters.first_sample(sit, rest, 0.5):
        names = ", ".join(s.name for s in rest)
        reason = f"The labels lack an element that {names} may have: sample by {section.method}."
        return Draft(section, reason, keys)
    if last.failure == "species" and set(last.datasets) == {d.id for d in sit.active}:
        reason = (
            f"{last.id} was refused: no label has every element of species (task.yaml), and no seed"
            " changes that; add a structure that has it, or take it out and begin anew."
        )
        return ending.end(sit, "blocked", reason, keys)
    pruned = sit.last("prune") > sit.last("train")
    if count == 1 or (count == 2 and pruned):
        due = worth_accuracy(sit, None) or last.effort == "accurate"
        effort = "accurate" if due else "quick"
        reason = f"{last.id} was refused ({last.failure}): fit from scratch with another seed."
        return Draft(parameters.train(sit, "scratch", effort), reason, keys) if sit.active else None
    suspect = suspects(sit) if count == 2 else None
    if suspect:
        reason = f"{count} fits in a row were refused ({last.failure}): leave out the newest data."
        return Draft(suspect, reason, keys)
    outcome = "failed" if sit.model else "blocked"
    reason = f"{count} fits in a row were refused ({last.failure})."
    return ending.end(sit, outcome, reason, keys)


def suspects(sit: Situation) -> Prune | None:
    """The newest data set, if it is not all there is of a subsystem; else outliers last found."""
    if len(sit.active) > 1:
        newest = Prune(datasets=[sit.active[-1].id])
        if not newest.emptied(sit.state):
            return newest
    frames = outliers(sit.active, sit.model) if sit.model else []
    return Prune(frames=frames) if frames else None


def outliers(datasets: list[DatasetRecord], model: ModelRecord) -> list[FrameSet]:
    """Outliers a model's training found in these data sets and that are still in.

    A few of hundreds: what is more than that is no accident of a label but a class of
    configurations that the model does not know yet, the very ones it is to learn.
    """
    labels = {d.id: d.labels for d in datasets}
    excluded = {d.id: set(d.excluded) for d in datasets}
    outlying = [
        (o.dataset, sorted(set(o.frames) - excluded[o.dataset]))
        for o in model.outliers
        if o.dataset in excluded
    ]
    return [
        FrameSet(dataset=name, frames=frames)
        for name, frames in outlying
        if 0 < len(frames) <= max(FEW, MOST_OUTLIERS * labels[name])
    ]


def regression(sit: Situation) -> Draft | None:
    """More early stops than in the round before: take back the newest model and its outliers."""
    lost = [s for s in sit.state.subsystems if regressed(sit, s)]
    newest = max((sit.last("sample"), sit.last("model_eval")))
    section = take_back(sit) if lost and sit.last("prune") <= newest else None
    if section is None:
        return None
    rises = ", ".join(
        f"{s.name} {100 * (s.previous_early_stop_fraction or 0):.0f} to "
        f"{100 * (s.early_stop_fraction or 0):.0f} %"
        for s in lost
    )
    keys = keys_of(lost, "early_stop_fraction", "previous_early_stop_fraction")
    return Draft(section, f"Early stops rose since the round before: {rises}.", keys)


def regressed(sit: Situation, s: SubsystemState) -> bool:
    """Whether stability fell, at temperatures no higher and with a newer model than before."""
    now, before = s.early_stop_fraction, s.previous_early_stop_fraction
    if now is None or before is None or now - before < sit.config.rules.regression - 1e-9:
        return False
    rounds = sit.samplings(s.name)
    if rounds and rounds[-1][0].selected_by is None and _by_grade(rounds[-1][1]):
        return False  # it stops where a label is worth its price; the labels will say what it was
    if rounds and sit.model and rounds[-1][0].model != sit.model.id:
        return False
    if better_fit(sit, s):
        return False  # it fell into a hole that labels mend; the one before is worse everywhere
    if len(rounds) < 2:
        return True
    (old, cooler), (new, group) = rounds[-2:]
    return old.model != new.model and _more_often((before, cooler), (now, group))


def better_fit(sit: Situation, s: SubsystemState) -> bool:
    """Whether the newest fit is clearly better than the one before on the same held-out frames."""
    fits = [errors_of(m, s.name, "held_out") for m in sit.state.usable_models[-2:]]
    if len(fits) < 2 or fits[0] is None or fits[1] is None:
        return False
    before, now = fits
    return now.frames == before.frames and BETTER * now.force_mae < before.force_mae


def _more_often(
    older: tuple[float, SampleGroupResult], newer: tuple[float, SampleGroupResult]
) -> bool:
    """Whether runs stop more often than in the sampling before, at the temperatures of both."""
    (before, cooler), (now, group) = older, newer
    common = {r.temperature for r in group.rungs} & {r.temperature for r in cooler.rungs}
    if common:
        return more_stops(_at(cooler, common), _at(group, common))
    # without its cold rungs a window stops more often, whatever the model
    same = (
        group.temperature_high <= cooler.temperature_high
        and group.temperature_low <= cooler.temperature_low
    )
    return same and more_stops(_stops(cooler, before), _stops(group, now))


def _at(group: SampleGroupResult, temperatures: set[int]) -> tuple[int, int]:
    """Stops and runs at some temperatures, K."""
    own = [r for r in group.rungs if r.temperature in temperatures]
    return sum(r.stops for r in own), sum(r.runs for r in own)


def _stops(group: SampleGroupResult, fraction: float) -> tuple[int, int]:
    """Stops and runs of a sampling, by the fraction that counts."""
    runs = max(0, group.runs - group.failed_runs)
    return min(runs, max(0, round(fraction * runs))), runs


def more_stops(before: tuple[int, int], now: tuple[int, int]) -> bool:
    """Whether so many more stops (of runs) are no accident: Fisher's exact test, one-sided, 5 %.

    2 of 6 after 0 of 6 come about by chance in one of four cases.
    """
    from scipy.stats import fisher_exact  # a second, and seldom asked for

    rows = [[stops, runs - stops] for stops, runs in (now, before)]
    return bool(fisher_exact(rows, alternative="greater").pvalue < CHANCE)


def _by_grade(group: SampleGroupResult) -> bool:
    return bool(group.stops) and all(stop.kind == "grade" for stop in group.stops)


def take_back(sit: Situation) -> Prune | None:
    """The newest model if there is one to fall back on, and the outliers of its newest data."""
    model = sit.model
    if model is None:
        return None
    newest = [d for d in sit.active if d.id in model.datasets][-1:]
    frames = outliers(newest, model) if newest and len(sit.active) > 1 else []
    models = [model.id] if len(sit.state.usable_models) > 1 else []
    return Prune(models=models, frames=frames) if models or frames else None


def worse_evaluation(sit: Situation) -> Draft | None:
    """An evaluation that an older model stood better: take the newest back, and do not run it.

    It passed and fails now, or it collapses, or its errors are far larger on the same trajectory.
    MD with a model that has just become worse samples the debris of its own mistakes. One that
    passes on more of what both were evaluated on has not become worse.
    """
    model = sit.model
    if (
        model is None
        or taken_back(sit, model.datasets) > 1
        or sit.last("prune") > sit.last("model_eval")
    ):
        return None
    lost = [
        s
        for s in sit.state.subsystems
        if s.evaluation == "failed"
        and s.evaluated_model == model.id
        and any(_stood_better(sit, s, model, m) for m in sit.state.usable_models)
    ]
    section = take_back(sit) if lost else None
    if section is None:
        return None
    names = ", ".join(s.name for s in lost)
    reason = f"{names}: an older model stood the evaluation better than {model.id}."
    return Draft(section, reason, keys_of(lost, "evaluation", "evaluated_model"))


def _stood_better(
    sit: Situation, s: SubsystemState, newest: ModelRecord, older: ModelRecord
) -> bool:
    if older.id == newest.id or passes_on_more(sit, newest, older):
        return False
    if any(s.name in e.passed and e.model == older.id for e in sit.state.evaluations):
        return True
    before = {e.structure: e for e in sit.evaluated(s.name, older.id)}
    return any(
        e.structure in before and collapsed(e, before[e.structure], sit)
        for e in sit.evaluated(s.name, newest.id)
    )


def passes_on_more(sit: Situation, model: ModelRecord, other: ModelRecord) -> bool:
    """Whether a model passes on more of the subsystems that both were evaluated on."""
    ours, theirs = (
        {
            name: name in e.passed
            for e in sit.state.evaluations
            if e.model == m.id
            for name in [*e.passed, *e.failed]
        }
        for m in (model, other)
    )
    common = ours.keys() & theirs.keys()
    return sum(ours[name] for name in common) > sum(theirs[name] for name in common)


def collapsed(now: EvaluatedStructure, before: EvaluatedStructure, sit: Situation) -> bool:
    """Whether one structure fares far worse than with the model before.

    Pressures against labels say more of a density than a run that stopped on its way to it.
    """
    if "failed" in (now.status, before.status):
        return False
    biases = [abs(e.density_bias) for e in (now, before) if e.density_bias is not None]
    if now.stop == "density" and len(biases) == 2 and biases[0] < biases[1]:
        return False
    if now.status == "early_stop":
        return before.status == "ok" or before.picoseconds > 2 * now.picoseconds
    targets, ratio = sit.state.targets, sit.config.rules.scratch_ratio
    return any(
        mine is not None and old is not None and mine > bound and mine > factor * old
        for mine, old, bound, factor in (
            (now.force_mae, before.force_mae, targets.force_mae, ratio),
            (now.energy_mae, before.energy_mae, targets.energy_mae, 2.0),
            (now.density_deviation, before.density_deviation, targets.density_deviation, 2.0),
            (_unlike(now), _unlike(before), 1 - targets.rdf_overlap, 2.0),
        )
    )


def _unlike(evaluated: EvaluatedStructure) -> float | None:
    """What the radial distributions do not have in common."""
    return None if evaluated.rdf_overlap is None else 1 - evaluated.rdf_overlap


def worse_fit(sit: Situation) -> Draft | None:
    """On the very same frames the newest fit is worse than the one before: take it back, and
    another one to the same data; then the one before stays until there are more labels.

    Held against each other per subsystem on the held-out trajectories, which stay the same: means
    over training frames rise because harder frames come in, and hide that one subsystem was lost.
    """
    model = sit.model
    if model is None or given_up(sit) or sit.last("prune") > sit.last("train"):
        return None
    older = [m for m in sit.state.usable_models if m.id != model.id][-1:]
    worse = [
        text
        for m in older
        if m.effort == "quick" or model.effort == "accurate"
        for text in worse_on_common_frames(sit, model, m)
    ]
    if not worse or sit.last("train") != sit.state.iteration:
        return None
    named = "; ".join(worse)
    reason = f"{model.id} is worse than {older[0].id} on the same held-out frames: {named}."
    return Draft(Prune(models=[model.id]), reason, force_keys((model, older[0]), "held_out"))


def force_keys(models: Iterable[ModelRecord], split: str) -> tuple[str, ...]:
    """Places in the state of the force errors of some models on one split."""
    return tuple(
        f"models.{m.id}.errors.{i}.force_mae"
        for m in models
        for i, e in enumerate(m.errors)
        if e.split == split
    )


def foretold(sit: Situation, model: ModelRecord, older: ModelRecord) -> float | None:
    """Training force MAE that `older` has on the frames of `model`: its own, and of the labels
    bought since what models were off by on them; None where that was not measured."""
    own = older.force_mae("train")
    new = [
        g
        for d in sit.state.datasets
        if d.id in model.datasets and d.id not in older.datasets
        for g in d.groups
        if g.labels
    ]
    if own is None or not any(g.force_mae for g in new):
        return None
    count = sum(g.labels for g in new)
    frames = sum(e.frames for e in older.errors if e.split == "train")
    harder = sum(g.labels * (g.force_mae or own) for g in new)
    return (own * frames + harder) / (frames + count)


def blown_up(sit: Situation) -> Draft | None:
    """The newest fit is much worse than the best so far and was continued: a local minimum.

    On the held-out frames, which stay the same, where there are any: on its own data a fit gets
    worse as harder frames come in, and that is what they are for.
    """
    model = sit.model
    others = [m for m in sit.state.usable_models if model and m.id != model.id]
    for split in ("held_out", "train"):
        measured = [
            (theirs, mine, m)
            for m in others
            if model
            and (theirs := m.force_mae(split, beside=model)) is not None
            and (mine := model.force_mae(split, beside=m)) is not None
        ]
        if model is None or not measured or not sit.active:
            continue
        mae, mine, least = min(measured, key=lambda row: row[0] / row[1] if row[1] else math.inf)
        if split == "train":
            # harder frames came in: what counts is what `least` would give on them
            mae = max(mae, foretold(sit, model, least) or 0.0)
        if mine <= sit.config.rules.scratch_ratio * mae:
            return None
        reason = (
            f"{split} force MAE of {model.id} is {mine:.3g} eV/Å, that of {least.id} was {mae:.3g}."
        )
        effort = "accurate" if worth_accuracy(sit, None) else "quick"
        section = parameters.train(sit, "scratch", effort)
        return Draft(section, reason, force_keys((model, least), split))
    return None


def local_minimum(sit: Situation) -> Draft | None:
    """Refit from scratch at once where continuing made the errors much worse.

    Not one that every target has passed with: a component lost what it may lose, and the mean rose.
    """
    model = sit.model
    if model is None or model.parent is None or sit.unused:
        return None
    passed = [s.evaluation == "passed" and s.evaluated_model == model.id for s in sit.targets]
    return None if all(passed) else blown_up(sit)


def undone(sit: Situation) -> Draft | None:
    """A fit from scratch much worse than one with data that was left out since: take it back in."""
    model, blown = sit.model, blown_up(sit)
    if model is None or model.parent or blown is None:
        return None
    mine = model.force_mae("train") or 0.0
    better = [m for m in sit.state.usable_models if (m.force_mae("train") or mine) < mine]
    fitted = {name for m in better for name in m.datasets}
    out = [d.id for d in sit.state.datasets if d.id in fitted and not d.active and d.labels]
    if not out:
        return None
    reason = f"Without {', '.join(out)} the fit is worse: {blown.reason}"
    keys = (*blown.keys, *(f"datasets.{name}.active" for name in out))
    return Draft(Prune(datasets=out, restore=True), reason, keys)


def failed_evaluation(sit: Situation) -> Draft | None:
    """Evaluations whose job failed say nothing of the model: once more, then blocked."""
    model = sit.model
    if model is None:
        return None
    runs = [e for e in sit.state.evaluations if e.model == model.id]
    lost = [
        s
        for s in sit.state.subsystems
        if any(e.status == "failed" for e in sit.evaluated(s.name, model.id))
    ]
    names = [
        e.structure for s in lost for e in sit.evaluated(s.name, model.id) if e.status == "failed"
    ]
    if not names or sit.last("model_eval") != runs[-1].iteration:
        return None
    tries = sum(any(s.structure == names[0] for s in e.structures) for e in runs)
    keys = keys_of(lost, "evaluation", "evaluated_model")
    ready = [name for s in lost for name in sit.baselines(s.name) if name in names]
    if tries == 1 and ready:
        reason = f"Evaluation jobs of {', '.join(names)} failed: once more."
        return Draft(parameters.model_eval(sit, model.id, ready), reason, keys)
    if any(s.role == "target" for s in lost):
        reason = f"Evaluation jobs of {', '.join(names)} failed {tries} times: see their logs."
        return ending.end(sit, "blocked", reason, keys)
    return None


def short_evaluation(sit: Situation) -> Draft | None:
    """A target that was run for less than is asked and misses nothing else: run it as long.

    A plan by hand or by a model may ask for fewer steps; labels do not lengthen a run.
    """
    model, targets = sit.model, sit.state.targets
    if model is None or sit.last("model_eval") != sit.state.iteration:
        return None
    short = [
        e
        for s in sit.targets
        for e in sit.evaluated(s.name, model.id)
        if e.status == "ok"
        if [c.key for c in misses(e, s.role, targets, property_targets(s, targets))]
        == ["picoseconds"]
    ]
    names = [e.structure for e in short if e.structure in sit.state.with_reference]
    runs = [e.structure for r in sit.state.evaluations if r.model == model.id for e in r.structures]
    if not names or any(runs.count(name) > 1 for name in names):
        return None
    keys = keys_of(sit.targets, "evaluation", "evaluated_model")
    lengths = ", ".join(f"{e.structure} {e.picoseconds:g} ps" for e in short)
    reason = f"{lengths} of {targets.stable_ps:g} ps, and nothing else is missed: run it as long."
    return Draft(parameters.model_eval(sit, model.id, names), reason, keys)


RECOVERY: tuple[tuple[str, Callable[[Situation], Draft | None]], ...] = (
    ("R4-labels-fail", labels_fail),
    ("R4-refused", refused),
    ("R5-regression", regression),
    ("R5-evaluation-worse", worse_evaluation),
    ("R6-local-minimum", local_minimum),
    ("R6-fit-worse", worse_fit),
    ("R6-undone", undone),
    ("R6-evaluation-jobs", failed_evaluation),
    ("R6-evaluation-short", short_evaluation),
)
