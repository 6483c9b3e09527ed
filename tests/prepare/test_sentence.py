"""A sentence without a model, answers that change, files with shared sites."""

from pathlib import Path

import pytest
import yaml

from campaign.material import Answers
from preparation import notation
from preparation.missing import needed
from preparation.sentence import recognised
from preparation.task import task_of
from preparation.unread import left_out
from tests.prepare.test_answers import GOOD, written
from tests.prepare.test_form import answered


@pytest.mark.parametrize(
    ("sentence", "kinds", "temperature"),
    [
        ("Molten NaCl at 1100 K", {"nacl": "melt"}, 1100),
        ("silica glass at room temperature", {"sio2": "amorphous"}, 300),
        ("water on rutile at 25 C", {"water": "liquid", "rutile": "crystal"}, 298),
        ("isolated methanol", {"methanol": "molecule"}, None),
        ("PEO with LiTFSI", {"peo": "polymer"}, None),
        ("Liquid aluminium at 1000 K", {"aluminium": "melt"}, 1000),
        ("Diffusion of Li in Li7La3Zr2O12", {"li7la3zr2o12": "crystal"}, None),
        ("Li vacancies in LiCoO2", {"licoo2": "crystal"}, None),
        ("lithium metal against LiCoO2", {"lithium": "crystal", "licoo2": "crystal"}, None),
        ("methanol in water", {"methanol": "liquid"}, None),
        ("water in contact with hexane", {"water": "liquid", "hexane": "liquid"}, None),
        ("diffusion in water and hexane", {"water": "liquid", "hexane": "liquid"}, None),
        ("Brine on calcite (104), 1 M NaCl", {"water": "liquid", "caco3": "crystal"}, None),
        ("nanoparticle of Pt on MgO", {"platinum": "particle", "mgo": "crystal"}, None),
        ("CuZr melt", {"cuzr": "melt"}, None),
        ("molten FeO", {"feo": "melt"}, None),
        ("rock salt at 600 K", {"nacl": "crystal"}, 600),
        ("KCl and NaCl in water", {"water": "liquid"}, None),
        ("silly words in a siding", {}, None),
    ],
)
def test_what_a_sentence_says(sentence: str, kinds: dict, temperature: int | None) -> None:
    known, _ = recognised(sentence)
    assert {p["name"]: p["kind"] for p in known.get("phases", [])} == kinds
    assert known.get("temperature") == temperature


def test_amounts_that_a_sentence_gives() -> None:
    def substances(sentence: str) -> list[dict]:
        (phase,) = recognised(sentence)[0]["phases"]
        return phase["substances"]

    assert substances("Molten FLiNaK salt") == [
        {"name": "LiF", "ratio": 46.5},
        {"name": "NaF", "ratio": 11.5},
        {"name": "KF", "ratio": 42.0},
    ]
    assert substances("0.5 M NaCl") == [{"name": "water"}, {"name": "NaCl", "molarity": 0.5}]
    salted = [{"name": "EC"}, {"name": "LiPF6", "molarity": 1.2}]
    assert substances("LiPF6 in EC, 1.2 M") == salted
    assert recognised("LiPF6 in EC, 1.2 M")[1] == {}, "how much is said"
    assert substances("liquid graphite") == [{"name": "graphite", "formula": "C"}]
    # 44.05 g of C2H4O take 39 cm3 at 1.13 g/cm3
    assert substances("PEO with 1 M LiTFSI") == [{"name": "LiTFSI", "ratio": 0.039}]


def test_sheets_are_counted() -> None:
    for word, count in (("monolayer", 1), ("bilayer", 2), ("trilayer", 3)):
        (phase,) = recognised(f"Sulfur vacancies in a MoS2 {word}")[0]["phases"]
        assert (phase["sheets"], phase["defects"]) == (count, ["vacancy"])


def test_names_are_known_at_the_start_of_a_sentence() -> None:
    assert left_out("Water on anatase TiO2 (101)") == []


def test_a_proposal_is_shown_and_taken_only_when_said_so(tmp_path, types) -> None:
    here = tmp_path / "w"
    lines = ["proposed", *[""] * 7, "yes"]
    status, out, err = types(["prepare", "water at 25 C", here, "--only", "task"], *lines)
    assert (status, err) == (0, ""), out
    assert "Recognised in the sentence; type `proposed` to take it:" in out
    task = answered(here)
    assert (task.temperature, task.material.phases[0].name) == (298, "water")
    assert types(["prepare", "--replay", here])[0] == 0


@pytest.mark.parametrize(("text", "kelvin"), [("300 K", 300), ("300 C", 573), ("25 °C", 298)])
def test_temperatures_with_their_unit(text: str, kelvin: int) -> None:
    assert notation.read("temperature", text) == kelvin


def test_substitutions_are_typed_as_final_fractions() -> None:
    assert notation.read("phases.a.substitutions", "Ni by Co 0.2, O by nothing 2 %") == [
        {"element": "Ni", "by": "Co", "fraction": 0.2},
        {"element": "O", "fraction": 0.02},
    ]


def test_other_answers_in_the_same_folder(tmp_path: Path, types) -> None:
    here = tmp_path / "here"
    order = ["prepare", "--answers", written(tmp_path, {}), here, "--only", "plan"]
    assert types(order)[0] == 0
    written(tmp_path, {"temperature": 350})
    status, out, err = types(order)
    assert (status, err) == (0, "")
    assert "other answers than before" in out
    assert answered(here).temperature == 350
    plan = here / "structures/plan.yaml"
    plan.write_text(plan.read_text() + "# mine\n")
    written(tmp_path, {"temperature": 360})
    status, _, err = types(order)
    assert (status, "holds other answers" in err, "plan.yaml was edited" in err) == (1, True, True)
    assert plan.read_text().endswith("# mine\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"substances": [{"name": "LiFP6"}]},
            "LiFP6: not in the list of substances (nearest: LiPF6",
        ),
        ({"density": 20}, "20 g/cm3, where 0.997 is usual"),
    ],
)
def test_likely_slips_are_told(tmp_path, types, change: dict, said: str) -> None:
    path = written(tmp_path, {"phases": [{**GOOD["phases"][0], **change}]})
    status, _, err = types(["prepare", "--answers", path, tmp_path / "x"])
    assert (status, said in err, err.count("\n")) == (1, True, 1), err


def test_a_category_that_cannot_be_built_drops_out(tmp_path, types) -> None:
    copper = {"name": "copper", "kind": "crystal", "crystal": "Cu"}
    answers = {"sentence": "s", "phases": [copper], "layers": [], "temperature": 300, "atoms": 30}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(answers))
    here = tmp_path / "here"
    order = ["prepare", "--answers", tmp_path / "a.yaml", here, "--cores", "1"]
    assert types([*order, "--only", "plan"])[0] == 0
    plan = yaml.safe_load((here / "structures/plan.yaml").read_text())
    task = yaml.safe_load((here / "task.yaml").read_text())
    extra = {**plan["categories"][0], "name": "x", "stage": 3, "single_points": []}
    extra["variants"] = [
        {**v, "id": f"x-{n}", "parameters": {"family": "other", "file": "files/none.cif"}}
        for n, v in enumerate(extra["variants"])
    ]
    plan["categories"][0]["role"] = task["subsystems"][0]["role"] = "component"
    plan["categories"].append(extra)
    task["subsystems"].append({**task["subsystems"][0], "name": "x", "stage": 3, "role": "target"})
    plan["categories"][1]["role"] = "target"
    (here / "structures/plan.yaml").write_text(yaml.safe_dump(plan))
    (here / "task.yaml").write_text(yaml.safe_dump(task))
    status, out, err = types(order)
    assert (status, err) == (0, ""), out
    assert "warning: x drops out" in out
    assert out.count("x-0: failed") == out.count("x-1: failed") == 1
    assert "x-2: failed" not in out
    assert [(s.name, s.role) for s in answered(here).subsystems] == [("copper", "target")]


def test_the_questions_of_an_interphase_are_asked(tmp_path, types) -> None:
    """Electrolyte, anode, layers, formed or forming, annealing, reference: each with a default."""
    here = tmp_path / "sei"
    lines = [
        "proposed",
        "27 C",
        "EC 3, EMC 7, LiPF6 1.2 M",
        "",
        "0 0 0 1",
        "LiF as atoms 1, Li2CO3 1",
        "phases.inorganic.density: 2.2",
        "",
        "",
        "forms by reactions at the anode, then annealed at 500 K",
        *[""] * 5,
        "chgnet",
        *[""] * 5,
        "reference: chgnet",
        "yes",
    ]
    order = ["prepare", "SEI of lithum battery", here, "--only", "task"]
    status, out, err = types(order, *lines)
    assert (status, err) == (0, ""), out[-1500:]
    for asked in ("Which electrolyte?", "Which anode", "built with known composition", "reference"):
        assert asked in out
    task = answered(here)
    assert task.material.reference == "chgnet"
    assert task.material.phase("anode").surface == [0, 0, 0, 1]
    assert [i.name for i in task.material.phase("electrolyte").substances] == ["EC", "EMC", "LiPF6"]
    assert task.material.phase("inorganic").substances[0].formula == "LiF"
    assert task.material.phase("inorganic").density == 2.2
    assert "forms by reactions" in task.description
    protocol = yaml.safe_load((here / "protocols/anneal.yaml").read_text())
    assert protocol["stages"][1]["high"] == 500
    assert types(["prepare", "--replay", here])[::2] == (0, "")


def test_everything_can_be_typed_at_any_prompt(tmp_path, types) -> None:
    """Substitutions, defects, adsorbates, sizes, procedure, properties; `?` shows how."""
    here = tmp_path / "nio"
    lines = [
        "proposed",
        "?",
        "phases.nio.defects: vacancies, antisites",
        "300 C",
        "Ni by Li 2 %",
        "1 0 0",
        "phases.nio.adsorbates: water",
        "atoms: 60",
        "procedure: annealed",
        "properties: bulk modulus",
        "isolated: no",
        *[""] * 3,
        "yes",
    ]
    order = ["prepare", "NiO doped with lithium", here, "--only", "plan"]
    status, out, err = types(order, *lines)
    assert (status, err) == (0, ""), out[-1500:]
    assert "How much of which atoms is replaced by lithium?" in out
    assert "phases.nio.adsorbates: water, CO=[C-]#[O+]" in out
    material = answered(here).material
    phase = material.phase("nio")
    assert (phase.substitutions[0].by, phase.substitutions[0].fraction) == ("Li", 0.02)
    assert (phase.defects, phase.adsorbates[0].name) == (["vacancy", "antisite"], "water")
    assert (material.atoms, material.isolated) == (60, False)
    plan = yaml.safe_load((here / "structures/plan.yaml").read_text())
    names = [c["name"] for c in plan["categories"]]
    assert names == ["nio", "nio_surface", "nio_defects", "nio_adsorbed"]
    assert (here / "protocols/anneal.yaml").is_file()


def test_no_pattern_reaches_the_terminal(tmp_path, types) -> None:
    here = tmp_path / "a"
    lines = ["a: crystal", "", "", "$(touch x)"]
    _, out, _ = types(["prepare", "something", here, "--only", "task"], *lines)
    assert "letters, digits, blanks and ()+_.,-" in out
    assert "[A-Z" not in out
    assert "function-after" not in out


@pytest.mark.parametrize("key", ["substances", "surface", "crystal", "substitutions"])
def test_a_default_is_shown_as_it_is_typed(key: str) -> None:
    typed = {"substances": "EC 1, LiF as atoms 2, LiPF6 1 mol/L", "surface": "1 0 -1 0"}
    text = typed.get(key, "graphite" if key == "crystal" else "none")
    value = notation.read(key, text)
    record = {"phases": [{"name": "a", "kind": "crystal", key: value}]}
    assert notation.shown(record, f"phases.a.{key}") == text


@pytest.mark.parametrize(
    ("sentence", "spacegroup", "lattice"),
    [
        ("fcc iron at 1300 K", 225, [3.611]),  # 2.866 (bcc) times 2^(1/3)
        ("hcp nickel", 194, [2.492, 4.069]),  # 3.524 / 2^0.5, ideal
        ("bcc titanium", 229, [3.282]),
    ],
)
def test_lattices_by_name_keep_the_volume_of_an_atom(sentence, spacegroup, lattice) -> None:
    (phase,) = recognised(sentence)[0]["phases"]
    assert phase["crystal"]["spacegroup"] == spacegroup
    assert phase["crystal"]["lattice"] == pytest.approx(lattice, abs=2e-3)


def test_faces_and_what_lies_on_what_are_read() -> None:
    record = recognised("water on Cu(111) at 25 C")[0]
    assert record["layers"] == ["copper", "water"]
    assert record["phases"][1]["surface"] == [1, 1, 1]
    assert recognised("bcc iron")[0]["phases"] == [
        {"name": "iron", "kind": "crystal", "crystal": "iron"}
    ]
    assert "surface" not in recognised("rutile at 300 K")[0]["phases"][0]


@pytest.mark.parametrize(
    ("sentence", "phase"),
    [
        (
            "amorphous silicon at room temperature",
            {
                "name": "silicon",
                "kind": "amorphous",
                "substances": [{"name": "silicon", "formula": "Si"}],
            },
        ),
        (
            "MoS2 monolayer",
            {
                "name": "mos2",
                "kind": "crystal",
                "crystal": "MoS2",
                "surface": [0, 0, 1],
                "sheets": 1,
            },
        ),
    ],
)
def test_what_is_proposed_is_a_valid_record(sentence: str, phase: dict) -> None:
    record = recognised(sentence)[0]
    assert record["phases"] == [phase]
    answers = Answers.model_validate({"temperature": 300, **record, "layers": []})
    assert needed(answers) == []


def test_liquids_on_each_other() -> None:
    assert recognised("hexane on water")[0]["layers"] == ["water", "hexane"]


@pytest.mark.parametrize(
    ("sentence", "phases", "layers"),
    [
        (
            "1.2 M LiPF6 in EC and DMC on lithium metal",
            {"ec": ("liquid", [("EC", None), ("DMC", None), ("LiPF6", 1.2)]), "lithium": "crystal"},
            ["lithium", "ec"],
        ),
        ("3 M NaCl in water", {"water": ("liquid", [("water", None), ("NaCl", 3.0)])}, None),
        ("molten NaCl KCl", {"melt": ("melt", [("NaCl", None), ("KCl", None)])}, None),
        ("rutile under water", {"rutile": "crystal", "water": "liquid"}, ["rutile", "water"]),
        ("benzene crystal", {"benzene": "crystal"}, None),
    ],
)
def test_salts_melts_and_what_lies_where(sentence: str, phases: dict, layers: list | None) -> None:
    record, _ = recognised(sentence)
    assert {p["name"] for p in record["phases"]} == set(phases)
    for phase in record["phases"]:
        wanted = phases[phase["name"]]
        kind, parts = wanted if isinstance(wanted, tuple) else (wanted, None)
        assert phase["kind"] == kind
        if parts:
            assert [(s["name"], s.get("molarity")) for s in phase["substances"]] == parts
    assert record.get("layers") == layers


@pytest.mark.parametrize(
    ("sentence", "ratio"),
    [
        # molar volumes 66.7 and 84.7 cm3, molar masses 88.06 and 104.10
        ("1 M LiPF6 in EC:DMC 1:1 by volume", [84.74 / 66.71, 1.0]),
        ("1 M LiPF6 in EC/EMC 3:7 by weight", [1.0, 7 / 104.10 / (3 / 88.06)]),
        ("1:2 EC and DMC with LiPF6", [1.0, 2.0]),
    ],
)
def test_parts_by_volume_and_weight_become_moles(sentence: str, ratio: list) -> None:
    (phase,) = recognised(sentence)[0]["phases"]
    assert [p["ratio"] for p in phase["substances"][:2]] == pytest.approx(ratio, rel=1e-3)
    typed = "EC 3 wt, EMC 7 wt, LiPF6 1 mol/L"
    parts = notation.read("phases.a.substances", typed)
    assert parts[1]["ratio"] / parts[0]["ratio"] == pytest.approx(1.974, rel=1e-3)
    with pytest.raises(notation.NotationError, match="same measure"):
        notation.read("phases.a.substances", "EC 3 wt, EMC 7")


@pytest.mark.parametrize(
    ("sentence", "kinds"),
    [
        ("silica glass and water", {"sio2": "amorphous", "water": "liquid"}),
        ("Si melt", {"silicon": "melt"}),
        ("Zr-Cu metallic glass", {"glass": "amorphous"}),
        ("Li metal | Li3PS4 interface", {"lithium": "crystal", "li3ps4": "crystal"}),
        ("MoS2 on graphene", {"mos2": "crystal", "graphite": "crystal"}),
        ("heavy water at 300 K", {}),
    ],
)
def test_a_kind_is_that_of_the_words_beside_it(sentence: str, kinds: dict) -> None:
    phases = recognised(sentence)[0].get("phases", [])
    assert {p["name"]: p["kind"] for p in phases} == kinds


def test_what_a_sentence_leaves_out_is_told() -> None:
    assert "isotopes are not kept apart" in left_out("D2O")[0]
    assert left_out("SEI on lithium metal with LiFP6 at 300 C") == [
        "read as slips of the pen: LiFP6 as LiPF6"
    ]
    assert left_out("copper with sulfur in montmorillonite") == [
        "not understood, and left out: sulfur, montmorillonite"
    ]
    assert left_out("water on rutile at 25 C") == []


def test_a_named_anode_and_electrolyte_go_before_those_of_the_table() -> None:
    record, _ = recognised("solid-electrolyte interphase on lithium metal, 1.2 M LiFP6 in EC/DMC")
    phases = {p["name"]: p for p in record["phases"]}
    assert phases["anode"] == {"name": "anode", "kind": "crystal", "crystal": "lithium"}
    assert [p["name"] for p in phases["electrolyte"]["substances"]] == ["EC", "DMC", "LiPF6"]
    assert phases["electrolyte"]["substances"][2]["molarity"] == 1.2
    of_battery = recognised("SEI of a lithium-ion battery")[0]["phases"]
    assert of_battery[0]["crystal"] == "graphite"


def test_defects_are_proposed() -> None:
    assert recognised("grain boundary of Al")[0]["phases"][0]["defects"] == ["grain-boundary"]
    (phase,) = recognised("copper with 2 % vacancies")[0]["phases"]
    assert phase["substitutions"] == [{"element": "Cu", "fraction": 0.02}]


def test_a_gas_on_a_face_is_an_adsorbate() -> None:
    record, _ = recognised("CO on Pt(111) at 400 K")
    (phase,) = record["phases"]
    assert (phase["crystal"], phase["surface"]) == ("platinum", [1, 1, 1])
    assert phase["adsorbates"] == [{"name": "CO"}]


def test_costs_are_told_before_the_other_structures_are_built(tmp_path, types) -> None:
    ions = {"name": "lco", "kind": "crystal", "crystal": "LiCoO2"}
    path = written(tmp_path, {"phases": [ions], "atoms": 20})
    status, out, err = types(["prepare", "--answers", path, tmp_path / "x", "--cores", "1"])
    assert (status, err) == (0, "")
    assert out.index("of the first of each category, sizes: 1 of 1") < out.index("[2/")


def test_heavy_water_is_not_taken_for_water(tmp_path, types) -> None:
    path = written(tmp_path, {"phases": [{**GOOD["phases"][0], "substances": [{"name": "D2O"}]}]})
    status, _, err = types(["prepare", "--answers", path, tmp_path / "x"])
    assert (status, "isotopes are not kept apart" in err, err.count("\n")) == (1, True, 1), err


def test_reactions_of_the_procedure_raise_the_ceilings_of_what_reacts() -> None:
    electrolyte = {"name": "e", "kind": "liquid", "substances": [{"name": "EC"}]}
    lithium = {"name": "li", "kind": "crystal", "crystal": "Li", "surface": [1, 0, 0]}
    answers = {"phases": [lithium, electrolyte], "layers": ["li", "e"], "temperature": 300}
    for procedure, ceiling in (("annealed", 600), ("it forms by reactions at the anode", 1000)):
        task = task_of(Answers.model_validate({**answers, "procedure": procedure}), set())
        assert {s.name: s.max_temperature for s in task.subsystems}["li-e"] == ceiling


@pytest.mark.parametrize(
    ("calculator", "options", "told"),
    [
        ("ase.calculators.lj:LennardJones", {"file": "./none.txt"}, "./none.txt: no such file"),
        ("not_here.calculators:MACE", {}, "not_here.calculators:MACE: no module not_here here"),
        ("ase.calculators.lj:LennardJone", {}, "did you mean LennardJones?"),
    ],
)
def test_a_reference_that_cannot_be_had_is_told_before_anything_is_built(
    tmp_path, types, calculator, options, told
) -> None:
    reference = {"method": "ase", "calculator": calculator, "options": options}
    path = written(tmp_path, {"reference": reference})
    status, out, err = types(["prepare", "--answers", path, tmp_path / "x"])
    assert (status, told in err, "[1/" in out) == (1, True, False), err


def test_a_glass_that_nothing_here_quenches_is_told(tmp_path, types) -> None:
    parts = [{"name": "As2S3", "formula": "As2S3"}]
    glass = {"name": "glass", "kind": "amorphous", "density": 3.2, "substances": parts}
    path = written(tmp_path, {"phases": [glass]})
    status, out, _ = types(["prepare", "--answers", path, tmp_path / "x", "--only", "plan"])
    assert (status, "no published potential here melts and quenches As, S" in out) == (0, True), out
    metals = [{"name": s, "formula": s, "ratio": 1} for s in ("Zr", "Cu")]
    path = written(tmp_path, {"phases": [{**glass, "density": 7.3, "substances": metals}]})
    _, out, _ = types(["prepare", "--answers", path, tmp_path / "z", "--only", "plan"])
    assert "at most 1917 K" in out  # 1.1 times the mean of 2128 and 1358 K
    silica = {**glass, "density": 2.2, "substances": [{"name": "SiO2", "formula": "SiO2"}]}
    path = written(tmp_path, {"phases": [silica]})
    _, out, _ = types(["prepare", "--answers", path, tmp_path / "y", "--only", "plan"])
    assert "quenches" not in out


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("perylene crystal in water", [("water", "liquid")]),  # told as left out, no ice
        ("urea crystal with water", [("urea", "crystal"), ("water", "liquid")]),
        ("8 M urea in water", [("water", "liquid")]),
        ("graphite under a melt of NaCl", [("graphite", "crystal"), ("nacl", "melt")]),
        ("glass of CaO and Al2O3", [("cao", "amorphous"), ("al2o3", "amorphous")]),
        ("SiO2 Na2O CaO glass 75:15:10", [("glass", "amorphous")]),
        ("soda-lime glass at 300 C", [("soda-lime-glass", "amorphous")]),
    ],
)
def test_kinds_stay_with_their_words(sentence, expected):
    phases = recognised(sentence)[0]["phases"]
    assert [(phase["name"], phase["kind"]) for phase in phases] == expected


def test_a_molecule_with_a_molarity_is_dissolved_and_oxides_with_parts_are_one_glass():
    water = recognised("8 M urea in water")[0]["phases"][0]
    assert water["substances"][1] == {"name": "urea", "molarity": 8.0}
    glass = recognised("SiO2 Na2O CaO glass 75:15:10")[0]["phases"][0]
    assert [part["ratio"] for part in glass["substances"]] == [75.0, 15.0, 10.0]
