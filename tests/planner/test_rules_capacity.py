"""When a potential is too small, by the fits before it."""

from dataclasses import replace

from campaign.situation import Situation
from evals.states import scenarios
from planner.policy import rules


def refitted(*fits: tuple[str, list[str], float]) -> Situation:
    """After fits of (effort, data sets, force MAE on both splits, eV/Å) of the target `joint`."""
    sit = next(s for s in scenarios() if s.name == "capacity-plateau").situation
    models = []
    for record, (effort, datasets, mae) in zip(sit.state.models[-len(fits) :], fits, strict=True):
        errors = [e.model_copy(update={"force_mae": mae}) for e in record.errors]
        update = {"effort": effort, "datasets": datasets, "errors": errors}
        models.append(record.model_copy(update=update))
    state = sit.state.model_copy(update={"models": models})
    return replace(sit, state=state)


def decided(sit: Situation) -> tuple[str, int | None]:
    plan = rules.decide(sit)
    return plan.rule, plan.train.level if plan.train else None


ALL = ["d002", "d005", "d008"]


def test_a_finished_fit_is_not_excused_by_the_quick_one_to_the_same_labels() -> None:
    fits = [("quick", ALL, 0.26), ("accurate", ALL, 0.19)]
    assert decided(refitted(*fits)) == ("R6-capacity", 16)


def test_errors_that_fell_with_labels_buy_more_labels() -> None:
    fits = [("quick", ["d002"], 0.26), ("accurate", ALL, 0.19)]
    assert decided(refitted(*fits))[0] != "R6-capacity"


def test_the_first_fit_is_finished_before_labels_are_bought() -> None:
    sit = refitted(("quick", ALL, 0.19))
    assert decided(sit) == ("R6-first-fit", None)
    last = sit.state.samples[-1].model_copy(update={"model": sit.model.id, "selected_by": 9})
    run = replace(sit, state=sit.state.model_copy(update={"samples": [*sit.state.samples, last]}))
    assert decided(run)[0] != "R6-first-fit"
    assert decided(refitted(("quick", ALL, 0.16)))[0] != "R6-first-fit"  # as good as asked
    far = refitted(("quick", ALL, 0.90))
    assert decided(far)[0] == "R6-first-fit"  # on its own frames too
    (model,) = far.state.models
    own = [
        e.model_copy(update={"force_mae": 0.1}) if e.split == "train" else e for e in model.errors
    ]
    unknowing = far.state.model_copy(update={"models": [model.model_copy(update={"errors": own})]})
    assert decided(replace(far, state=unknowing))[0] != "R6-first-fit"  # in want of data


def test_so_is_the_first_fit_to_what_a_later_stage_brings() -> None:
    """EC with LiPF6: the fit that first saw Li, P, F had 60 iterations; 20 of 20 runs stopped."""
    sit = refitted(("accurate", ["d002"], 0.19), ("quick", ALL, 0.19))
    assert decided(sit)[0] != "R6-first-fit"  # the one before had seen all of it
    before, model = sit.state.models
    target = sit.targets[0].name
    unseen = [e for e in before.errors if e.subsystem != target]
    models = [before.model_copy(update={"errors": unseen}), model]
    assert decided(replace(sit, state=sit.state.model_copy(update={"models": models})))[0] == (
        "R6-first-fit"
    )


def test_runs_that_last_longer_from_round_to_round_want_labels() -> None:
    """The electrolyte of an SEI: 0.8, then 1.9 ps a run; level 20 is four times as dear."""
    name = "two-unstable-rounds-and-as-far-off-on-its-own-frames"
    sit = next(s for s in scenarios() if s.name == name).situation
    for before, now, larger in ((9.0, 9.0, True), (9.0, 22.0, False)):
        lengths, samples = iter((before, now)), []
        for record in sit.state.samples:
            groups = [
                g.model_copy(update={"picoseconds": next(lengths)})
                if record.method == "model" and g.subsystem == "oxide"
                else g
                for g in record.groups
            ]
            samples.append(record.model_copy(update={"groups": groups}))
        bent = replace(sit, state=sit.state.model_copy(update={"samples": samples}))
        assert (decided(bent)[0] == "R6-capacity") == larger
