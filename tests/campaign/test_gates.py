"""Which plans the gates let through, and what they say of the others."""

from dataclasses import replace
from typing import Any

import pytest

from campaign.actions.end import conclude
from campaign.cost import cost
from campaign.errors import GateError
from campaign.evidence import evidence_at
from campaign.gates import check, require
from campaign.plan import Plan
from campaign.situation import Rates, Situation
from planner.policy.rules import decide
from tests.planner.simulation import AS_BUILT
from tests.planner.states import (
    COMPONENTS,
    DATA,
    END,
    EVALUATE,
    JOINT,
    JOINT_DATA,
    REFERENCE,
    SELECT,
    TRAIN,
    at,
    bent,
    with_last,
)


def edited(situation: Situation, **changes: Any) -> Plan:
    """The rules' plan with parameters changed by hand."""
    plan = decide(situation)
    section = type(plan.parameters).model_validate(plan.parameters.model_dump() | changes)
    return plan.model_copy(update={plan.action: section})


def denied(plan: Plan, situation: Situation) -> str:
    return "; ".join(f"{v.gate}: {v.detail}" for v in check(plan, situation) if v.verdict == "deny")


def warned(plan: Plan, situation: Situation) -> str:
    return "; ".join(f"{v.gate}: {v.detail}" for v in check(plan, situation) if v.verdict == "warn")


def group(**changes: Any) -> list[dict[str, Any]]:
    base = {
        "subsystem": "oxide",
        "structures": ["oxide-t0"],
        "temperatures": [300],
        "ensembles": ["nvt"],
    }
    return [base | changes]


@pytest.mark.parametrize("number", range(1, 12))
def test_plans_of_the_rules_pass(number: int) -> None:
    sit = at(number)
    require(decide(sit), sit)
    assert {v.gate for v in check(decide(sit), sit)} == {
        "stale",
        "task",
        "evidence",
        "structures",
        "subsystems",
        "model",
        "preconditions",
        "physics",
        "limits",
        "ending",
        "loop",
    }


@pytest.mark.parametrize(
    ("number", "changes", "why"),
    [
        (REFERENCE, {"structures": ["quartz"]}, "structures: quartz is not in"),
        (REFERENCE, {"structures": ["oxide-t0"]}, "oxide-t0 is not held out"),
        (REFERENCE, {"structures": ["oxide-v0", "oxide-v0"]}, "named twice"),
        (REFERENCE, {"steps": 10, "interval": 11}, "physics: interval"),
        (COMPONENTS, {"groups": group(structures=["oxide-v0"])}, "oxide-v0 is held out"),
        (COMPONENTS, {"groups": group(structures=["metal-t0"])}, "belongs to metal, not oxide"),
        (COMPONENTS, {"groups": group(subsystem="quartz")}, "no subsystem quartz"),
        (COMPONENTS, {"groups": group(temperatures=[1051])}, "1051 K, oxide allows 1000 K"),
        (COMPONENTS, {"groups": group(ensembles=[])}, "nothing would be sampled"),
        (COMPONENTS, {"groups": group() * 2}, "a subsystem is named twice"),
        (COMPONENTS, {"model": "m099"}, "model: no model m099"),
        (SELECT, {"samples": ["s099"]}, "no sample s099"),
        (SELECT, {"samples": ["s002"]}, "s002 was labelled from in iteration 2"),
        (
            SELECT,
            {"groups": [{"subsystem": "joint", "fraction": 0.1}]},
            "the samples hold no snapshot of joint",
        ),
        (SELECT, {"model": "m004"}, "no model m004"),
        (TRAIN, {"datasets": ["d002", "d099"]}, "no data set d099"),
        (TRAIN, {"datasets": ["d002", "d002"]}, "named twice"),
        (TRAIN, {"model": "m001"}, "no model m001"),
        (EVALUATE, {"structures": ["joint-t0"]}, "joint-t0 is not held out"),
        (EVALUATE, {"temperature": 400}, "the reference of joint-v0 ran at 300 K"),
        (EVALUATE, {"model": "m005"}, "no model m005"),
        (END, {"model": "m003"}, "converged is not reached: joint: m003 was never evaluated"),
        (END, {"model": None}, "converged is not reached: no model is named"),
    ],
)
def test_plans_edited_to_nonsense_are_denied(number: int, changes: dict, why: str) -> None:
    sit = at(number)
    plan = edited(sit, **changes)
    assert why in denied(plan, sit)
    with pytest.raises(GateError) as error:
        require(plan, sit)
    assert "\n" not in str(error.value)
    assert f"iterations/{number:03d}/plan.yaml" in str(error.value)


def test_a_little_above_the_highest_temperature_is_allowed() -> None:
    assert not denied(edited(at(COMPONENTS), groups=group(temperatures=[1050])), at(COMPONENTS))


def test_the_protocol_of_one_group_is_something_to_sample() -> None:
    still = group(temperatures=[])[0]
    groups = [still | {"protocol": "ramp"}, still | {"subsystem": "metal"}]
    plans = (edited(at(COMPONENTS), groups=chosen) for chosen in (groups, groups[1:]))
    nothing = ["nothing would be sampled" in denied(plan, at(COMPONENTS)) for plan in plans]
    assert nothing == [False, True]


@pytest.mark.parametrize("status", ["refused", "rolled_back"])
def test_models_out_of_use_are_denied(status: str) -> None:
    plan = decide(at(EVALUATE))
    sit = with_last(at(EVALUATE), "models", status=status)
    assert f"m011 is {status.replace('_', ' ')}" in denied(plan, sit)


def test_an_evaluation_needs_the_reference_trajectory() -> None:
    plan = decide(at(EVALUATE))
    assert "joint-v0 has no reference trajectory" in denied(plan, bent(at(EVALUATE), reference=[]))


def test_pruned_data_are_not_trained_on() -> None:
    plan = decide(at(TRAIN))
    sit = with_last(at(TRAIN), "datasets", active=False)
    assert "d005 was pruned" in denied(plan, sit)
    empty = [d.model_copy(update={"active": False}) for d in at(TRAIN).state.datasets]
    assert "no label is left" in denied(plan, bent(at(TRAIN), datasets=empty))


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ({"models": ["m099"]}, "no model m099"),
        ({"datasets": ["d099"]}, "no data set d099"),
        ({"datasets": ["d002", "d005"]}, "nothing would be left to train on"),
        ({"frames": [{"dataset": "d002", "frames": [10**6]}]}, "d002 has no frame 1000000"),
        ({"models": ["m003"], "restore": True}, "m003 is ok"),
        ({"models": ["m003"]}, ""),
        ({"datasets": ["d005"], "frames": [{"dataset": "d002", "frames": [0]}]}, ""),
    ],
)
def test_prune(section: dict, why: str) -> None:
    sit = at(JOINT_DATA)
    data = {"iteration": 7, "action": "prune", "reason": "", "evidence": [], "prune": section}
    plan = Plan.model_validate(data | {"state_sha256": sit.state_sha256})
    assert (why in denied(plan, sit)) if why else not denied(plan, sit)


def test_a_stale_plan_is_denied() -> None:
    plan = decide(at(JOINT_DATA))
    other = replace(at(JOINT_DATA), state_sha256="b" * 64)
    assert "decided from another state" in denied(plan, other)
    assert "iteration: 7 is given, 8 comes next" in denied(plan, at(8))


def test_nothing_runs_after_the_end() -> None:
    sit = at(END)
    plan = decide(sit)
    assert "has ended (converged)" in denied(plan, bent(sit, verdict=conclude(sit.state, plan.end)))


def test_targets_and_subsystems_stay_as_they_were() -> None:
    sit = at(JOINT_DATA)
    easier = sit.task.targets.model_copy(update={"force_mae": 9.0})
    for change in (
        {"targets": easier},
        {"temperature": 301},
        {"subsystems": sit.task.subsystems[:-1]},
    ):
        other = replace(sit, task=sit.task.model_copy(update=change))
        assert next(iter(change)) in denied(decide(sit), other)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("spent.labels", -1, "the state says"),
        ("spent.gold", 1, "no such key"),
        ("subsystems.quartz.rounds", 1, "no such key"),
        ("subsystems.oxide.evaluation", "passed", "no such key"),
        ("models.m006.status", "refused", "the state says 'ok'"),
        ("datasets.d002.active", 1, "the state says True"),
        ("subsystems.oxide.rounds", 1, ""),
        ("subsystems.oxide.early_stop_fraction", 0, ""),
        ("datasets.d002.active", True, ""),
        ("models.count", 2, ""),
        ("models.m006.errors.0.force_mae", 0.16003, ""),
    ],
)
def test_evidence_must_stand_in_the_state(key: str, value: object, why: str) -> None:
    sit = at(JOINT_DATA)
    data = decide(sit).model_dump() | {"evidence": [{"key": key, "value": value}]}
    found = denied(Plan.model_validate(data), sit)
    assert (why in found and key in found) if why else not found


@pytest.mark.parametrize(
    ("number", "key"),
    [(SELECT, "labels"), (DATA, "reference_calls"), (DATA, "core_hours"), (JOINT, "decisions")],
)
def test_limits_deny_and_warn_before(number: int, key: str) -> None:
    plan, sit = decide(at(number)), at(number)
    bound = cost(plan, sit)
    after = {
        "labels": sit.state.spent.labels + bound.labels,
        "reference_calls": sit.state.spent.reference_calls + bound.reference_calls,
        "core_hours": bound.core_seconds / 3600,
        "decisions": plan.iteration,
    }[key]

    def limited(limit: float) -> Situation:
        limits = {key: limit if key == "core_hours" else int(limit), "target_share": 0.0}
        return at(number, limits=limits, model_eval={"fresh_frames": 0, "fresh_most": 0})

    assert f"limits.{key}" in denied(plan, limited(after - 0.01))
    assert f"limits.{key}" in warned(plan, limited(after + 0.01))
    assert not denied(plan, limited(after + 0.01))
    assert f"limits.{key}" not in warned(plan, limited(after * 2))


def test_a_target_is_judged_on_its_own_md_where_calls_are_left() -> None:
    sit = at(EVALUATE)
    blind = edited(sit, fresh_frames=0, fresh_most=0)
    assert "fresh_frames: 0 of the 10" in denied(blind, sit)
    limits = {"reference_calls": sit.state.spent.reference_calls}
    assert "fresh_frames" not in denied(blind, at(EVALUATE, limits=limits))
    assert "fresh_frames" not in denied(blind, at(EVALUATE, model_eval={"fresh_frames": 0}))


def test_core_hours_spent_deny_everything_but_the_end() -> None:
    sit = replace(at(TRAIN), core_seconds=1000 * 3600)
    assert "limits.core_hours" in denied(decide(at(TRAIN)), sit)
    assert decide(sit).action == "end"
    assert not denied(decide(sit), sit)


def test_the_third_repetition_without_a_gain_is_denied() -> None:
    sit = at(COMPONENTS)
    plan = decide(sit)
    entry = sit.state.history[-1].model_copy(
        update={"action": "sample", "fingerprint": plan.fingerprint}
    )
    once = bent(sit, history=[*sit.state.history, entry])
    assert "loop" in warned(plan, once)
    twice = bent(sit, history=[*sit.state.history, entry, entry])
    assert "loop: the same sample ran 2 times" in denied(plan, twice)
    trained = sit.state.history[-1]
    assert not denied(plan, bent(sit, history=[entry, entry, trained]))


def test_plans_that_undo_each_other_by_turns_are_stopped() -> None:
    sit = at(COMPONENTS)
    plan, trained = decide(sit), sit.state.history[-1]
    entry = trained.model_copy(update={"action": "sample", "fingerprint": plan.fingerprint})
    assert not denied(plan, bent(sit, history=[entry, trained] * 4))
    assert "loop: the same sample ran 5 times" in denied(
        plan, bent(sit, history=[entry, trained] * 5)
    )


def test_a_seed_makes_no_new_plan() -> None:
    plan = decide(at(COMPONENTS))
    assert edited(at(COMPONENTS), seed=7).fingerprint == plan.fingerprint
    assert edited(at(COMPONENTS), steps=70).fingerprint != plan.fingerprint


# cost ----------------------------------------------------------------------------------------


def test_cost_of_selection_by_error_is_every_candidate() -> None:
    sit = at(SELECT, select_data={"method": "error"})
    offered = sum(g.snapshots for g in sit.state.samples[-1].groups)
    bound = decide(sit).select_data.cost(sit.state)
    assert bound.reference_calls == offered
    assert bound.labels == sum(round(0.075 * g.snapshots) for g in sit.state.samples[-1].groups)
    grade = decide(at(SELECT)).select_data.cost(sit.state)
    assert grade.reference_calls == grade.labels == bound.labels


def test_cost_of_reference_sampling() -> None:
    series = {"compression": [0.94, 0.97, 1.0, 1.03, 1.06], "rattle": 5, "relax_steps": 2}
    sit = at(DATA, reference_sample={"steps": 200, **series}, settle=AS_BUILT)
    section = decide(sit).sample
    bound = section.cost(sit.state)
    assert section.method == "reference"
    assert bound.runs == 4 * (3 * 2 + 2)
    assert bound.md_steps == 4 * 6 * 200
    assert bound.reference_calls == 4 * (6 * 201 + 5 + 5 * 3)
    assert bound.labels == 4 * (6 * 21 + 5 + 5 * 2)


def test_cost_of_an_evaluation_is_its_fresh_frames_and_its_longest_run() -> None:
    bound = decide(at(EVALUATE)).model_eval.cost(at(EVALUATE).state)
    assert (bound.reference_calls, bound.md_steps) == (40, 30_000)


def test_a_call_costs_what_it_has_cost() -> None:
    sit = replace(at(EVALUATE), core_seconds=1.0)
    calls = sit.state.spent.reference_calls
    steps = cost(decide(sit), sit).md_steps  # with what repeats the reference's MD
    assert steps == 30_000 + 150
    paid = 40 / calls + (steps - 40) * 2e-5 * 100  # an atom's step, of a hundred atoms
    assert cost(decide(sit), sit).core_seconds == pytest.approx(paid)
    known = replace(sit, rates=Rates(reference_call=3.0, model_step={"model_eval": 0.5}))
    assert cost(decide(sit), known).core_seconds == pytest.approx(40 * 3.0 + 0.5 * (steps - 40))
    sit = at(REFERENCE, reference_calc={"steps": 500}, settle=AS_BUILT)
    assert cost(decide(sit), sit).core_seconds == 3 * 501 * 2.0
    sit = at(REFERENCE)
    settling = 2 + 150 + 85  # of a packing at most, as config/default.yaml has it
    assert cost(decide(sit), sit).reference_calls == 3 * (151 + settling)


def test_a_mistyped_evidence_key_of_a_rule_is_a_defect_not_less_evidence() -> None:
    state = at(EVALUATE).state
    name = state.subsystems[0].name
    for key in (f"subsystems.{name}.early_stop_fractoin", "spent.lables", "history"):
        with pytest.raises(KeyError, match=key):
            evidence_at(state, ["models.count", key])
    keys = ["models.count", "reference.not_there_yet.status", f"subsystems.{name}.rounds"]
    assert [e.key for e in evidence_at(state, keys)] == [keys[0], keys[2]]
