"""Situations for tests: a perfect campaign before its n-th decision, then bent as a test needs."""

from dataclasses import replace
from functools import cache
from typing import Any

from campaign.evidence import evidence_value
from campaign.gates import check
from campaign.plan import Plan
from campaign.situation import Situation
from campaign.state import start
from planner.policy.rules import decide
from tests.planner.simulation import SMALL, World, campaign, config_of, structures_of, task_of

REFERENCE, DATA, FIRST_TRAIN, COMPONENTS, SELECT, TRAIN = 1, 2, 3, 4, 5, 6
JOINT_DATA, JOINT_FIT = 7, 8
JOINT, SELECT_JOINT, TRAIN_JOINT, EVALUATE, END = 9, 10, 11, 12, 13


@cache
def _perfect():
    task = task_of(SMALL)
    return task, campaign(World(), task, config_of())


def at(number: int, **sections: Any) -> Situation:
    """Before decision `number` of the perfect campaign; sections overlay the configuration."""
    task, run = _perfect()
    state = run.states[number - 2] if number > 1 else start(task)
    return Situation(state, task, config_of(**sections), structures_of(task), 0.0, "a" * 64)


def bent(situation: Situation, **changes: Any) -> Situation:
    """The same with fields of the state changed."""
    return replace(situation, state=situation.state.model_copy(update=changes))


def with_subsystem(situation: Situation, name: str, **changes: Any) -> Situation:
    """The same with fields of one subsystem changed."""
    parts = [
        s.model_copy(update=changes) if s.name == name else s for s in situation.state.subsystems
    ]
    return bent(situation, subsystems=parts)


def with_last(situation: Situation, key: str, **changes: Any) -> Situation:
    """The same with fields of the last item of a list of the state changed."""
    items = getattr(situation.state, key)
    return bent(situation, **{key: [*items[:-1], items[-1].model_copy(update=changes)]})


def decided(situation: Situation) -> Plan:
    """The plan, once no gate denies it and its evidence stands in the state."""
    plan = decide(situation)
    assert not [v for v in check(plan, situation) if v.verdict == "deny"]
    for piece in plan.evidence:
        assert evidence_value(situation.state, piece.key) == piece.value
    assert plan == decide(situation)
    return plan


def temperatures(plan: Plan) -> dict[str, tuple[int, int]]:
    return {g.subsystem: (min(g.temperatures), max(g.temperatures)) for g in plan.sample.groups}
