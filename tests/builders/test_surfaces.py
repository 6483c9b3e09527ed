"""Slabs against lattice geometry: area, thickness, spacing, stoichiometry, whole carbonates."""

import numpy as np
import pytest

from campaign.errors import UserError
from tests.builders.recipes import (
    COPPER,
    GRAPHITE,
    LITHIUM_CARBONATE,
    MGO,
    NACL,
    RUTILE,
    formulas,
    made,
)


def area(atoms):
    return np.linalg.norm(np.cross(*atoms.cell.array[:2]))


def slab(**parameters):
    return made("solid-surface", **parameters)


@pytest.mark.parametrize(
    ("crystal", "miller", "cell_area", "spacing"),
    [
        (MGO, [0, 0, 1], 4.212**2 / 2, 4.212 / 2),
        (NACL, [1, 1, 0], 5.64**2 / 2**0.5, 5.64 / 8**0.5),
        (COPPER, [1, 1, 1], 3.61**2 * 3**0.5 / 4, 3.61 / 3**0.5),
        (GRAPHITE, [0, 0, 0, 1], 2.464**2 * 3**0.5 / 2, 6.711 / 2),
    ],
    ids=["MgO(001)", "NaCl(110)", "Cu(111)", "graphite(0001)"],
)
def test_area_planes_and_thickness(crystal, miller, cell_area, spacing):
    atoms = slab(**crystal, miller=miller, thickness_angstrom=8, vacuum_angstrom=10)
    assert area(atoms) == pytest.approx(cell_area, rel=1e-4)
    planes = np.unique(atoms.positions[:, 2].round(3))
    assert np.diff(planes) == pytest.approx(np.full(len(planes) - 1, spacing), abs=2e-3)
    thickness = planes[-1] - planes[0]
    assert 8 - 1e-3 <= thickness < 8 + spacing + 1e-3
    assert atoms.cell[2, 2] == pytest.approx(thickness + 10, abs=2e-3)
    assert atoms.info["thickness_angstrom"] == pytest.approx(thickness, abs=2e-3)
    assert atoms.pbc.all()


def test_rutile_110_is_stoichiometric_with_bridging_oxygen_on_top():
    atoms = slab(**RUTILE, miller=[1, 1, 0], thickness_angstrom=9, repeat=[2, 1])
    count = atoms.symbols.formula.count()
    assert count["O"] == 2 * count["Ti"]
    assert area(atoms) == pytest.approx(2 * 4.594 * 2**0.5 * 2.959, rel=1e-4)
    assert atoms.symbols[np.argmax(atoms.positions[:, 2])] == "O"
    distance = atoms.get_all_distances(mic=True)[np.array(atoms.symbols) == "Ti"]
    assert distance[distance > 0].min() == pytest.approx(1.949, abs=0.05)


def test_graphite_edge_by_miller_bravais_indices():
    atoms = slab(**GRAPHITE, miller=[1, 0, -1, 0], thickness_angstrom=10, repeat=[3, 1])
    assert atoms.cell.lengths()[:2] == pytest.approx([3 * 2.464, 6.711], abs=1e-3)
    assert np.ptp(atoms.positions[:, 2]) >= 10
    distance = atoms.get_all_distances(mic=True)
    neighbours = ((distance > 0.1) & (distance < 1.6)).sum(axis=1)
    assert set(neighbours) == {2, 3}  # zigzag edges, no atom on one bond
    same = slab(**GRAPHITE, miller=[1, 0, 0], thickness_angstrom=10, repeat=[3, 1])
    assert np.allclose(same.positions, atoms.positions)


@pytest.mark.parametrize("miller", [[0, 0, 1], [1, 1, 0], [1, 0, 0], [1, 1, -1]])
def test_carbonates_are_never_cut(miller):
    atoms = slab(**LITHIUM_CARBONATE, miller=miller, thickness_angstrom=6)
    count = atoms.symbols.formula.count()
    assert (count["Li"], count["O"]) == (2 * count["C"], 3 * count["C"])
    pieces = formulas(atoms)
    assert pieces == {"CO3": count["C"], "Li": count["Li"]}
    members = np.unique(atoms.arrays["molecule"], return_counts=True)
    assert dict(zip(*members, strict=True)) == {-1: count["Li"]} | dict.fromkeys(
        range(count["C"]), 4
    )


BRUCITE = {
    "space_group": 164,
    "lattice": {"a_angstrom": 3.142, "c_angstrom": 4.766},
    "sites": [
        {"element": "Mg", "position": [0, 0, 0]},
        {"element": "O", "position": [1 / 3, 2 / 3, 0.2203]},
        {"element": "H", "position": [1 / 3, 2 / 3, 0.4303]},
    ],
}
BENZENE = {
    "space_group": 61,
    "lattice": {"a_angstrom": 7.355, "b_angstrom": 9.371, "c_angstrom": 6.700},
    "sites": [
        {"element": "C", "position": [-0.0604, 0.1411, -0.0062]},
        {"element": "C", "position": [-0.1386, 0.0464, 0.1264]},
        {"element": "C", "position": [-0.0781, -0.0951, 0.1326]},
        {"element": "H", "position": [-0.1085, 0.2500, -0.0111]},
        {"element": "H", "position": [-0.2455, 0.0822, 0.2241]},
        {"element": "H", "position": [-0.1384, -0.1685, 0.2351]},
    ],
}
MOLYBDENITE = {
    "space_group": 194,
    "lattice": {"a_angstrom": 3.160, "c_angstrom": 12.294},
    "sites": [
        {"element": "Mo", "position": [1 / 3, 2 / 3, 0.25]},
        {"element": "S", "position": [1 / 3, 2 / 3, 0.621]},
    ],
}


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_no_termination_takes_hydrogen_from_its_oxygen_or_cuts_a_sheet(turn):
    atoms = slab(
        **BRUCITE,
        miller=[0, 0, 0, 1],
        thickness_angstrom=6,
        min_width_angstrom=6,
        termination_in_turn=turn,
        compensated=True,
    )
    assert set(formulas(atoms)) == {"HO", "Mg"}
    outermost = atoms.symbols[[atoms.positions[:, 2].argmin(), atoms.positions[:, 2].argmax()]]
    assert set(outermost) == {"H"}


@pytest.mark.parametrize("miller", [[0, 0, 1], [1, 1, 0], [1, 1, 1]])
@pytest.mark.parametrize("turn", [0, 1])
def test_faces_that_no_plane_leaves_whole_are_cut_between_molecules(miller, turn):
    atoms = slab(**BENZENE, miller=miller, thickness_angstrom=7, termination_in_turn=turn)
    assert set(formulas(atoms)) == {"C6H6"}
    assert 7 <= np.ptp(atoms.positions[:, 2]) < 7 + 9.4


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_sheets_are_whole_at_every_termination(turn):
    atoms = slab(**MOLYBDENITE, miller=[0, 0, 0, 1], sheets=2, termination_in_turn=turn)
    count = atoms.symbols.formula.count()
    assert count["S"] == 2 * count["Mo"] == 4
    assert np.ptp(atoms.positions[:, 2]) == pytest.approx(12.294 / 2 + 2 * 0.129 * 12.294, abs=0.02)


def test_width_and_substitution():
    substitution = [{"element": "Mg", "by": "Ni", "count": 3}]
    atoms = slab(
        **MGO,
        miller=[0, 0, 1],
        thickness_angstrom=4,
        min_width_angstrom=8,
        substitutions=substitution,
    )
    assert min(atoms.cell.lengths()[:2]) >= 8
    assert atoms.symbols.formula.count()["Ni"] == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"miller": [1, 0, 0, 0]}, "h \\+ k \\+ i must be 0"),
        ({"miller": [0, 0, 0]}, "differ from 0"),
        ({"termination": 9}, "counted from 0"),
        (
            {
                **MGO,
                "space_group": None,
                "lattice": MGO["lattice"],
                "sites": [],
                "miller": [1, 0, -1, 0],
            },
            "hexagonal",
        ),
    ],
)
def test_what_is_no_plane(changes, said):
    with pytest.raises(UserError, match=said):
        slab(**{**GRAPHITE, "miller": [1, 0, 0], "thickness_angstrom": 6, **changes})


SILICON = {
    "space_group": 227,
    "lattice": {"a_angstrom": 5.431},
    "sites": [{"element": "Si", "position": [0, 0, 0]}],
}
ZINCITE = {
    "space_group": 186,
    "lattice": {"a_angstrom": 3.25, "c_angstrom": 5.207},
    "sites": [
        {"element": "Zn", "position": [1 / 3, 2 / 3, 0]},
        {"element": "O", "position": [1 / 3, 2 / 3, 0.382]},
    ],
}


def ended(crystal, miller):
    parameters = {"thickness_angstrom": 9, "min_width_angstrom": 6, "passivated": True}
    return slab(**crystal, miller=miller, **parameters)


@pytest.mark.parametrize(("miller", "an_atom"), [([0, 0, 1], 2), ([1, 1, 1], 1)])
def test_broken_bonds_of_silicon_end_in_hydrogen(miller, an_atom):
    atoms = ended(SILICON, miller)
    distance = atoms.get_all_distances(mic=True)
    silicon, hydrogen = atoms.numbers == 14, atoms.numbers == 1
    bonds = (distance < 2.6) & (distance > 0.1)
    assert (bonds[silicon].sum(axis=1) == 4).all()
    assert (bonds[np.ix_(hydrogen, silicon)].sum(axis=1) == 1).all()
    of_face = bonds[np.ix_(silicon, hydrogen)].sum(axis=1)
    assert set(of_face) == {0, an_atom}
    assert distance[np.ix_(hydrogen, silicon)].min() == pytest.approx(1.48, abs=0.08)


def test_broken_bonds_of_oxides_end_in_split_water():
    atoms = ended(RUTILE, [1, 1, 0])
    count = atoms.symbols.formula.count()
    assert count["O"] - 2 * count["Ti"] == count["H"] / 2  # whole molecules of water
    titanium, oxygen = atoms.numbers == 22, atoms.numbers == 8
    distance = atoms.get_all_distances(mic=True)
    assert ((distance[np.ix_(titanium, oxygen)] < 2.2).sum(axis=1) == 6).all()
    assert formulas(atoms)["HO"] == count["H"]


def test_polar_faces_take_as_much_water_as_ends_their_dipole():
    atoms = ended(ZINCITE, [0, 0, 0, 1])
    count = atoms.symbols.formula.count()
    face = round(area(atoms) / (3.25**2 * 3**0.5 / 2))
    assert count["O"] - count["Zn"] == count["H"] / 2 == pytest.approx(face / 2, abs=0.5)
    assert "dipole_e_per_angstrom" not in atoms.info


def test_metals_have_nothing_to_end():
    with pytest.raises(UserError, match="no bond is cut that hydrogen could end"):
        ended(COPPER, [1, 1, 1])
