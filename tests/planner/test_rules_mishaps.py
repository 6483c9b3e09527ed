"""What the rules decide when something went wrong, fails, or runs out."""

from dataclasses import replace

import pytest

from campaign.actions.end import conclude
from campaign.errors import UserError
from campaign.gates import check
from campaign.results import Count, FrameSet, SelectGroupResult
from campaign.situation import Situation
from planner.policy.rules import decide
from tests.planner.simulation import (
    AS_BUILT,
    SMALL,
    World,
    campaign,
    config_of,
    structures_of,
    task_of,
)
from tests.planner.states import (
    DATA,
    END,
    EVALUATE,
    JOINT,
    JOINT_DATA,
    REFERENCE,
    SELECT,
    TRAIN_JOINT,
    at,
    bent,
    decided,
    temperatures,
    with_last,
    with_subsystem,
)

# regression ----------------------------------------------------------------------------------


def regressed(now: float, before: float) -> Situation:
    """Before a decision after the second round of the oxide, with a newer model."""
    sit = at(JOINT_DATA)
    first = sit.state.samples[-1]
    second = first.model_copy(update={"id": "s007", "model": "m006", "selected_by": 8})
    sit = bent(sit, samples=[*sit.state.samples, second])
    sit = with_last(sit, "models", outliers=[FrameSet(dataset="d005", frames=[1, 2])])
    return with_subsystem(
        sit, "oxide", rounds=2, early_stop_fraction=now, previous_early_stop_fraction=before
    )


def test_prune_when_stability_fell() -> None:
    plan = decided(regressed(0.5, 0.0))  # 4 of 8 after none: 4 % by chance
    assert plan.rule == "R5-regression"
    assert plan.prune.models == ["m006"]
    assert plan.prune.frames == [FrameSet(dataset="d005", frames=[1, 2])]


@pytest.mark.parametrize(("now", "before"), [(0.5, 0.31), (0.2, 0.5), (0.9, 0.8), (0.5, 0.25)])
def test_no_prune_for_less_than_a_regression(now: float, before: float) -> None:
    assert decide(regressed(now, before)).action != "prune"


def test_no_prune_when_the_round_was_hotter_or_the_model_the_same() -> None:
    sit = regressed(0.5, 0.0)
    groups = [g.model_copy(update={"temperature_high": 1200}) for g in sit.state.samples[-1].groups]
    assert decide(with_last(sit, "samples", groups=groups)).action != "prune"
    assert decide(with_last(sit, "samples", model="m003")).action != "prune"
    cool = with_subsystem(regressed(0.5, 0.0), "oxide", rounds=2)
    both = [s.model_copy(update={"model": "m006"}) for s in cool.state.samples[1:]]
    assert decide(bent(cool, samples=[cool.state.samples[0], *both])).action != "prune"


def test_no_prune_of_a_fit_that_is_clearly_better() -> None:
    sit = regressed(0.5, 0.0)
    assert decide(sit).action == "prune"
    *older, newest = sit.state.models
    errors = [e.model_copy(update={"force_mae": e.force_mae / 2}) for e in newest.errors]
    better = bent(sit, models=[*older, newest.model_copy(update={"errors": errors})])
    assert decide(better).action != "prune"


# giving up -----------------------------------------------------------------------------------


def test_never_stable_ends_failed_with_the_best_model() -> None:
    sit = at(JOINT_DATA)
    groups = [g.model_copy(update={"early_stops": g.runs}) for g in sit.state.samples[-1].groups]
    sit = with_last(sit, "samples", groups=groups)
    sit = with_subsystem(sit, "oxide", rounds=6, early_stop_fraction=0.7)
    assert temperatures(decided(sit)) == {"oxide": (300, 300)}  # never run at its use alone
    cold = [g.model_copy(update={"temperature_high": 300}) for g in groups]
    plan = decided(with_last(sit, "samples", groups=cold))
    assert (plan.rule, plan.end.outcome, plan.end.model) == ("R9-give-up", "failed", "m006")
    assert "oxide" in plan.reason
    assert "70 %" in plan.reason


def test_once_stable_at_use_is_enough_after_the_last_round() -> None:
    sit = with_subsystem(at(JOINT_DATA), "oxide", rounds=6, early_stop_fraction=0.3)
    assert decided(sit).action != "end"


def test_runs_that_stop_as_they_begin_ask_the_reference_for_more_first_data() -> None:
    sit = at(JOINT_DATA)
    assert decided(sit).rule == "R12-begin"
    brief = [
        g.model_copy(update={"early_stops": g.runs, "picoseconds": 0.01 * g.runs})
        for g in sit.state.samples[-1].groups
        if g.subsystem == "oxide"
    ]
    runs = [
        sit.state.samples[-1].model_copy(update={"id": name, "groups": brief})
        for name in ("s004", "s005")
    ]
    few = [g.model_copy(update={"labels": 6}) for g in sit.state.datasets[-1].groups]
    data = [*sit.state.datasets[:-1], sit.state.datasets[-1].model_copy(update={"groups": few})]
    sit = bent(sit, samples=[sit.state.samples[0], *runs], datasets=data)
    sit = with_subsystem(sit, "oxide", rounds=2, early_stop_fraction=1.0)
    plan = decided(sit)
    assert (plan.rule, plan.sample.method) == ("R11-rescue", "reference")
    assert [g.subsystem for g in plan.sample.groups] == ["oxide"]
    longer = [g.model_copy(update={"picoseconds": 1.0 * g.runs}) for g in brief]
    late = bent(
        sit, samples=[sit.state.samples[0], runs[0].model_copy(update={"groups": longer}), runs[1]]
    )
    assert decided(late).sample.method == "model"  # one round got somewhere
    twice = bent(sit, samples=[sit.state.samples[0], *sit.state.samples])
    assert decided(twice).sample.method == "model"  # the reference was asked again already


def test_jobs_without_trajectory_are_run_once_more_then_blocked() -> None:
    sit = at(SELECT)
    lost = [
        g.model_copy(update={"failed_runs": g.runs, "early_stops": 0, "snapshots": 0})
        for g in sit.state.samples[-1].groups
    ]
    sit = with_last(sit, "samples", groups=lost)
    for name in ("oxide", "metal"):
        sit = with_subsystem(sit, name, early_stop_fraction=None)
    again = decided(sit)
    assert (again.action, again.sample.model) == ("sample", "m003")
    second = sit.state.samples[-1].model_copy(update={"id": "s005"})
    plan = decided(bent(sit, samples=[*sit.state.samples, second]))
    assert (plan.rule, plan.end.outcome) == ("R10-lost-jobs", "blocked")


def test_unstable_without_a_snapshot_asks_the_reference_once() -> None:
    sit = at(SELECT)
    stopped = [
        g.model_copy(update={"early_stops": g.runs, "snapshots": 0})
        for g in sit.state.samples[-1].groups
    ]
    sit = with_last(sit, "samples", groups=stopped)
    for name in ("oxide", "metal"):
        sit = with_subsystem(sit, name, early_stop_fraction=1.0)
    plan = decided(sit)
    assert (plan.rule, plan.sample.method) == ("R11-rescue", "reference")
    assert {g.subsystem for g in plan.sample.groups} == {"oxide", "metal"}
    first = sit.state.samples[0]
    hot = [first, first, *sit.state.samples[1:]]
    plan = decided(bent(sit, samples=hot))
    assert [g.temperatures for g in plan.sample.groups] == [[300], [300]]  # never run where used
    at_use = [g.model_copy(update={"temperature_high": 300}) for g in stopped]
    cool = hot[-1].model_copy(update={"id": "s005", "groups": at_use})
    plan = decided(bent(sit, samples=[*hot, cool]))
    assert plan.end.outcome == "failed"


def test_labels_that_always_fail_block_the_campaign() -> None:
    run = campaign(World(label_fails=1.0), task_of(SMALL), config_of())
    assert run.states[-1].verdict.outcome == "blocked"
    assert run.actions == ["reference_calc", "sample", "sample", "end"]


@pytest.mark.parametrize("outcomes", [("failed", "failed"), ("failed", "ok"), ("ok", "failed")])
def test_two_selections_without_a_sound_label_block_the_campaign(outcomes: tuple) -> None:
    sit = at(JOINT_DATA)
    entry = sit.state.history[SELECT - 1]
    later = [entry.model_copy(update={"outcome": o}) for o in outcomes]
    plan = decided(bent(sit, history=[*sit.state.history, *later]))
    blocked = outcomes == ("failed", "failed")
    assert (plan.rule == "R4-labels-fail") == blocked
    assert (plan.action == "end" and plan.end.outcome == "blocked") == blocked


def test_labels_torn_by_their_forces_are_broken_frames_and_no_broken_reference() -> None:
    sit = at(JOINT_DATA)
    failed = sit.state.history[SELECT - 1].model_copy(update={"outcome": "failed"})
    sit = bent(sit, history=[*sit.state.history, failed, failed])

    def after(*failures: tuple[str, int]) -> Situation:
        bought = SelectGroupResult(
            subsystem="oxide",
            candidates=400,
            rejected=[],
            reference_calls=30,
            labels=0,
            failed=[Count(kind=kind, count=count) for kind, count in failures],
        )
        return with_subsystem(sit, "oxide", selection=bought)

    assert decided(after(("forces_too_large", 30))).action == "sample"
    assert decided(after(("unconverged", 30))).end.outcome == "blocked"
    assert decided(after(("forces_too_large", 12), ("unconverged", 18))).end.outcome == "blocked"


def test_a_third_fit_to_the_same_labels_is_not_tried() -> None:
    sit = at(EVALUATE)
    *_, newest = sit.state.models
    gone = [newest.model_copy(update={"id": i, "status": "rolled_back"}) for i in ("m011", "m013")]
    pruned = [sit.state.history[-1].model_copy(update={"iteration": 14, "action": "prune"})]
    once = bent(sit, models=[*sit.state.models[:-1], gone[0]], iteration=14)
    once = bent(once, history=[*sit.state.history, *pruned])
    assert (decided(once).rule, decided(once).train.start) == ("R8-train", "scratch")
    twice = bent(once, models=[*sit.state.models[:-1], *gone])
    plan = decided(twice)  # the one that stands is finished before it is evaluated
    assert (plan.rule, plan.train.model) == ("R13-sharpen", "m008")
    assert plan.train.datasets == ["d002", "d005", "d007"]


# reference -----------------------------------------------------------------------------------


def without_reference(situation: Situation, *names: str) -> Situation:
    return bent(
        situation,
        reference=[
            r.model_copy(update={"status": "failed", "failure": "crashed"})
            if r.structure in names
            else r
            for r in situation.state.reference
        ],
    )


def test_failed_reference_md_is_tried_once_more() -> None:
    plan = decided(without_reference(at(DATA), "oxide-v0"))
    assert plan.reference_calc.structures == ["oxide-v0"]


def test_no_reference_for_a_target_blocks_and_for_a_component_does_not() -> None:
    twice = [*at(DATA).state.history, at(DATA).state.history[-1]]
    sit = bent(without_reference(at(DATA), "joint-v0"), history=twice)
    assert decided(sit).end.outcome == "blocked"
    sit = bent(without_reference(at(DATA), "oxide-v0"), history=twice)
    assert decided(sit).action == "sample"


def test_a_target_without_held_out_structure_blocks_before_anything_is_spent() -> None:
    structures = structures_of(task_of(SMALL))
    assert structures[-1].held_out
    sit = replace(at(REFERENCE), structures=structures[:-1])
    assert decided(sit).end.outcome == "blocked"
    sit = replace(at(REFERENCE), structures=[s for s in structures if s.held_out])
    assert decided(sit).end.outcome == "blocked"


# budget --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limits",
    [{"labels": 60}, {"reference_calls": 1500}, {"decisions": 12}],
)
def test_a_budget_at_its_end_trains_evaluates_and_ends(limits: dict[str, int]) -> None:
    config = config_of(
        limits=limits,
        settle=AS_BUILT,
        model_sample={"steps": 5000, "interval": 50, "rungs": 3},
        reference_sample={"steps": 40, "compression": [0.94, 0.97, 1.0, 1.03, 1.06], "rattle": 0},
    )
    run = campaign(World(unstable=0.5, learning=1.0), task_of(SMALL), config)
    state = run.states[-1]
    assert state.verdict.outcome in ("budget_exhausted", "converged")
    assert run.plans[-1].rule == "R0-budget"
    converged = state.verdict.outcome == "converged"  # the last run showed the margin
    assert run.actions[-2:] == ["model_eval", "end"] or converged
    assert state.spent.labels <= config.limits.labels
    assert state.spent.reference_calls <= config.limits.reference_calls
    assert len(run.plans) <= config.limits.decisions


@pytest.mark.parametrize(
    ("decisions", "action"), [(13, "sample"), (11, "train"), (10, "model_eval"), (9, "end")]
)
def test_the_last_decisions_are_kept_for_the_evaluation(decisions: int, action: str) -> None:
    assert decided(at(JOINT, limits={"decisions": decisions})).action == action


def test_core_hours_nearly_spent_leave_room_for_the_evaluation() -> None:
    sit = replace(at(TRAIN_JOINT), core_seconds=0.95 * 1000 * 3600)
    assert decided(sit).train.effort == "accurate"
    sit = replace(at(JOINT_DATA), core_seconds=0.95 * 1000 * 3600)
    assert decided(sit).action == "model_eval"
    sit = replace(at(EVALUATE), core_seconds=0.95 * 1000 * 3600)
    assert decided(sit).action == "model_eval"
    sit = replace(at(EVALUATE), core_seconds=1000 * 3600)
    assert decided(sit).end.outcome == "budget_exhausted"


def test_without_a_reference_a_fit_is_all_there_is() -> None:
    """A model is handed over as fitted; nothing at all is for a person; neither spends anything."""
    bare = {"reference_calls": 0}
    plan = decided(at(EVALUATE, limits=bare))
    model = at(EVALUATE).model.id
    assert (plan.rule, plan.end.outcome, plan.end.model) == ("R0-no-reference", "fitted", model)
    assert decided(at(1, limits=bare)).end.outcome == "blocked"
    verdicts = check(plan, at(EVALUATE))
    assert [v for v in verdicts if v.verdict == "deny" and "there is a reference" in v.detail]


def test_the_last_decision_is_the_end() -> None:
    for number in range(2, END):
        sit = at(number, limits={"decisions": number})
        assert decided(sit).action == "end"


def test_selection_is_cut_to_the_labels_left() -> None:
    spent = at(SELECT).state.spent.labels
    limits = {"labels": spent + 40, "reference_calls": 10**6}
    assert decided(at(SELECT, limits=limits)).select_data.max_labels < 40  # some are the target's
    sit = at(SELECT, limits=limits | {"target_share": 0.0})
    assert decided(sit).select_data.max_labels == 40
    calls = at(SELECT).state.spent.reference_calls + at(SELECT).config.model_eval.fresh_most
    sit = at(SELECT, limits={"reference_calls": calls + 120})
    assert decided(sit).select_data.max_labels == 120


def test_ranking_by_error_gives_way_to_grades_when_it_costs_too_much() -> None:
    plan = decided(at(SELECT, select_data={"method": "error"}))
    assert plan.select_data.method == "error"
    spent = at(SELECT).state.spent.reference_calls
    sit = at(SELECT, select_data={"method": "error"}, limits={"reference_calls": spent + 1000})
    assert decided(sit).select_data.method == "grade"


def test_the_first_data_set_leaves_labels_for_learning() -> None:
    sit = at(DATA, limits={"labels": 100}, settle=AS_BUILT)
    assert 0 < decided(sit).sample.cost(sit.state).labels <= 75
    few = decided(at(DATA, limits={"labels": 2}, settle=AS_BUILT))
    assert few.sample.cost(sit.state).labels <= 2
    none = decided(at(DATA, limits={"labels": 1}, settle=AS_BUILT))
    assert none.end.outcome == "budget_exhausted"


def test_converged_is_said_however_the_end_comes() -> None:
    sit = replace(at(END), core_seconds=1e9)
    plan = decided(sit)
    assert plan.end.outcome == "converged"
    assert conclude(sit.state, plan.end).outcome == "converged"


def test_the_best_model_is_the_one_with_the_fewest_open_targets() -> None:
    sit = replace(at(END), core_seconds=1e9)
    passed = sit.state.evaluations[-1]
    bad = [s.model_copy(update={"force_mae": 0.9}) for s in passed.structures]
    failed = passed.model_copy(update={"structures": bad, "passed": [], "failed": ["joint"]})
    for older, newer, best in ((passed, failed, "m008"), (failed, passed, "m011")):
        both = [older.model_copy(update={"model": "m008"}), newer]
        plan = decided(bent(sit, evaluations=both))
        assert (plan.end.outcome, plan.end.model) == ("converged", best)


def test_nothing_is_decided_after_the_end() -> None:
    sit = at(END)
    sit = bent(sit, verdict=conclude(sit.state, decide(sit).end))
    with pytest.raises(UserError, match="has ended"):
        decide(sit)
