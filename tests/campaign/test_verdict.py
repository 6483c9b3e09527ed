"""Targets held against evaluations."""

import pytest

from campaign.actions.end import End, conclude
from campaign.results import PairOfDiffusion
from campaign.verdict import open_targets, shortfalls
from tests.planner.states import END, at, with_last

SEEN = at(END).state.evaluations[-1].structures[0]
TARGETS = at(END).state.targets


@pytest.mark.parametrize(
    ("changes", "role", "missed"),
    [
        ({}, "target", []),
        ({"force_mae": 0.15}, "target", []),
        ({"force_mae": 0.151}, "target", ["force_mae"]),
        ({"force_mae": 0.29}, "component", []),
        ({"force_mae": 0.31}, "component", ["force_mae"]),
        ({"force_mae": None}, "target", ["force_mae"]),
        ({"fresh_force_mae": 0.2}, "target", ["fresh_force_mae"]),
        ({"fresh_force_mae": None}, "target", ["fresh_force_mae"]),
        ({"fresh_force_mae": None, "fresh_frames": 0}, "target", []),
        ({"energy_mae": 0.021}, "target", ["energy_mae"]),
        ({"density_deviation": -0.021}, "target", ["density_deviation"]),
        ({"density_deviation": -0.019}, "target", []),
        ({"rdf_overlap": 0.79}, "target", ["rdf_overlap"]),
        ({"rdf_overlap": 0.61}, "component", []),
        ({"rdf_overlap": None}, "component", ["rdf_overlap"]),
        ({"status": "early_stop", "stop": "grade"}, "component", ["early_stop"]),
        ({"picoseconds": 9.0}, "target", ["ps of MD"]),
        ({"picoseconds": 9.0}, "component", []),
    ],
)
def test_shortfalls(changes: dict, role: str, missed: list[str]) -> None:
    found = shortfalls(SEEN.model_copy(update=changes), role, TARGETS)
    assert len(found) == len(missed)
    assert all(word in line for word, line in zip(missed, found, strict=True))


@pytest.mark.parametrize(
    ("model", "error", "missed"),
    [(1.3e-6, 0.0, 0), (1.4e-6, 0.0, 1), (0.6e-6, 0.0, 1), (2e-6, 9e-7, 0), (2e-6, 5e-7, 1)],
)
def test_diffusion_counts_where_the_task_asks(model: float, error: float, missed: int) -> None:
    """Within 35 % of the reference's 1e-6 ± 2e-7 cm2/s, or inside both error bars."""
    asked = TARGETS.model_copy(update={"diffusion_deviation": 0.35})
    pair = PairOfDiffusion(
        element="Li", model=model, model_error=error, reference=1e-6, reference_error=2e-7
    )
    measured = SEEN.model_copy(update={"diffusion": [pair]})
    assert len(shortfalls(measured, "target", asked)) == missed
    assert not shortfalls(measured, "target", TARGETS)
    assert "not measured" in shortfalls(SEEN, "target", asked)[0]


def test_converged_is_granted_by_the_last_evaluation_only() -> None:
    state = at(END).state
    asked = End(outcome="converged", model="m009", recommendation="")
    assert conclude(state, asked).outcome == "converged"
    bad = SEEN.model_copy(update={"force_mae": 0.9})
    later = with_last(at(END), "evaluations", structures=[bad]).state
    twice = state.model_copy(update={"evaluations": [*state.evaluations, *later.evaluations]})
    assert conclude(twice, asked).outcome == "failed"
    back = state.model_copy(update={"evaluations": [*later.evaluations, *state.evaluations]})
    assert conclude(back, asked).outcome == "converged"


def test_another_models_evaluation_does_not_count() -> None:
    assert open_targets(at(END).state, "m006") == ["joint: m006 was never evaluated on it"]
    asked = End(outcome="converged", model="m006", recommendation="")
    assert conclude(at(END).state, asked).outcome == "failed"


@pytest.mark.parametrize("outcome", ["blocked", "failed", "budget_exhausted"])
def test_other_ends_stand_as_asked(outcome: str) -> None:
    asked = End(outcome=outcome, model="m009", recommendation="")
    assert conclude(at(END).state, asked).outcome == outcome
