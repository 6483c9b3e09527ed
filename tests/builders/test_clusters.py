"""Particles: magic numbers, facets and their distances, composition, carbonates left whole."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from campaign.errors import UserError
from tests.builders.recipes import COPPER, LITHIUM_CARBONATE, MGO, RUTILE, formulas, made

OCTAHEDRAL = [{"miller": [1, 1, 1], "energy_j_m2": 1.2}, {"miller": [1, 0, 0], "energy_j_m2": 1.5}]


@pytest.mark.parametrize("atoms", [13, 19, 43, 55, 79])
def test_shells_of_a_face_centred_sphere(atoms):
    assert len(made("cluster", **COPPER, shape="spherical", atoms=atoms)) == atoms


def test_cube_of_whole_planes():
    cube = made("cluster", **MGO, shape="cubic", diameter_angstrom=8.5, stoichiometric=False)
    assert len(cube) == 125
    assert np.ptp(cube.positions, axis=0) == pytest.approx([2 * 4.212] * 3)
    neutral = made("cluster", **MGO, shape="cubic", diameter_angstrom=8.5)
    assert dict(neutral.symbols.formula.count()) == {"Mg": 62, "O": 62}
    assert not neutral.pbc.any()
    assert neutral.positions.min() == pytest.approx(8)


@pytest.mark.parametrize(("on_111", "on_100"), [(1.2, 1.5), (1.6, 1.2)])
def test_wulff_facets_and_their_distances(on_111, on_100):
    """Hull planes are {111} and {100} alone, and h(100) : h(111) follows the energies."""
    facets = [
        {"miller": [1, 1, 1], "energy_j_m2": on_111},
        {"miller": [1, 0, 0], "energy_j_m2": on_100},
    ]
    body = made("cluster", **COPPER, shape="wulff", diameter_angstrom=22, facets=facets)
    hull = ConvexHull(body.positions - body.positions.mean(axis=0))
    distances = {"111": [], "100": []}
    for *normal, offset in hull.equations:
        sorted_normal = np.sort(np.abs(normal))
        if np.allclose(sorted_normal, 3**-0.5, atol=1e-4):
            distances["111"].append(-offset)
        else:
            assert np.allclose(sorted_normal, [0, 0, 1], atol=1e-4)
            distances["100"].append(-offset)
    assert np.ptp(distances["111"]) < 1e-3
    assert np.ptp(distances["100"]) < 1e-3
    ratio = on_100 / on_111  # planes lie a / 3^0.5 and a / 2 apart
    least = max(distances["111"][0], distances["100"][0] / ratio)
    most = min(distances["111"][0] + 3.61 / 3**0.5, (distances["100"][0] + 3.61 / 2) / ratio)
    assert least <= most
    volume = len(body) * 3.61**3 / 4
    assert (6 * volume / np.pi) ** (1 / 3) == pytest.approx(22, rel=0.06)


def test_alloy_counts_are_exact_and_seeded():
    rule = {"substitutions": [{"element": "Cu", "by": "Ni", "fraction": 0.5}]}
    one, other = (
        made("cluster", seed=seed, **COPPER, shape="wulff", atoms=79, facets=OCTAHEDRAL, **rule)
        for seed in (1, 2)
    )
    assert one.symbols.formula.count()["Ni"] == round(len(one) / 2)
    assert str(one.symbols) != str(other.symbols)
    assert np.allclose(one.positions, other.positions)


def test_formula_and_molecules_are_kept():
    oxide = made("cluster", **RUTILE, shape="spherical", diameter_angstrom=11)
    count = oxide.symbols.formula.count()
    assert count["O"] == 2 * count["Ti"]
    carbonate = made("cluster", **LITHIUM_CARBONATE, shape="spherical", atoms=90, centre="cell")
    units = carbonate.symbols.formula.count()["C"]
    assert formulas(carbonate) == {"CO3": units, "Li": 2 * units}
    assert 60 <= len(carbonate) <= 100


def test_facets_that_enclose_nothing():
    plane = [{"miller": [0, 0, 1], "energy_j_m2": 1}]
    with pytest.raises(UserError, match="do not enclose"):
        made("cluster", **RUTILE, shape="wulff", atoms=50, facets=plane)
