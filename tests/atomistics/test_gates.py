from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from atomistics.analysis.screening import Bands, fingerprint, screen
from campaign.candidates import bands as bands_of


def crystal(seed=0, amplitude=0.05):
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.positions += np.random.default_rng(seed).normal(scale=amplitude, size=(8, 3))
    return atoms


def reasons(frames, bands, **labelled):
    kept, rejected = screen(frames, bands, **labelled)
    assert sorted([*kept, *(index for index, _ in rejected)]) == list(range(len(frames)))
    return dict(rejected)


def test_each_class_of_rejection():
    broken, crowded, thin, dense = crystal(1), crystal(2), crystal(3), crystal(4)
    broken.positions[3, 1] = np.nan
    crowded.positions[0] = crowded.positions[1] + [1.5, 0, 0]  # 0.6 of the radii is 1.608
    thin.set_cell(thin.cell * 1.1, scale_atoms=True)
    dense.set_cell(dense.cell * 0.92, scale_atoms=True)
    frames = [crystal(0), broken, crowded, thin, dense, crystal(0), crystal(5)]
    found = reasons(frames, Bands(density=(2.0, 2.4)))
    assert found == {1: "nan", 2: "distance", 3: "density", 4: "density", 5: "duplicate"}


def test_distance_through_the_boundary():
    atoms = crystal()
    atoms.positions[0] = atoms.positions[1] + [5.64 + 0.9, 0, 0]
    assert reasons([atoms], Bands()) == {0: "distance"}


def test_distances_by_pair_and_overall():
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    assert not reasons([atoms], Bands(min_distance=2.8, by_pair={"Cl-Na": 2.8, "Cl-Cl": 3.9}))
    assert reasons([atoms], Bands(min_distance=2.85)) == {0: "distance"}
    assert reasons([atoms], Bands(by_pair={"Cl-Cl": 4.0})) == {0: "distance"}


def test_density_is_not_asked_of_a_cluster():
    assert not reasons([molecule("H2O")], Bands(density=(1.0, 1.1)))


def test_bands_of_a_campaign():
    def row(subsystem, low, high, distance, status="ok"):
        density = SimpleNamespace(low=low, high=high)
        return SimpleNamespace(
            subsystem=subsystem, status=status, density=density, min_distance=distance, md=None
        )

    config = SimpleNamespace(watchdog=SimpleNamespace(density_margin=0.1, min_distance_factor=0.75))
    rows = [row("a", 2.0, 2.1, 1.2), row("a", 1.9, 2.0, 1.6), row("b", 9, 9, 9)]
    bands = bands_of([*rows, row("a", 0, 99, 0.1, "failed")], "a", config, {})
    assert bands.density == pytest.approx((1.71, 2.31))
    assert bands.min_distance == pytest.approx(0.9)
    # what the reference was seen to do as well is a candidate: else the watchdog lets a liquid
    # expand and nothing of it is ever labelled
    assert bands_of(rows, "a", config, {"density": 2}).density == pytest.approx(
        (1.9 * 0.775, 2.1 * 1.225)
    )
    # what was built wide and settled by the reference at its own density is sound
    wide = bands_of(rows, "a", config, {}, settled=[1.4, 2.05])
    assert wide.density == pytest.approx((1.4 * 0.9, 2.1 * 1.1))
    assert bands_of([], "a", config, {}) == Bands()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_same_frame_in_another_dress_is_a_duplicate(seed):
    rng = np.random.default_rng(seed)
    atoms = crystal(seed)
    other = atoms[rng.permutation(8)]
    other.rotate(rng.uniform(0, 360), rng.normal(size=3), rotate_cell=True)
    other.positions += rng.normal(size=3)
    other.wrap()
    mirrored = atoms.copy()
    mirrored.set_cell(atoms.cell * [1, 1, -1])
    mirrored.positions *= [1, 1, -1]
    doubled = atoms.repeat((1, 2, 1))
    assert np.allclose(fingerprint(atoms), fingerprint(other))
    assert reasons([atoms, other, mirrored, doubled], Bands()) == dict.fromkeys(
        (1, 2, 3), "duplicate"
    )
    assert reasons([other], Bands(), labelled=[atoms]) == {0: "duplicate"}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 0.2))
def test_thermal_snapshots_are_not_duplicates(seed, amplitude):
    frames = [crystal(seed + k, amplitude) for k in range(6)]
    # one atom a hundredth of an angstrom further, one species exchanged, a cell 0.3 % larger
    nudged, swapped, larger = (frames[0].copy() for _ in range(3))
    away = nudged.positions[0] - crystal().positions[0]  # back across its site is a mirror image
    nudged.positions[0] += np.copysign([0.02, 0.0, 0.01], away)
    swapped.symbols[[0, 1]] = swapped.symbols[[1, 0]]
    larger.set_cell(larger.cell * 1.003, scale_atoms=True)
    crowded = {len(frames) + 1: "distance"}  # as an exchange may be: Cl is the larger
    assert reasons([*frames, nudged, swapped, larger], Bands()) in ({}, crowded)


def test_consecutive_frames_of_md_are_not_duplicates():
    """At 300 K a sodium atom moves some 0.006 Å in 2 fs; every kept frame differs by more."""
    start, velocity = crystal(), np.random.default_rng(9).normal(scale=0.0033, size=(8, 3))
    frames = []
    for step in range(0, 40, 10):
        atoms = start.copy()
        atoms.positions += 2.0 * step * velocity
        frames.append(atoms)
    assert not reasons(frames, Bands())


def test_chain_of_repeats_keeps_the_first_of_each():
    one, two = crystal(1), crystal(2)
    frames = [one, two, one.copy(), two.copy(), one.copy()]
    assert screen(frames, Bands())[0] == [0, 1]
    assert screen(frames, Bands(), labelled=[two])[0] == [0]
    assert reasons(frames[:2], Bands(), labelled=[two, two.copy()]) == {1: "duplicate"}
    assert screen([], Bands()) == ([], [])
    assert reasons([Atoms("H", cell=[9] * 3, pbc=True)] * 2, Bands()) == {1: "duplicate"}


def test_a_frame_like_a_dropped_one_alone_is_kept():
    frames = [crystal() for _ in range(3)]
    for step, atoms in enumerate(frames):
        atoms.set_cell(atoms.cell * (1 + 1e-4 * step), scale_atoms=True)
    marks = [fingerprint(atoms) for atoms in frames]
    tolerance = 1.2 * np.linalg.norm(marks[1] - marks[0])
    assert np.linalg.norm(marks[2] - marks[0]) > tolerance
    assert screen(frames, Bands(tolerance=tolerance))[0] == [0, 2]
