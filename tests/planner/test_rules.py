"""What the rules decide, situation by situation."""

import pytest

from campaign.results import Count, SelectGroupResult
from planner.policy.curriculum import ladder
from tests.planner.simulation import SMALL, World, campaign, config_of, task_of
from tests.planner.states import (
    COMPONENTS,
    DATA,
    END,
    EVALUATE,
    FIRST_TRAIN,
    JOINT,
    JOINT_DATA,
    JOINT_FIT,
    REFERENCE,
    SELECT,
    SELECT_JOINT,
    TRAIN,
    TRAIN_JOINT,
    at,
    bent,
    decided,
    temperatures,
    with_last,
    with_subsystem,
)

# the curriculum ------------------------------------------------------------------------------


def test_the_natural_path_is_short() -> None:
    run = campaign(World(), task_of(SMALL), config_of())
    assert run.actions == [
        "reference_calc",
        "sample",
        "train",
        "sample",
        "select_data",
        "train",
        "sample",
        "train",
        "sample",
        "select_data",
        "train",
        "model_eval",
        "end",
    ]
    assert run.states[-1].verdict.outcome == "converged"
    assert run.plans[-1].reason.endswith(" meets every target.")
    assert "yet" not in run.plans[-1].reason.lower()


@pytest.mark.parametrize(
    ("number", "action", "rule"),
    [
        (REFERENCE, "reference_calc", "R1-reference"),
        (DATA, "sample", "R3-first-data"),
        (FIRST_TRAIN, "train", "R8-train"),
        (COMPONENTS, "sample", "R12-sample"),
        (SELECT, "select_data", "R7-select"),
        (TRAIN, "train", "R8-train"),
        (JOINT, "sample", "R12-sample"),
        (SELECT_JOINT, "select_data", "R7-select"),
        (TRAIN_JOINT, "train", "R8-train"),
        (EVALUATE, "model_eval", "R14-evaluate"),
        (END, "end", "R16-finish"),
    ],
)
def test_each_step_names_its_rule(number: int, action: str, rule: str) -> None:
    plan = decided(at(number))
    assert (plan.action, plan.rule) == (action, rule)
    assert plan.reason
    assert plan.evidence


def test_held_out_structures_are_measured_and_never_sampled() -> None:
    assert decided(at(REFERENCE)).reference_calc.structures == ["oxide-v0", "metal-v0", "joint-v0"]
    for number in (DATA, COMPONENTS, JOINT):
        names = [n for g in decided(at(number)).sample.groups for n in g.structures]
        assert names
        assert not any("-v" in n for n in names)


def test_components_come_before_the_target() -> None:
    assert set(temperatures(decided(at(COMPONENTS)))) == {"oxide", "metal"}
    assert set(temperatures(decided(at(JOINT_DATA)))) == {"joint"}


@pytest.mark.parametrize(
    ("fraction", "share"), [(0.0, 0.075), (0.1, 0.075), (0.11, 0.175), (0.6, 0.175), (0.61, 0.3)]
)
def test_more_is_labelled_where_more_runs_stopped(fraction: float, share: float) -> None:
    sit = with_subsystem(at(SELECT), "oxide", early_stop_fraction=fraction)
    shares = {g.subsystem: g.fraction for g in decided(sit).select_data.groups}
    assert shares == {"oxide": share, "metal": 0.075}


def test_all_is_labelled_where_runs_stopped_at_once_and_offer_next_to_nothing() -> None:
    sit = with_subsystem(at(SELECT), "oxide", early_stop_fraction=0.9)
    oxide, metal = sit.state.samples[-1].groups
    short = [oxide.model_copy(update={"snapshots": 12}), metal]
    groups = decided(with_last(sit, "samples", groups=short)).select_data.groups
    assert [(g.count, g.fraction) for g in groups] == [(12, None), (None, 0.075)]


@pytest.mark.parametrize(
    ("fraction", "before", "window"),
    [
        (0.3, None, (900, 1000)),  # part of the runs: the hot end again
        (0.3, 0.5, (900, 1000)),  # getting better
        (0.45, 0.3, (300, 1000)),  # not getting better: the whole window again
        (0.8, None, (300, 800)),  # most of them: cooler
        (None, None, (300, 1000)),  # no trajectory: the same again
    ],
)
def test_window_after_an_unstable_round(
    fraction: float | None, before: float | None, window: tuple[int, int]
) -> None:
    sit = with_subsystem(
        at(JOINT_DATA), "oxide", early_stop_fraction=fraction, previous_early_stop_fraction=before
    )
    assert temperatures(decided(sit)) == {"oxide": window}


@pytest.mark.parametrize(("reached", "high"), [(600, 800), (900, 1000)])
def test_hotter_once_stable(reached: int, high: int) -> None:
    sit = with_subsystem(at(EVALUATE), "joint", sampled_temperature=reached, selection=None)
    assert temperatures(decided(sit)) == {"joint": (300, high)}


def test_no_hotter_round_where_labels_ran_dry() -> None:
    few = SelectGroupResult(
        subsystem="joint", candidates=800, rejected=[], reference_calls=9, labels=9, failed=[]
    )
    sit = with_subsystem(at(EVALUATE), "joint", sampled_temperature=600, selection=few)
    assert decided(sit).action == "model_eval"
    quarantined = few.model_copy(update={"failed": [Count(kind="nan", count=50)]})
    sit = with_subsystem(at(EVALUATE), "joint", sampled_temperature=600, selection=quarantined)
    assert decided(sit).action == "sample"


def test_stage_starts_where_the_earlier_stages_got_to() -> None:
    sit = with_subsystem(at(JOINT), "metal", sampled_temperature=800, max_temperature=800)
    assert temperatures(decided(sit)) == {"joint": (300, 800)}


def test_a_stage_that_was_unstable_is_evaluated_before_the_next() -> None:
    record = at(JOINT_DATA).state.samples[-1]
    group = record.groups[0].model_copy(update={"early_stops": 5})
    sit = with_last(at(JOINT_DATA), "samples", groups=[group, *record.groups[1:]])
    plan = decided(sit)
    assert (plan.action, plan.train.effort) == ("train", "accurate")
    sit = with_last(sit, "models", effort="accurate")
    assert decided(sit).model_eval.structures == ["oxide-v0", "metal-v0"]


def test_a_stage_begins_with_the_reference_once_the_one_before_is_learnt() -> None:
    assert {g.subsystem for g in decided(at(DATA)).sample.groups} == {"oxide", "metal"}
    plan = decided(at(JOINT_DATA))
    assert (plan.rule, plan.sample.method) == ("R12-begin", "reference")
    assert [g.subsystem for g in plan.sample.groups] == ["joint"]
    lacking = with_last(at(COMPONENTS), "models", status="refused", failure="species")
    plan = decided(lacking)  # an element that only a later stage has
    assert (plan.rule, plan.sample.method) == ("R4-refused", "reference")
    assert [g.subsystem for g in plan.sample.groups] == ["joint"]
    tried = at(JOINT_FIT).state.samples[-1]
    sit = bent(at(JOINT_DATA), samples=[*at(JOINT_DATA).state.samples, tried])
    assert decided(sit).rule == "R3-unlabelled"  # nothing came of it: once more
    plan = decided(bent(sit, samples=[*sit.state.samples, tried]))
    assert (plan.rule, plan.end.outcome) == ("R12-begin", "blocked")


def test_selection_that_bought_nothing_moves_on() -> None:
    run = campaign(World(selection=0.0), task_of(SMALL), config_of())
    assert run.actions == [
        "reference_calc",
        "sample",
        "train",
        "sample",
        "select_data",
        "sample",
        "train",
        "sample",
        "select_data",
        "train",
        "model_eval",
        "end",
    ]
    assert run.plans[-3].train.effort == "accurate"


@pytest.mark.parametrize(
    ("low", "high", "rungs", "expected"),
    [
        (300, 1000, 3, [300, 650, 1000]),
        (300, 800, 3, [300, 550, 800]),
        (300, 300, 3, [300]),
        (300, 310, 4, [300, 310]),
        (300, 1200, 4, [300, 600, 900, 1200]),
        (300, 900, 1, [900]),
    ],
)
def test_ladder(low: int, high: int, rungs: int, expected: list[int]) -> None:
    assert ladder(low, high, rungs) == expected


# training ------------------------------------------------------------------------------------


def test_first_fit_is_from_scratch_and_quick() -> None:
    train = decided(at(FIRST_TRAIN)).train
    assert (train.start, train.model, train.effort) == ("scratch", None, "quick")


def test_later_fits_continue_from_the_newest_with_all_data() -> None:
    train = decided(at(TRAIN)).train
    assert (train.start, train.model, train.effort) == ("continue", "m003", "quick")
    assert train.datasets == ["d002", "d005"]


def test_accurate_before_an_evaluation() -> None:
    assert decided(at(TRAIN_JOINT)).train.effort == "accurate"
    sit = with_last(at(EVALUATE), "models", effort="quick")
    plan = decided(sit)
    assert (plan.rule, plan.train.effort, plan.train.model) == ("R13-sharpen", "accurate", "m011")


@pytest.mark.parametrize(("factor", "start"), [(1.4, "continue"), (1.6, "scratch")])
def test_scratch_once_errors_have_blown_up(factor: float, start: str) -> None:
    errors = [
        e.model_copy(update={"force_mae": e.force_mae * (factor if e.split == "held_out" else 1)})
        for e in at(TRAIN_JOINT).state.models[-1].errors
    ]
    sit = with_last(at(TRAIN_JOINT), "models", errors=errors)
    assert decided(sit).train.start == start
    sit = with_last(at(JOINT), "models", errors=errors)
    plan = decided(sit)
    assert (plan.action == "train") == (start == "scratch")
    assert plan.train is None or plan.train.effort == "quick"


def test_a_scratch_fit_before_an_evaluation_is_accurate() -> None:
    errors = [
        e.model_copy(update={"force_mae": e.force_mae * 1.6})
        for e in at(EVALUATE).state.models[-2].errors
    ]
    train = decided(with_last(at(EVALUATE), "models", errors=errors)).train
    assert (train.start, train.effort) == ("scratch", "accurate")


def test_a_refused_fit_is_tried_again_with_less_and_then_given_up() -> None:
    sit, seeds = with_last(at(JOINT_DATA), "models", status="refused", failure="nan"), []
    plan = decided(sit)
    assert (plan.rule, plan.train.start) == ("R4-refused", "scratch")
    seeds.append(plan.train.seed)
    twice = [sit.state.models[-1], sit.state.models[-1].model_copy(update={"id": "m007"})]
    sit = bent(sit, models=[sit.state.models[0], *twice])
    assert decided(sit).prune.datasets == ["d005"]
    third = [*sit.state.models, twice[-1].model_copy(update={"id": "m011"})]
    plan = decided(bent(sit, models=third))
    assert (plan.end.outcome, plan.end.model) == ("failed", "m003")
    plan = decided(bent(sit, models=third[1:]))
    assert (plan.end.outcome, plan.end.model) == ("blocked", None)
    assert seeds != [at(TRAIN).config.seed]


def test_a_refused_fit_uses_another_seed() -> None:
    assert decided(at(FIRST_TRAIN)).train.seed != decided(at(TRAIN)).train.seed


def test_without_a_usable_model_data_are_fitted_from_scratch() -> None:
    for number in (SELECT, JOINT, END):
        plan = decided(bent(at(number), models=[], evaluations=[]))
        assert (plan.action, plan.train.start) == ("train", "scratch")
