"""Interfaces and stacks: strain, areas, gaps, order of layers, distances across every boundary."""

import numpy as np
import pytest
from ase.io import write
from ase.neighborlist import neighbor_list

from atomistics.builders.layers import match
from campaign.errors import UserError
from tests.builders.recipes import (
    AVOGADRO,
    COPPER,
    DMC,
    EC,
    GRAPHITE,
    LEDC,
    LI2CO3,
    LIF,
    LIPF6,
    MGO,
    formulas,
    made,
    unbound_distance,
)

EDGE = {**GRAPHITE, "miller": [1, 0, -1, 0], "thickness_angstrom": 6}
MGO_100 = {**MGO, "miller": [0, 0, 1], "thickness_angstrom": 4}
LIF_100 = {**LIF, "miller": [0, 0, 1], "thickness_angstrom": 4}
WATER = {"components": [{"smiles": "O", "mole_ratio": 1}], "density_g_cm3": 1.0}
CARBONATE = {
    "components": [{"smiles": LI2CO3, "mole_ratio": 1}],
    "density_g_cm3": 2.0,
    "min_distance_angstrom": 1.8,
}


def heights(atoms, *symbols):
    """Lowest and highest z of some elements, Å."""
    z = atoms.positions[np.isin(list(atoms.symbols), symbols), 2]
    return z.min(), z.max()


def test_rocksalt_on_rocksalt_by_known_strain():
    atoms = made("solid-solid", substrate={**MGO_100, "min_width_angstrom": 8}, film=LIF_100)
    assert atoms.info["strain_percent"] == pytest.approx(100 * (4.212 / 4.03 - 1), abs=1e-3)
    area = 4.212**2  # 2 x 2 of it; of its half, the smallest common cell, 3 x 3 would be needed
    assert atoms.info["area_angstrom2"] == pytest.approx(area, abs=1e-3)
    assert abs(np.linalg.det(atoms.cell[:2, :2])) == pytest.approx(4 * area, abs=1e-3)
    assert min(atoms.cell.lengths()[:2]) >= 8
    count = atoms.symbols.formula.count()
    assert count["Mg"] == count["O"] == count["Li"] == count["F"]
    assert heights(atoms, "Li", "F")[0] - heights(atoms, "Mg", "O")[1] == pytest.approx(2.5)
    extents = [np.ptp(heights(atoms, *pair)) for pair in (("Mg", "O"), ("Li", "F"))]
    assert extents == pytest.approx([4.212, 4.03], abs=1e-3)  # normal to the plane unstrained
    assert atoms.cell[2, 2] == pytest.approx(4.212 + 4.03 + 2 * 2.5, abs=1e-3)


def test_a_common_cell_wide_enough_goes_before_a_narrow_one_tripled():
    """Gold (110) on MgO (001): 2.98 x 11.91 Å were repeated to 8.94 x 11.91, 106 Å^2; 8.42 by two
    times 4.21 Å are 71."""
    gold = {**COPPER, "lattice": {"a_angstrom": 4.078}, "formula": "Au", "miller": [1, 1, 0]}
    slab = {"thickness_angstrom": 6.0}
    atoms = made(
        "solid-solid",
        substrate={**MGO, "miller": [0, 0, 1], **slab, "min_width_angstrom": 8.0},
        film={**gold, **slab},
        max_strain_percent=6.0,
        max_atoms=500,
    )
    area = np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1]))
    assert area == pytest.approx(4 * 4.212**2, rel=1e-3)
    assert min(area / atoms.cell.lengths()[:2]) >= 8.0


def test_a_gap_is_wider_where_atoms_need_it():
    """Sodium on its fluoride 2 Å above it: Na-Na at 2.0 Å, of 3.7 Å in the metal."""
    sodium = {"prototype": "bcc", "formula": "Na", "lattice": {"a_angstrom": 4.291}}
    fluoride = {"prototype": "rocksalt", "formula": "NaF", "lattice": {"a_angstrom": 4.632}}
    face = {"miller": [0, 0, 1], "thickness_angstrom": 6}
    parameters = {"substrate": {**sodium, **face}, "film": {**fluoride, **face}}
    near, wide = (made("solid-solid", **parameters, gap_angstrom=gap) for gap in (2.0, 3.5))
    for atoms in (near, wide):
        bound = neighbor_list("ijd", atoms, 3.2)
        metal = np.array(atoms.symbols) == "Na"
        both = metal[bound[0]] & metal[bound[1]]
        assert bound[2][both].min() > 2.6
    height = np.ptp(wide.positions[:, 2])
    assert wide.cell[2, 2] - height == pytest.approx(3.5, abs=1e-4)
    assert 2.0 < near.cell[2, 2] - np.ptp(near.positions[:, 2]) < 2.8


def test_graphite_edge_on_lithium_fluoride_within_the_strain_asked_for():
    parameters = {"substrate": EDGE, "film": LIF_100}
    loose, tight = (
        made("solid-solid", **parameters, max_strain_percent=most, max_area_angstrom2=300)
        for most in (6, 3)
    )
    assert tight.info["strain_percent"] <= 3 < loose.info["strain_percent"] <= 6
    for atoms in (loose, tight):
        area = abs(np.linalg.det(atoms.cell.array[:2, :2]))
        assert area % (2.464 * 6.711) == pytest.approx(0, abs=1e-2) or area % (
            2.464 * 6.711
        ) == pytest.approx(2.464 * 6.711, abs=1e-2)
        layers = round(np.ptp(heights(atoms, "Li", "F")) / (4.03 / 2)) + 1
        natural = atoms.symbols.formula.count()["Li"] / layers * 4.03**2 / 2
        stretch = atoms.info["strain_percent"] / 100
        assert (1 - stretch) ** 2 <= area / natural <= (1 + stretch) ** 2
    with pytest.raises(UserError, match="no common cell"):
        made("solid-solid", **parameters, max_strain_percent=0.1, max_area_angstrom2=40)
    with pytest.raises(UserError, match="more than max_atoms 50"):
        made("solid-solid", **parameters, max_atoms=50)


def test_match_is_that_of_pymatgen():
    """The least strain of hexagonal on square cells of up to 60 Å^2, found by its ZSLGenerator."""
    from pymatgen.analysis.interfaces.zsl import ZSLGenerator

    film = 2.556 * np.array([[1, 0], [0.5, 0.75**0.5]])
    substrate = 2.978 * np.eye(2)
    spatial = [np.column_stack([cell, np.zeros(2)]) for cell in (film, substrate)]
    generator = ZSLGenerator(
        max_area=60, max_length_tol=0.06, max_angle_tol=0.06, max_area_ratio_tol=0.12
    )
    pairs = list(generator(*spatial))
    assert pairs
    for pair in pairs:
        above, below = np.array([pair.film_sl_vectors, pair.substrate_sl_vectors])[:, :, :2]
        if np.linalg.det(below) < 0:
            below[1] *= -1
        theirs = abs(np.linalg.svd(np.linalg.solve(above, below), compute_uv=False) - 1).max()
        assert match(film, below, 0.1).strain <= theirs + 1e-6


def test_amorphous_carbonate_on_a_graphite_edge():
    film = {**CARBONATE, "thickness_angstrom": 7}
    substrate = {**EDGE, "min_width_angstrom": 9}
    atoms = made("solid-solid", substrate=substrate, amorphous=film, gap_angstrom=2.6)
    lithium = atoms.symbols.formula.count()["Li"]
    assert formulas(atoms)["CO3"] == lithium / 2
    area = abs(np.linalg.det(atoms.cell.array[:2, :2]))
    mass = lithium / 2 * 73.89 / AVOGADRO
    low, high = heights(atoms, "Li", "O")
    height = mass / 2.0 / (area * 1e-24)
    assert high - low <= height + 0.12
    assert height == pytest.approx(7, abs=0.6)
    assert unbound_distance(atoms) >= 1.8
    assert atoms.info["charge"] == 0


def test_alloy_particle_on_an_oxide_stands_on_its_first_facet():
    facets = [{"miller": [1, 1, 1], "energy_j_m2": 1.3}, {"miller": [1, 0, 0], "energy_j_m2": 1.5}]
    alloy = {"substitutions": [{"element": "Cu", "by": "Ni", "fraction": 0.5}]}
    particle = {**COPPER, "shape": "wulff", "atoms": 38, "facets": facets, **alloy}
    atoms = made("solid-solid", substrate=MGO_100, particle=particle, vacuum_angstrom=10)
    metal = np.isin(list(atoms.symbols), ["Cu", "Ni"])
    count = atoms.symbols.formula.count()
    assert abs(count["Cu"] - count["Ni"]) <= 1
    z = atoms.positions[metal, 2]
    assert z.min() - heights(atoms, "Mg", "O")[1] == pytest.approx(2.5)
    floor = atoms[np.flatnonzero(metal)[z < z.min() + 0.2]]
    distance = floor.get_all_distances()
    nearest = np.sort(distance, axis=1)[:, 1]
    assert len(floor) >= 6
    assert nearest == pytest.approx(np.full(len(floor), 3.61 / 2**0.5), abs=1e-4)
    apart = atoms.get_all_distances(mic=True)[np.ix_(metal, ~metal)]
    assert apart.min() > 2.4
    images = atoms[metal].repeat((2, 1, 1)).get_all_distances()[: metal.sum(), metal.sum() :]
    assert images.min() > 5


@pytest.mark.parametrize(("site", "nearest"), [("ontop", 1), ("bridge", 2), ("hollow", 3)])
def test_carbon_monoxide_on_sites_of_copper(site, nearest):
    surface = {**COPPER, "miller": [1, 1, 1], "thickness_angstrom": 4, "repeat": [3, 3]}
    molecule = {"smiles": "[C-]#[O+]", "bound_atom": 0, "site": site, "height_angstrom": 1.9}
    atoms = made("solid-molecule", surface=surface, adsorbate=molecule, vacuum_angstrom=12)
    carbon = list(atoms.symbols).index("C")
    oxygen = list(atoms.symbols).index("O")
    axis = atoms.get_distance(carbon, oxygen, vector=True, mic=True)
    assert axis[2] == pytest.approx(np.linalg.norm(axis), rel=1e-3)
    top = heights(atoms, "Cu")[1]
    assert atoms.positions[carbon, 2] - top == pytest.approx(1.9, abs=1e-5)
    distance = np.sort(atoms.get_distances(carbon, range(27), mic=True))
    assert np.ptp(distance[:nearest]) < 1e-3
    assert distance[nearest] > distance[0] + 0.3
    assert atoms.cell[2, 2] - heights(atoms, "O")[1] == pytest.approx(12, abs=1e-4)


def test_several_molecules_keep_apart():
    surface = {**COPPER, "miller": [0, 0, 1], "thickness_angstrom": 4, "repeat": [4, 4]}
    molecule = {"smiles": EC, "count": 2, "height_angstrom": 2.5}
    atoms = made("solid-molecule", surface=surface, adsorbate=molecule, vacuum_angstrom=10)
    assert formulas(atoms)["C3H4O3"] == 2
    assert unbound_distance(atoms) > 1.4


def test_water_over_a_hexagonal_metal_cell():
    surface = {**COPPER, "miller": [1, 1, 1], "thickness_angstrom": 4, "repeat": [4, 4]}
    atoms = made("solid-molecule", surface=surface, liquid={**WATER, "thickness_angstrom": 9})
    water = formulas(atoms)["H2O"]
    area = abs(np.linalg.det(atoms.cell.array[:2, :2]))
    assert water == pytest.approx(area * 9e-24 / 18.015 * AVOGADRO, abs=0.5)
    low, high = heights(atoms, "O", "H")
    assert high - low <= water * 18.015 / AVOGADRO / area * 1e24 + 0.12
    assert unbound_distance(atoms) >= 1.9


def test_two_liquids_in_layers():
    oil = {"components": [{"smiles": "CCCCCC", "mole_ratio": 1}], "density_g_cm3": 0.66}
    phases = [{**WATER, "thickness_angstrom": 8}, {**oil, "thickness_angstrom": 10}]
    atoms = made("liquid-liquid", phases=phases, width_angstrom=11)
    assert set(formulas(atoms)) == {"H2O", "C6H14"}
    assert heights(atoms, "C")[0] > heights(atoms, "O")[1]
    assert unbound_distance(atoms) >= 1.5  # the gap
    assert atoms.pbc.all()


def test_four_layers_of_an_sei():
    def packed(family, smiles, density):
        return {
            "family": family,
            "components": [{"smiles": smiles, "mole_ratio": 1}],
            "density_g_cm3": density,
            "min_distance_angstrom": 1.8,
        }

    electrolyte = packed("molecule", EC, 1.3)
    electrolyte["components"] += [{"smiles": DMC, "mole_ratio": 1}, {"smiles": LIPF6, "count": 1}]
    edge = {"family": "solid-surface", **EDGE, "min_width_angstrom": 9}
    layers = [
        {"name": "graphite", "content": edge},
        {"name": "carbonate", "content": packed("amorphous", LI2CO3, 2.0), "thickness_angstrom": 5},
        {"name": "ledc", "content": packed("amorphous", LEDC, 1.6), "thickness_angstrom": 6},
        {"name": "electrolyte", "content": electrolyte, "thickness_angstrom": 9},
    ]
    atoms = made("stack", layers=layers)
    pieces = formulas(atoms)
    for part in ("CO3", "C4H4O6", "C3H4O3", "C3H6O3", "F6P"):
        assert pieces[part] >= 1, part
    assert pieces["Li"] == 2 * pieces["CO3"] + 2 * pieces["C4H4O6"] + pieces["F6P"]
    assert atoms.info["charge"] == 0
    told = dict(part.split(":") for part in atoms.info["layers_angstrom"].split())
    assert list(told) == ["graphite", "carbonate", "ledc", "electrolyte"]
    whole = sum(map(float, told.values())) + 4 * 2.2
    assert atoms.cell[2, 2] == pytest.approx(whole, abs=1e-2)
    assert unbound_distance(atoms) >= 1.8
    assert max(heights(atoms, "P")) > float(told["graphite"]) + float(told["carbonate"])
    assert atoms.info["layers"] == "graphite carbonate ledc electrolyte"
    for number, absent in enumerate("OHP"):
        assert absent not in set(atoms.symbols[atoms.arrays["layer"] == number])
    assert set(atoms.arrays["layer"][atoms.symbols == "P"]) == {3}


def test_a_wide_slab_fits_a_stack_by_its_surface_cell():
    """LiF of 11.4 Å is no film on 10.5 Å; 13 of its surface cells, turned, are, at 2.5 %."""
    lithium = {"prototype": "bcc", "formula": "Li", "lattice": {"a_angstrom": 3.51}}
    face = {"family": "solid-surface", "miller": [0, 0, 1], "min_width_angstrom": 10}
    exchange = [{"element": "F", "by": "Cl", "count": 2}]
    layers = [
        {"name": "li", "content": {**lithium, **face, "thickness_angstrom": 5}},
        {"name": "lif", "content": {**LIF_100, **face, "substitutions": exchange}},
    ]
    atoms = made("stack", layers=layers)
    strain = 100 * (3 * 3.51 / (13**0.5 * 4.03 / 2**0.5) - 1)
    assert atoms.info["strain_percent_lif"] == pytest.approx(strain, abs=1e-3)
    count = atoms.symbols.formula.count()
    assert count["Cl"] == 2
    assert (count["F"] + 2) % 13 == 0


def test_a_built_crystal_is_strained_into_a_stack_and_told(tmp_path):
    (tmp_path / "structures").mkdir()
    write(tmp_path / "structures/film.extxyz", made("solid", **LIF))
    slab = {"family": "solid-surface", **MGO_100, "min_width_angstrom": 8}
    layers = [{"name": "oxide", "content": slab}, {"name": "film", "structure": "film"}]
    atoms = made("stack", folder=tmp_path, layers=layers)
    turned = (3 * 4.212 / 2**0.5) / (4.03 * 5**0.5)  # 3 x 3 surface cells on vectors (2 1)
    assert atoms.info["strain_percent_film"] == pytest.approx(100 * (1 - turned), abs=1e-3)
    assert atoms.symbols.formula.count()["Li"] == atoms.symbols.formula.count()["F"]
    with pytest.raises(UserError, match="film: no supercell"):
        made("stack", folder=tmp_path, layers=layers, max_strain_percent=0.005)
    layers[0]["content"]["min_width_angstrom"] = 5  # 2 x 2 cells, which nothing fits within 2 %
    wider = made("stack", folder=tmp_path, layers=layers, max_strain_percent=2)
    assert float(wider.info["strain_percent_film"]) <= 2
    area = abs(np.linalg.det(wider.cell.array[:2, :2]))
    assert area > 4.212**2 / 2 * 4.5
    assert wider.symbols.formula.count()["Mg"] == wider.symbols.formula.count()["O"]
    assert unbound_distance(wider) > 1.9
    layers[1] = {"name": "film", "structure": "none"}
    with pytest.raises(UserError, match="no such file"):
        made("stack", folder=tmp_path, layers=layers)
