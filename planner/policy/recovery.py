"""Rules for what went wrong: refused fits, regressions, failed labels, failed evaluations."""

from collections.abc import Callable

from campaign.actions.prune import Prune
from campaign.results import FrameSet, SampleGroupResult
from campaign.situation import Situation
from campaign.state import DatasetRecord, ModelRecord, SubsystemState
from planner.policy import ending, parameters
from planner.policy.curriculum import focus
from planner.policy.draft import Draft, keys_of


def labels_fail(sit: Situation) -> Draft | None:
    """Twice in a row every label failed: the reference is at fault."""
    outcomes = sit.outcomes("select_data")[-2:]
    if outcomes != ["failed", "failed"] or sit.pending:
        return None
    reason = "Every label of the last two selections was quarantined: mend the reference method."
    key = f"history.{sit.last('select_data')}.outcome"
    return ending.end(sit, "blocked", reason, (key, "spent.labels"))


def refused(sit: Situation) -> Draft | None:
    """A refused fit: another seed from scratch, then less data, then the end."""
    count = sit.refusals
    if not count:
        return None
    last = sit.state.models[-1]
    keys = ("models.count", f"models.{last.id}.status", f"models.{last.id}.failure")
    pruned = sit.last("prune") > sit.last("train")
    if count == 1 or (count == 2 and pruned):
        due = focus(sit, None).need == "evaluate" or last.effort == "accurate"
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
    """The newest data set, if it is not all there is; else the outliers last found."""
    if len(sit.active) > 1:
        return Prune(datasets=[sit.active[-1].id])
    frames = outliers(sit.active, sit.model) if sit.model else []
    return Prune(frames=frames) if frames else None


def outliers(datasets: list[DatasetRecord], model: ModelRecord) -> list[FrameSet]:
    """Outliers a model's training found in these data sets and that are still in."""
    excluded = {d.id: set(d.excluded) for d in datasets}
    found = [
        (o.dataset, sorted(set(o.frames) - excluded[o.dataset]))
        for o in model.outliers
        if o.dataset in excluded
    ]
    return [FrameSet(dataset=name, frames=frames) for name, frames in found if frames]


def regression(sit: Situation) -> Draft | None:
    """More early stops than in the round before: take back the newest model and its outliers."""
    lost = [s for s in sit.state.subsystems if regressed(sit, s)]
    newest = max((sit.last("sample"), sit.last("model_eval")))
    section = take_back(sit) if lost and sit.last("prune") <= newest else None
    if section is None:
        return None
    told = ", ".join(
        f"{s.name} {100 * (s.previous_early_stop_fraction or 0):.0f} to "
        f"{100 * (s.early_stop_fraction or 0):.0f} %"
        for s in lost
    )
    keys = keys_of(lost, "early_stop_fraction", "previous_early_stop_fraction")
    return Draft(section, f"Early stops rose since the round before: {told}.", keys)


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
    if len(rounds) < 2:
        return True
    (old, cooler), (new, group) = rounds[-2:]
    return old.model != new.model and group.temperature_high <= cooler.temperature_high


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
    """A target that passed with an older model and fails with the newest: take it back."""
    model = sit.model
    if model is None or sit.last("prune") > sit.last("train"):
        return None
    lost = [
        s
        for s in sit.state.subsystems
        if s.evaluation == "failed"
        and s.evaluated_model == model.id
        and any(s.name in e.passed and e.model != model.id for e in sit.state.evaluations)
    ]
    section = take_back(sit) if lost and sit.last("prune") == 0 else None
    if section is None:
        return None
    reason = f"{', '.join(s.name for s in lost)} passed before and fails with {model.id}."
    return Draft(section, reason, keys_of(lost, "evaluation", "evaluated_model"))


def blown_up(sit: Situation) -> Draft | None:
    """The newest fit is much worse than the best so far and was continued: a local minimum.

    On the held-out frames, which stay the same, where there are any: on its own data a fit gets
    worse as harder frames come in, and that is what they are for.
    """
    model = sit.model
    others = [m for m in sit.state.usable_models if model and m.id != model.id]
    for split in ("held_out", "train"):
        mine = model.force_mae(split) if model else None
        known = [(mae, m) for m in others if (mae := m.force_mae(split)) is not None]
        if mine is None or not known or not sit.active:
            continue
        mae, least = min(known, key=lambda pair: pair[0])
        if mine <= sit.config.rules.scratch_ratio * min(known, key=lambda pair: pair[0])[0]:
            return None
        if mine > sit.config.rules.scratch_ratio * mae:
            reason = (
                f"{split} force MAE of {model.id} is {mine:.3g} eV/Å, that of {least.id} "
                f"was {mae:.3g}."
            )
            keys = (
                f"models.{m.id}.errors.{i}.force_mae"
                for m in (model, least)
                for i, e in enumerate(m.errors)
                if e.split == split
            )
            effort = "accurate" if focus(sit, None).need == "evaluate" else "quick"
            return Draft(parameters.train(sit, "scratch", effort), reason, tuple(keys))
    return None


def local_minimum(sit: Situation) -> Draft | None:
    """Refit from scratch at once where continuing made the errors much worse."""
    continued = sit.model is not None and sit.model.parent is not None
    return blown_up(sit) if continued and not sit.unused else None


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


MENDING: tuple[tuple[str, Callable[[Situation], Draft | None]], ...] = (
    ("R4-labels-fail", labels_fail),
    ("R4-refused", refused),
    ("R5-regression", regression),
    ("R5-evaluation-worse", worse_evaluation),
    ("R6-local-minimum", local_minimum),
    ("R6-undone", undone),
    ("R6-evaluation-jobs", failed_evaluation),
)
