import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from atomistics.analysis import observables as ob
from campaign.errors import UserError


def test_density_of_crystals():
    assert ob.density(bulk("Cu", "fcc", 3.615)) == pytest.approx(8.935, abs=0.01)
    assert ob.density(bulk("C", "diamond", 3.567).repeat(2)) == pytest.approx(3.515, abs=0.005)
    assert ob.density(molecule("H2O")) == 0.0


def test_min_distances():
    salt = bulk("NaCl", "rocksalt", 5.64)
    a = 5.64 / np.sqrt(2)
    assert ob.min_distances(salt) == pytest.approx({"Cl-Na": 2.82, "Na-Na": a, "Cl-Cl": a})
    assert ob.min_distances(salt, reach=3.0) == pytest.approx({"Cl-Na": 2.82})
    assert ob.min_distance(salt) == pytest.approx(2.82)
    assert ob.min_distance(Atoms("H2", [(0, 0, 0), (0, 0, 70)])) == pytest.approx(70)
    assert ob.min_distance(Atoms("H")) == np.inf


def coordination(frames, pair, partners, reach, bins=600):
    """Neighbours of one atom up to each r, from g and the partners' number density."""
    r, g, _ = ob.rdf(frames, reach, bins)
    edges = np.linspace(0, reach, bins + 1)
    rho = partners / frames[0].cell.volume
    return r, np.cumsum(rho * g[pair] * 4 / 3 * np.pi * np.diff(edges**3))


def test_rdf_integrates_to_the_shells_of_fcc_beyond_half_a_one_atom_cell():
    a = 4.05
    atoms = bulk("Al", "fcc", a)
    r, count = coordination([atoms], "Al-Al", 1, 8.0)
    shells = {0.5: 12, 1.0: 18, 1.5: 42, 2.0: 54, 2.5: 78}
    for square, expected in shells.items():
        just_beyond = np.searchsorted(r, a * np.sqrt(square)) + 2
        assert count[just_beyond] == pytest.approx(expected)
    assert count[np.searchsorted(r, 0.95 * a / np.sqrt(2))] == 0


def test_rdf_of_unlike_atoms_counts_partners_of_one_atom():
    salt = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    r, count = coordination([salt] * 2, "Cl-Na", 4, 5.5)
    assert count[np.searchsorted(r, 3.5)] == pytest.approx(6)
    assert count[np.searchsorted(r, 5.2)] == pytest.approx(6 + 8)


def test_rdf_of_an_ideal_gas_is_one():
    rng = np.random.default_rng(0)
    gas = [
        Atoms(["He"] * 40 + ["Ne"] * 60, rng.uniform(0, 20, (100, 3)), cell=[20] * 3, pbc=True)
        for _ in range(40)
    ]
    r, g, _ = ob.rdf(gas, 9.0, 30)
    far = r > 3
    assert g["He-Ne"][far].mean() == pytest.approx(1, abs=0.01)
    assert g["Ne-Ne"][far].mean() == pytest.approx(59 / 60, abs=0.015)
    assert np.abs(g["He-Ne"][far] - 1).max() < 0.15


def test_rdf_does_not_depend_on_the_choice_of_cell():
    rng = np.random.default_rng(2)
    small = Atoms("NaCl", rng.uniform(0, 5, (2, 3)), cell=rng.normal(size=(3, 3)) + 4 * np.eye(3))
    small.pbc = True
    large = small.repeat((2, 1, 3))
    for pair, curve in ob.rdf([small]).g.items():
        assert np.allclose(curve, ob.rdf([large]).g[pair])


def test_rdf_names_pairs_that_never_meet_and_refuses_clusters():
    far = Atoms("HLi", [(0, 0, 0), (15, 15, 15)], cell=[30] * 3, pbc=True)
    assert set(ob.rdf([far]).g) == {"H-H", "H-Li", "Li-Li"}
    with pytest.raises(UserError, match="not periodic"):
        ob.rdf([molecule("H2O")])


@given(st.integers(0, 2**32 - 1))
def test_rdf_difference_is_a_distance_between_0_and_2(seed):
    rng = np.random.default_rng(seed)
    r, (one, other) = np.linspace(0, 6, 50), rng.uniform(0, 3, (2, 50))
    value = ob.rdf_difference(r, one, other)
    assert 0 < value < 2
    assert value == pytest.approx(ob.rdf_difference(r, other, one))
    assert ob.rdf_difference(r, one, one) == 0
    smaller = np.trapezoid(np.minimum(one, other), r) / np.trapezoid((one + other) / 2, r)
    assert ob.rdf_overlap(r, one, other) == pytest.approx(smaller)
    assert ob.rdf_difference(r, one * (r < 2.9), one * (r > 3.1)) == pytest.approx(2)
    assert ob.rdf_difference(r, 0 * r, 0 * r) == 0


def trajectory(ways, cell=10.0, symbols=None, wrap=False):
    """Frames of a start at random and these ways (T, N, 3)."""
    start = np.random.default_rng(5).uniform(0, cell, ways.shape[1:])
    symbols = symbols or ["Ar"] * ways.shape[1]
    frames = [Atoms(symbols, start + way, cell=[cell] * 3, pbc=True) for way in ways]
    if wrap:
        for atoms in frames:
            atoms.wrap()
    return frames


def random_walk(steps, atoms, scale, seed=0):
    walk = np.random.default_rng(seed).normal(scale=scale, size=(steps, atoms, 3))
    walk[0] = 0
    return walk.cumsum(axis=0)


@pytest.mark.parametrize("wrap", [False, True])
def test_msd_of_constant_velocity(wrap):
    time = np.arange(60)
    velocity = np.array([[0.3, -0.2, 0.1], [-0.3, 0.2, -0.1]])
    frames = trajectory(time[:, None, None] * velocity, wrap=wrap)
    assert np.allclose(ob.msd(frames, "Ar"), (velocity[0] ** 2).sum() * time**2)


def test_drift_of_the_whole_is_no_motion():
    time = np.arange(30)
    frames = trajectory(np.ones((1, 4, 1)) * time[:, None, None] * np.array([0.4, 0.1, 0]))
    assert np.allclose(ob.msd(frames, "Ar"), 0, atol=1e-12)


def test_drift_is_that_of_mass():
    time = np.arange(20)[:, None, None]
    heavy = trajectory(time * np.array([[[0.1, 0, 0], [0, 0, 0]]]), symbols=["H", "U"])
    assert ob.displacements(heavy)[-1, 0, 0] == pytest.approx(1.9, rel=0.01)


def test_breathing_cell_is_no_motion():
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True).repeat(2)
    frames = []
    for step in range(40):
        frame = atoms.copy()
        frame.set_cell(atoms.cell * (1 + 0.05 * np.sin(step)), scale_atoms=True)
        frames.append(frame)
    assert np.allclose(ob.msd(frames, "Na"), 0, atol=1e-12)


def test_msd_equals_the_direct_sum():
    ways = random_walk(37, 6, 0.3)
    direct = [
        np.mean(((ways[lag:] - ways[: len(ways) - lag]) ** 2).sum(axis=2)) for lag in range(37)
    ]
    assert np.allclose(ob.mean_square(ways), direct)
    both = trajectory(ways - ways.mean(axis=1, keepdims=True), symbols=["He"] * 3 + ["Ne"] * 3)
    assert not np.allclose(ob.msd(both, "He"), ob.msd(both, "Ne"))


def test_diffusion_of_a_random_walk_is_recovered_within_its_error():
    scale, interval = 0.2, 10.0  # Å per step and axis, fs
    # D = <x^2> / 2t, 1 Å^2/fs = 0.1 cm^2/s, less the share of the centre of mass of 60 atoms
    exact = scale**2 / (2 * interval) * 0.1 * (1 - 1 / 60)
    found = [
        ob.diffusion(trajectory(random_walk(400, 60, scale, seed), wrap=True), "Ar", interval)
        for seed in range(16)
    ]
    values, errors = np.array(found).T
    assert values.mean() == pytest.approx(exact, abs=4 * values.std() / 4)
    assert values.mean() == pytest.approx(exact, rel=0.03)
    # the error bar tells the scatter of independent runs
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.5)


def test_diffusion_of_a_solid_is_zero_within_its_error_and_needs_frames():
    rng = np.random.default_rng(1)
    ways = rng.normal(scale=0.1, size=(200, 32, 3))
    found = ob.diffusion(trajectory(ways), "Ar", 10.0)
    assert abs(found.value) < 4 * found.error + 1e-9
    with pytest.raises(UserError, match="19 frames are too few"):
        ob.diffusion(trajectory(ways[:19]), "Ar", 10.0)


def test_block_average_of_a_correlated_series():
    rng = np.random.default_rng(3)
    white = rng.normal(size=20000)
    value, error = ob.block_average(white, 20)
    assert abs(value) < 4 * error
    assert error == pytest.approx(1 / np.sqrt(20000), rel=0.6)
    sluggish = np.repeat(rng.normal(size=200), 100)
    assert ob.block_average(sluggish, 20).error > 5 * error


def test_deviation():
    assert ob.deviation(np.array([[3.0, -4.0], [0.0, 0.0]])) == pytest.approx((1.75, 2.5, 4.0))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_outliers_are_relative(seed, factor):
    """The same frames stand out of a good model's errors and of one a thousand times worse."""
    errors = np.abs(np.random.default_rng(seed).normal(size=200))
    errors[[17, 99]] = 30.0, 60.0
    found = ob.outliers(errors)
    assert found[:2].tolist() == [99, 17]
    assert len(found) <= 8
    assert np.array_equal(ob.outliers(factor * errors), found)


@pytest.mark.parametrize("kind", ["exponential", "rayleigh", "lognormal"])
def test_a_uniformly_bad_model_has_few_outliers(kind):
    """The paper's absolute bound flagged 45 % of its first model's data."""
    rng = np.random.default_rng(0)
    errors = {
        "exponential": rng.exponential(0.33, 3000),
        "rayleigh": rng.rayleigh(0.33, 3000),
        "lognormal": rng.lognormal(np.log(0.33), 0.5, 3000),
    }[kind]
    assert len(ob.outliers(errors)) < 0.03 * len(errors)


def test_outliers_of_little_or_equal_data():
    assert len(ob.outliers(np.array([1.0, 1, 1, 100]))) == 0
    assert len(ob.outliers(np.full(50, 0.1))) == 0
    assert ob.outliers(np.array([0.1] * 50 + [5.0])).tolist() == [50]
    assert len(ob.outliers(np.zeros(0))) == 0
