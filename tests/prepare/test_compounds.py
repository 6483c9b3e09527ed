"""Compounds, salts and alloys in words: the right one or none, never an element in its place."""

import pytest

from preparation import notation, substances
from preparation.compounds import in_formulas
from preparation.quantities import gigapascal_in, kelvin_in
from preparation.sentence import recognised
from preparation.unread import left_out


@pytest.mark.parametrize(
    ("words", "formula"),
    [
        ("silver iodide", "AgI"),
        ("silicon nitride", "Si3N4"),
        ("titanium dioxide", "TiO2"),
        ("vanadium pentoxide", "V2O5"),
        ("iron(III) oxide", "Fe2O3"),
        ("copper(I) oxide", "Cu2O"),
        ("tungsten disulfide", "WS2"),
        ("potassium hydroxide", "KOH"),
        ("magnesium nitrate", "Mg(NO3)2"),
        ("iron oxide", None),
        ("copper sulfate", None),
        ("calcium silicate hydrate", None),
    ],
)
def test_names_of_compounds_are_read_whole(words: str, formula: str | None) -> None:
    text, read = in_formulas(f"{words} under strain")
    assert read == {words: formula}
    assert text == f"{formula or words.replace(' ', '-')} under strain"
    phases = recognised(words)[0].get("phases", [])
    element = words.split(maxsplit=1)[0].split("(", maxsplit=1)[0]
    assert all(phase.get("crystal") != element for phase in phases)


def test_words_that_only_end_like_anions_leave_their_element() -> None:
    for words in ("copper substrate", "lithium dendrite", "gold beside water", "iron meteorite"):
        assert in_formulas(words) == (words, {})


def test_salts_are_known_by_their_ions() -> None:
    assert substances.salt("(NH4)2SO4") == "[NH4+].[NH4+].[O-]S(=O)(=O)[O-]"
    assert substances.salt("KOH") == "[K+].[OH-]"
    assert [substances.salt(s) for s in ("NaCl2", "K2OH", "CO", "TiO2")] == [None] * 4
    assert substances.dissolves("KBr")
    assert not any(map(substances.dissolves, ("AgCl", "BaSO4", "CaCO3", "LiF")))


@pytest.mark.parametrize(
    ("sentence", "molarity"),
    [
        ("aqueous KOH 6 mol/l", 6.0),
        ("NaCl in water", 1.0),
        ("1 mM NaCl in water", 0.001),
        ("0.5 molal NaCl in water", 0.491),  # 58.44 g in 1029 g, 1.007 g/cm3
        ("10 wt% NaCl in water", 1.796),  # at 1.05 g/cm3; handbook 1.83 at 1.071
    ],
)
def test_a_salt_in_water_is_dissolved(sentence: str, molarity: float) -> None:
    record, questions = recognised(sentence)
    (phase,) = record["phases"]
    assert phase["kind"] == "liquid"
    assert phase["substances"][1]["molarity"] == pytest.approx(molarity, rel=1e-3)
    assert bool(questions) == (sentence == "NaCl in water")


def test_a_crystal_of_salt_or_what_does_not_dissolve_stays_solid() -> None:
    for sentence in ("NaCl crystal in water", "AgCl in water", "NaCl (001) surface in water"):
        assert [p["kind"] for p in recognised(sentence)[0]["phases"]] == ["crystal", "liquid"]


def test_an_alloy_is_one_crystal() -> None:
    def only(sentence: str) -> dict:
        (phase,) = recognised(sentence)[0]["phases"]
        return phase

    zinc = {"element": "Cu", "by": "Zn", "fraction": 0.3}
    assert only("Cu-Zn alloy with 30 % zinc")["substitutions"] == [zinc]
    assert only("Cu0.7Zn0.3")["substitutions"] == [zinc]
    (copper,) = only("Al-Cu alloy with 4 wt% copper")["substitutions"]
    assert copper["fraction"] == pytest.approx(0.0174, abs=1e-4)  # 4/63.5 of 4/63.5 + 96/26.98
    mixed = only("CrMnFeCoNi high-entropy alloy")
    assert [x["fraction"] for x in mixed["substitutions"]] == [0.2] * 4
    assert "crystal" not in mixed
    assert only("Au-Pd nanoparticle")["kind"] == "particle"
    assert "phases.aluminium.substitutions" in recognised("aluminium-silicon alloy")[1]
    layered = recognised("silver on copper")[0]
    assert (len(layered["phases"]), layered["layers"]) == (2, ["copper", "silver"])


def test_light_atoms_in_a_metal_are_interstitials() -> None:
    put = {"hydrogen in iron": "H", "steel": "C", "helium in tungsten": "He"}
    for sentence, element in put.items():
        (phase,) = recognised(sentence)[0]["phases"]
        assert phase["interstitials"] == [{"element": element, "count": 1}]
    assert recognised("stainless steel")[0] == {}
    assert notation.read("phases.fe.interstitials", "C 1 atom, H 2 atoms") == [
        {"element": "C", "count": 1},
        {"element": "H", "count": 2},
    ]


@pytest.mark.parametrize(
    ("sentence", "metal", "salt"),
    [
        ("SEI of a sodium battery", "sodium", "NaPF6"),
        ("SEI of a lithium battery", "graphite", "LiPF6"),
    ],
)
def test_a_battery_is_of_its_own_metal(sentence: str, metal: str, salt: str) -> None:
    record, _ = recognised(sentence)
    by_name = {phase["name"]: phase for phase in record["phases"]}
    assert by_name["anode"]["crystal"] == metal
    assert by_name["electrolyte"]["substances"][-1]["name"] == salt


def test_a_battery_that_no_table_has_is_told() -> None:
    for sentence in ("potassium battery SEI", "magnesium battery electrolyte"):
        assert recognised(sentence)[0] == {}
        assert "not in config/sentences.yaml" in left_out(sentence)[0]


def test_another_polymorph_is_asked_for() -> None:
    for sentence in ("gamma alumina", "cubic boron nitride", "hexagonal diamond", "wurtzite ZnS"):
        (phase,) = recognised(sentence)[0]["phases"]
        assert (phase["kind"], "crystal" in phase) == ("crystal", False)
        assert substances.substance(phase["name"]) is None
    for sentence in ("alpha-quartz", "rocksalt MgO", "cubic ZrO2", "wurtzite GaN"):
        assert recognised(sentence)[0]["phases"][0]["crystal"]
    assert recognised("gamma iron")[0]["phases"][0]["crystal"]["spacegroup"] == 225
    assert [p["kind"] for p in recognised("water ice")[0]["phases"]] == ["crystal"]


def test_pressures_and_temperatures_are_no_substances() -> None:
    record, _ = recognised("quartz under 10 GPa")
    assert ([p["name"] for p in record["phases"]], record["pressure"]) == (["sio2"], 10.0)
    assert left_out("quartz under 10 GPa") == []
    assert gigapascal_in("at 20 kbar") == pytest.approx(2.0)
    for text in ("between 300 and 1200 K", "300-1200 K", "926.85 degrees Celsius", "927 °C"):
        assert kelvin_in(text) == 1200, text


def test_numbers_that_nothing_reads_are_told() -> None:
    assert left_out("copper at 1000 F") == ["not understood, and left out: 1000 F"]
    assert left_out("50 % ethanol in water") == ["not understood, and left out: 50 %"]
    assert left_out("Cu-Zn alloy with 30 % zinc") == []
    assert left_out("cellulose") == ["not understood, and left out: cellulose"]
