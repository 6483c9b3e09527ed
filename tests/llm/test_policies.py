"""Policies of the closed-loop comparison: chance stays within the gates, and all of them end."""

import random

import pytest

from benchmarks.closed_loop.policies import POLICIES
from planner.fold import after
from planner.gates import check
from planner.situation import Situation
from planner.state import start
from tests.planner.simulation import SMALL, World, config_of, structures_of, task_of


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(4))
def test_every_policy_ends_within_its_limits(policy: str, seed: int) -> None:
    task = task_of(SMALL)
    config = config_of(limits={"labels": 300, "reference_calls": 9000, "decisions": 40})
    world, structures, state = World(seed=seed, unstable=0.5), structures_of(task), start(task)
    actions = []
    while state.verdict is None:
        sit = Situation(state, task, config, structures, 0.0, f"{state.iteration:064x}")
        plan = POLICIES[policy](sit, random.Random(f"{seed}/{sit.iteration}"))
        assert not [v for v in check(plan, sit) if v.verdict == "deny"], plan
        actions.append(plan.action)
        state = after(state, plan, world.result(plan, sit), ("p", "s"))
        assert len(actions) <= 40
    assert state.spent.labels <= 300
    if policy == "fixed":
        assert actions == ["reference_calc", "sample", "train", "model_eval", "end"]
    if policy == "random" and seed == 0:
        assert len(set(actions)) >= 4
