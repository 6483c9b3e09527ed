"""Given the observations of the paper's run the rules choose what its agent chose."""

import pytest

from campaign.gates import check
from tests.planner.paper import Step, run

TABLE_3 = [
    "reference_calc",
    "sample",
    "train",
    "sample",
    "select_data",
    "train",
    "sample",
    "select_data",
    "train",
    "sample",
    "select_data",
    "train",
    "model_eval",
    "sample",
    "select_data",
    "train",
    "sample",
    "select_data",
    "train",
    "model_eval",
    "end",
]


def test_all_21_actions() -> None:
    assert [step.plan.action for step in run()] == TABLE_3


@pytest.mark.parametrize("number", range(1, 22))
def test_parameters_the_log_pins(number: int) -> None:
    step = run()[number - 1]
    assert {key: _value(step, key) for key in step.expect} == step.expect


@pytest.mark.parametrize("number", range(1, 22))
def test_every_plan_passes_every_gate(number: int) -> None:
    step = run()[number - 1]
    faults = [v for v in check(step.plan, step.situation) if v.verdict == "deny"]
    assert not faults


def test_bill_of_the_paper() -> None:
    assert run()[-1].situation.state.spent.labels == 7526


def _value(step: Step, key: str):
    section = step.plan.parameters
    if key == "windows":
        return {g.subsystem: [min(g.temperatures), max(g.temperatures)] for g in section.groups}
    if key == "fractions":
        return {g.subsystem: g.fraction for g in section.groups}
    if key == "max_labels":
        return section.cost(step.situation.state).labels
    return getattr(section, key)
