"""Targets held against evaluations."""

from dataclasses import replace

import pytest

from campaign.actions.end import End, conclude
from campaign.config import PropertyTarget, Subsystem, Targets, Task
from campaign.results import Count, Measurements, PairOfDiffusion, Property
from campaign.verdict import not_covered, open_targets, property_targets, shortfalls
from planner.policy.parameters import model_sample, spaced
from tests.planner.states import END, at, with_last, with_subsystem

SEEN = at(END).state.evaluations[-1].structures[0]
TARGETS = at(END).state.targets


def vague(error: float) -> dict:
    """A density whose deviation has this standard error."""
    return {"standard_errors": {"density_deviation": error}}


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
        ({"density_deviation": -0.03, **vague(0.011)}, "target", []),
        ({"density_deviation": -0.03, **vague(0.009)}, "target", ["density_deviation"]),
        ({"density_deviation": -0.05, **vague(0.05)}, "target", ["density_deviation"]),
        ({"force_mae": 0.151, "standard_errors": {"force_mae": 0.1}}, "target", ["force_mae"]),
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
    ("bound", "missed", "labels"), [(None, [], 12), (0.01, ["density_bias"], 48), (0.02, [], 12)]
)
def test_density_by_pressure_has_a_bound_of_its_own(
    bound: float | None, missed: list[str], labels: int
) -> None:
    """And where it is missed, matter at the model's own density is labelled, whatever its grade."""
    targets = TARGETS.model_copy(update={"density_bias": bound})
    off = SEEN.model_copy(update={"density_bias": -0.015})
    found = shortfalls(off, "target", targets)
    assert len(found) == len(missed)
    assert all(word in line for word, line in zip(missed, found, strict=True))
    sit = with_last(at(END), "evaluations", structures=[off])
    sit = replace(sit, state=sit.state.model_copy(update={"targets": targets}))
    failed = with_subsystem(sit, "joint", evaluation="failed")
    assert spaced(failed, failed.state.subsystem("joint")) == labels
    plan = model_sample(failed, {"joint": (300, 300)})
    settings = failed.config.model_sample
    assert plan.groups[0].ensembles == (["npt"] if missed else settings.ensembles)
    evaluated = round(1000 * off.picoseconds / failed.config.md.timestep)
    assert plan.steps == (evaluated if missed else settings.steps)


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
    measured = SEEN.model_copy(update={"diffusion": [pair], "compared_ps": 2.0})
    assert len(shortfalls(measured, "target", asked)) == missed
    assert not shortfalls(measured, "target", TARGETS)
    assert not shortfalls(SEEN, "component", asked), "nobody pays for it there"
    assert "not measured" in shortfalls(SEEN, "target", asked)[0]
    short = measured.model_copy(update={"compared_ps": 1.9})
    assert "not measured" in shortfalls(short, "target", asked)[0]


def test_converged_is_granted_by_the_last_evaluation_only() -> None:
    state = at(END).state
    asked = End(outcome="converged", model="m011", recommendation="")
    assert conclude(state, asked).outcome == "converged"
    bad = SEEN.model_copy(update={"force_mae": 0.9})
    later = with_last(at(END), "evaluations", structures=[bad]).state
    twice = state.model_copy(update={"evaluations": [*state.evaluations, *later.evaluations]})
    assert conclude(twice, asked).outcome == "failed"
    back = state.model_copy(update={"evaluations": [*later.evaluations, *state.evaluations]})
    assert conclude(back, asked).outcome == "converged"


def test_a_phase_that_the_reference_leaves_too_is_told_with_the_verdict() -> None:
    alarm = {"false_alarms": [Count(kind="density", count=2)]}
    rows = [SEEN.model_copy(update={**alarm, "density": 0.648, "late_density": 0.0711})]
    state = with_last(at(END), "evaluations", structures=rows).state
    (line,) = not_covered(state, state.evaluations[-1].model)
    assert SEEN.structure in line
    assert "(0.648, later 0.0711 g/cm3), and the reference agrees there" in line
    assert not not_covered(at(END).state, state.evaluations[-1].model)


def test_another_models_evaluation_does_not_count() -> None:
    assert open_targets(at(END).state, "m008") == ["joint: m008 was never evaluated on it"]
    asked = End(outcome="converged", model="m008", recommendation="")
    assert conclude(at(END).state, asked).outcome == "failed"


@pytest.mark.parametrize("outcome", ["blocked", "failed", "budget_exhausted"])
def test_other_ends_stand_as_asked(outcome: str) -> None:
    asked = End(outcome=outcome, model="m011", recommendation="")
    assert conclude(at(END).state, asked).outcome == outcome


@pytest.mark.parametrize(
    ("given", "model", "missed"),
    [
        ({"relative": 0.1}, 109.0, ""),
        ({"relative": 0.1}, 111.0, "c11 0.11 > 0.1"),
        ({"absolute": 5.0}, 106.0, "c11 6 > 5 GPa"),
        ({"relative": 0.1}, None, "c11 not measured > 0.1"),
        # a number that somebody gives stands in the place of the reference's
        ({"relative": 0.1, "value": 150.0, "source": "a handbook"}, 109.0, "c11 0.2733 > 0.1"),
        ({"relative": 0.1, "value": 110.0, "source": "a handbook"}, 109.0, ""),
    ],
)
def test_a_property_is_a_target(given: dict, model: float | None, missed: str) -> None:
    target = PropertyTarget(name="c11", **given)
    c11 = Property(name="c11", unit="GPa", model=model, reference=100.0, reference_error=0.1)
    seen = SEEN.model_copy(update={"properties": Measurements(values=[c11])})
    found = shortfalls(seen, "target", TARGETS, [target])
    assert found == ([f"{SEEN.structure}: {missed}"] if missed else [])
    assert not shortfalls(seen, "component", TARGETS, [target]) or (model or 0) != 111.0


def test_nobody_converges_by_leaving_a_property_out() -> None:
    """An evaluation whose plan measured nothing misses what the task asks for."""
    state = at(END).state
    asked = PropertyTarget(name="c11", relative=0.1)
    joint = state.subsystem("joint").model_copy(update={"properties": {"kinds": ["elastic"]}})
    joint = type(joint).model_validate(joint.model_dump(warnings=False))
    changed = state.model_copy(
        update={
            "targets": state.targets.model_copy(update={"properties": [asked]}),
            "subsystems": [joint if s.name == "joint" else s for s in state.subsystems],
        }
    )
    assert not open_targets(state, "m011")
    assert property_targets(joint, changed.targets) == [asked]
    assert any("c11 not measured" in line for line in open_targets(changed, "m011"))


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ({"name": "hardness", "relative": 0.1}, "no property is called hardness"),
        ({"name": "c11"}, "one of relative and absolute"),
        ({"name": "c11", "relative": 0.1, "absolute": 1.0}, "one of relative and absolute"),
        ({"name": "c11", "relative": 0.1, "value": 3.0}, "value and source together"),
        ({"name": "phonon_lowest", "absolute": 1.0}, "add phonons to the properties of"),
        ({"name": "c11", "relative": 0.1, "subsystem": "b"}, "add elastic to the properties of b"),
    ],
)
def test_a_target_nobody_could_meet_is_refused(target: dict, told: str) -> None:
    limits = TARGETS.model_dump() | {"properties": [target]}
    parts = [
        {
            "name": "a",
            "stage": 1,
            "role": "target",
            "max_temperature": 300,
            "properties": ["lattice", "elastic"],
        },
        {"name": "b", "stage": 1, "role": "component", "max_temperature": 300},
    ]
    with pytest.raises(ValueError, match=told):
        Task(
            name="x",
            description="",
            species=["Cu"],
            temperature=300,
            subsystems=[Subsystem.model_validate(p) for p in parts],
            targets=Targets.model_validate(limits),
        )
