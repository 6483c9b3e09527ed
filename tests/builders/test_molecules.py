"""Liquids, salts and amorphous packings against masses, counts and bonds counted here."""

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list

from atomistics.analysis.checks import Asked, check
from atomistics.builders.building import as_text, build
from atomistics.builders.families import PARAMETERS
from campaign.errors import UserError
from tests.builders.recipes import (
    AVOGADRO,
    DMC,
    EC,
    LEDC,
    LI2CO3,
    LIPF6,
    density,
    formulas,
    made,
    unbound_distance,
)

SOLVENT = [{"smiles": EC, "mole_ratio": 1}, {"smiles": DMC, "mole_ratio": 1}]
FLINAK = [
    {"smiles": "[Li+].[F-]", "mole_ratio": 46.5},
    {"smiles": "[Na+].[F-]", "mole_ratio": 11.5},
    {"smiles": "[K+].[F-]", "mole_ratio": 42},
]


def test_electrolyte_of_one_mole_per_litre():
    salt = {"smiles": LIPF6, "molarity_mol_l": 1.0}
    atoms = made("molecule", components=[*SOLVENT, salt], density_g_cm3=1.3, atoms=200)
    pieces = formulas(atoms)
    assert pieces["C3H4O3"] == pieces["C3H6O3"] > 3
    assert pieces["F6P"] == pieces["Li"] == 1
    assert sum(pieces.values()) == 2 * pieces["C3H4O3"] + 2
    litre = atoms.get_volume() * 1e-27
    assert pieces["Li"] / AVOGADRO / litre == pytest.approx(1.0, rel=0.1)
    assert float(atoms.info["molarity_mol_l"]) == pytest.approx(1 / AVOGADRO / litre, abs=1e-3)
    assert density(atoms) == pytest.approx(1.3, rel=1e-5)
    assert atoms.info["charge"] == 0
    assert unbound_distance(atoms) >= 1.9
    p = next(n for n, symbol in enumerate(atoms.symbols) if symbol == "P")
    fluorine = [n for n in range(len(atoms)) if atoms.symbols[n] == "F"]
    angles = atoms.get_angles([[a, p, b] for a in fluorine for b in fluorine if a < b], mic=True)
    assert sorted(np.rint(angles / 90).astype(int)) == [1] * 12 + [2] * 3
    assert abs(angles / 90 - np.rint(angles / 90)).max() < 0.15


@pytest.mark.parametrize(
    ("components", "target", "least"),
    [
        (FLINAK, 2.02, 1.7),
        ([{"smiles": LI2CO3, "mole_ratio": 1}], 2.1, 1.8),
        ([{"smiles": LEDC, "mole_ratio": 1}], 1.6, 1.8),
        ([{"smiles": "O", "mole_ratio": 1}], 1.0, 1.9),
        ([{"formula": "SiO2", "mole_ratio": 1}], 2.2, 1.5),
    ],
    ids=["flinak", "carbonate", "ledc", "water", "silica"],
)
def test_density_is_exact_and_distances_hold(components, target, least):
    box = {"components": components, "density_g_cm3": target, "min_distance_angstrom": least}
    atoms = made("amorphous", **box, atoms=96)
    assert 80 <= len(atoms) <= 112
    assert density(atoms) == pytest.approx(target, rel=1e-5)
    distance = atoms.get_all_distances(mic=True)
    molecule = atoms.arrays["molecule"]
    bound = (molecule[:, None] == molecule) & (molecule >= 0) | np.eye(len(atoms), dtype=bool)
    assert distance[~bound].min() >= least
    assert atoms.info["charge"] == 0


def least(atoms, one, other):
    """Shortest distance of two elements' atoms, images of an atom included, Å."""
    i, j, distance = neighbor_list("ijd", atoms, 4.5)
    symbols = np.array(atoms.symbols)
    return distance[(symbols[i] == one) & (symbols[j] == other)].min()


def test_large_atoms_of_glasses_and_melts_keep_their_distance():
    """A bound of 1.9 Å for all left Zr-Zr 2.1 and Cl-Cl 2.0 Å, as near as a molecule's bond."""
    alloy = [{"formula": "Cu", "mole_ratio": 64}, {"formula": "Zr", "mole_ratio": 36}]
    glass = made("amorphous", components=alloy, density_g_cm3=7.3, atoms=100)
    assert least(glass, "Zr", "Zr") > 2.7
    assert least(glass, "Cu", "Cu") > 2.0
    salt = [{"smiles": "[K+].[Cl-]", "mole_ratio": 1}, {"smiles": "[Mg+2].[Cl-].[Cl-]", "count": 8}]
    melt = made("molecule", components=salt, density_g_cm3=1.6, atoms=80)
    assert least(melt, "Cl", "Cl") > 2.8
    assert least(melt, "K", "Cl") > 2.5
    assert least(melt, "Mg", "Cl") > 2.2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_oxygens_of_water_are_as_far_apart_as_those_of_the_liquid(seed):
    water = [{"smiles": "O", "mole_ratio": 1}]
    atoms = made("molecule", components=water, density_g_cm3=1.047, atoms=99, seed=seed)
    oxygen = atoms[atoms.numbers == 8].get_all_distances(mic=True)
    assert oxygen[oxygen > 0].min() > 2.4


@pytest.mark.parametrize(
    ("smiles", "target"), [("ClC(Cl)Cl", 1.48), ("BrCCBr", 2.18), ("[Pb+2].[I-].[I-]", 5.5)]
)
def test_molecules_of_heavy_atoms_are_not_taken_for_bound(smiles, target):
    box = {"components": [{"smiles": smiles, "mole_ratio": 1}], "density_g_cm3": target}
    atoms = made("molecule", **box, atoms=60)
    asked = Asked({"family": "molecule", **box, "atoms": 60}, sorted(set(atoms.symbols)), 5.0)
    assert check(atoms, asked) == []


def test_melt_has_the_eutectic_composition():
    atoms = made("molecule", components=FLINAK, density_g_cm3=2.02, atoms=120)
    count = atoms.symbols.formula.count()
    cations = count["Li"] + count["Na"] + count["K"]
    assert count["F"] == cations
    for element, share in (("Li", 0.465), ("Na", 0.115), ("K", 0.42)):
        assert count[element] / cations == pytest.approx(share, abs=0.5 / cations + 0.01)


def test_same_seed_same_bytes_other_seed_other_places():
    box = {"components": SOLVENT, "density_g_cm3": 1.2, "atoms": 60}
    first, again, other = (made("molecule", seed=seed, **box) for seed in (5, 5, 6))
    assert as_text(first) == as_text(again)
    assert abs(first.positions - other.positions).max() > 1


def test_molecules_in_vacuum_are_not_periodic():
    atoms = made("molecule", components=[{"smiles": "CCO", "count": 3}], vacuum_angstrom=6)
    assert not atoms.pbc.any()
    assert formulas(atoms) == {"C2H6O": 3}
    assert atoms.positions.min() == pytest.approx(6, abs=1e-5)
    assert unbound_distance(atoms) >= 1.9


def test_a_charge_is_reported():
    atoms = made(
        "molecule", components=[{"smiles": "[O-]C([O-])=O", "count": 1}], vacuum_angstrom=5
    )
    assert atoms.info["charge"] == -2
    bonds = [atoms.get_distance(0, n) for n in range(1, 4)]
    assert len(atoms) == 4
    assert (
        max(
            atoms.get_distance(c, o)
            for c in range(4)
            if atoms.symbols[c] == "C"
            for o in range(4)
            if o != c
        )
        < 1.4
    )
    assert len(bonds) == 3


@pytest.mark.parametrize(
    ("components", "more", "said"),
    [
        ([{"smiles": "C(", "count": 1}], {"density_g_cm3": 1}, "RDKit"),
        ([{"smiles": "O", "count": 40}], {"density_g_cm3": 4}, "lower the density"),
        (
            [{"smiles": "O", "mole_ratio": 1}, {"smiles": LIPF6, "molarity_mol_l": 60}],
            {"density_g_cm3": 1, "atoms": 100},
            "leave no room",
        ),
        ([{"formula": "Xx2", "count": 4}], {"density_g_cm3": 1}, "no element"),
        ([{"structure": "absent", "count": 4}], {"density_g_cm3": 1}, "no such file"),
    ],
)
def test_what_cannot_be_met_is_one_line(components, more, said):
    with pytest.raises(UserError, match=said) as caught:
        made("molecule", components=components, **more)
    assert "\n" not in str(caught.value)


def test_melt_quench_is_md_with_the_reference_at_the_same_density():
    quench = {"melt": 1500, "picoseconds": 0.02, "rate": 1e5, "final": 300, "settle": 0.005}
    data = {
        "family": "amorphous",
        "components": [{"formula": "Cu", "count": 32}],
        "density_g_cm3": 8.5,
        "min_distance_angstrom": 2.0,
        "melt_quench": quench,
    }
    parameters = PARAMETERS.validate_python(data)
    packed = made(**{**data, "melt_quench": None})
    with pytest.raises(UserError, match="needs a reference"):
        build(parameters, 1, ".")
    first, again = (build(parameters, 1, ".", EMT()) for _ in range(2))
    assert as_text(first) == as_text(again)
    assert density(first) == pytest.approx(8.5, rel=1e-5)
    assert first.info["melt_quench_steps"] == 37
    energies = []
    for atoms in (packed, first):
        atoms.calc = EMT()
        energies.append(atoms.get_potential_energy())
    assert energies[1] < energies[0] - 1


def test_heavy_atoms_of_a_glass_are_not_packed_into_each_others_bonds():
    parts = [{"formula": "Ge2Sb2Te5", "mole_ratio": 1}]
    atoms = made("amorphous", components=parts, density_g_cm3=5.9, atoms=99)
    tellurium = atoms[atoms.numbers == 52].get_all_distances(mic=True)
    assert tellurium[tellurium > 0].min() > 2.3  # 2.09 by the factor of oxygen; a bond has 2.76
