"""Faults, boundaries and polar slabs against lattice geometry and formal charges."""

import numpy as np
import pytest

from tests.builders.recipes import COPPER, MGO, RUTILE, made

ZNO = {
    "space_group": 186,
    "lattice": {"a_angstrom": 3.25, "c_angstrom": 5.207},
    "sites": [
        {"element": "Zn", "position": [1 / 3, 2 / 3, 0]},
        {"element": "O", "position": [1 / 3, 2 / 3, 0.382]},
    ],
}
LICOO2 = {
    "space_group": 166,
    "lattice": {"a_angstrom": 2.816, "c_angstrom": 14.054},
    "sites": [
        {"element": "Li", "position": [0, 0, 0.5]},
        {"element": "Co", "position": [0, 0, 0]},
        {"element": "O", "position": [0, 0, 0.2603]},
    ],
}
BARIUM_ZIRCONATE = {
    "space_group": 221,
    "lattice": {"a_angstrom": 4.193},
    "sites": [
        {"element": "Ba", "position": [0, 0, 0]},
        {"element": "Zr", "position": [0.5, 0.5, 0.5]},
        {"element": "O", "position": [0.5, 0.5, 0]},
    ],
}
ANATASE = {
    "space_group": 141,
    "lattice": {"a_angstrom": 3.785, "c_angstrom": 9.514},
    "sites": [
        {"element": "Ti", "position": [0, 0, 0]},
        {"element": "O", "position": [0, 0, 0.2081]},
    ],
}
SILICON = {"prototype": "diamond", "formula": "Si", "lattice": {"a_angstrom": 5.431}}


def shortest(atoms):
    distance = atoms.get_all_distances(mic=True)
    return distance[distance > 1e-3].min()


@pytest.mark.parametrize("shift", [[1 / 3, 1 / 3], [2 / 3, 2 / 3], [0.5, 0], [0.5, 0.5]])
@pytest.mark.parametrize(("crystal", "bond"), [(SILICON, 2.352), (COPPER, 2.553)])
def test_a_stacking_fault_keeps_atoms_apart(crystal, bond, shift):
    """Wherever the shift leads, nothing comes nearer than nine tenths of the crystal's bond."""
    wanted = {"miller": [1, 1, 1], "thickness_angstrom": 12, "min_width_angstrom": 8}
    atoms = made("solid-surface", **crystal, **wanted, fault=shift)
    plain = made("solid-surface", **crystal, **wanted)
    assert len(atoms) == len(plain)
    assert shortest(atoms) > 0.89 * bond
    assert atoms.cell[2, 2] - plain.cell[2, 2] < 0.4


def test_the_intrinsic_fault_of_copper_keeps_every_bond():
    """fcc to hcp stacking: twelve neighbours everywhere but at the faces, nothing lifted."""
    wanted = {"miller": [1, 1, 1], "thickness_angstrom": 12, "min_width_angstrom": 8}
    atoms = made("solid-surface", **COPPER, **wanted, fault=[1 / 3, 1 / 3])
    neighbours = (atoms.get_all_distances(mic=True) < 2.7).sum(axis=1) - 1
    assert sorted(set(neighbours)) == [9, 12]


@pytest.mark.parametrize("grain", ["turned", "mirrored"])
def test_grains_meet_no_nearer_than_bonds(grain):
    slab = {**COPPER, "miller": [1, 0, 0], "thickness_angstrom": 8, "min_width_angstrom": 5.5}
    atoms = made("solid-solid", substrate=slab, grain=grain, gap_angstrom=1.8, max_atoms=500)
    assert shortest(atoms) > 0.89 * 2.553


@pytest.mark.parametrize("grain", ["turned", "mirrored"])
def test_anions_of_two_grains_are_no_peroxide(grain):
    """O-O of 1.48 Å is a peroxide's; 2.3 Å and more in oxides (2.53 the shared edge of rutile)."""
    slab = {**BARIUM_ZIRCONATE, "miller": [1, 1, 0], "thickness_angstrom": 9, "compensated": True}
    slab["min_width_angstrom"] = 7
    atoms = made("solid-solid", substrate=slab, grain=grain, gap_angstrom=1.9, max_atoms=500)
    oxygen = np.array(atoms.symbols) == "O"
    assert shortest(atoms[oxygen]) > 2.3


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_a_whole_plane_moves_where_that_ends_the_dipole(turn):
    """Anatase (101): each of its planes is TiO2's in part; no termination is left polar."""
    wanted = {"miller": [1, 0, 1], "thickness_angstrom": 6, "termination_in_turn": turn}
    atoms = made("solid-surface", **ANATASE, **wanted, compensated=True)
    moment = np.array([{"Ti": 4, "O": -2}[s] for s in atoms.symbols]) @ atoms.positions[:, 2]
    assert abs(moment) < 1e-3
    assert atoms.symbols.formula.reduce()[0].format("hill") == "O2Ti"
    assert shortest(atoms) > 1.9


@pytest.mark.parametrize(
    ("crystal", "miller", "share", "charges"),
    [
        (MGO, [1, 1, 1], 0.5, {"Mg": 2, "O": -2}),
        (LICOO2, [0, 0, 0, 1], 0.5, {"Li": 1, "Co": 3, "O": -2}),
        (ZNO, [0, 0, 0, 1], 0.25, {"Zn": 2, "O": -2}),
    ],
    ids=["MgO(111)", "LiCoO2(0001)", "ZnO(0001)"],
)
def test_atoms_moved_from_face_to_face_end_the_dipole(crystal, miller, share, charges):
    """Half a plane of rock salt (111) and layered oxides, a quarter of wurtzite's; nothing lost."""
    wanted = {"miller": miller, "thickness_angstrom": 9, "repeat": [4, 4]}
    bare = made("solid-surface", **crystal, **wanted)
    atoms = made("solid-surface", **crystal, **wanted, compensated=True)
    assert atoms.symbols.formula.count() == bare.symbols.formula.count()
    moment = np.array([charges[s] for s in atoms.symbols]) @ atoms.positions[:, 2]
    before = np.array([charges[s] for s in bare.symbols]) @ bare.positions[:, 2]
    assert abs(moment) < 0.07 * abs(before)  # zinc: 0.236 of a plane, whole atoms 4 of 16
    top = atoms.positions[:, 2].max()
    outer = atoms[atoms.positions[:, 2] > top - 0.1]
    assert len(outer) in (round(16 * share), 16 - round(16 * share))
    assert len(set(outer.symbols)) == 1
    assert shortest(atoms) == pytest.approx(shortest(bare), abs=1e-3)
    if "Li" in charges:
        assert set(outer.symbols) == {"Li"}  # the weakest bonds are cut


def test_slabs_without_a_dipole_stay_as_they_are():
    wanted = {"miller": [0, 0, 1], "thickness_angstrom": 6, "repeat": [2, 2]}
    plain, asked = (made("solid-surface", **MGO, **wanted, compensated=c) for c in (False, True))
    assert np.allclose(plain.positions, asked.positions)


def test_every_face_has_a_hollow():
    """ZnO (0001): pymatgen finds no hollow between atoms of both planes of its face."""
    slab = {**ZNO, "miller": [0, 0, 0, 1], "thickness_angstrom": 7, "min_width_angstrom": 8.4}
    guest = {"smiles": "O", "site": "hollow", "height_angstrom": 1.6, "bound_atom": 0}
    atoms = made("solid-molecule", surface=slab, adsorbate=guest, vacuum_angstrom=15)
    oxygen = len(atoms) - 3
    assert atoms.symbols[oxygen] == "O"
    distance = atoms.get_distances(oxygen, range(oxygen), mic=True)
    zinc = np.sort(distance[np.array(atoms.symbols)[:oxygen] == "Zn"])[:3]
    assert zinc == pytest.approx(np.hypot(1.6, 3.25 / 3**0.5), abs=0.02)


@pytest.mark.parametrize("site", ["ontop", "bridge", "hollow"])
def test_square_faces_have_every_site_and_lone_pairs_keep_from_anions(site):
    """MgO (001): water's oxygen over magnesium, or as far from oxygen as anions are apart."""
    slab = {**MGO, "miller": [0, 0, 1], "thickness_angstrom": 6, "min_width_angstrom": 8.0}
    guest = {"smiles": "O", "site": site, "height_angstrom": 1.8, "bound_atom": 0}
    atoms = made("solid-molecule", surface=slab, adsorbate=guest, vacuum_angstrom=15)
    oxygen, face = len(atoms) - 3, np.array(atoms.symbols)[:-3]
    distance = atoms.get_distances(oxygen, range(oxygen), mic=True)
    assert distance[face == "O"].min() >= 2.379
    if site == "ontop":
        assert distance[face == "Mg"].min() == pytest.approx(1.8, abs=1e-3)
    if site == "hollow":  # two Mg and two O around it
        assert np.ptp(np.sort(distance)[:4]) < 0.01


def test_water_binds_to_the_bare_titanium_of_rutile():
    """TiO2 (110): five-fold titanium lies 1.3 Å below the bridging oxygen."""
    slab = {**RUTILE, "miller": [1, 1, 0], "thickness_angstrom": 6, "min_width_angstrom": 8.0}
    guest = {"smiles": "O", "site": "ontop", "height_angstrom": 2.1, "bound_atom": 0}
    atoms = made("solid-molecule", surface=slab, adsorbate=guest, vacuum_angstrom=15)
    oxygen, face = len(atoms) - 3, np.array(atoms.symbols)[:-3]
    distance = atoms.get_distances(oxygen, range(oxygen), mic=True)
    assert distance[face == "Ti"].min() == pytest.approx(2.1, abs=1e-3)
    assert distance[face == "O"].min() > 2.5


def test_equal_ions_keep_apart_across_a_boundary_of_a_perovskite():
    """A mirrored SrTiO3 (001) has TiO2 on TiO2: titanium 3.9 Å apart in the crystal, not 2.5."""
    sites = [("Sr", [0, 0, 0]), ("Ti", [0.5, 0.5, 0.5]), ("O", [0.5, 0.5, 0])]
    crystal = {
        "space_group": 221,
        "lattice": {"a_angstrom": 3.905},
        "sites": [{"element": name, "position": at} for name, at in sites],
    }
    slab = {**crystal, "miller": [0, 0, 1], "thickness_angstrom": 8, "min_width_angstrom": 5.5}
    atoms = made("solid-solid", substrate=slab, grain="mirrored", gap_angstrom=1.9)
    layer, titanium = atoms.arrays["layer"], np.array(atoms.symbols) == "Ti"
    one, other = (np.flatnonzero(titanium & (layer == n)) for n in (0, 1))
    assert atoms.get_all_distances(mic=True)[np.ix_(one, other)].min() > 3.5


def test_planes_of_a_perovskite_move_in_whole_units():
    """LaAlO3 (001): half of the LaO units, Tasker's third kind with two elements a plane."""
    crystal = {
        "space_group": 221,
        "lattice": {"a_angstrom": 3.79},
        "sites": [
            {"element": "La", "position": [0, 0, 0]},
            {"element": "Al", "position": [0.5, 0.5, 0.5]},
            {"element": "O", "position": [0.5, 0.5, 0]},
        ],
    }
    wanted = {"miller": [0, 0, 1], "thickness_angstrom": 9, "repeat": [2, 2], "compensated": True}
    atoms = made("solid-surface", **crystal, **wanted)
    charges = {"La": 3, "Al": 3, "O": -2}
    moment = np.array([charges[s] for s in atoms.symbols]) @ atoms.positions[:, 2]
    assert moment == pytest.approx(0, abs=1e-6)
    outer = atoms[atoms.positions[:, 2] > atoms.positions[:, 2].max() - 0.1]
    assert outer.symbols.formula.count() == {"La": 2, "O": 2}


@pytest.mark.parametrize("miller", [[1, 0, 0], [1, 1, 0]])
def test_unlike_ions_face_each_other_across_a_mirror(miller):
    slab = {**MGO, "miller": miller, "thickness_angstrom": 8, "min_width_angstrom": 5.5}
    atoms = made("solid-solid", substrate=slab, grain="mirrored", gap_angstrom=1.0, max_atoms=500)
    metal, lower = np.array(atoms.symbols) == "Mg", atoms.arrays["layer"] == 0
    across = atoms.get_all_distances(mic=True)[np.ix_(lower, ~lower)]
    like = metal[lower][:, None] == metal[~lower]
    assert across[~like].min() < 2.05
    assert across[like].min() > 2.6
