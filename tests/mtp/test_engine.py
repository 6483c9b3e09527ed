"""The kernel against the definition, finite differences, symmetries and the original program."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtp import _kernel
from mtp.engine import Engine, Labels, Weights
from mtp.errors import MTPError
from mtp.formats.almtp import read_potential
from mtp.formats.cfg import read_cfg
from mtp.neighbours import neighbours
from tests.mtp.engine_samples import (
    SHARED,
    Sample,
    random_potential,
    random_sample,
    samples,
    site_energies,
    unzipped,
)

few = settings(max_examples=15, deadline=None)
levels = st.sampled_from([2, 6, 8, 10, 12])


SETS = _kernel.instruction_sets()  # of this processor, the one in use first


@pytest.fixture(params=SETS)
def instruction_set(request):
    _kernel.use(request.param)
    yield
    _kernel.use(SETS[0])


@few
@given(samples, levels, st.integers(3, 4), st.sampled_from(SETS))
def test_site_energies_are_those_of_the_definition(sample, level, species, instructions):
    potential = random_potential(level, species, level)
    _kernel.use(instructions)
    try:
        result = Engine(potential).evaluate([sample])[0]
    finally:
        _kernel.use(SETS[0])
    expected = site_energies(potential, sample)
    assert np.allclose(result.site_energies, expected, rtol=1e-9, atol=1e-9)
    assert result.energy == pytest.approx(expected.sum(), rel=1e-9, abs=1e-9)


@few
@given(samples, levels)
def test_forces_and_virial_are_derivatives_of_the_energy(sample, level):
    engine = Engine(random_potential(level, 3, 1))
    result = engine.evaluate([sample])[0]
    rng = np.random.default_rng(0)
    move = rng.normal(size=sample.positions.shape)
    strain = rng.normal(size=(3, 3))
    strain += strain.T

    def energy(h, e):
        deform = np.eye(3) + e * strain
        moved = replace(
            sample, cell=sample.cell @ deform, positions=(sample.positions + h * move) @ deform
        )
        return engine.evaluate([moved])[0].energy

    force = -derivative(lambda h: energy(h, 0), 1e-5)
    assert (result.forces * move).sum() == pytest.approx(force, rel=1e-6, abs=1e-5)
    full = result.virial[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
    virial = -derivative(lambda e: energy(0, e), 1e-5)
    assert (full * strain).sum() == pytest.approx(virial, rel=1e-6, abs=1e-5)


def derivative(function, h=2e-4):
    """Fourth-order central difference at 0."""
    near, far = function(h) - function(-h), function(2 * h) - function(-2 * h)
    return (8 * near - far) / (12 * h)


def labelled(seed=0, count=3, level=8):
    potential = random_potential(level, 2, seed)
    data = [random_sample(seed + n, 3 + n, edge=3.0 + n / 2) for n in range(count)]
    found = neighbours(data, potential.max_dist)
    rng = np.random.default_rng(seed)
    shapes = [(count,), (found.atom_count, 3), (count, 6)]
    targets = Labels(*(rng.normal(size=shape) for shape in shapes))
    weights = Weights(
        rng.uniform(size=count), rng.uniform(size=found.atom_count), rng.uniform(size=count)
    )
    return potential, data, found, targets, weights


@pytest.mark.parametrize("level", [4, 8, 12, 16])
def test_gradient_of_the_loss(level, instruction_set):
    potential, _, found, targets, weights = labelled(3, level=level)
    engine = Engine(potential)
    start, rng = potential.parameters, np.random.default_rng(1)
    result = engine.loss_and_gradient(found, targets, weights)
    for part in potential.slices:
        step = np.zeros_like(start)
        step[part] = rng.normal(size=step[part].shape)

        def loss(h, step=step):
            engine.update(start + h * step)
            return engine.loss(found, targets, weights).value

        assert result.gradient @ step == pytest.approx(derivative(loss), rel=1e-6)


def test_loss_is_the_weighted_sum_of_squares_and_adds_over_shares():
    potential, data, found, targets, weights = labelled(5)
    engine = Engine(potential)
    result = engine.loss_and_gradient(found, targets, weights)
    virial = ((result.virial - targets.virial) ** 2 * [1, 1, 1, 2, 2, 2]).sum(axis=1)
    force = ((result.forces - targets.forces) ** 2).sum(axis=1)
    expected = (
        weights.energy @ (result.energy - targets.energy) ** 2
        + weights.forces @ force
        + weights.virial @ virial
    )
    assert result.value == pytest.approx(expected, rel=1e-12)
    parts = []
    for c, (a, b) in enumerate(zip(found.atom_begin[:-1], found.atom_begin[1:], strict=True)):
        t = Labels(targets.energy[c : c + 1], targets.forces[a:b], targets.virial[c : c + 1])
        w = Weights(weights.energy[c : c + 1], weights.forces[a:b], weights.virial[c : c + 1])
        parts.append(engine.loss_and_gradient(neighbours([data[c]], 4.0), t, w))
    assert sum(part.value for part in parts) == pytest.approx(result.value, rel=1e-12)
    assert np.allclose(sum(part.gradient for part in parts), result.gradient, rtol=1e-9)


def test_a_label_of_weight_zero_may_be_missing():
    potential, _, found, targets, weights = labelled(6)
    known = Weights(weights.energy, weights.forces * 0, weights.virial * 0)
    nothing = Labels(targets.energy, targets.forces * np.nan, targets.virial * np.nan)
    engine = Engine(potential)
    a = engine.loss_and_gradient(found, nothing, known)
    b = engine.loss_and_gradient(found, targets, known)
    assert np.isfinite(a.value)
    assert np.array_equal(a.gradient, b.gradient)


def test_threads_share_the_configurations():
    potential, _, found, targets, weights = labelled(7, count=7)
    one = Engine(potential).loss_and_gradient(found, targets, weights)
    many = Engine(potential, threads=3).loss_and_gradient(found, targets, weights)
    assert many.value == pytest.approx(one.value, rel=1e-13)
    assert np.allclose(many.gradient, one.gradient, rtol=1e-10)
    assert np.array_equal(many.forces, one.forces)


def test_rows_are_derivatives_of_the_predictions(instruction_set):
    potential, _, found, _, _ = labelled(8, level=10)
    engine = Engine(potential)
    rows, sites = engine.configuration_rows(found, 1), engine.site_rows(found, 1, 2)
    assert np.allclose(sites.sum(axis=0), rows[0], rtol=1e-9, atol=1e-12)
    step = np.random.default_rng(2).normal(size=potential.parameter_count)

    def prediction(h):
        engine.update(potential.parameters + h * step)
        result = engine.evaluate(found)[1]
        return np.concatenate([[result.energy], result.forces.ravel(), result.virial])

    assert np.allclose(rows @ step, derivative(prediction, 1e-3), rtol=1e-7, atol=1e-7)
    linear = engine.configuration_rows(found, 1, linear=True)
    assert linear.shape[1] == 2 + len(potential.moment_coeffs)


def test_normal_equations_belong_to_the_loss():
    potential, _, found, targets, weights = labelled(9)
    engine = Engine(potential)
    loss = engine.loss_and_gradient(found, targets, weights)
    newton = engine.gauss_newton(found, targets, weights)
    assert newton.constant == pytest.approx(loss.value, rel=1e-12)
    assert np.allclose(2 * newton.vector, loss.gradient, rtol=1e-9, atol=1e-9)
    rows = np.vstack([engine.configuration_rows(found, c) for c in range(len(found))])
    assert newton.matrix.shape == (rows.shape[1],) * 2
    assert np.linalg.eigvalsh(newton.matrix).min() > -1e-9 * np.trace(newton.matrix)
    linear = engine.linear_system(found, targets, weights)
    x = np.concatenate([potential.species_coeffs, potential.moment_coeffs])
    value = x @ linear.matrix @ x - 2 * linear.vector @ x + linear.constant
    assert value == pytest.approx(loss.value, rel=1e-9)
    solved = np.linalg.lstsq(linear.matrix, linear.vector, rcond=1e-12)[0]
    engine.update(np.concatenate([potential.radial_coeffs.ravel(), solved]))
    best = engine.loss_and_gradient(found, targets, weights)
    assert best.value < loss.value
    part = potential.slices.moment
    assert np.abs(best.gradient[part]).max() < 1e-5 * np.abs(loss.gradient[part]).max()


@few
@given(samples, levels, st.integers(0, 100))
def test_invariance(sample, level, seed):
    engine = Engine(random_potential(level, 3, 2))
    rng = np.random.default_rng(seed)
    reference = engine.evaluate([sample])[0]
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotated = replace(
        sample,
        cell=sample.cell @ rotation,
        positions=(sample.positions + rng.normal(size=3)) @ rotation,
    )
    result = engine.evaluate([rotated])[0]
    tolerance = {"rtol": 1e-8, "atol": 1e-8}
    assert np.allclose(result.site_energies, reference.site_energies, **tolerance)
    assert np.allclose(result.forces, reference.forces @ rotation, **tolerance)
    order = rng.permutation(len(sample.types))
    shuffled = replace(sample, positions=sample.positions[order], types=sample.types[order])
    result = engine.evaluate([shuffled])[0]
    assert np.allclose(result.forces, reference.forces[order], **tolerance)
    mixed = np.eye(3, dtype=int)
    a, b = rng.permutation(3)[:2]
    mixed[a, b] = int(sample.pbc[a] and sample.pbc[b])
    other_cell = replace(sample, cell=mixed @ sample.cell)
    result = engine.evaluate([other_cell])[0]
    assert np.allclose(result.forces, reference.forces, **tolerance)
    assert np.allclose(result.virial, reference.virial, **tolerance)


def test_supercell():
    sample = random_sample(4, 5)
    engine = Engine(random_potential(10, 2))
    shifts = np.array([n @ sample.cell for n in np.ndindex(2, 1, 3)])
    large = Sample(
        np.array([[2], [1], [3]]) * sample.cell,
        (shifts[:, None] + sample.positions).reshape(-1, 3),
        np.tile(sample.types, len(shifts)),
    )
    small, big = engine.evaluate([sample, large])
    assert big.energy == pytest.approx(6 * small.energy, rel=1e-10)
    assert np.allclose(big.forces, np.tile(small.forces, (6, 1)), rtol=1e-8, atol=1e-9)
    assert np.allclose(big.virial, 6 * small.virial, rtol=1e-8, atol=1e-8)


def test_smooth_at_the_cutoff():
    engine = Engine(random_potential(8, 1))
    energies, forces = [], []
    for r in [3.999, 3.9999, 3.99999, 4.0, 4.00001]:
        pair = Sample(
            np.zeros((3, 3)), np.array([[0, 0, 0], [0, 0, r]]), np.zeros(2, int), np.zeros(3, bool)
        )
        result = engine.evaluate([pair])[0]
        energies.append(result.energy)
        forces.append(abs(result.forces).max())
    assert energies[3] == energies[4]
    assert abs(energies[2] - energies[3]) < 1e-9
    assert forces[0] > 5 * forces[1] > 25 * forces[2] > 0
    assert forces[3] == forces[4] == 0


@pytest.mark.parametrize("atoms", [1, 2, 5, 64, 300])
def test_any_number_of_neighbours_and_atoms(atoms):
    rng = np.random.default_rng(atoms)
    grid = np.array(list(np.ndindex(7, 7, 7)))[:atoms] * 0.95 + rng.uniform(-0.02, 0.02, (atoms, 3))
    cluster = Sample(np.zeros((0, 3)), grid, rng.integers(0, 2, atoms), np.zeros(3, bool))
    potential = random_potential(6, 5)
    result = Engine(potential).evaluate([cluster])[0]
    assert np.allclose(result.site_energies[:3], site_energies(potential, cluster, 3), rtol=1e-8)
    assert np.allclose(result.forces.sum(axis=0), 0, atol=1e-7 * (1 + abs(result.forces).max()))


def test_neighbours_of_an_atom_are_sorted_and_counted():
    found = neighbours([random_sample(1, 6), random_sample(2, 3)], 4.0)
    assert len(found) == 2
    assert found.pair_counts.sum() == found.kernel.pair_count
    assert found.atom_begin.tolist() == [0, 6, 9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": np.array([[0, 0, 0], [np.nan, 0, 0]])}, "position of atom 2 is not finite"),
        ({"positions": np.zeros((2, 3))}, "coincides"),
        ({"positions": np.array([[0, 0, 0], [1e300, 0, 0]])}, "too far away"),
        ({"cell": np.array([[4, 0, 0], [8, 0, 0], [0, 0, 4.0]])}, "flat"),
        ({"cell": np.full((3, 3), np.nan)}, "NaN"),
        ({"cell": np.zeros((0, 3))}, "no cell vector"),
        ({"cell": np.eye(3) * 0.01, "positions": np.zeros((1, 3)), "types": [0]}, "too small"),
        ({"types": np.array([0, 9])}, "type 9 is not in the potential"),
        ({"types": np.array([0, -1])}, "types must be"),
        ({"types": np.array([0, 2**31 - 1])}, "types must be"),
        ({"types": np.array([0])}, "one type per position"),
    ],
)
def test_a_configuration_without_meaning_is_named(change, message):
    positions = np.array([[0, 0, 0], [1.5, 0, 0]])
    bad = replace(Sample(4 * np.eye(3), positions, np.array([0, 1])), **change)
    with pytest.raises(MTPError, match=message):
        Engine(random_potential(6, 2)).evaluate([bad])


def test_bad_coefficients_weights_and_shapes_are_refused():
    potential, _, found, targets, weights = labelled(10)
    engine = Engine(potential)
    with pytest.raises(MTPError, match="NaN or infinite"):
        engine.update(potential.parameters * np.nan)
    with pytest.raises(MTPError, match="weights need"):
        engine.loss(found, targets, replace(weights, energy=weights.energy * np.nan))
    with pytest.raises(MTPError, match="labels have shape"):
        engine.loss(found, replace(targets, virial=targets.virial[:, :3]), weights)
    with pytest.raises(MTPError, match="do not reach"):
        engine.evaluate(neighbours([random_sample(1)], 3.0))
    engine.update(1e120 * potential.parameters)
    with pytest.raises(MTPError, match="not finite"):
        engine.evaluate(found)


@pytest.mark.skipif(not SHARED.exists(), reason="interoperability data not here")
@pytest.mark.parametrize("level", ["08", "12", "16"])
def test_equals_the_original_to_the_printed_digits(level, tmp_path):
    configurations = read_cfg(unzipped("test.cfg", tmp_path))
    expected = read_cfg(unzipped(f"test-efs-L{level}.cfg", tmp_path))
    engine = Engine(read_potential(unzipped(f"trained-L{level}.mtp", tmp_path)))
    for result, reference in zip(engine.evaluate(configurations), expected, strict=True):
        assert result.energy == pytest.approx(reference.energy, abs=1e-9)
        assert np.abs(result.forces - reference.forces).max() < 0.51e-6
        assert np.abs(result.virial - reference.virial).max() < 0.51e-5


@pytest.mark.parametrize(("species", "level"), [(15, 8), (10, 16), (2, 20)])
def test_many_species_and_high_levels(species, level):
    sample = random_sample(3, atoms=15, pbc=(False, False, False), edge=4.5)
    sample.types = np.arange(15) % species
    potential = random_potential(level, species, level)
    result = Engine(potential).evaluate([sample])[0]
    expected = site_energies(potential, sample, 2)
    assert np.allclose(result.site_energies[:2], expected, rtol=1e-9, atol=1e-9)
