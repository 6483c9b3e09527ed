"""Files with shared sites, final fractions, defects and sheets, counted here atom by atom."""

from collections import Counter

import numpy as np
import pytest
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.filters import FrechetCellFilter
from ase.neighborlist import neighbor_list
from ase.optimize import BFGS

from atomistics.builders.amorphous.pedone import Pedone
from atomistics.builders.crystals.ordering import oxidation_states
from campaign.errors import UserError
from tests.builders.recipes import COPPER, EC, GRAPHITE, LITHIUM_CARBONATE, MGO, formulas, made

HEAD = """data_x
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt '{name}'
_space_group_IT_number {group}
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""
SALT = HEAD.format(a=5.64, name="F m -3 m", group=225)
SHARED = SALT + "Na1 Na 0 0 0 0.6\nK1 K 0 0 0 0.4\nCl1 Cl 0.5 0.5 0.5 1\n"
ISOTOPE = SALT + "Li1 Li 0 0 0 1\nD1 D 0.5 0.5 0.5 1\n"
ARGYRODITE = HEAD.format(a=9.859, name="F -4 3 m", group=216) + (
    "Li1 Li 0.183 0.183 0.024 0.5\nP1 P 0.5 0.5 0.5 1\n"
    "S1 S 0.25 0.25 0.25 0.615\nCl1 Cl 0.25 0.25 0.25 0.385\n"
    "S2 S 0.6198 0.6198 0.6198 1\nS3 S 0 0 0 0.385\nCl3 Cl 0 0 0 0.615\n"
)
LLZO = HEAD.format(
    a=12.975, name="I a -3 d", group=230
) + (  # Li sites 1.6 Å apart exclude each other
    "Li1 Li 0.375 0 0.25 0.542\nLi2 Li 0.0966 0.6853 0.5773 0.448\nLa1 La 0.125 0 0.25 1\n"
    "Zr1 Zr 0 0 0 1\nO1 O -0.0318 0.0549 0.1493 1\n"
)
MOS2 = {
    "space_group": 194,
    "lattice": {"a_angstrom": 3.16, "c_angstrom": 12.295},
    "sites": [
        {"element": "Mo", "position": [1 / 3, 2 / 3, 0.25]},
        {"element": "S", "position": [1 / 3, 2 / 3, 0.621]},
    ],
}


def nearest(atoms, one: str, other: str) -> float:
    i, j, d = neighbor_list("ijd", atoms, 6.0)
    symbols = np.array(atoms.symbols)
    return float(d[(symbols[i] == one) & (symbols[j] == other)].min())


def solid(folder, text: str, **parameters):
    (folder / "files").mkdir(exist_ok=True)
    (folder / "files/x.cif").write_text(text)
    return made("solid", folder=folder, file="files/x.cif", **parameters)


def test_shared_sites_are_named_or_filled(tmp_path):
    with pytest.raises(UserError, match=r"Na.*/.*K.*0\.6.*0\.4"):
        solid(tmp_path, SHARED)
    first, again, other = (solid(tmp_path, SHARED, ordering={"rank": rank}) for rank in (0, 0, 1))
    count = Counter(first.symbols)
    assert count["Na"] + count["K"] == count["Cl"]
    assert count["Na"] / count["Cl"] == pytest.approx(0.6, abs=0.012)
    assert "rank 0" in first.info["ordering"]
    assert list(first.symbols) == list(again.symbols) != list(other.symbols)


def test_partly_occupied_lithium_keeps_charges_and_distances(tmp_path):
    """24 lithium atoms on 48 places 1.87 Å apart in pairs: Li6PS5Cl, and no pair twice occupied."""
    with pytest.raises(UserError, match=r"Li.*0\.5"):
        solid(tmp_path, ARGYRODITE)
    atoms = solid(tmp_path, ARGYRODITE, ordering={"rank": 0})
    unit = len(atoms) / 13
    assert Counter(atoms.symbols) == {"Li": 6 * unit, "P": unit, "S": 5 * unit, "Cl": unit}
    assert nearest(atoms, "Li", "Li") > 2.1


def test_isotopes_are_refused(tmp_path):
    with pytest.raises(UserError, match="D"):
        solid(tmp_path, ISOTOPE)
    with pytest.raises(UserError, match="2H: isotopes"):
        made("molecule", components=[{"smiles": "[2H]O[2H]", "count": 2}], density_g_cm3=1)


def test_fractions_are_final_ones():
    rules = [{"element": "Ni", "by": x, "fraction": 0.2} for x in ("Co", "Cr", "Fe", "Mn")]
    nickel = {"prototype": "fcc", "formula": "Ni", "lattice": {"a_angstrom": 3.6}}
    alloy = made("solid", **nickel, supercell=[3, 3, 3], substitutions=rules)
    assert sorted(Counter(alloy.symbols).values()) == [21, 21, 22, 22, 22]
    rule = [{"element": "Ni", "fraction": 0.002}]
    assert len(made("solid", **nickel, supercell=[3, 3, 3], substitutions=rule)) == 107


def test_an_interstitial_is_in_the_largest_void():
    atoms = made("solid", **MGO, supercell=[2, 2, 2], interstitials=[{"element": "Mg"}])
    last = atoms.get_distances(len(atoms) - 1, range(len(atoms) - 1), mic=True)
    assert np.sort(last)[:8] == pytest.approx(4.212 * 3**0.5 / 4, abs=1e-3)  # centre of an octant


def test_carbonate_keeps_its_bonds_when_the_lattice_grows():
    small, large = (made("solid", **LITHIUM_CARBONATE, scale=scale) for scale in (1.0, 1.05))
    assert large.get_volume() / small.get_volume() == pytest.approx(1.05**3, rel=1e-6)
    assert nearest(large, "C", "O") == pytest.approx(nearest(small, "C", "O"), abs=1e-4)
    sheared = made("solid", **LITHIUM_CARBONATE, strain_percent=[0, 0, 3, 0, 0, 4])
    assert nearest(sheared, "C", "O") == pytest.approx(nearest(small, "C", "O"), abs=1e-4)
    assert formulas(sheared)["CO3"] == 4


def test_polar_faces_are_told_and_others_come_first():
    face = {"miller": [1, 1, 1], "thickness_angstrom": 6}
    assert abs(made("solid-surface", **MGO, **face).info["dipole_e_per_angstrom"]) > 0.5
    assert "dipole_e_per_angstrom" not in made("solid-surface", **COPPER, **face).info
    plain = made("solid-surface", **MGO, miller=[0, 0, 1], thickness_angstrom=6)
    assert "dipole_e_per_angstrom" not in plain.info


@pytest.mark.parametrize("count", [1, 2, 3])
def test_sheets_are_counted_and_stacked_at_their_own_distance(count):
    atoms = made("solid-surface", **MOS2, miller=[0, 0, 0, 1], sheets=count)
    metal = np.unique(atoms.positions[np.array(atoms.symbols) == "Mo", 2].round(2))
    assert len(metal) == count
    assert np.diff(metal) == pytest.approx(np.full(count - 1, 12.295 / 2), abs=0.01)
    with pytest.raises(UserError, match="no separate sheets"):
        made("solid-surface", **COPPER, miller=[1, 1, 1], sheets=1)


def test_one_sheet_on_two_keeps_van_der_waals_distance():
    face = {"miller": [0, 0, 0, 1]}
    atoms = made(
        "solid-solid",
        substrate={**GRAPHITE, **face, "sheets": 2},
        film={**MOS2, **face, "sheets": 1},
        contact="van-der-waals",
        vacuum_angstrom=15,
    )
    symbols = np.array(atoms.symbols)
    carbon, sulfur = atoms.positions[symbols == "C", 2], atoms.positions[symbols == "S", 2]
    assert len(np.unique(carbon.round(1))) == 2
    assert 3.2 < sulfur.min() - carbon.max() < 3.6
    assert nearest(atoms, "C", "S") >= 3.49


def test_grains_are_turned_or_mirrored():
    face = {**COPPER, "miller": [0, 0, 1], "thickness_angstrom": 6}
    turned = made("solid-solid", substrate=face, grain="turned", gap_angstrom=1.8)
    assert turned.info["turned_degrees"] == pytest.approx(36.87, abs=0.01)  # sigma 5
    assert nearest(turned, "Cu", "Cu") > 2.0
    twin = {**COPPER, "miller": [1, 1, 1], "thickness_angstrom": 6}
    mirrored = made("solid-solid", substrate=twin, grain="mirrored", gap_angstrom=2.08)
    z = np.sort(mirrored.positions[:, 2])
    assert np.diff(z)[: len(z) // 2 - 1] == pytest.approx(np.diff(z[::-1])[: len(z) // 2 - 1] * -1)


def test_salt_in_a_film_has_the_molarity_asked_for():
    salt = {"smiles": "[Li+].F[P-](F)(F)(F)(F)F", "molarity_mol_l": 1.0}
    film = {
        "components": [{"smiles": EC, "mole_ratio": 1}, salt],
        "density_g_cm3": 1.35,
        "thickness_angstrom": 9,
    }
    slab = {**GRAPHITE, "miller": [1, 0, -1, 0], "thickness_angstrom": 5, "min_width_angstrom": 10}
    atoms = made("solid-molecule", surface=slab, liquid=film)
    assert float(atoms.info["molarity_mol_l"]) == pytest.approx(1.0, rel=0.05)


def test_the_potential_for_glasses_is_the_published_one():
    """Forces and stress by differences; quartz within 1 % of experiment, as Pedone et al. found."""
    quartz = {
        "space_group": 154,
        "lattice": {"a_angstrom": 4.9137, "c_angstrom": 5.4047},
        "sites": [
            {"element": "Si", "position": [0.4697, 0, 2 / 3]},
            {"element": "O", "position": [0.4135, 0.2669, 0.7858]},
        ],
    }
    wide = made("solid", **quartz, supercell=[2, 2, 1])
    wide.rattle(0.05, seed=1)
    wide.calc = Pedone()
    numerical = calculate_numerical_forces(wide, eps=1e-4, iatoms=[0, 20])
    assert np.allclose(wide.get_forces()[[0, 20]], numerical, atol=1e-5)
    assert np.allclose(wide.get_stress(), calculate_numerical_stress(wide, eps=1e-5), atol=1e-7)
    cell = made("solid", **quartz)
    cell.calc = Pedone()
    BFGS(FrechetCellFilter(cell), logfile=None).run(fmax=0.02, steps=100)
    assert cell.cell.lengths() == pytest.approx([4.9137, 4.9137, 5.4047], rel=0.01)
    with pytest.raises(UserError, match="pedone covers oxides of"):
        made(
            "amorphous",
            components=[{"formula": "GeSe2", "mole_ratio": 1}],
            density_g_cm3=4.0,
            atoms=30,
            melt_quench={
                "melt": 900,
                "picoseconds": 1,
                "rate": 100,
                "final": 300,
                "settle": 1,
                "potential": "pedone",
            },
        )


def test_valences_of_large_formula_units() -> None:
    """A vacancy in a large cell, whose formula cannot be reduced, stops nothing."""
    assert oxidation_states("Mg32O31") == {}
    assert oxidation_states("Li31Na32Cl63") == {"Li": 1, "Na": 1, "Cl": -1}
    assert oxidation_states("Fe2O3") == {"Fe": 3, "O": -2}


def test_sites_of_two_groups_that_exclude_each_other_and_charges_that_nearly_balance(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/llzo.cif").write_text(LLZO)
    atoms = made("solid", file="files/llzo.cif", ordering={"rank": 0}, folder=tmp_path)
    count = atoms.symbols.formula.count()
    assert count == {"Li": 56, "La": 24, "Zr": 16, "O": 96}
    assert nearest(atoms, "Li", "Li") > 2.0
