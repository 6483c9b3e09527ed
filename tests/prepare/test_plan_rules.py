"""The plan by rules for any material: categories, stages, one held out, deterministic, readable."""

from itertools import pairwise

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from atomistics.analysis.checks import duplicates
from atomistics.builders.building import build
from campaign.config import Task
from campaign.material import Answers
from preparation.missing import needed
from preparation.propose import propose
from preparation.structure_plan import StructurePlan, dump, table
from preparation.task import task_of

CRYSTALS = {"NaCl": [1, 0, 0], "graphite": [1, 0, -1, 0], "rutile": [1, 1, 0], "Cu": [1, 1, 1]}
LIQUIDS = ["water", "EC", "DMC", "methanol"]


@st.composite
def phases(draw: st.DrawFn, number: int) -> dict:
    kind = draw(st.sampled_from(["crystal", "amorphous", "liquid", "melt", "polymer"]))
    name = f"p{number}"
    if kind == "crystal":
        crystal = draw(st.sampled_from(sorted(CRYSTALS)))
        found: dict = {"crystal": crystal, "surface": CRYSTALS[crystal]}
    elif kind == "polymer":
        found = {"repeat": draw(st.sampled_from(["PEO", "*CC(*)C"])), "density": 1.0}
        if draw(st.booleans()):
            found["substances"] = [{"name": "LiTFSI", "ratio": draw(st.floats(0.02, 0.5))}]
    elif kind == "liquid":
        names = draw(st.lists(st.sampled_from(LIQUIDS), min_size=1, max_size=3, unique=True))
        mixed = [{"name": n, "ratio": draw(st.floats(0.5, 3))} for n in names]
        if draw(st.booleans()):
            mixed.append({"name": "LiPF6", "molarity": draw(st.floats(0.3, 2))})
        found = {"substances": mixed}
    else:
        found = {
            "substances": [{"name": draw(st.sampled_from(["Li2CO3", "NaNO3"]))}],
            "density": draw(st.floats(1, 3)),
        }
    return {"name": name, "kind": kind, **found}


@st.composite
def materials(draw: st.DrawFn) -> Answers:
    count = draw(st.integers(1, 4))
    found = [draw(phases(n)) for n in range(count)]
    layers = [p["name"] for p in found] if count > 1 and draw(st.booleans()) else []
    return Answers.model_validate(
        {
            "sentence": "s",
            "phases": found,
            "layers": layers,
            "interfaces": None,
            "temperature": draw(st.integers(100, 2000)),
            "atoms": draw(st.integers(40, 300)),
        }
    )


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(materials())
def test_any_material_has_a_sound_plan(answers: Answers) -> None:
    assert needed(answers) == []
    task = task_of(answers, set())
    plan = propose(task, seed=3)
    plan.agree_with(task)
    assert propose(task, seed=3) == plan
    assert StructurePlan.model_validate(yaml.safe_load(dump(plan))) == plan
    for category in plan.categories:
        assert 5 <= len(category.variants) <= 7
        assert sum(v.held_out for v in category.variants) == 1
        kinds = {v.parameters.model_dump_json() for v in category.variants}
        assert len(kinds) == len(category.variants)
        assert category.max_temperature > task.temperature
    stages = [c.stage for c in plan.categories]
    assert stages == sorted(stages)
    last = [c for c in plan.categories if c.stage == stages[-1]]
    assert all(c.role == "target" for c in last)
    assert len({v.id for v in plan.variants}) == len(plan.variants)
    assert len({plan.seed_of(v) for v in plan.variants}) == len(plan.variants)
    layers = answers.layers or []
    names = {c.name for c in plan.categories}
    crystals = [p for p in answers.phases if p.kind == "crystal"]  # grains of one have one bulk
    first = {p.model_dump_json(exclude={"name"}): p.name for p in reversed(crystals)}
    assert {p.name for p in answers.phases if p not in crystals} | set(first.values()) <= names
    assert ("full" in names) == (len(layers) > 2)
    alike = {p.name: p.model_dump_json(exclude={"name"}) for p in crystals}
    met = {frozenset(alike.get(n, n) for n in n.split("-")) for n in names if "-" in n}
    assert {frozenset(alike.get(n, n) for n in pair) for pair in pairwise(layers)} <= met
    assert f"{len(plan.variants)} structures" in table(plan)


def test_a_held_out_interface_rests_on_no_trained_layer() -> None:
    """Where a layer is a built structure, the held-out interface takes the held-out one."""
    answers = Answers.model_validate(
        {
            "phases": [
                {"name": "a", "kind": "amorphous", "substances": [{"name": "Li2CO3"}]},
                {"name": "b", "kind": "amorphous", "substances": [{"name": "LEDC"}]},
            ],
            "layers": ["a", "b"],
            "temperature": 300,
            "sentence": "s",
        }
    )
    plan = propose(task_of(answers, set()))
    held_out = {v.id for v in plan.variants if v.held_out}
    for variant in next(c for c in plan.categories if c.name == "a-b").variants:
        built = {x.structure for x in variant.parameters.layers if x.structure}
        assert built
        assert bool(built & held_out) == variant.held_out


def test_a_task_without_material_says_so(tmp_path, types) -> None:
    task = Task.model_validate(
        {
            "name": "x",
            "description": "",
            "species": ["Cu"],
            "temperature": 300,
            "subsystems": [{"name": "a", "stage": 1, "role": "target", "max_temperature": 400}],
            "targets": {
                "force_mae": 1,
                "energy_mae": 1,
                "density_deviation": 1,
                "rdf_overlap": 1,
                "stable_ps": 1,
            },
        }
    )
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task.model_dump(exclude_none=True)))
    status, _, err = types(["structures", "plan", "--campaign", tmp_path])
    assert status == 1
    assert err == "planner: task.yaml: material: missing; `planner prepare` asks for it\n"


def test_slabs_of_the_same_whole_layers_differ(tmp_path) -> None:
    """6 and 9 Å of rutile (110) are the same three layers; by the rules no two slabs are alike."""
    answers = Answers.model_validate(
        {
            "sentence": "s",
            "temperature": 300,
            "atoms": 30,
            "phases": [{"name": "rutile", "kind": "crystal", "surface": [1, 1, 0]}],
        }
    )
    plan = propose(task_of(answers, set()))
    slabs = [v for c in plan.categories if c.name == "rutile_surface" for v in c.variants]
    frames = [(v.id, build(v.parameters, plan.seed_of(v), tmp_path)) for v in slabs]
    assert len(frames) == 6
    assert duplicates(frames) == {}


@pytest.mark.parametrize(
    ("substances", "box", "rich"),
    [
        ([{"name": "water"}], 0.9, 0.9),
        ([{"name": "NaCl", "ratio": 1}, {"name": "KCl", "ratio": 1}], 0.9, 0.9 * 1.546 / 1.544),
        ([{"name": "water"}, {"name": "NaCl", "molarity": 2}], 0.9, 0.9 * 1.084 / 1.055),
    ],
)
def test_a_density_given_goes_before_the_listed_one(substances, box, rich) -> None:
    """It was heard only where a solute had a molarity."""
    phase = {"name": "p", "kind": "liquid", "substances": substances, "density": 0.9}
    if substances[0]["name"] == "NaCl":
        phase["kind"] = "melt"
    answers = Answers.model_validate({"sentence": "s", "temperature": 300, "phases": [phase]})
    variants = propose(task_of(answers, set())).categories[-1].variants
    by_name = {v.id: v.parameters.density_g_cm3 for v in variants}
    assert by_name["p-box"] == box
    assert by_name["p-thin"] == pytest.approx(0.95 * box, abs=1e-4)
    assert by_name.get("p-rich", rich) == pytest.approx(rich, abs=2e-3)
