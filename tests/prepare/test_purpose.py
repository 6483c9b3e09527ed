"""Properties and procedure in words reach task.yaml and protocols; unknown words are told."""

import pytest
import yaml

from campaign.material import Answers
from preparation.purpose import asked_of, drafts, meant, unknown
from preparation.task import task_of
from tests.prepare.test_form import answered


def task(properties: list[str], **more: object):
    copper = {"name": "cu", "kind": "crystal", "crystal": "Cu", "surface": [1, 1, 1]}
    answers = {"sentence": "s", "phases": [copper], "layers": [], "temperature": 300}
    return task_of(Answers.model_validate({**answers, "properties": properties, **more}), set())


def test_properties_are_measured_and_held_to_a_bound() -> None:
    made = task(["Elastic constants", "bulk modulus", "phonons", "surface energies", "vacancies"])
    bulk = made.subsystems[0]
    assert bulk.properties.kinds == ["eos", "elastic", "phonons", "vacancy", "surfaces"]
    assert bulk.properties.planes == [[1, 1, 1]]
    assert made.subsystems[1].properties is None  # a slab has no elastic constants
    names = {t.name for t in made.targets.properties}
    assert {"bulk_modulus", "shear_modulus", "phonon_highest", "vacancy", "surface_111"} <= names
    salt = {"name": "nacl", "kind": "crystal", "crystal": "NaCl"}
    pairs = {t.name for t in task(["vacancies"], phases=[salt]).targets.properties}
    assert pairs == {"schottky"}  # of a compound a formula unit of vacancies


def test_what_flows_is_held_to_reference_md_of_picoseconds() -> None:
    """Its structure forms over picoseconds; nobody pays for as many of a DFT code."""
    salt = {"name": "nacl", "kind": "crystal", "crystal": "NaCl", "surface": [1, 0, 0]}
    water = {"name": "water", "kind": "liquid", "substances": [{"name": "water"}]}
    both = {"phases": [salt, water], "layers": ["nacl", "water"]}
    assert task(["density"], **both).targets.compared_ps == 5.0
    assert task(["density"], **both, reference="cp2k").targets.compared_ps is None
    assert task(["density"], phases=[water]).targets.compared_ps == 5.0
    assert task(["density"], phases=[salt]).targets.compared_ps is None


def test_diffusion_is_a_target_where_something_flows() -> None:
    water = {"name": "water", "kind": "liquid", "substances": [{"name": "water"}]}
    assert task(["ionic conductivity"], phases=[water]).targets.diffusion_deviation == 0.5
    assert task(["diffusion"]).targets.diffusion_deviation is None
    for words in ("heat of vaporisation", "usual properties"):
        wet = task([words], phases=[water])
        assert wet.subsystems[0].properties.kinds == ["vaporisation"]
    usual = task(["usual properties"]).subsystems[0].properties
    assert usual.kinds == ["lattice", "eos", "elastic", "phonons"]


def test_a_procedure_becomes_a_draft_of_a_protocol() -> None:
    made = drafts(task([], procedure="annealed at 600 C, then relaxed"))
    (stage,) = [s for s in made["anneal"].stages if s.stage == "anneal"]
    assert (stage.low, stage.high) == (300, 873)
    assert set(drafts(task(["viscosity"]))) == {"viscosity"}
    assert drafts(task(["density"])) == {}


def test_what_nothing_measures_is_told() -> None:
    material = task(["colour", "density"]).material
    assert unknown(material) == ["colour"]
    assert meant(material) == {"density"}
    assert asked_of(material, [], task([]).targets)[0] == []


@pytest.mark.parametrize("wanted", [["lattice constant", "colour"]])
def test_prepare_tells_and_writes_them(tmp_path, types, wanted) -> None:
    copper = {"name": "cu", "kind": "crystal", "crystal": "Cu"}
    answers = {"sentence": "s", "phases": [copper], "layers": [], "temperature": 300}
    answers |= {"properties": wanted, "procedure": "melt-quench from 2000 K"}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(answers))
    here = tmp_path / "here"
    order = ["prepare", "--answers", tmp_path / "a.yaml", here, "--only", "task"]
    status, out, err = types(order)
    assert (status, err) == (0, "")
    assert "properties: colour: nothing here measures that" in out
    assert "protocols/melt_quench.yaml: drafted" in out
    written = yaml.safe_load((here / "protocols/melt_quench.yaml").read_text())
    assert written["stages"][0]["melt"] == 2000
    task_ = answered(here)
    assert task_.subsystems[0].properties.kinds == ["lattice"]
    assert [t.name for t in task_.targets.properties] == ["volume"]
    (here / "protocols/melt_quench.yaml").write_text("# mine\n")
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({**answers, "temperature": 400}))
    assert types(order)[0] == 0
    assert (here / "protocols/melt_quench.yaml").read_text() == "# mine\n"


def test_what_holds_parts_together_is_measured_where_parts_meet() -> None:
    copper = {"name": "cu", "kind": "crystal", "crystal": "Cu", "surface": [1, 1, 1]}
    nickel = copper | {"name": "ni", "crystal": "Ni"}
    gas = copper | {"adsorbates": [{"name": "CO", "smiles": "[C-]#[O+]"}]}
    made = task(["adsorption energies", "adhesion"], phases=[gas, nickel], layers=["cu", "ni"])
    kinds = {s.name: s.properties.kinds for s in made.subsystems if s.properties}
    assert kinds["cu_adsorbed"] == ["adsorption"]
    assert [name for name, of in kinds.items() if of == ["adhesion"]] == ["cu-ni"]
    held = {(t.name, t.subsystem) for t in made.targets.properties}
    assert {("adsorption", "cu_adsorbed"), ("work_of_separation", "cu-ni")} <= held
