"""How results change the state."""

import pytest

from campaign.actions.prune import PruneResult
from campaign.actions.sample import SampleResult
from campaign.actions.select_data import SelectDataResult
from campaign.plan import Plan
from campaign.reduce import after
from campaign.results import FrameSet, SampleGroupResult
from campaign.situation import Situation
from campaign.state import State
from planner.policy.rules import decide
from tests.planner.simulation import SMALL, World, campaign, config_of, task_of
from tests.planner.states import COMPONENTS, DATA, EVALUATE, FIRST_TRAIN, SELECT, at, with_last


def reduced(sit: Situation, result: object, plan: Plan | None = None) -> State:
    return after(sit.state, plan or decide(sit), result, ("p" * 64, "s" * 64))


def sampled(runs: int = 10, stops: int = 0, failed: int = 0, high: int = 900) -> SampleResult:
    group = SampleGroupResult(
        subsystem="oxide",
        temperature_low=300,
        temperature_high=high,
        runs=runs,
        early_stops=stops,
        stops=[],
        failed_runs=failed,
        snapshots=runs - failed,
        atoms=0,
    )
    return SampleResult(method="model", model="m003", groups=[group], reference_calls=0, md_steps=9)


@pytest.mark.parametrize(
    ("runs", "stops", "failed", "fraction"),
    [(10, 0, 0, 0.0), (10, 4, 0, 0.4), (10, 4, 2, 0.5), (10, 0, 10, None)],
)
def test_early_stop_fraction_is_of_runs_with_a_trajectory(
    runs: int, stops: int, failed: int, fraction: float | None
) -> None:
    oxide = reduced(at(COMPONENTS), sampled(runs, stops, failed)).subsystem("oxide")
    assert oxide.early_stop_fraction == fraction
    assert oxide.rounds == 1
    assert oxide.sampled_temperature == (900 if fraction is not None else None)


def test_the_round_before_is_remembered_past_a_lost_one() -> None:
    sit = at(COMPONENTS)
    state, plan = reduced(sit, sampled(stops=4)), decide(sit)
    state = after(state, plan, sampled(failed=10), ("p", "s"))
    state = after(state, plan, sampled(stops=1), ("p", "s"))
    oxide = state.subsystem("oxide")
    assert (oxide.early_stop_fraction, oxide.previous_early_stop_fraction) == (0.1, 0.4)
    assert oxide.rounds == 3


def test_a_selection_is_kept_until_the_next_sampling() -> None:
    sit = at(SELECT)
    state = World().result(decide(sit), sit)
    state = reduced(sit, state)
    oxide = state.subsystem("oxide")
    assert oxide.selection.labels == state.datasets[-1].groups[0].labels
    assert oxide.labels == at(SELECT).state.subsystem("oxide").labels + oxide.selection.labels
    assert state.samples[-1].selected_by == 5
    again = after(state, decide(at(COMPONENTS)), sampled(), ("p", "s"))
    assert again.subsystem("oxide").selection is None


def test_a_selection_without_labels_makes_no_data_set() -> None:
    sit = at(SELECT)
    empty = SelectDataResult(method="grade", model="m003", samples=["s004"], groups=[])
    state = reduced(sit, empty)
    assert len(state.datasets) == len(sit.state.datasets)
    assert state.samples[-1].selected_by == 5


def test_reference_snapshots_are_labels_at_once() -> None:
    sit = at(DATA)
    result = World().result(decide(sit), sit)
    state = reduced(sit, result)
    assert state.datasets[0].labels == sum(g.snapshots for g in result.groups) == state.spent.labels
    assert [g.reference_calls for g in state.datasets[0].groups] == [0] * len(result.groups)
    assert state.subsystem("oxide").rounds == 0
    assert state.samples[0].selected_by == 2


def test_a_refused_fit_leaves_no_error_behind() -> None:
    sit = at(FIRST_TRAIN)
    state = reduced(sit, World(refused=1.0).result(decide(sit), sit))
    assert (state.models[-1].status, state.history[-1].outcome) == ("refused", "failed")
    assert state.usable_models == []
    assert state.subsystem("oxide").train_force_mae is None


def test_evaluations_are_held_against_the_targets() -> None:
    sit = at(EVALUATE)
    passed = reduced(sit, World().result(decide(sit), sit))
    assert (passed.subsystem("joint").evaluation, passed.evaluations[-1].passed) == (
        "passed",
        ["joint"],
    )
    failed = reduced(sit, World(misses=1.0).result(decide(sit), sit))
    assert (failed.subsystem("joint").evaluation, failed.evaluations[-1].failed) == (
        "failed",
        ["joint"],
    )
    assert failed.subsystem("joint").evaluated_model == "m011"


def test_prune_is_undone_by_restore() -> None:
    sit = with_last(at(EVALUATE), "datasets", excluded=[5])
    data = {"iteration": 12, "action": "prune", "reason": "", "evidence": []}
    names = {"models": ["m011"], "datasets": ["d005"]}
    frames = [FrameSet(dataset="d010", frames=[1, 2])]

    def pruned(state: State, restored: bool) -> State:
        section = {**names, "frames": frames, "restore": restored}
        plan = Plan.model_validate(data | {"state_sha256": "a" * 64, "prune": section})
        return after(state, plan, PruneResult(**names, frames=frames, restored=restored), ("", ""))

    out = pruned(sit.state, restored=False)
    assert (out.models[-1].status, out.datasets[1].active) == ("rolled_back", False)
    assert out.datasets[-1].excluded == [1, 2, 5]
    back = pruned(out, restored=True)
    assert (back.models, back.datasets) == (sit.state.models, sit.state.datasets)


def test_the_bill_is_the_sum_of_the_results() -> None:
    run = campaign(World(seed=2, unstable=0.4), task_of(SMALL), config_of())
    state = run.states[-1]
    assert state.spent.labels == sum(d.labels for d in state.datasets)
    assert state.spent.labels == sum(s.labels for s in state.subsystems)
    assert len(state.history) == state.iteration == len(run.plans)
    assert [h.fingerprint for h in state.history] == [p.fingerprint for p in run.plans]
