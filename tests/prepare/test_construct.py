"""Structures of a plan: one failing harms no other, nothing is built twice, campaigns take over."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from ase import io
from ase.data import atomic_numbers, covalent_radii
from ase.neighborlist import neighbor_list

from atomistics.builders.crystals.parameters import Crystal
from atomistics.builders.crystals.source import lattice_of
from atomistics.formulas import atoms_of_formula
from atomistics.structure_index import digest, read_index
from atomistics.yaml_files import read_yaml
from campaign.create import create
from campaign.material import Answers, Phase
from mtpilot.cli import main
from planner.decide import next_plan
from planner.policy import rules
from preparation import phase_parameters, sentence, substances
from preparation.construct import summary
from preparation.propose import propose
from preparation.task import task_of

ALLOY = {
    "sentence": "Copper-silver alloy",
    "phases": [
        {"name": "copper", "kind": "crystal", "crystal": "Cu", "surface": [1, 1, 1]},
        {
            "name": "alloy",
            "kind": "crystal",
            "crystal": "Cu",
            "substitutions": [{"element": "Cu", "by": "Ag", "fraction": 0.5}],
        },
    ],
    "layers": [],
    "temperature": 300,
    "reference": {"method": "ase", "calculator": "ase.calculators.emt:EMT"},
}


def built(folder: Path, types, *more: str) -> tuple[int, str, str]:
    answers = folder / "answers.yaml"
    answers.write_text(yaml.safe_dump(ALLOY))
    return types(["prepare", "--answers", answers, folder / "here", "--cores", "1", *more])


def report(folder: Path) -> dict:
    return yaml.safe_load((folder / "here/structures/report.yaml").read_text())["structures"]


@pytest.fixture(scope="module")
def alloy(tmp_path_factory) -> Path:
    """A prepared campaign on EMT, as the command leaves it."""
    folder = tmp_path_factory.mktemp("alloy")
    (folder / "answers.yaml").write_text(yaml.safe_dump(ALLOY))
    assert main(["prepare", "--answers", str(folder / "answers.yaml"), str(folder / "here")]) == 0
    return folder


@pytest.fixture
def copy(alloy: Path, tmp_path: Path) -> Path:
    shutil.copytree(alloy / "here", tmp_path / "here")
    shutil.copy(alloy / "answers.yaml", tmp_path)
    return tmp_path


def test_the_folder_is_a_campaign(alloy: Path, tmp_path: Path) -> None:
    here = alloy / "here"
    index = read_index(here / "structures")
    assert len(index) == 18 + 8, "variants, and atoms and dimers of two elements"
    assert {s.subsystem for s in index} == {"copper", "copper_surface", "alloy"}
    for subsystem in ("copper", "copper_surface", "alloy"):
        assert [s.held_out for s in index if s.subsystem == subsystem].count(True) == 1
    entry = yaml.safe_load((here / "structures/index.yaml").read_text())[0]
    assert entry["parameters"]["family"] == "solid"
    assert entry["sha256"] == digest(here / "structures" / entry["file"])
    assert isinstance(entry["seed"], int)
    campaign = create(str(here), tmp_path / "other")
    assert next_plan(campaign).action == "reference_calc"
    assert rules.decide(campaign.situation()).action == "reference_calc"
    assert {p.stem for p in (here / "structures/sheets").glob("*.png")} == {
        "copper",
        "copper_surface",
        "alloy",
    }


def test_composition_and_lattice_are_what_was_asked(alloy: Path) -> None:
    here = alloy / "here/structures"
    for name in ("bulk", "dense", "wide"):
        atoms = io.read(here / f"copper-{name}.extxyz")
        scale = {"bulk": 1.0, "dense": 0.97, "wide": 1.04}[name]
        volume = (3.615 * scale) ** 3 / 4
        assert atoms.get_volume() / len(atoms) == pytest.approx(volume, rel=1e-6)
    mixed = io.read(here / "alloy-bulk.extxyz").get_chemical_symbols()
    assert mixed.count("Ag") == len(mixed) / 2


def test_the_same_answers_give_the_same_bytes(alloy: Path, tmp_path, types) -> None:
    assert built(tmp_path, types)[0] == 0
    one, two = alloy / "here", tmp_path / "here"
    for path in sorted(one.rglob("*")):
        if path.is_file() and path.suffix in (".extxyz", ".yaml", ".png"):
            assert path.read_bytes() == (two / path.relative_to(one)).read_bytes(), path.name


def test_nothing_is_built_twice_and_an_edit_builds_only_itself(copy: Path, types) -> None:
    here = copy / "here/structures"
    before = {p.name: p.stat().st_mtime_ns for p in here.glob("*.extxyz")}
    assert built(copy, types)[0] == 0
    assert {p.name: p.stat().st_mtime_ns for p in here.glob("*.extxyz")} == before
    plan = yaml.safe_load((here / "plan.yaml").read_text())
    plan["categories"][0]["variants"][0]["parameters"]["scale"] = 1.02
    (here / "plan.yaml").write_text(yaml.safe_dump(plan))
    (here / "alloy-wide.extxyz").unlink()
    status, out, _ = built(copy, types)
    assert status == 0
    after = {p.name: p.stat().st_mtime_ns for p in here.glob("*.extxyz")}
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"copper-bulk.extxyz", "alloy-wide.extxyz"}
    assert "[2/2]" in out


def test_one_that_fails_is_named_and_the_others_go_on(tmp_path, types) -> None:
    assert built(tmp_path, types, "--only", "plan")[0] == 0
    path = tmp_path / "here/structures/plan.yaml"
    plan = yaml.safe_load(path.read_text())
    variants = plan["categories"][0]["variants"]
    variants[1]["parameters"] = {"family": "other", "file": "files/none.cif"}
    variants[2]["parameters"] = dict(variants[0]["parameters"])
    variants[5]["parameters"] |= {"min_length_angstrom": 2.0, "atoms": None}
    path.write_text(yaml.safe_dump(plan))
    status, out, err = built(tmp_path, types)
    assert (status, err) == (0, "")
    failed = {k: v["failure"] for k, v in report(tmp_path).items() if v["status"] == "failed"}
    assert set(failed) == {"copper-dense", "copper-wide", "copper-held-out"}
    assert "none.cif" in failed["copper-dense"]
    assert failed["copper-wide"] == "the same as copper-bulk; vary its parameters"
    assert "below the cutoff 5 Å" in failed["copper-held-out"]
    assert all(text.count("\n") == 0 for text in failed.values())
    assert "failed: copper-dense: " in out
    index = read_index(tmp_path / "here/structures")
    assert len(index) == 15 + 8
    assert [s.id for s in index if s.held_out and s.subsystem == "copper"] == ["copper-large-dense"]
    status, _, err = types(["structures", "build", "--campaign", tmp_path / "here"])
    assert (status, "3 structures failed" in err) == (1, True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p.update(categories=[]), "categories"),
        (lambda p: p.update(shell="x"), "shell: Extra inputs"),
        (lambda p: p["categories"][0]["variants"][5].pop("held_out"), "held_out: exactly one"),
        (lambda p: p["categories"][0]["variants"][0].update(held_out=True), "exactly one"),
        (lambda p: p["categories"][0]["variants"][0].update(id="copper-dense"), "every id once"),
        (lambda p: p["categories"][0]["variants"][0].update(id="../x"), "pattern"),
        (lambda p: p["categories"].reverse() or p["categories"][0].update(stage=3), "stages"),
        (lambda p: p["categories"].pop(), "category alloy: absent here"),
        (lambda p: p["categories"][0].update(max_temperature=77), "77 K here"),
        (lambda p: p["categories"][0]["variants"][0]["parameters"].update(scale=9), "scale"),
        (
            lambda p: p["categories"][0]["variants"][0].update(
                parameters={"family": "other", "structure": "alloy-bulk"}
            ),
            "not built before it",
        ),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(copy: Path, types, change, told: str) -> None:
    path = copy / "here/structures/plan.yaml"
    plan = yaml.safe_load(path.read_text())
    change(plan)
    path.write_text(yaml.safe_dump(plan))
    status, _, err = built(copy, types)
    assert status == 1
    assert told in err
    assert err.count("\n") == 1


def test_a_structure_that_was_changed_is_found(copy: Path, types) -> None:
    path = copy / "here/structures/copper-bulk.extxyz"
    atoms = io.read(path)
    atoms.positions[0] = atoms.positions[1] + [0.4, 0, 0]
    io.write(path, atoms)
    status, out, err = types(["structures", "check", "--campaign", copy / "here"])
    assert (status, "1 structures failed" in err) == (1, True)
    assert "apart, the least sensible is" in out
    assert types(["structures", "build", "--campaign", copy / "here"])[0] == 0
    assert types(["structures", "check", "--campaign", copy / "here"])[0] == 0


def test_a_relaxation_goes_down(tmp_path, types) -> None:
    assert built(tmp_path, types, "--only", "plan")[0] == 0
    (tmp_path / "here/config.yaml").write_text(
        "reference: {method: ase, calculator: 'ase.calculators.emt:EMT'}\n"
    )
    assert built(tmp_path, types, "--relax", "3")[0] == 0
    surface = io.read(tmp_path / "here/structures/copper_surface-slab.extxyz")
    assert surface.info["relaxed_ev"] >= 0
    alloy = io.read(tmp_path / "here/structures/alloy-bulk.extxyz")
    assert alloy.info["relaxed_ev"] > 0.05


def test_sizes_far_beyond_those_asked_are_told_with_their_cost() -> None:
    """The price of plane waves grows with the third power; notes alike in words make one line."""
    copper = {"name": "cu", "kind": "crystal", "crystal": "Cu"}
    answers = {"sentence": "s", "phases": [copper], "layers": [], "temperature": 300}
    plan = propose(task_of(Answers.model_validate(answers), set()))
    ids = [v.id for v in plan.variants]
    report = {name: {"status": "ok", "atoms": 100} for name in ids}
    report |= {v.id: {"status": "ok", "atoms": 1} for c in plan.categories for v in c.single_points}
    assert "sizes:" not in summary(plan, report, 100)
    report[ids[2]] |= {"atoms": 300, "notes": ["polar: 2 of 9 Zn moved"]}
    report[ids[3]] |= {"notes": ["polar: 3 of 12 Zn moved"]}
    text = summary(plan, report, 100)
    assert f"1 of {len(ids)} structures have more than 2.5 times the 100 atoms asked for" in text
    assert f"({ids[2]}, 300 atoms) costs plane-wave DFT about 27 times one of 100" in text
    assert f"note: {ids[2]} and 1 more: polar: 2 of 9 Zn moved" in text
    assert text.count("note:") == 1
    assert "sizes:" not in summary(plan, report)


def test_every_listed_crystal_has_the_composition_of_its_name_and_no_atoms_on_each_other() -> None:
    formulas = 0
    for name, entry in read_yaml(substances.LIST).items():
        if "crystal" not in entry:
            continue
        phase = Phase.model_validate({"name": "x", "kind": "crystal", "crystal": name})
        source = Crystal.model_validate(phase_parameters.crystal(phase))
        atoms = lattice_of(source, substances.LIST.parent)
        i, j, distance = neighbor_list("ijd", atoms, 3.2)
        radii = covalent_radii[atoms.numbers]
        assert (distance > 0.75 * (radii[i] + radii[j])).all(), name
        for formula in filter(sentence.FORMULA.match, (name, *entry.get("aliases", []))):
            named, own = atoms_of_formula(formula), Counter(atoms.get_chemical_symbols())
            if not named.keys() <= atomic_numbers.keys():  # LCO is short for a name
                continue
            units = len(atoms) / sum(named.values())
            assert own == {e: n * units for e, n in named.items()}, name
            formulas += 1
    assert formulas > 150
