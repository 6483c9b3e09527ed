"""Answers from a file: nothing asked; what is missing, wrong or contradictory named in one line."""

from pathlib import Path

import pytest
import yaml

from campaign.config import Task
from campaign.errors import UserError
from campaign.folder import Campaign, configuration
from campaign.material import Answers
from preparation import steps
from preparation.dialogue import from_file
from preparation.propose import propose
from preparation.structure_plan import StructurePlan
from preparation.task import task_of
from tests.prepare.conftest import ANSWERS, TASKS

SEI = Path(__file__).parents[2] / "config/examples/sei/answers.yaml"
GOOD = {
    "sentence": "water",
    "phases": [{"name": "water", "kind": "liquid", "substances": [{"name": "water"}]}],
    "temperature": 300,
}


def written(folder: Path, change: dict) -> Path:
    path = folder / "answers.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in {**GOOD, **change}.items() if v is not None}))
    return path


def phase(**change: object) -> dict:
    return {"phases": [{**GOOD["phases"][0], **change}]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"temperature": None}, "temperature: missing (At which temperature"),
        ({"phases": None}, "phases: missing (Which materials"),
        ({"temperature": -5}, "temperature: Input should be greater than or equal to 1"),
        ({"temprature": 300}, "temprature: Extra inputs are not permitted"),
        ({"reference": "dft"}, "reference: Input should be 'gfn1-xtb'"),
        ({"reference": {"method": "ase"}}, "reference: document: Value error, calculator: missing"),
        (
            {"reference": {"method": "ase", "calculator": "os.system('x')"}},
            "reference: calculator: String should match pattern",
        ),
        (
            {"reference": {"method": "vasp", "calculator": "a:B"}},
            "method vasp takes none; set method: ase",
        ),
        (phase(density=250), "phases.0.density: Input should be less than or equal to 25"),
        (phase(name="../x"), "phases.0.name: String should match pattern"),
        (phase(substances=[{"name": "unobtainium"}]), "unobtainium: not in the list"),
        (phase(substances=[{"name": "x", "smiles": "C(C"}]), "'C(C' is not a molecule"),
        (phase(substances=[{"name": "x", "formula": "Xx2"}], density=2), "Xx: no such element"),
        (phase(substances=[{"name": "LiPF6", "molarity": 1}], density=1), "none is the solvent"),
        (
            phase(substances=[{"name": "water"}, {"name": "LiTFSI", "molarity": 9}], density=1),
            "g/L of solutes do not fit into 1 g/cm3",
        ),
        (phase(substances=[{"name": "water", "ratio": 1, "molarity": 1}]), "not both"),
        (phase(substances=[{"name": "x", "smiles": "[Na+]"}], density=1), "add up to +1 e"),
        (phase(surface=[1, 0, 0]), "liquid has no surface"),
        (
            phase(kind="crystal", substances=[], crystal="NaCl", surface=[1, 0, 1, 0]),
            "h + k + i must be 0",
        ),
        (phase(kind="crystal", substances=[], crystal="kryptonite"), "'kryptonite' is not in"),
        (
            phase(
                kind="crystal",
                substances=[],
                crystal="MgO",
                substitutions=[{"element": "Ca", "by": "Ni", "fraction": 0.5}],
            ),
            "Ca is not in the crystal (Mg, O)",
        ),
        (
            phase(kind="crystal", substances=[], crystal="MgO", surface=[1, 0, -1, 0]),
            "phases.water.surface: four indices need a hexagonal lattice",
        ),
        (
            phase(
                kind="crystal",
                substances=[],
                crystal={"spacegroup": 225, "lattice": [4.0], "sites": ["Zz 0 0 0"]},
            ),
            "phases.water.crystal: Zz: no such element",
        ),
        (
            phase(
                kind="crystal",
                substances=[],
                crystal={"spacegroup": 225, "lattice": [4.0, 5.0], "sites": ["Cu 0 0 0"]},
            ),
            "phases.water.crystal: space group 225 needs a (cubic)",
        ),
        (
            phase(
                kind="crystal",
                substances=[],
                crystal="MgO",
                substitutions=[{"element": "Mg", "by": "Qz", "fraction": 0.5}],
            ),
            "phases.water.crystal: Qz: no such element",
        ),
        (
            phase(kind="polymer", substances=[], repeat="*CC", density=1),
            "phases.water.repeat: '*CC' has 1 ends marked *",
        ),
        (
            {
                "phases": [*GOOD["phases"], {"name": "p", "kind": "particle", "crystal": "Cu"}],
                "interfaces": [["p", "water"]],
            },
            "interfaces: p / water: a particle lies on a crystal",
        ),
        ({"layers": ["water", "oil"]}, "layers: oil is no phase (phases: water)"),
        ({"interfaces": [["water", "water"]]}, "is no pair of two phases"),
        ({"phases": GOOD["phases"] * 2}, "phases: water is there twice"),
        (
            {"phases": [*GOOD["phases"], {"name": "mgo", "kind": "crystal", "crystal": "MgO"}]},
            "layers: missing (How do they meet",
        ),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, types, change: dict, told: str) -> None:
    path = written(tmp_path, change)
    status, _, err = types(["prepare", "--answers", path, tmp_path / "here"])
    assert status == 1
    assert err.startswith(f"planner: {path}: ")
    assert told in err
    assert err.count("\n") == 1
    assert not (tmp_path / "here/task.yaml").exists()


def test_answers_may_be_written_as_the_form_takes_them(tmp_path) -> None:
    gaas = "216; 5.65; Ga 0 0 0, As 0.25 0.25 0.25"
    crystal = {"name": "gaas", "kind": "crystal", "crystal": gaas, "surface": "1 1 0"}
    change = {
        "phases": [{**crystal, "substitutions": "Ga by Al 0.2"}],
        "temperature": "227 C",
        "properties": "structure, density",
    }
    answers = from_file(written(tmp_path, change), None)
    (phase,) = answers.phases
    assert (phase.crystal.spacegroup, phase.crystal.lattice) == (216, [5.65])
    assert phase.crystal.sites == ["Ga 0 0 0", "As 0.25 0.25 0.25"]
    assert phase.surface == [1, 1, 0]
    assert (phase.substitutions[0].by, phase.substitutions[0].fraction) == ("Al", 0.2)
    assert (answers.temperature, answers.properties) == (500, ["structure", "density"])
    layered = "graphite: crystal; water: liquid"
    with pytest.raises(UserError, match=r"answers\.yaml: .*phases\.graphite|layers: missing"):
        from_file(written(tmp_path, {"phases": layered}), None)
    with pytest.raises(UserError, match=r"answers\.yaml: temperature: 'hot': write a number"):
        from_file(written(tmp_path, {"temperature": "hot"}), None)
    bad = [{**crystal, "surface": "steep"}]
    with pytest.raises(UserError, match=r"answers\.yaml: phases\.0\.surface: 'steep': write"):
        from_file(written(tmp_path, {"phases": bad}), None)


def test_sentence_folder_and_answers_are_told_apart(tmp_path, types, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, {"sentence": None})
    order = ["--answers", path, "--only", "task"]
    assert types(["prepare", "Water, hot", "a", *order])[0] == 0
    assert types(["prepare", "b", *order])[0] == 0
    assert types(["prepare", *order])[0] == 1
    path.write_text(yaml.safe_dump(GOOD))
    assert types(["prepare", *order])[0] == 0
    names = {p.parent.name for p in tmp_path.glob("*/task.yaml")}
    assert names == {"a", "b", "water"}
    assert Campaign.at(tmp_path / "a").task.name == "water-hot"


def test_other_answers_never_overwrite_a_task(tmp_path, types) -> None:
    here = tmp_path / "here"
    order = ["prepare", "--answers", written(tmp_path, {}), here, "--only", "task"]
    assert types(order)[0] == 0
    before = (here / "task.yaml").read_text()
    edited = before.replace("temperature: 300", "temperature: 310")
    (here / "task.yaml").write_text(edited)
    assert types(order)[0] == 0
    assert (here / "task.yaml").read_text() == edited
    written(tmp_path, {"temperature": 500})
    status, _, err = types(order)
    assert (status, "holds other answers" in err) == (1, True)
    assert (here / "task.yaml").read_text() == edited


@pytest.mark.parametrize("name", [*TASKS, "sei"])
def test_tasks_of_other_kinds_come_to_a_plan(tmp_path, types, name: str) -> None:
    path = SEI if name == "sei" else ANSWERS / f"{name}.yaml"
    here = tmp_path / name
    assert types(["prepare", "--answers", path, here, "--only", "plan"])[0] == 0
    task = Task.model_validate(yaml.safe_load((here / "task.yaml").read_text()))
    plan = StructurePlan.model_validate(yaml.safe_load((here / "structures/plan.yaml").read_text()))
    assert plan == propose(task)
    assert all(5 <= len(c.variants) <= 7 for c in plan.categories)
    assert any(c.role == "target" for c in plan.categories)
    assert [c.stage for c in plan.categories] == sorted(c.stage for c in plan.categories)


@pytest.mark.parametrize(("name", "molecules"), [("sei", True), ("ptni_mgo", False)])
def test_where_there_are_molecules_they_are_pressed_together(tmp_path, name, molecules) -> None:
    text = yaml.safe_load((SEI if name == "sei" else ANSWERS / f"{name}.yaml").read_text())
    task = task_of(Answers.model_validate(text | {"reference": "chgnet"}), set())
    steps.configure(tmp_path, task, propose(task))
    config = configuration(tmp_path)
    assert config.reference.method == task.material.reference
    assert (min(config.reference_sample.compression) < 0.9) == molecules
    assert (config.mlp.scale_by_force > 0) == molecules
    assert config.reference_sample.temperatures[0] == task.temperature


def test_the_papers_interphase_has_its_ten_categories(tmp_path, types) -> None:
    _, out, _ = types(["prepare", "--answers", SEI, tmp_path / "s", "--only", "plan"])
    # the paper's ten with their sixty structures, and the contact that the periodic stack closes
    assert "11 categories, 66 structures, 11 held out" in out
    assert "48 isolated atoms and dimers, one reference call each" in out
    plan = StructurePlan.model_validate(
        yaml.safe_load((tmp_path / "s/structures/plan.yaml").read_text())
    )
    stages = {c.name: (c.stage, c.role) for c in plan.categories}
    components = (
        "graphite",
        "graphite_surface",
        "li2co3",
        "ledc",
        "electrolyte_solvent",
        "electrolyte",
    )
    assert all(stages[name] == (1, "component") for name in components)
    interfaces = ("graphite-li2co3", "li2co3-ledc", "ledc-electrolyte", "graphite-electrolyte")
    assert all(stages[name] == (2, "interface") for name in interfaces)
    assert stages["full"] == (3, "target")
    full = next(c for c in plan.categories if c.name == "full")
    names = [layer.name for layer in full.variants[0].parameters.layers]
    assert names == ["graphite", "li2co3", "ledc", "electrolyte"]
    surface = next(c for c in plan.categories if c.name == "graphite_surface")
    assert all(v.parameters.miller == [1, 0, -1, 0] for v in surface.variants)
