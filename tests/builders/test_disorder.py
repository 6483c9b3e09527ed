"""Files with shared sites, final fractions, defects and sheets, counted here atom by atom."""

from collections import Counter

import numpy as np
import pytest
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.filters import FrechetCellFilter
from ase.neighborlist import neighbor_list
from ase.optimize import BFGS

from atomistics.analysis.checks import notes
from atomistics.builders.amorphous.pedone import Pedone
from atomistics.builders.crystals.ordering import oxidation_states
from campaign.errors import UserError
from tests.builders.recipes import COPPER, EC, GRAPHITE, LITHIUM_CARBONATE, MGO, formulas, made

COLUMNS = """data_x
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {c}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma {gamma}
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


def head(a: float, name: str, group: int, c: float | None = None, gamma: int = 90) -> str:
    return COLUMNS.format(a=a, c=c or a, gamma=gamma, name=name, group=group)


SALT = head(a=5.64, name="F m -3 m", group=225)
SHARED = SALT + "Na1 Na 0 0 0 0.6\nK1 K 0 0 0 0.4\nCl1 Cl 0.5 0.5 0.5 1\n"
ISOTOPE = SALT + "Li1 Li 0 0 0 1\nD1 D 0.5 0.5 0.5 1\n"
ARGYRODITE = head(a=9.859, name="F -4 3 m", group=216) + (
    "Li1 Li 0.183 0.183 0.024 0.5\nP1 P 0.5 0.5 0.5 1\n"
    "S1 S 0.25 0.25 0.25 0.615\nCl1 Cl 0.25 0.25 0.25 0.385\n"
    "S2 S 0.6198 0.6198 0.6198 1\nS3 S 0 0 0 0.385\nCl3 Cl 0 0 0 0.615\n"
)
LLZO = head(a=12.975, name="I a -3 d", group=230) + (  # Li sites 1.6 Å apart exclude each other
    "Li1 Li 0.375 0 0.25 0.542\nLi2 Li 0.0966 0.6853 0.5773 0.448\nLa1 La 0.125 0 0.25 1\n"
    "Zr1 Zr 0 0 0 1\nO1 O -0.0318 0.0549 0.1493 1\n"
)
ICE = head(a=4.5, name="P 63/m m c", group=194, c=7.32, gamma=120) + (
    "O1 O 0.333333 0.666667 0.0629 1\nH1 H 0.333333 0.666667 0.197 0.5\n"
    "H2 H 0.4551 0.9102 0.0172 0.5\n"
)
PEROVSKITE = [("Pb", 0, 0, 0), ("I", 0.5, 0, 0), ("I", 0, 0.5, 0), ("I", 0, 0, 0.5)]
AMMONIUM = [  # CH3NH3+ staggered, C-N 1.49, N-H 1.02, C-H 1.09 Å in a cell of 6.3 Å
    ("C", 0.5, 0.5, 0.38),
    ("N", 0.5, 0.5, 0.38 + 1.49 / 6.3),
    *(
        ("H", 0.5 + r * np.cos(turn) / 6.3, 0.5 + r * np.sin(turn) / 6.3, z)
        for r, z, phase in ((0.95, 0.38 + 1.85 / 6.3, 0.0), (1.03, 0.38 - 0.36 / 6.3, np.pi / 3))
        for turn in phase + np.arange(3) * 2 * np.pi / 3
    ),
]
MOS2 = {
    "space_group": 194,
    "lattice": {"a_angstrom": 3.16, "c_angstrom": 12.295},
    "sites": [
        {"element": "Mo", "position": [1 / 3, 2 / 3, 0.25]},
        {"element": "S", "position": [1 / 3, 2 / 3, 0.621]},
    ],
}


def written(sites) -> str:
    """A CIF of a cube of 6.3 Å without symmetry."""
    lines = [f"{s}{n} {s} {x:.6f} {y:.6f} {z:.6f} 1" for n, (s, x, y, z) in enumerate(sites)]
    return head(a=6.3, name="P 1", group=1) + "\n".join(lines) + "\n"


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
    assert np.sort(last)[:4] == pytest.approx(4.212 * 3**0.5 / 4, abs=1e-3)  # centre of an octant
    assert np.sort(last)[4:8] == pytest.approx(0.75 * 2.82, abs=2e-3)  # Mg, pushed apart to there


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


@pytest.mark.parametrize("beyond", [-0.2, 0.0, 0.6])
def test_sheets_of_a_stack_are_apart_by_their_radii_and_what_is_beyond(beyond):
    face = {"family": "solid-surface", "miller": [0, 0, 0, 1], "sheets": 1, "vacuum_angstrom": 0.0}
    layers = [
        {"name": "one", "content": {**MOS2, **face}},
        {"name": "two", "content": {**GRAPHITE, **face}},
    ]
    wanted = {"beyond_radii_angstrom": beyond, "registry": [0.2, 0.1], "max_strain_percent": 6}
    atoms = made("stack", layers=layers, gap_angstrom=2.2, **wanted)
    ends = [float(f"{part.partition(':')[2]}") for part in atoms.info["layers_angstrom"].split()]
    gaps = atoms.cell[2, 2] - sum(ends)  # below and above
    assert 2 * (2.9 + beyond) < gaps < 2 * (3.55 + beyond)  # C-S 3.5 Å less what hollows save


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
    orders = [
        made("solid", file="files/llzo.cif", ordering={"rank": rank}, folder=tmp_path)
        for rank in (0, 5)
    ]
    for atoms in orders:
        assert atoms.symbols.formula.count() == {"Li": 56, "La": 24, "Zr": 16, "O": 96}
        assert nearest(atoms, "Li", "Li") > 2.0
    assert list(orders[0].positions[:56, 0]) != list(orders[1].positions[:56, 0])


def test_hydrogen_of_ice_follows_the_ice_rules(tmp_path):
    """Two hydrogens at each oxygen, one on each line between two of them."""
    atoms = solid(tmp_path, ICE, ordering={"rank": 1}, supercell=[2, 2, 2])
    i, j, d = neighbor_list("ijd", atoms, 2.2)
    oxygen = atoms.numbers[i] == 8
    bonded = oxygen & (atoms.numbers[j] == 1) & (d < 1.1)
    accepted = oxygen & (atoms.numbers[j] == 1) & (d > 1.1)
    assert set(np.bincount(i[bonded], minlength=len(atoms))[atoms.numbers == 8]) == {2}
    assert set(np.bincount(i[accepted], minlength=len(atoms))[atoms.numbers == 8]) == {2}


def test_whole_atoms_keep_to_the_size_asked_for_and_say_what_was_rounded(tmp_path):
    text = SALT + "Na1 Na 0 0 0 0.9\nK1 K 0 0 0 0.1\nCl1 Cl 0.5 0.5 0.5 1\n"
    small = solid(tmp_path, text, ordering={"atoms": 30})
    large = solid(tmp_path, text, ordering={"atoms": 250})
    assert len(small) == 16
    shares = [Counter(a.symbols)["K"] / Counter(a.symbols)["Cl"] for a in (small, large)]
    assert shares == [1 / 8, 3 / 32]
    assert ("rounded" in small.info, "rounded" in large.info) == (True, False)


@pytest.mark.parametrize(
    ("atoms", "said"),
    [
        ([*PEROVSKITE, ("C", 0.5, 0.5, 0.39), ("N", 0.5, 0.5, 0.61)], "C at 0.500, 0.500, 0.390"),
        ([*PEROVSKITE, *AMMONIUM[:-1]], "C at .* has bonds of 2.9"),
    ],
)
def test_molecules_without_hydrogen_are_refused(tmp_path, atoms, said):
    with pytest.raises(UserError, match=said + ".*hydrogen"):
        solid(tmp_path, written(atoms))


def test_a_metals_hydroxide_balances():
    """Brucite: what is beside OH- is one element, of which pymatgen guesses no charge."""
    sites = [("Mg", 0, 0, 0), ("O", 1 / 3, 2 / 3, 0.2203), ("H", 1 / 3, 2 / 3, 0.413)]
    brucite = made(
        "solid",
        space_group=164,
        lattice={"a_angstrom": 3.142, "c_angstrom": 4.766},
        sites=[{"element": symbol, "position": place} for symbol, *place in sites],
        atoms=40,
    )
    assert notes(brucite) == []


def test_molecular_ions_count_with_their_charges(tmp_path):
    """CH3NH3PbI3 balances; CH3NH3PbI2 and one without an ammonium's proton do not."""
    whole = solid(tmp_path, written([*PEROVSKITE, *AMMONIUM]))
    whole.info["family"] = "solid"
    assert notes(whole) == []
    of_two = solid(tmp_path, written([*PEROVSKITE[:-1], *AMMONIUM]))
    amine = solid(tmp_path, written([*PEROVSKITE, *AMMONIUM[:2], *AMMONIUM[3:]]))
    for wrong, charge in ((of_two, "CH6N of charge +1"), (amine, "CH5N of charge +0")):
        wrong.info["family"] = "solid"
        assert charge in notes(wrong)[0]
