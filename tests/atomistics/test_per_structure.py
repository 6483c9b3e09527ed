"""Options that a structure decides: charge, moments, elements by name, k-points by density."""

import io

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io.espresso import write_espresso_in
from ase.units import Bohr, Ry

from atomistics.errors import UserError
from atomistics.reference.catalog import Method, recipe_of
from atomistics.reference.espresso import WithoutBands, with_polarization
from atomistics.reference.per_structure import by_density, settings_for, unlike_meshes


def recipe(method: str, **options: object):
    needed = {"espresso": {"command": "pw.x", "pseudo_dir": "."}, "orca": {"command": "orca"}}
    return recipe_of(Method(method, options={**needed.get(method, {}), **options}))


def nickel_oxide(first: str) -> Atoms:
    atoms = bulk("NiO", "rocksalt", a=4.18, cubic=True)
    order = np.argsort([symbol != first for symbol in atoms.symbols], kind="stable")
    return atoms[order]


@pytest.mark.parametrize("first", ["Ni", "O"])
@pytest.mark.parametrize("moment", [0.0, 2.0])
def test_hubbard_u_follows_its_element(first: str, moment: float) -> None:
    """pw.x numbers species as they come in the file, antiferromagnetic ones twice."""
    atoms = nickel_oxide(first)
    signs = np.array([1, -1, 1, -1])
    moments = np.zeros(8)
    moments[atoms.symbols == "Ni"] = moment * signs
    atoms.set_initial_magnetic_moments(moments)
    options = settings_for(
        recipe("espresso", input_data={"system": {"hubbard_u": {"Ni": 6.0}}}), atoms
    )
    text = io.StringIO()
    pseudo = {"Ni": "ni.upf", "O": "o.upf"}
    write_espresso_in(text, atoms, input_data=options["input_data"], pseudopotentials=pseudo)
    lines = text.getvalue().splitlines()
    begin = lines.index("ATOMIC_SPECIES") + 1
    species = [line.split() for line in lines[begin : begin + 1 + 2 * bool(moment)]]
    numbers = [i for i, row in enumerate(species, 1) if row and row[-1] == "ni.upf"]
    given = [line.split() for line in lines if "hubbard_u" in line.lower()]
    found = {row[0].lower(): float(row[-1]) for row in given}
    expected = {f"hubbard_u({i})": 6.0 for i in numbers} or {"hubbard_u(2)": 6.0}
    assert found == expected


def test_an_index_that_means_another_element_elsewhere_is_refused() -> None:
    indexed = recipe("espresso", input_data={"system": {"Hubbard_U(1)": 6.0}})
    with pytest.raises(UserError, match=r"Hubbard_U\(1\): which element .* Hubbard_U: \{Fe"):
        settings_for(indexed, nickel_oxide("Ni"))


@pytest.mark.parametrize(
    ("method", "key"), [("vasp", "charge"), ("cp2k", "charge"), ("orca", "charge")]
)
def test_the_charge_of_a_structure_reaches_the_code(method: str, key: str) -> None:
    ion = molecule("OH")
    ion.set_initial_charges([-1, 0])
    assert settings_for(recipe(method), ion)[key] == -1
    assert key not in settings_for(recipe(method), molecule("H2O"))
    with pytest.raises(UserError, match="charge: 1, but a structure's initial charges add up"):
        settings_for(recipe(method, charge=1), ion)


def test_charges_and_moments_of_espresso_orca_and_cp2k() -> None:
    ion = molecule("OH")
    ion.set_initial_charges([-1, 0])
    assert settings_for(recipe("espresso"), ion)["input_data"]["system"]["tot_charge"] == -1
    radical = molecule("O2")
    radical.set_initial_magnetic_moments([1, 1])
    assert settings_for(recipe("orca"), radical)["mult"] == 3
    options = settings_for(recipe("cp2k"), radical)
    assert options["multiplicity"] == 3
    assert options["uks"] is True
    assert "&KIND O\nMAGNETIZATION 1" in options["inp"]
    radical.set_initial_magnetic_moments([1, -1])
    with pytest.raises(UserError, match="-1 and 1 µB"):
        settings_for(recipe("cp2k"), radical)


def test_the_recipe_is_left_as_it_was() -> None:
    one = recipe("espresso", input_data={"system": {"hubbard_u": {"Ni": 6.0}}})
    settings_for(one, nickel_oxide("Ni"))
    assert one.options["input_data"]["system"] == {"hubbard_u": {"Ni": 6.0}}


def test_k_points_by_density() -> None:
    """2 pi / a / n below the spacing, as VASP's KSPACING; one in a direction without period."""
    cubic = Atoms("Al", cell=[4.05] * 3, pbc=True)
    assert by_density(cubic, 0.25) == (7, 7, 7)
    assert by_density(cubic * (2, 1, 1), 0.25) == (4, 7, 7)
    cubic.pbc = (True, True, False)
    assert by_density(cubic, 0.25) == (7, 7, 1)


CELLS = [bulk("Al", cubic=True), bulk("Al", cubic=True) * (3, 3, 3)]
FIXED = [
    ("espresso", {"kpts": [2, 2, 2]}),
    ("espresso", {}),
    ("vasp", {"kpts": [2, 2, 2]}),
    ("vasp", {}),
    ("cp2k", {}),
    ("cp2k", {"inp": "&FORCE_EVAL\n&DFT\n&KPOINTS\nSCHEME MONKHORST-PACK 2 2 2\n&END\n&END\n&END"}),
    ("gpaw", {"kpts": [2, 2, 2]}),
    ("gpaw", {"kpts": {"size": [2, 2, 2], "gamma": True}}),
    ("gpaw", {}),
]
DENSE = [
    ("espresso", {"kspacing": 0.04}),
    ("vasp", {"kspacing": 0.25}),
    ("cp2k", {"kspacing": 0.25}),
    ("gpaw", {"kpts": {"density": 4.0}}),
    ("orca", {}),
    ("gfn1-xtb", {}),
]


def of(method: str, options: dict):
    if method == "gpaw":
        return recipe_of(Method("ase", calculator="gpaw:GPAW", options=options))
    return recipe(method, **options)


@pytest.mark.parametrize(("method", "options"), FIXED)
def test_one_mesh_for_cells_of_different_size_is_refused(method: str, options: dict) -> None:
    fault = unlike_meshes(of(method, options), CELLS)
    assert fault is not None
    assert "labels of different quality" in fault
    assert "by density" in fault
    assert unlike_meshes(of(method, options), CELLS[:1] * 2) is None, "cells alike"


@pytest.mark.parametrize(("method", "options"), DENSE)
def test_k_points_by_density_serve_any_cells(method: str, options: dict) -> None:
    assert unlike_meshes(of(method, options), CELLS) is None


def test_molecules_need_no_k_points() -> None:
    assert unlike_meshes(of("espresso", {}), [molecule("H2O", vacuum=4)]) is None


def test_large_cells_may_differ() -> None:
    dense = of("espresso", {"kpts": [15, 15, 15]})
    assert unlike_meshes(dense, CELLS) is None


@pytest.mark.parametrize(
    "line", ['z_valence="8.000000000000e0"', '   z_valence="  8.0"', "    8.00000     Z valence"]
)
def test_espresso_takes_moments_as_fractions_of_the_valence(tmp_path, line):
    (tmp_path / "Fe.UPF").write_text(f"<UPF>\n{line}\n")
    options = {"pseudo_dir": str(tmp_path), "pseudopotentials": {"Fe": "Fe.UPF"}}
    iron = Atoms("Fe2", [[0, 0, 0], [0, 0, 2]], cell=[4] * 3, pbc=True, magmoms=[2.0, -4.0])
    fractions = with_polarization(iron, options).get_initial_magnetic_moments()
    assert fractions.tolist() == [0.25, -0.5]
    assert iron.get_initial_magnetic_moments().tolist() == [2.0, -4.0]
    assert with_polarization(iron, options | {"rescale_magmom_fac": 10}) is iron
    iron.set_initial_magnetic_moments([9.0, 0.0])
    with pytest.raises(UserError, match="valence electrons"):
        with_polarization(iron, options)


def test_espresso_results_are_read_where_bands_are_not(tmp_path):
    """Hubbard U and more than 99 k-points: what pw.x 6.7 prints between, shortened."""
    text = """     Program PWSCF v.6.7MaX starts on 29Nov2026 at  3:20:50
     number of atoms/cell      =            1
     number of atomic types    =            1
     celldm(1)=   5.000000  celldm(2)=   0.000000  celldm(3)=   0.000000
     crystal axes: (cart. coord. in units of alat)
               a(1) = (   1.000000   0.000000   0.000000 )
               a(2) = (   0.000000   1.000000   0.000000 )
               a(3) = (   0.000000   0.000000   1.000000 )
     site n.     atom                  positions (alat units)
         1           Fe  tau(   1) = (   0.0000000   0.0000000   0.0000000  )

     End of self-consistent calculation
 --- enter write_ns ---
    eigenvalues:
  0.919  0.919
 --- exit write_ns ---

     Number of k-points >= 100: set verbosity='high' to print the bands.

!    total energy              =     -55.45609363 Ry

     Forces acting on atoms (cartesian axes, Ry/au):

     atom    1 type  1   force =     0.10000000    0.00000000    0.00000000
"""
    (tmp_path / "espresso.pwo").write_text(text)
    results = WithoutBands().read_results(tmp_path)
    assert results["energy"] == pytest.approx(-55.45609363 * Ry, abs=1e-4)
    assert results["forces"][0, 0] == pytest.approx(0.1 * Ry / Bohr, abs=1e-5)
    line = "!    total energy              =     -55.45609363 Ry"
    exact = text.replace(
        line, f"{line}\n{line.replace('45', '46', 1)}\n!!   total energy = -55.5 Ry"
    )
    (tmp_path / "espresso.pwo").write_text(exact)
    results = WithoutBands().read_results(tmp_path)
    assert results["energy"] == results["free_energy"] == pytest.approx(-55.5 * Ry), "a hybrid's"


def test_cp2k_sections_of_user_and_structure_become_one():
    """Two FORCE_EVAL would be refused by ASE; the user's words and ours stand in one."""
    from ase.calculators.cp2k import parse_input

    given = "&FORCE_EVAL\n&DFT\n&SCF\nADDED_MOS 4\n&END SCF\n&END DFT\n&END FORCE_EVAL\n"
    atoms = bulk("Fe", a=2.87)
    atoms.set_initial_magnetic_moments([2.0])
    recipe = recipe_of(Method("cp2k", options={"inp": given, "kspacing": 0.5}))
    root = parse_input(settings_for(recipe, atoms)["inp"])
    (whole,) = root.subsections
    assert [one.name for one in whole.subsections] == ["DFT", "SUBSYS"]
    assert [one.name for one in whole.subsections[0].subsections] == ["SCF", "KPOINTS"]
    assert root.get_subsection("FORCE_EVAL/DFT/SCF").keywords == ["ADDED_MOS 4"]
