"""Labels that exist already: from files to a first model, checked, recorded and out again."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from ase import Atoms, io
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from atomistics import dataset
from campaign.errors import UserError
from campaign.files import read
from campaign.fingerprint import one_method, unlike, untold
from campaign.folder import Campaign
from campaign.imported import read_files
from campaign.sources import Sources
from campaign.state import State
from mtp.formats.cfg import read_cfg
from mtp.reading.files import read_calculations
from mtp.reading.frames import Reading, ReadOptions
from mtpilot.cli import main
from planner.policy.rules import decide
from tests.mtp.vasp_files import Step, outcar, vasprun

SETTINGS = {"mlp": {"level": 2, "radial_basis": 4, "quick_iterations": 3, "accurate_iterations": 5}}
EMT_REFERENCE = {"method": "ase", "calculator": "ase.calculators.emt:EMT"}


def copper(number: int, seed: int = 0) -> list[Atoms]:
    """Rattled copper with EMT's labels."""
    rng, frames = np.random.default_rng(seed), []
    for _ in range(number):
        atoms = bulk("Cu", cubic=True).repeat((3, 3, 3))
        atoms.positions += rng.normal(0, 0.05, (len(atoms), 3))
        calculator = EMT()
        results = {
            "energy": calculator.get_potential_energy(atoms),
            "forces": calculator.get_forces(atoms),
            "stress": calculator.get_stress(atoms),
        }
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with 12 labelled frames in data.extxyz."""
    monkeypatch.chdir(tmp_path)
    io.write("data.extxyz", copper(12))
    return tmp_path


@pytest.fixture
def made(data: Path) -> Path:
    """A campaign with EMT as reference and nothing imported yet."""
    assert main(["import", "data.extxyz", "--subsystem", "cu", "--campaign", "c", "--new"]) == 0
    for path in (data / "c/iterations").rglob("*"):
        path.unlink() if path.is_file() else None
    write("c/config.yaml", SETTINGS | {"reference": EMT_REFERENCE})
    return data / "c"


def write(path: str, settings: dict) -> None:
    Path(path).write_text(yaml.safe_dump(settings))


def imported(*words: str) -> int:
    return main(["import", *words, "--subsystem", "cu", "--campaign", "c"])


def refused(capsys: pytest.CaptureFixture, *words: str) -> str:
    capsys.readouterr()
    assert imported(*words) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert not Path("c/iterations/000/state.yaml").exists()
    return told


def test_from_files_to_a_first_model_in_one_command(data, capsys) -> None:
    io.write("test.extxyz", copper(3, seed=7))
    words = ["import", "data.extxyz", "--test", "test.extxyz", "--subsystem", "cu", "--new"]
    assert main([*words, "--campaign", "c"]) == 0
    config = Path("c/config.yaml")
    settings = yaml.safe_load(config.read_text())
    assert settings["mlp"]["energy_weight"] == "auto"
    assert settings["mlp"].pop("level") == 16, "3,972 labels, 30 of them a coefficient"
    settings["mlp"] |= SETTINGS["mlp"]
    config.write_text(yaml.safe_dump(SETTINGS | settings))
    assert main(["run", "--campaign", "c"]) == 0, "there is no reference: the fit is all there is"
    campaign = Campaign.at(data / "c")
    first, state = campaign.state(1), campaign.state()
    assert first.history[0].action == "train"
    assert first.datasets[0].sha256
    (train, held_out) = first.models[0].errors
    assert (train.frames, held_out.frames) == (12, 3)
    assert held_out.split == "held_out"
    assert state.spent.reference_calls == 0
    assert state.verdict
    assert (state.verdict.outcome, state.verdict.model) == ("fitted", "m001")
    assert any("cu: 3 held-out frames, energy MAE" in r for r in state.verdict.reasons)
    assert "cu: m001 was never evaluated on it" in state.verdict.reasons
    assert list((data / "c/result").glob("*.almtp"))
    card = (data / "c/result/model_card.md").read_text()
    assert "that of the imported labels" in card
    assert "gfn1" not in card, "no label is of the reference that was never called"
    assert "cu: 3 held-out frames with labels, force MAE" in card
    assert main(["replay", "--campaign", "c"]) == 0
    told = capsys.readouterr().out
    assert "12 frames: energy 12, forces 12, stress 12; not understood: nothing" in told
    # begun: what rests on it cannot be changed by another import
    assert imported("data.extxyz") == 1


def test_the_state_rests_on_the_import(made) -> None:
    assert imported("data.extxyz", "--same-method", "--held-out", "0.25") == 0
    folder = made / "iterations/000"
    state = read(State, folder / "state.yaml")
    assert state.datasets[0].labels == 9
    assert dataset.count(folder / "import/held_out.h5") == 3
    frames = dataset.read(folder / "import/dataset.h5")
    assert [a.info["frame"] for a in frames] == list(range(9)), "neighbours in time stay together"
    campaign = Campaign.at(made)
    plan = decide(campaign.situation())
    assert (plan.action, plan.rule) == ("train", "R1-imported")
    assert plan.state_sha256 == campaign.state_sha256(0) != "start"
    text = (folder / "state.yaml").read_text() + (folder / "import/sources.yaml").read_text()
    assert str(made.parent) not in text
    # another file joins the same data set; its duplicates do not
    io.write("more.extxyz", [*copper(4, seed=3), *copper(2)])
    assert imported("more.extxyz", "--same-method", "--held-out", "0") == 0
    assert read(State, folder / "state.yaml").datasets[0].labels == 13
    sources = read(Sources, folder / "import/sources.yaml")
    assert [s.frames for s in sources.files] == [12, 4]
    assert [(c.kind, c.count) for c in sources.left_out["cu"]] == [("duplicate", 2)]


def test_labels_of_two_methods_do_not_mix(made, capsys) -> None:
    assert "--same-method" in refused(capsys, "data.extxyz")
    assert imported("data.extxyz", "--recompute", "2") == 0
    assert "2 frames recomputed with ase" in capsys.readouterr().out
    (made / "iterations/000/state.yaml").unlink()
    frames = copper(4, seed=5)
    for atoms in frames:
        atoms.calc.results["energy"] += 3.0 * len(atoms)
    io.write("other.extxyz", frames)
    assert "more than the targets" in refused(capsys, "other.extxyz", "--recompute", "2")
    twice = copper(1)
    twice[0].calc.results["energy"] += 1.0
    io.write("twice.extxyz", [*copper(1), *twice])
    assert "one geometry" in refused(capsys, "twice.extxyz", "--same-method")


def test_what_is_no_label_is_counted_or_refused(made, capsys) -> None:
    frames = copper(14, seed=9)
    frames[0].calc.results["forces"][0] = [900.0, 0, 0]
    del frames[1].calc.results["forces"]
    frames[2].calc.results["energy"] += 500.0
    io.write("some.extxyz", frames)
    assert imported("some.extxyz", "--same-method", "--held-out", "0") == 0
    told = capsys.readouterr().out
    assert (
        "11 to train on, 0 held out; left out: energy-outlier (1), force-above-max_force (1), "
        "without-energy-or-forces (1)"
    ) in told
    (made / "iterations/000/state.yaml").unlink()
    for atoms in frames:
        atoms.set_cell(atoms.cell / 10, scale_atoms=True)
    io.write("nm.extxyz", copper_in(10.0))
    assert "no lengths in Å" in refused(capsys, "nm.extxyz", "--same-method")
    io.write("gold.extxyz", Atoms("Au", calculator=None))
    assert "element Au" in refused(capsys, "gold.extxyz", "--same-method")
    assert "no such file" in refused(capsys, "none.extxyz")
    assert "--units" in refused(capsys, "data.extxyz", "--units", "work=J")


def test_labels_that_contradict_each_other(made, capsys) -> None:
    """Energies that are not those of the forces; two zeros of energy, of one composition or two."""
    frames = copper(12, seed=5)
    for atoms in frames:
        atoms.calc.results["energy"] /= len(atoms)
    io.write("each.extxyz", frames)
    assert "as if energies were those of one atom" in refused(
        capsys, "each.extxyz", "--same-method"
    )
    told = ("--same-method", "--held-out", "0")
    assert imported("each.extxyz", "--keep-outliers", *told) == 0
    shutil.rmtree(made / "iterations/000")
    assert imported("each.extxyz", "--units", "energy=eV/atom", *told) == 0


def shifted(name: str, symbol: str, level: float) -> None:
    """A file of fcc frames with energies that count from another zero (eV/atom)."""
    frames = []
    for number, atoms in enumerate(copper(6, seed=len(name))):
        half = number % 2 and symbol != "Cu"
        one, labels = atoms.copy(), atoms.calc.results
        one.symbols[:: 1 + half] = symbol
        labels["energy"] += level * len(atoms) / (1 + half)
        one.calc = SinglePointCalculator(one, **labels)
        frames.append(one)
    io.write(name, frames)


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        (("Cu", 0.0), ("Cu", 0.5), ""),
        (("Cu", 0.0), ("Cu", -9.0), "energies of Cu lie in two groups"),
        (("Au", 0.0), ("Ag", -3.0), ""),
        (("Au", -900.0), ("Ag", -3.0), ""),  # each element in files of one method
    ],
)
def test_two_zeros_of_energy(data, capsys, one, other, says) -> None:
    shifted("one.extxyz", *one)
    shifted("other.extxyz", *other)
    words = ["import", "one.extxyz", "other.extxyz", "--subsystem", "cu", "--campaign", "c"]
    words += ["--new", "--held-out", "0"]
    assert main(words) == bool(says)
    assert says in capsys.readouterr().err
    if says:
        assert main([*words, "--keep-outliers"]) == 0


def test_compounds_and_elements_of_two_methods(data, capsys) -> None:
    """CuAu of one code; Cu and Au of another, whose atoms count from elsewhere."""
    shifted("one.extxyz", "Au", 0.0)
    frames = [atoms for atoms in io.read("one.extxyz", ":") if len(set(atoms.symbols)) == 2]
    for atoms in frames:
        atoms.calc.results["energy"] -= 40.0 * len(atoms)
    io.write("half.extxyz", frames)
    whole = [a for a in io.read("one.extxyz", ":") if len(set(a.symbols)) == 1]
    io.write("whole.extxyz", [*whole, *copper(6)])
    words = ["import", "whole.extxyz", "half.extxyz", "--subsystem", "cu", "--campaign", "c"]
    assert main([*words, "--new"]) == 1
    said = capsys.readouterr().err
    assert "energies of AuCu in half.extxyz are" in said
    assert "eV/atom off" in said


def copper_in(factor: float) -> list[Atoms]:
    """Frames whose lengths are divided by a factor."""
    frames = []
    for atoms in copper(2, seed=4):
        small = Atoms(atoms.numbers, atoms.positions / factor, cell=atoms.cell / factor, pbc=True)
        small.calc = SinglePointCalculator(small, **atoms.calc.results)
        frames.append(small)
    return frames


def test_folders_of_runs(made, capsys) -> None:
    for k, name in enumerate(("OUTCAR", "vasprun.xml")):
        run = Path(f"runs/{k}")
        run.mkdir(parents=True)
        (run / "OUTCAR").write_text(outcar([Step(-7.5 - k)]))
        if name == "vasprun.xml":
            (run / name).write_text(vasprun([Step(-7.5 - k)]))
    files = read_files([Path("runs")], ReadOptions(), None)
    assert [path.name for path in files] == ["OUTCAR", "vasprun.xml"]
    Path("empty").mkdir()
    assert "no DeePMD system" in refused(capsys, "empty")
    assert "no element" in refused(capsys, "runs", "--species", "Cu,Zz")
    assert "is of VASP" in refused(capsys, "runs")
    assert "element O" in refused(capsys, "runs", "--same-method")


PBE = {"xc": "PBE", "encut": 400, "ismear": 1, "sigma": 0.2, "setups": {"Cu": "_pv"}}
NI = {"Cu": {"L": 2, "U": 6.2, "J": 0.0}}


@pytest.mark.parametrize(
    ("header", "options", "says"),
    [
        ("", PBE, ""),
        ("", PBE | {"encut": 520}, "ENCUT is 400, by reference.options 520"),
        ("", PBE | {"ivdw": 12}, "IVDW is 0, by reference.options 12"),
        ("   IVDW   =   12\n", PBE, "IVDW is 12, by reference.options 0"),
        ("   IVDW   =   12\n", PBE | {"ivdw": 12}, ""),
        ("   GGA    =   --\n", PBE | {"xc": "pbesol"}, "GGA is PE, by reference.options PS"),
        ("   GGA    =   --\n", PBE | {"xc": "SCAN"}, "METAGGA is --, by reference.options SCAN"),
        ("   LHFCALC =  T\n", PBE, "LHFCALC is T, by reference.options F"),
        ("", {"xc": "PBE", "encut": 400, "setups": {"Cu": "_pv"}}, ""),
        ("", {"xc": "PBE"}, "POTCAR Cu is PAW_PBE Cu_pv 06Sep2000, by reference.options Cu"),
        ("", PBE | {"setups": {"base": "recommended", "Cu": "_pv"}}, ""),
        ("   LHFCALC = T\n   HFSCREEN=    0.2000\n", PBE | {"xc": "pbe0"},
         "HFSCREEN is 0.2, by reference.options 0"),
        ("   LHFCALC = T\n   HFSCREEN=    0.2000\n", PBE | {"xc": "hse06"}, ""),
        ("   LHFCALC = T\n   AEXX    =    0.1500\n", PBE | {"xc": "pbe0"},
         "AEXX is 0.15, by reference.options 0.25"),
        ("   LSORBIT =      T    coupling\n", PBE, "LSORBIT is T, by reference.options F"),
        ("   LASPH   =      T    aspherical Exc\n", PBE | {"lasph": True}, ""),
        ("   LDIPOL =      T\n", PBE, "LDIPOL is T, by reference.options F"),
        ("", {"xc": "PBE", "ismear": 0, "sigma": 0.05}, "ISMEAR is 1, by reference.options 0"),
        ("   LDAU = T\n", PBE, "LDAU is T, by reference.options F"),
        ("   LDAU = T\n", PBE | {"ldau_luj": NI}, ""),
        ("   LDAU = T\n U LDAUL = 2 -1\n U LDAUU = 4.0 0.0\n U LDAUJ = 0.0 0.0\n",
         PBE | {"ldau_luj": NI}, "U Cu is 4, by reference.options 6.2"),
    ],
)  # fmt: skip
def test_settings_of_files_are_held_against_the_reference(tmp_path, header, options, says) -> None:
    """What is not set counts too: as VASP's default, and as what `xc` stands for."""
    path = tmp_path / "OUTCAR"
    path.write_text(outcar([Step()]).replace("   NELM ", f"{header}   NELM ", 1))
    reading = read_calculations(path, ReadOptions())
    found = unlike({path: reading}, SimpleNamespace(method="vasp", options=options))
    assert found == (f"OUTCAR: {says}" if says else "")


def test_a_reference_is_known_by_the_titles_of_its_potcars(tmp_path, monkeypatch) -> None:
    """Where its files are; two of one name are told apart by their date."""
    path = tmp_path / "OUTCAR"
    path.write_text(outcar([Step()]))
    files = {path: read_calculations(path, ReadOptions())}
    reference = SimpleNamespace(method="vasp", options=PBE)
    for name, title in (("Cu_pv", "PAW_PBE Cu_pv 06Sep2000"), ("O", "PAW_PBE O 22Mar2012")):
        folder = tmp_path / "pp/potpaw_PBE" / name
        folder.mkdir(parents=True)
        (folder / "POTCAR").write_text(f"  {title}   \n 11.0\n")
    monkeypatch.setenv("VASP_PP_PATH", str(tmp_path / "pp"))
    says = "POTCAR O is PAW_PBE O 08Apr2002, by reference.options PAW_PBE O 22Mar2012"
    assert unlike(files, reference) == f"OUTCAR: {says}"
    (folder / "POTCAR").write_text("  PAW_PBE O 08Apr2002\n")
    assert unlike(files, reference) == ""


ALUMINIUM = {
    "kpts": (2, 2, 2),
    "pseudopotentials": {"Al": "Al.pz-vbc.UPF"},
    "input_data": {
        "system": {"ecutwfc": 12, "occupations": "smearing", "smearing": "gauss", "degauss": 0.05}
    },
}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, ""),
        ({"ecutwfc": 30.0}, "ecutwfc is 12, by reference.options 30"),
        ({"ecutrho": 96}, "ecutrho is 48, by reference.options 96"),
        ({"smearing": "cold"}, "smearing is gaussian, by reference.options marzari-vanderbilt"),
        ({"degauss": 0.02}, "degauss is 0.05, by reference.options 0.02"),
        ({"input_dft": "PBESOL"}, "input_dft is f, by reference.options pbesol"),
        ({"vdw_corr": "dft-d3"}, "dispersion is f, by reference.options t"),
    ],
)
def test_settings_of_pw_are_held_against_the_reference(changed, says) -> None:
    path = Path(__file__).resolve().parents[1] / "data/outputs/pw.out"
    files = {path: read_calculations(path, ReadOptions())}
    data = {"system": ALUMINIUM["input_data"]["system"] | changed}
    options = ALUMINIUM | {"input_data": data}
    difference = unlike(files, SimpleNamespace(method="espresso", options=options))
    assert difference == (f"pw.out: {says}" if says else "")
    other = ALUMINIUM | {"pseudopotentials": {"Al": "Al.pbe.UPF"}}
    assert "pseudopotential Al is Al.pz-vbc.UPF, by reference.options Al.pbe.UPF" in unlike(
        files, SimpleNamespace(method="espresso", options=other)
    )
    reference = SimpleNamespace(method="ase", calculator="gpaw:GPAW", options={})
    assert "is of Quantum ESPRESSO, the campaign's reference is gpaw" in unlike(files, reference)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kpts": (2, 2, 2)}, ""),
        ({}, "k-points are 2 x 2 x 2, by reference.options 1 x 1 x 1 in this cell"),
        ({"kpts": (2, 2, 3)}, "k-points are 2 x 2 x 2, by reference.options 2 x 2 x 3"),
        ({"kpts": {"size": (2, 2, 2)}}, ""),
        ({"kpts": {"density": 0.5, "even": True}}, ""),
        ({"kpts": {"density": 2.0}}, "k-points are 2 x 2 x 2, by reference.options 6 x 6 x 3"),
        ({"kspacing": 0.25}, "k-points are 2 x 2 x 2, by reference.options 2 x 2 x 1"),
        ({"kspacing": 0.04}, "k-points are 2 x 2 x 2, by reference.options 11 x 11 x 6"),
    ],
)  # fmt: skip
def test_kpoints_of_files_are_held_against_the_reference(options, says) -> None:
    """Of two aluminium atoms: as many as the reference would take in the file's cell."""
    path = Path(__file__).resolve().parents[1] / "data/outputs/pw.out"
    files = {path: read_calculations(path, ReadOptions())}
    bare = {key: value for key, value in ALUMINIUM.items() if key != "kpts"}
    found = unlike(files, SimpleNamespace(method="espresso", options=bare | options))
    assert found.startswith(f"pw.out: {says}") if says else found == ""


# of 2 x 2 x 1 k-points off the origin, those that the inversion of time leaves
LISTED = """ k-points           NKPTS =      2   k-points in BZ     NKDIM =      2
 k-points in reciprocal lattice and weights: Automatic mesh
   0.25000000  0.25000000  0.00000000       0.500
   0.25000000 -0.25000000  0.00000000       0.500
"""


@pytest.mark.parametrize(
    ("generated", "options", "says"),
    [
        (" generate k-points for:    4    4    4", {"kspacing": 0.45}, ""),
        (" generate k-points for:    4    4    4", {"kspacing": 0.25},
         "OUTCAR: k-points are 4 x 4 x 4, by reference.options 7 x 7 x 7 in this cell"),
        ("", {"kspacing": 0.25}, ""),
        (LISTED, {"kpts": (4, 4, 1)},
         "OUTCAR: k-points are 2 x 2 x 1, by reference.options 4 x 4 x 1 in this cell"),
    ],
)  # fmt: skip
def test_kpoints_of_an_outcar(tmp_path, generated, options, says) -> None:
    path = tmp_path / "OUTCAR"
    path.write_text(outcar([Step()]).replace("   NELM ", f"{generated}\n   NELM ", 1))
    files = {path: read_calculations(path, ReadOptions())}
    assert unlike(files, SimpleNamespace(method="vasp", options=PBE | options)) == says
    assert untold(files) == ([] if generated else ["OUTCAR"])


def test_files_of_other_kpoint_densities(tmp_path) -> None:
    """One spacing must ask for all: 0.39 1/Å for 4 x 4 x 4 in 4 Å, none for 1 x 1 x 1, too."""
    for name, mesh in (("a", "4    4    4"), ("b", "1    1    1"), ("c", "5    5    5")):
        text = outcar([Step()]).replace("   NELM ", f" generate k-points for:  {mesh}\n   NELM ", 1)
        (tmp_path / f"{name}.OUTCAR").write_text(text)
    a, b, c = (
        read_files([tmp_path / f"{name}.OUTCAR"], ReadOptions(), None) for name in ("a", "b", "c")
    )
    one_method(a | c, [])
    says = (
        "b.OUTCAR has 1 x 1 x 1 k-points for 1.57 1/Å, .*a.OUTCAR has 4 x 4 x 4 k-points for 0.52"
    )
    with pytest.raises(UserError, match=says):
        one_method(a | b, [])
    one_method(a | b, [], kpoints=False)
    earlier = SimpleNamespace(name="a.OUTCAR", method=next(iter(a.values())).method)
    with pytest.raises(UserError, match="labels of different quality"):
        one_method(b, [earlier])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, ""),
        ({"xc": "PBE"}, "xc is lda, by reference.options pbe"),
        ({"mode": {"name": "pw"}}, "ecut is 200, by reference.options 340"),
        ({"occupations": {}}, "width is 0.3, by reference.options 0.1"),
        ({"setups": {"Li": ":s,1.0"}}, "hubbard is f, by reference.options t"),
        ({"kpts": {"density": 2.0}}, "k-points are 2 x 2 x 2, by reference.options 4 x 4 x 4"),
    ],
)
def test_settings_of_gpaw_are_held_against_the_reference(changed, says) -> None:
    path = Path(__file__).resolve().parents[1] / "data/outputs/gpaw.out"
    files = {path: read_calculations(path, ReadOptions())}
    options = {"mode": {"name": "pw", "ecut": 200}, "kpts": [2, 2, 2]}
    options |= {"occupations": {"name": "fermi-dirac", "width": 0.3}} | changed
    reference = SimpleNamespace(method="ase", calculator="gpaw:GPAW", options=options)
    assert unlike(files, reference).startswith(f"gpaw.out: {says}" if says else "")
    assert bool(unlike(files, reference)) == bool(says)


def test_what_tells_no_settings_is_not_called_the_references() -> None:
    path = Path(__file__).resolve().parents[1] / "data/outputs/cp2k.out"
    files = {path: read_calculations(path, ReadOptions())}
    assert "settings of CP2K are not compared (cp2k.out)" in unlike(
        files, SimpleNamespace(method="cp2k", options={"xc": "PBE"})
    )


def test_runs_of_two_settings_in_folders_of_their_own(made, capsys) -> None:
    """Files of one name, of which each is looked at; an older import; a file that tells nothing."""
    for name, cutoff in (("a", "400.0"), ("b", "520.0")):
        Path(name).mkdir()
        (Path(name) / "OUTCAR").write_text(outcar([Step()]).replace("400.0", cutoff))
    files = read_files([Path("a"), Path("b")], ReadOptions(), None)
    with pytest.raises(UserError, match="OUTCAR and b/OUTCAR differ in ENCUT 400 and 520"):
        one_method(files, [])
    first, second = files
    old = SimpleNamespace(name="old", method=files[first].method)
    with pytest.raises(UserError, match="old and b/OUTCAR differ in ENCUT 400 and 520"):
        one_method({second: files[second]}, [old])
    silent = Reading(list(files[first].frames))
    told = SimpleNamespace(method="vasp", options=PBE)
    assert "data.xyz does not say" in unlike({first: files[first], Path("data.xyz"): silent}, told)
    Path("v.xml").write_text(vasprun([Step()]))
    one_method({first: files[first], **read_files([Path("v.xml")], ReadOptions(), None)}, [])


@pytest.mark.parametrize("name", ["o.extxyz", "o.cfg", "o.db", "o.traj"])
def test_export(made, capsys, name) -> None:
    assert imported("data.extxyz", "--same-method", "--held-out", "0") == 0
    assert main(["export", name, "--campaign", "c"]) == 0
    assert "d000: 12 frames: energy 12, forces 12, stress 12" in capsys.readouterr().out
    expected = copper(12)[5].calc.results
    if name == "o.cfg":
        found = read_cfg(name)[5]
        assert found.energy == pytest.approx(expected["energy"])
        return
    atoms = io.read(name, index=5)
    assert atoms.calc.results["energy"] == pytest.approx(expected["energy"])
    assert atoms.calc.results["forces"] == pytest.approx(expected["forces"], abs=1e-7)
    assert atoms.calc.results["stress"] == pytest.approx(expected["stress"], abs=1e-9)


@pytest.mark.parametrize("name", ["o.extxyz", "o.db", "o.json", "o.traj", "o.cfg"])
def test_exported_and_read_again_bit_for_bit(data, name) -> None:
    """All digits of energies, forces, positions; a .cfg holds virials, whose stress may round."""
    io.write("exact.db", copper(4, seed=3))
    words = ["import", "exact.db", "--subsystem", "cu", "--campaign", "x", "--new"]
    assert main([*words, "--held-out", "0"]) == 0
    assert main(["export", name, "--campaign", "x"]) == 0
    first = dataset.read(Path("x/iterations/000/import/dataset.h5"))
    again = read_calculations(Path(name), ReadOptions(("Cu",))).frames
    assert len(first) == len(again) == 4
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.positions, two.positions)
        assert np.array_equal(one.cell.array, two.cell.array)
        for key, value in one.calc.results.items():
            exact = name != "o.cfg" or key != "stress"
            assert np.allclose(two.calc.results[key], value, 0 if exact else 1e-14, 0)


def test_export_for_deepmd_is_read_back(made, capsys) -> None:
    assert imported("data.extxyz", "--same-method", "--held-out", "0") == 0
    assert main(["export", "npy", "--campaign", "c"]) == 0
    assert "energy 12, forces 12, stress 12" in capsys.readouterr().out
    (system,) = Path("npy").iterdir()
    assert system.name == "Cu108"
    found = read_files([Path("npy")], ReadOptions(), None)
    (reading,) = found.values()
    expected = copper(12)[5].calc.results
    for key in ("energy", "forces", "stress"):
        assert reading.frames[5].calc.results[key] == pytest.approx(expected[key], abs=1e-6)
    assert main(["export", "npy", "--campaign", "c"]) == 1
    assert "holds something" in capsys.readouterr().err
    assert main(["export", "a.xml", "--campaign", "c"]) == 1


def test_mlearn_json_of_a_public_data_set(data) -> None:
    """Zuo 2020's form; the sets themselves are read where they lie, if they do."""
    shared = Path(__file__).resolve().parents[2].parent / "shared/data/mlearn"
    if not shared.is_dir():
        pytest.skip("no public data set")
    words = ["import", str(shared / "Li-training.json.gz"), "--test"]
    words += [str(shared / "Li-test.json.gz"), "--subsystem", "li", "--campaign", "li", "--new"]
    assert main(words) == 0
    state = Campaign.at(data / "li").state()
    assert state.datasets[0].labels > 200
    held_out = dataset.read(data / "li/iterations/000/import/held_out.h5")
    assert json.dumps(held_out[0].info["group"])
