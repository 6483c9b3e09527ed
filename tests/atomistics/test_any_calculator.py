"""Any ASE calculator as reference, named by its import path: a user's own class and what fails."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from atomistics.dataset import read, write
from atomistics.md.plain import run
from atomistics.md.plain_protocol import Protocol
from atomistics.reference.catalog import Method, own_files
from atomistics.reference.convergence import LabelFailedError
from atomistics.reference.isolated import Child
from atomistics.reference.methods import label, reference_calculator
from atomistics.structure_index import Structure
from atomistics.structures import load
from campaign.config import Config
from campaign.errors import UserError
from campaign.files import dump_yaml, parse
from campaign.folder import configuration
from campaign.material import ReferenceChoice

OWN = '''
from pathlib import Path

from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT


class Own(EMT):
    """Scaled EMT that writes down every construction and attachment; fails on request."""

    def __init__(self, log, terms):
        super().__init__()
        self.log, self.factor = Path(log), terms["factors"][0]["value"]
        self.note("built")

    def note(self, word):
        with self.log.open("a") as file:
            file.write(word + "\\n")

    def set_atoms(self, atoms):
        self.note("attached")

    def calculate(self, atoms=None, *given, **named):
        if atoms is not None and len(atoms) == 1:
            raise RuntimeError("SCF not converged")
        if atoms is not None and len(atoms) == 2:
            import os, sys
            print("license server is gone", flush=True)
            os._exit(3)
        super().calculate(atoms, *given, **named)
        for name in ("energy", "free_energy", "forces", "stress"):
            self.results[name] = self.results[name] * self.factor


def made(log, terms):
    return Own(log, terms)


class Magnetic(EMT):
    """Energy by the initial moments and charges that it was handed."""

    def calculate(self, atoms=None, *given, **named):
        super().calculate(atoms, *given, **named)
        moments = self.atoms.get_initial_magnetic_moments()
        charges = self.atoms.get_initial_charges()
        shift = (moments[0] - moments[1]) + 100 * (charges[0] - charges[1])
        self.results["energy"] = self.results["free_energy"] = shift


class NoStress(Calculator):
    implemented_properties = ["energy", "forces"]


class NoForces(Calculator):
    implemented_properties = ["energy", "stress"]


class Late(EMT):
    """Says that it has a stress and has none, as GPAW with a grid."""

    def get_property(self, name, atoms=None, allow_calculation=True):
        if name == "stress":
            raise NotImplementedError("no stress in this mode")
        return super().get_property(name, atoms, allow_calculation)


class Broken(EMT):
    def __init__(self):
        raise ZeroDivisionError("division by zero")


class Asserting(EMT):
    def __init__(self):
        options = "some"
        assert not options


def number():
    return 7


constant = 7
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own_reference.py").write_text(OWN)
    (tmp_path / "log").touch()
    return tmp_path


def own(folder, name="Own", reuse=None, factor=2.0, **options):
    options = options or {"log": "./log", "terms": {"factors": [{"value": factor}], "rest": None}}
    return reference_calculator(Method("ase", f"own_reference:{name}", options, reuse), folder)


def cell(seed, size=1):
    atoms = bulk("Cu", cubic=True) * (size, 1, 1)
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.mark.parametrize("name", ["Own", "made"])
def test_a_class_in_the_campaigns_folder_is_built_once(folder, name):
    """Built once, attached once, fed new geometries of any size: the labels of a fresh EMT."""
    calculator = own(folder, name)
    for seed, size in ((1, 1), (2, 2), (1, 1), (3, 1)):
        frame, fresh = label(cell(seed, size), calculator), cell(seed, size)
        fresh.calc = EMT()
        assert frame.get_potential_energy() == pytest.approx(2 * fresh.get_potential_energy())
        assert np.allclose(frame.get_forces(), 2 * fresh.get_forces(), atol=1e-12)
        assert np.allclose(frame.get_stress(), 2 * fresh.get_stress(), atol=1e-12)
    calculator.close()
    assert (folder / "log").read_text().split() == ["built", "attached"]


def test_a_new_one_for_each_geometry_where_asked(folder):
    calculator = own(folder, reuse=False)
    for seed in (1, 2):
        label(cell(seed), calculator)
    calculator.close()
    assert (folder / "log").read_text().split() == ["built", "attached"] * 2


def test_a_module_on_the_python_path(folder, monkeypatch, tmp_path_factory):
    monkeypatch.syspath_prepend(str(folder))
    options = {"log": str(folder / "log"), "terms": {"factors": [{"value": 1.0}]}}
    calculator = reference_calculator(
        Method("ase", "own_reference:Own", options), tmp_path_factory.mktemp("other")
    )
    assert label(cell(1), calculator).get_forces().shape == (4, 3)
    calculator.close()


def test_failures_are_one_geometrys(folder):
    """One that raises, one that ends the process, and labels as before in between."""
    calculator = own(folder)
    before = label(cell(1), calculator)
    for atoms, kind, words in (
        (bulk("Cu"), "unconverged", "SCF not converged"),
        (bulk("Cu") * (2, 1, 1), "crashed", "license server is gone"),
    ):
        with pytest.raises(LabelFailedError, match=words) as caught:
            label(atoms, calculator)
        assert caught.value.kind == kind
        again = label(cell(1), calculator)
        assert np.array_equal(again.get_forces(), before.get_forces())
    calculator.close()


PATHS = [
    ("nowhere.at:All", {}, "calculator: nowhere.at:All: no module nowhere here; install it"),
    ("calorine.calculatorz:CPUNEP", {}, r"no module calorine.*; install it \(pip install"),
    ("ase.calculators.emt:ETM", {}, "ase.calculators.emt has no ETM; did you mean EMT"),
    ("own_reference:constant", {}, "own_reference:constant: is a int; name a class"),
    ("own_reference:number", {}, "gives a int, which is no ASE calculator"),
    ("own_reference:Own", {"logg": 1}, "Own has no option logg; it has asap_cutoff, log, terms"),
    ("own_reference:made", {"logg": 1}, "options: own_reference:made does not take them: TypeErr"),
    ("own_reference:Broken", {}, "Broken does not take them: ZeroDivisionError: division by zero"),
    ("own_reference:Asserting", {}, r"AssertionError: assert not options \(own_reference"),
    ("own_reference:NoForces", {}, "NoForces: has no forces"),
    ("own_reference:NoStress", {}, "NoStress: gives no stress, which labels of periodic"),
    ("ase.calculators.lj:LennardJones", {"sigmaa": 1}, "LennardJones has no option sigmaa; it has"),
    ("tblite.ase:TBLite", {"acuracy": 1}, "tblite has no option acuracy; it has"),
]


@pytest.mark.parametrize(("path", "options", "words"), PATHS)
def test_what_can_never_work_is_told_before_the_first_call(folder, path, options, words):
    calculator = reference_calculator(Method("ase", path, options), folder)
    with pytest.raises(UserError, match=words) as caught:
        calculator.check(periodic=True)
    calculator.close()
    text = str(caught.value)
    assert text.startswith("config.yaml: reference.")
    assert "\n" not in text
    assert not isinstance(caught.value, LabelFailedError)


def test_a_stress_that_is_only_announced(folder):
    calculator = reference_calculator(Method("ase", "own_reference:Late"), folder)
    calculator.check(periodic=True)
    with pytest.raises(UserError, match=r"gives no stress .*no stress in this mode"):
        label(cell(1), calculator)
    molecule = cell(1)
    molecule.pbc = False
    assert label(molecule, calculator).get_forces().shape == (4, 3)
    calculator.close()


def broken(request):
    raise IndexError(f"a bug on {request}")


def test_a_bug_of_ours_in_the_child_is_a_traceback():
    child = Child(broken, {})
    with pytest.raises(RuntimeError, match="IndexError: a bug on 3"):
        child.ask(3, 60)
    child.close()


NESTED = {
    "mode": {"name": "pw", "ecut": 300.0},
    "kpts": [1, [2, 3]],
    "maxiter": None,
    "setups": [{"Cu": "paw"}, {"Ag": ["a", True]}],
}


def test_nested_options_survive_the_configuration(tmp_path):
    text = yaml.safe_dump(
        {"reference": {"method": "ase", "calculator": "gpaw:GPAW", "options": NESTED}}
    )
    (tmp_path / "config.yaml").write_text(text)
    config = configuration(tmp_path)
    frozen = parse(Config, yaml.safe_load(dump_yaml(config)), "frozen")
    assert frozen == config
    assert frozen.reference.options == NESTED


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ({"method": "ase"}, "reference: Value error, calculator: missing"),
        ({"calculator": "a:B"}, "calculator: method gfn1-xtb takes none; set method: ase"),
        ({"method": "ase", "calculator": "a.b"}, "reference.calculator: String should match"),
        ({"method": "ase", "calculator": "../a:B"}, "reference.calculator: String should match"),
        ({"method": "eam"}, "reference.method: Input should be 'gfn1-xtb'"),
    ],
)
def test_the_configuration_says_what_is_wrong(tmp_path, reference, words):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"reference": reference}))
    with pytest.raises(UserError, match=words):
        configuration(tmp_path)


def test_methods_of_older_campaigns_are_ases_calculators():
    """`method: emt` and `lj`, as configurations had it before there were import paths."""
    for name, path in (
        ("emt", "ase.calculators.emt:EMT"),
        ("lj", "ase.calculators.lj:LennardJones"),
    ):
        found = parse(ReferenceChoice, {"method": name}, "config.yaml")
        assert (found.method, found.calculator) == ("ase", path)


def test_own_files_are_the_module_and_the_options_of_the_folder(folder):
    (folder / "weights").mkdir()
    (folder / "weights/a.txt").touch()
    options = {
        "a": "./weights/a.txt",
        "b": [{"c": "./log"}],
        "d": "log",
        "e": "./../x",
        "f": "./no",
    }
    found = own_files(Method("ase", "own_reference:Own", options), folder)
    assert found == [Path("log"), Path("own_reference.py"), Path("weights/a.txt")]
    assert own_files(Method("ase", "ase.calculators.emt:EMT"), folder) == []


def test_lennard_jones_with_its_own_options():
    options = {"sigma": 2.3, "epsilon": 0.1, "rc": 6.0}
    calculator = reference_calculator(Method("ase", "ase.calculators.lj:LennardJones", options))
    fresh = cell(3)
    fresh.calc = LennardJones(**options)
    assert np.allclose(label(cell(3), calculator).get_forces(), fresh.get_forces(), atol=1e-12)


NICKEL = """4
Lattice="3.6 0 0 0 3.6 0 0 0 3.6" Properties=species:S:1:pos:R:3:{} pbc="T T T"
Ni 0.0 0.0 0.0 2.0 1.0
Ni 0.0 1.8 1.8 -2.0 -1.0
Ni 1.8 0.0 1.8 2.0 1.0
Ni 1.8 1.8 0.0 -2.0 -1.0
"""


@pytest.mark.parametrize(
    ("columns", "energy"),
    [
        ("initial_magmoms:R:1:initial_charges:R:1", 204.0),
        ("magmoms:R:1:initial_charges:R:1", 204.0),
        ("initial_magmoms:R:1:tag:R:1", 4.0),
    ],
)
def test_moments_and_charges_of_a_file_reach_the_label(folder, columns, energy):
    """File, MD, data set, label: the magnetic state is that of the structure at each step."""
    (folder / "ni.extxyz").write_text(NICKEL.format(columns))
    entry = Structure(
        id="ni",
        file="ni.extxyz",
        subsystem="ni",
        family="solid",
        held_out=False,
        description="antiferromagnet",
        folder=folder,
    )
    calculator = reference_calculator(Method("ase", "own_reference:Magnetic"), folder)
    outcome = run(load(entry), calculator, Protocol("nvt", 300, 4, interval=2))
    write(folder / "frames.h5", outcome.frames)
    for frame in read(folder / "frames.h5"):
        assert frame.get_potential_energy() == pytest.approx(energy)
        assert label(frame, calculator).get_potential_energy() == pytest.approx(energy)
    calculator.close()
