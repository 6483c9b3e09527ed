"""Layers against closed forms: uniform slabs, a layer across the boundary, an ideal gas."""

import numpy as np
import pytest
from ase import Atoms, units

from atomistics.analysis.layers import (
    density,
    layer_rdf,
    layers_of,
    mean_density,
    profile,
    thickness,
)

AREA = 20.0 * 20.0


def slabs(seed: int = 0, shift: float = 0.0) -> Atoms:
    """2000 argon from 0 to 10 Å, 1000 neon from 10 to 40 Å of a cell 40 Å high, moved by shift."""
    random = np.random.default_rng(seed)
    lower = random.uniform((0, 0, 0), (20, 20, 10), (2000, 3))
    upper = random.uniform((0, 0, 10), (20, 20, 40), (1000, 3))
    atoms = Atoms("Ar2000Ne1000", np.vstack([lower, upper]), cell=(20, 20, 40), pbc=True)
    atoms.positions[:, 2] += shift
    atoms.arrays["layer"] = np.repeat([0, 1], [2000, 1000])
    atoms.info["layers"] = "solid gas"
    return atoms


@pytest.mark.parametrize("shift", [0.0, 17.0, -33.0])
def test_uniform_slabs_have_their_thickness_and_density_wherever_the_boundary_lies(shift):
    atoms = slabs(shift=shift)
    solid, gas = layers_of(atoms)
    assert (solid.name, gas.name) == ("solid", "gas")
    assert thickness(atoms, solid) == pytest.approx(10, rel=0.03)
    assert thickness(atoms, gas) == pytest.approx(30, rel=0.04)
    grams = 2000 * 39.948 * units._amu * 1e3 / (AREA * 10 * 1e-24)
    assert density(atoms, solid) == pytest.approx(grams, rel=0.03)
    assert mean_density([atoms, atoms], solid) == density(atoms, solid)


def test_rdf_of_one_layer_is_one_inside_an_ideal_gas_and_knows_nothing_of_the_other_layer():
    frames = [slabs(seed) for seed in range(5)]
    solid, _ = layers_of(frames[0])
    found = layer_rdf(frames, solid, 2.0)
    assert list(found.g) == ["Ar-Ar"]
    # a sphere of radius r around a point of a slab of thickness t loses r / 2t of its surface
    expected = 1 - found.r / (2 * 10)
    assert found.g["Ar-Ar"][40:] == pytest.approx(expected[40:], rel=0.15)
    assert found.g["Ar-Ar"][40:].mean() == pytest.approx(expected[40:].mean(), rel=0.02)


def test_profiles_of_all_layers_add_up_to_the_mass_of_the_cell():
    atoms = slabs()
    total = sum(profile([atoms], layer) for layer in layers_of(atoms))
    mass = atoms.get_masses().sum() * units._amu * 1e27 / atoms.cell.volume
    assert total.mean() == pytest.approx(mass)
    assert profile([atoms], layers_of(atoms)[0])[30:].max() == 0


def test_a_structure_without_layers_has_none():
    assert layers_of(Atoms("Ar", cell=(5, 5, 5), pbc=True)) == []
