"""The digest: bounded for any campaign, in the state's own keys."""

import json
from dataclasses import replace

import pytest

from campaign.actions import ACTIONS
from campaign.actions.prune import Prune
from campaign.config import Explorer
from campaign.evidence import evidence_value
from campaign.plan import ACTION_OF, Plan
from campaign.reduce import after
from campaign.situation import EarlierDecision, Situation, StructureInfo
from campaign.state import start
from planner.llm.digest import digest, everything, tokens_at_most
from planner.llm.requests import request
from planner.policy import parameters, rules
from tests.llm.scene import situations
from tests.planner.simulation import World, config_of, structures_of, task_of


def long_campaign(iterations: int, subsystems: int) -> Situation:
    """A campaign that goes round and round for as long as it is told to."""
    names = [
        (f"part-{i}-of-the-interface", 1 + i // 4, "component", 1000) for i in range(subsystems)
    ]
    task = task_of([*names, ("whole-device", 9, "target", 900)])
    task = task.model_copy(update={"description": "An oxide ⟨001⟩ on µ-metal. " * 140})
    config = config_of(
        limits={"labels": 10**6, "reference_calls": 10**7, "decisions": 2000},
        rules={"max_rounds": 90},
    )
    structures = [
        s.model_copy(update={"description": f"variant {s.id} of a slab " * 9})
        for s in structures_of(task, training=7, held_out=2)
    ]
    world = World(seed=2, unstable=0.9, learning=1.0, job_fails=0.1)
    state = start(task)
    for n in range(iterations):
        sit = Situation(state, task, config, structures, 1.0 * n, f"{n:064x}")
        plan = _cycle(sit, n) if sit.model else rules.decide(sit)
        state = after(state, plan, world.result(plan, sit), ("p", "s"))
    return Situation(state, task, config, structures, 9.0, "f" * 64)


def _cycle(sit: Situation, n: int) -> Plan:
    """Sample, select, train, and now and then evaluate and prune, whatever the results."""
    held_out = [s.id for s in sit.structures if s.held_out]
    windows = {s.name: (300, 900) for s in sit.state.subsystems}
    outliers = sit.model.outliers
    makers = (
        lambda: parameters.model_sample(sit, windows),
        lambda: parameters.select_data(sit) if sit.pending else None,
        lambda: parameters.train(sit, "continue", "quick"),
        lambda: parameters.model_eval(sit, sit.model.id, held_out),
        lambda: Prune(frames=outliers) if outliers else None,
    )
    section = makers[(n - 3) % 5]() or parameters.train(sit, "scratch", "accurate")
    action = ACTION_OF[type(section)]
    return Plan(
        iteration=sit.iteration,
        action=action,
        reason="",
        evidence=[],
        state_sha256=sit.state_sha256,
        **{action: section},
    )


@pytest.fixture(scope="module")
def long() -> Situation:
    return long_campaign(200, 8)


@pytest.mark.parametrize("role", ["decision_maker", "single", *ACTIONS])
def test_two_hundred_iterations_stay_below_twelve_thousand_tokens(long, role: str) -> None:
    assert long.state.iteration >= 200
    sent = request(long, role, [], 8000)
    assert sent.tokens_read <= 12_000
    assert len(json.dumps(sent.body, ensure_ascii=False)) > 3000


def test_sixty_subsystems_fit_too() -> None:
    many = long_campaign(25, 60)
    assert request(many, "decision_maker", [], 8000).tokens_read <= 12_000


def test_keys_of_the_digest_are_keys_of_the_state() -> None:
    for sit in situations():
        data = json.loads(digest(sit, None, 6000).text)
        for name, told in data["subsystems"].items():
            for key in ("rounds", "labels", "stage", "role"):
                assert evidence_value(sit.state, f"subsystems.{name}.{key}") == told[key]
        for name, told in data["models"].items():
            assert evidence_value(sit.state, f"models.{name}.status") == told["status"]
        for entry in data["history"]:
            key = f"history.{entry['iteration']}.outcome"
            assert evidence_value(sit.state, key) == entry["outcome"]


def test_learning_costs_and_earlier_reasons_are_told() -> None:
    sit = replace(
        situations()[-1],
        bill={"train": {"core_seconds": 7200.0, "md_steps": 0, "reference_calls": 0}},
        earlier_decision=lambda number: EarlierDecision(
            "model", f"because of {number}", "go hotter"
        ),
    )
    data = json.loads(digest(sit, None, 6000).text)
    errors = {e.split: e for e in sit.model.errors if e.subsystem == "oxide"}
    newest = data["learning_curves"]["oxide"][-1]
    assert newest[:2] == [sit.model.id, errors["train"].frames]
    assert newest[3] == pytest.approx(errors["held_out"].force_mae, rel=1e-3)
    assert data["cost_by_action"]["train"]["core_hours"] == 2
    assert data["cost_by_action"]["train"]["times"] == len(sit.outcomes("train"))
    said = data["earlier_decisions"][-1]
    assert said["iteration"] == sit.state.history[-1].iteration
    assert said["reason"] == {"quoted": f"because of {said['iteration']}"}
    assert said["by"] == "model"
    assert said["intent"] == {"quoted": "go hotter"}


def test_what_matters_survives_the_shortest_digest(long) -> None:
    data = json.loads(digest(long, None, 10).text)
    assert data["newest_usable_model"] == long.model.id
    assert set(data["budget"]) == {"labels", "reference_calls", "core_hours", "decisions"}
    assert data["subsystems"]


def test_the_bound_on_tokens_counts_rare_signs_fully() -> None:
    assert tokens_at_most("deposition") >= 2
    assert tokens_at_most("漢字" * 50) >= 300
    assert tokens_at_most("0.123456789") >= 4


def test_new_structures_do_not_lengthen_it() -> None:
    sit = situations()[3]
    extra = [
        StructureInfo(id=f"more-{i}", subsystem="oxide", held_out=False, description="x" * 500)
        for i in range(3000)
    ]
    many = Situation(**{**vars(sit), "structures": [*sit.structures, *extra]})
    assert request(many, "sample", [], 8000).tokens_read <= 12_000


def test_an_explorer_has_a_bill_of_its_own() -> None:
    """A model sees both counts apart, and none where the configuration names no explorer."""
    sit = long_campaign(3, 2)
    assert "explorer_calls" not in json.loads(everything(sit, 10**6).text)["budget"]
    explorer = Explorer.model_validate({"method": "gfn1-xtb"})
    spent = sit.state.spent.model_copy(update={"explorer_calls": 7})
    both = replace(
        sit,
        config=sit.config.model_copy(update={"explorer": explorer}),
        state=sit.state.model_copy(update={"spent": spent}),
    )
    budget = json.loads(everything(both, 10**6).text)["budget"]
    assert budget["explorer_calls"] == {"spent": 7, "limit": None}
    assert budget["reference_calls"]["spent"] == spent.reference_calls
