"""Each check finds what it is for: a sound box of molecules, then broken one way at a time."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from atomistics.analysis.checks import Asked, check, duplicates

EDGE = 10.0
WATERS = 27
DENSITY = WATERS * 18.015 / EDGE**3 * 1.66053907
PARAMETERS = {
    "family": "molecule",
    "components": [{"smiles": "O", "mole_ratio": 1.0}],
    "density_g_cm3": DENSITY,
}


def water(parameters: dict | None = None) -> tuple[Atoms, Asked]:
    """27 molecules on a lattice in a box they reach across."""
    one, box = molecule("H2O"), Atoms(cell=[EDGE] * 3, pbc=True)
    numbers = []
    for n in range(WATERS):
        moved = one.copy()
        moved.positions += np.array([n % 3, n // 3 % 3, n // 9]) * EDGE / 3 - 0.5
        box += moved
        numbers += [n] * 3
    box.wrap()
    box.arrays["molecule"] = np.array(numbers)
    box.info["charge"] = 0
    return box, Asked({**PARAMETERS, **(parameters or {})}, ["H", "O"], 5.0)


def test_a_sound_box_passes() -> None:
    assert check(*water()) == []


def test_a_molecule_in_pieces() -> None:
    atoms, asked = water()
    atoms.positions[1] += [1.2, 0, 0]
    (fault,) = check(atoms, asked)
    assert fault == "molecule 0 (H2O) is in pieces"


def test_molecules_grown_together() -> None:
    atoms, asked = water()
    oxygens = np.flatnonzero(atoms.symbols == "O")
    way = atoms.get_distance(*oxygens[:2], mic=True, vector=True)
    members = atoms.arrays["molecule"] == 0
    atoms.positions[members] += way * (1 - 1.25 / np.linalg.norm(way))
    assert any("touch: O0-O3 1.25" in fault for fault in check(atoms, asked))


def test_atoms_on_each_other() -> None:
    atoms, asked = water()
    atoms.positions[0] = atoms.positions[3] + [0.1, 0, 0]
    assert "0.100 Å apart" in check(atoms, asked)[0]


@pytest.mark.parametrize("factor", [0.96, 1.04])
def test_another_density(factor: float) -> None:
    assert "density 0.80" in check(*water({"density_g_cm3": DENSITY * factor}))[0]


def test_too_small_a_cell_and_a_strange_element() -> None:
    atoms, asked = water()
    assert "below the cutoff 12" in check(atoms, Asked(asked.parameters, asked.species, 12.0))[0]
    assert "element O is not in species" in check(atoms, Asked(asked.parameters, ["H"], 5.0))[0]


def test_a_charge_that_nobody_balances() -> None:
    atoms, asked = water()
    atoms.info["charge"] = -1
    assert "net charge -1 e" in check(atoms, asked)[0]


@pytest.mark.parametrize(
    ("components", "told"),
    [
        ([{"smiles": "O", "count": 26}], "27 of O, asked for 26"),
        ([{"smiles": "O", "mole_ratio": 1.0}, {"smiles": "CO", "mole_ratio": 1.0}], "whole form"),
        ([{"smiles": "O", "molarity_mol_l": 30.0}], "the molarity asked for is 18.07"),
        ([{"smiles": "O", "molarity_mol_l": 44.83}], None),
    ],
)
def test_amounts_against_those_asked_for(components: list[dict], told: str | None) -> None:
    faults = check(*water({"components": components}))
    assert (told is None and not faults) or any(told in fault for fault in faults)


def test_ratios_are_counted() -> None:
    atoms, _ = water()
    methanol = molecule("CH3OH")
    methanol.positions += [5, 5, 5]
    methanol.arrays["molecule"] = np.full(6, WATERS)
    keep = atoms[atoms.arrays["molecule"] != 13]
    keep += methanol
    mixed = {
        "components": [{"smiles": "O", "mole_ratio": 26}, {"smiles": "CO", "mole_ratio": 1}],
        "density_g_cm3": None,
    }
    asked = Asked({**PARAMETERS, **mixed}, ["C", "H", "O"], 5.0)
    wrong = Asked(
        {
            **PARAMETERS,
            "density_g_cm3": None,
            "components": [{"smiles": "O", "mole_ratio": 1}, {"smiles": "CO", "mole_ratio": 1}],
        },
        ["C", "H", "O"],
        5.0,
    )
    assert not any("ratio" in fault for fault in check(keep, asked))
    assert any(
        "formula units [26, 1], the mole ratio asked for is" in f for f in check(keep, wrong)
    )


def test_a_crystal_keeps_the_composition_of_its_sites() -> None:
    salt = {
        "family": "solid",
        "space_group": 225,
        "sites": [
            {"element": "Na", "position": [0, 0, 0]},
            {"element": "Cl", "position": [0.5, 0.5, 0.5]},
        ],
    }
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(2)
    asked = Asked(salt, ["Cl", "Na"], 5.0)
    assert check(atoms, asked) == []
    del atoms[0]
    assert "the crystal's sites give" in check(atoms, asked)[0]


def test_duplicates_are_found_whatever_turned_or_renamed() -> None:
    atoms, _ = water()
    turned = atoms.copy()
    turned.rotate(90, "z", rotate_cell=True)
    other = atoms.copy()
    other.rattle(0.05, seed=1)
    found = duplicates([("a", atoms), ("b", other), ("c", turned)])
    assert found == {"c": "a"}
