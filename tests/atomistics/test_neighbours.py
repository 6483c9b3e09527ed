import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from atomistics.neighbours import pairs


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.tuples(*[st.booleans()] * 3))
def test_same_pairs_as_ase_in_any_cell(seed, count, pbc):
    rng = np.random.default_rng(seed)
    cell = rng.uniform(-1, 1, (3, 3)) + 3 * np.eye(3)
    # positions far outside the cell too: an unwrapped trajectory
    atoms = Atoms(["H"] * count, rng.normal(scale=9, size=(count, 3)), cell=cell, pbc=pbc)
    reach = rng.uniform(0.5, 7)
    i, j, distance = neighbor_list("ijd", atoms, reach)
    found = pairs(atoms, reach)
    expected = sorted(zip(i, j, distance.round(9), strict=True))
    assert sorted(zip(found.i, found.j, found.distance.round(9), strict=True)) == expected


def test_own_images_count_in_a_one_atom_cell():
    atoms = Atoms("Po", cell=[3.0, 3.0, 3.0], pbc=True)
    assert np.allclose(pairs(atoms, 3.1).distance, [3.0] * 6)
    assert len(pairs(Atoms(), 3.0).distance) == 0


def test_coinciding_atoms_are_a_pair():
    assert pairs(Atoms("H2", [[1, 1, 1], [1, 1, 1]]), 1.0).distance.tolist() == [0.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shear=st.floats(-1.5, 1.5),
    height=st.floats(2.0, 9.0),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_skewed_cells(seed, shear, height, pbc):
    rng = np.random.default_rng(seed)
    cell = [[5, 0, 0], [5 * shear, 4, 0], [height * shear, -shear, height]]
    atoms = Atoms("C7", rng.uniform(-9, 9, (7, 3)), cell=cell, pbc=pbc)
    reach = rng.uniform(0.3, 5) + 0.00123456  # no lattice translation, which rounds either way
    i, j, distance = neighbor_list("ijd", atoms, reach)
    expected = sorted(zip(i, j, distance.round(9), strict=True))
    found = pairs(atoms, reach)
    assert sorted(zip(found.i, found.j, found.distance.round(9), strict=True)) == expected
