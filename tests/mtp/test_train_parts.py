"""Loss weights and penalty, starting point, checkpoint, ranks: the parts of a training."""

from dataclasses import replace

import numpy as np
import pytest

from mtp.configuration import Configuration
from mtp.errors import MTPError
from mtp.parallel import Ranks, balanced_shares, communicator
from mtp.potential import untrained
from mtp.training.checkpoint import Progress, fingerprint, load_progress, save_progress
from mtp.training.loss import LossWeights, Penalty, labels_of
from mtp.training.optimisers import OptimiserState
from mtp.training.starting_point import (
    balanced_scaling,
    moment_degrees,
    with_first_functions,
    with_min_dist,
    with_random_functions,
    with_species,
)


def configuration(size=4, **labels):
    rng = np.random.default_rng(size)
    return Configuration(
        cell=8.0 * np.eye(3),
        types=np.arange(size) % 2,
        positions=rng.uniform(0, 8, (size, 3)),
        **{"energy": -1.0, "forces": rng.normal(size=(size, 3)), "virial": np.arange(6.0)} | labels,
    )


def test_weights_scale_with_the_number_of_atoms_as_mlip_documents():
    weights = LossWeights(1.0, 0.01, 0.001, weight_scaling=2, weight_scaling_forces=1)
    _, labels = labels_of([configuration(4), configuration(10)], weights)
    assert labels.energy == pytest.approx([1 / 16, 1 / 100])
    assert labels.forces == pytest.approx([0.01 / 4] * 4 + [0.01 / 10] * 10)
    assert labels.virial == pytest.approx([0.001 / 4, 0.001 / 10])


def test_scale_by_force_lowers_the_weight_of_large_forces():
    c = configuration(4)
    c.forces[0] = [3.0, 0.0, 4.0]
    _, labels = labels_of([c], LossWeights(scale_by_force=5.0))
    assert labels.forces[0] == pytest.approx(0.01 * 5 / 30)


def test_missing_labels_weigh_nothing_and_the_weight_feature_multiplies():
    weak = configuration(4, features={"weight": "0.5"})
    bare = configuration(4, energy=None, forces=None, virial=None)
    _, labels = labels_of([weak, bare], LossWeights(weight_scaling=0))
    assert labels.energy == pytest.approx([0.5, 0.0])
    assert labels.forces == pytest.approx([0.005] * 4 + [0.0] * 4)
    assert labels.virial[1] == 0


@pytest.mark.parametrize("text", ["-1", "nan", "heavy", "inf"])
def test_a_weight_that_is_no_weight_is_an_error(text):
    with pytest.raises(MTPError, match="Feature weight"):
        labels_of([configuration(4, features={"weight": text})], LossWeights())


def test_penalty_gradient_and_curvature_against_finite_differences():
    shape, rng = (2, 2, 3, 4), np.random.default_rng(0)
    x = rng.normal(size=48 + 7)
    penalty = Penalty(shape, 0.3)
    _, gradient = penalty.value_and_gradient(x)
    for direction in rng.normal(size=(5, len(x))):
        up, down = (penalty.value_and_gradient(x + h * direction)[0] for h in (1e-5, -1e-5))
        assert gradient @ direction == pytest.approx((up - down) / 2e-5, rel=1e-7)


def test_penalty_vanishes_and_curvature_is_exact_for_orthonormal_functions():
    shape, rng = (2, 2, 3, 4), np.random.default_rng(0)
    functions = np.linalg.qr(rng.normal(size=(16, 3)))[0].T
    radial = functions.reshape(3, 4, 4).transpose(1, 0, 2).ravel()
    penalty, x = Penalty(shape, 0.3), np.concatenate([radial, np.zeros(3)])
    value, gradient = penalty.value_and_gradient(x)
    assert value == pytest.approx(0, abs=1e-28)
    assert np.abs(gradient).max() < 1e-14
    matrix, h = penalty.curvature(x), 1e-7
    direction = rng.normal(size=len(x))
    change = penalty.value_and_gradient(x + h * direction)[1] - gradient
    assert matrix @ direction == pytest.approx(change / h, abs=1e-5)


def trained(species=2, level=8):
    rng = np.random.default_rng(1)
    potential = with_random_functions(untrained(level, species, 1.5, 5.0, 8), rng)
    return potential.with_parameters(rng.normal(size=potential.parameter_count))


def test_a_new_species_leaves_old_coefficients_exactly():
    old = trained(2)
    new = with_species(old, {0, 1, 2}, np.random.default_rng(0))
    assert new.species_count == 3
    assert np.array_equal(new.radial_coeffs[:2, :2], old.radial_coeffs)
    assert np.array_equal(new.species_coeffs[:2], old.species_coeffs)
    assert np.array_equal(new.moment_coeffs, old.moment_coeffs)
    assert np.isfinite(new.parameters).all()
    mean = old.radial_coeffs[:, 1].mean(axis=0)
    assert np.abs(new.radial_coeffs[2, 1] - mean).max() < 0.5 * np.abs(mean).max()


def test_species_missing_from_the_training_set_are_an_error():
    with pytest.raises(MTPError, match="species 1 "):
        with_species(trained(2), {0}, np.random.default_rng(0))
    with pytest.raises(MTPError, match="species 1 "):
        with_species(untrained(8, 1), {0, 2}, np.random.default_rng(0))


def test_an_untrained_template_takes_the_species_of_the_training_set():
    assert with_species(untrained(8, 1), {0, 1, 2}, np.random.default_rng(0)).species_count == 3


def test_a_new_min_dist_keeps_the_radial_functions():
    old = trained()
    new = with_min_dist(old, 1.2)
    assert new.min_dist == pytest.approx(0.99 * 1.2)
    distances = np.linspace(1.5, 5.0, 50)

    def functions(potential):
        low, high = potential.min_dist, potential.max_dist
        x = (2 * distances - low - high) / (high - low)
        return np.polynomial.chebyshev.chebvander(x, 7) @ potential.radial_coeffs[0, 1, 1]

    assert functions(new) == pytest.approx(functions(old), rel=1e-10)


def test_balanced_scaling_makes_all_degrees_weigh_alike():
    potential = replace(trained(), scaling=0.5)
    degrees = moment_degrees(potential)
    diagonal = 7.0 * (40.0 * 0.5) ** (2 * degrees)
    assert balanced_scaling(potential, diagonal) == pytest.approx(1 / 40)


def test_progress_survives_the_disk_exactly(tmp_path):
    rng = np.random.default_rng(0)
    state = OptimiserState(
        rng.normal(size=5), 0.1 + 0.2, rng.normal(size=5), rng.normal(size=(5, 5)), 7, 0.3
    )
    mark = fingerprint("data", np.arange(3.0))
    progress = Progress(state, 0.018, rng.normal(size=5), 0.7, 0.5, 3)
    save_progress(tmp_path / "c", progress, mark)
    back = load_progress(tmp_path / "c", mark)
    assert back.state.value == state.value
    assert back.state.iteration == 7
    for key in ("x", "gradient", "inverse_hessian"):
        assert getattr(back.state, key).tobytes() == getattr(state, key).tobytes()
    assert back.best_x.tobytes() == progress.best_x.tobytes()
    assert (back.scaling, back.best_validation, back.best_iteration) == (0.018, 0.5, 3)


def test_a_checkpoint_of_another_training_or_no_checkpoint_is_an_error(tmp_path):
    state = OptimiserState(np.zeros(2), 0.0, np.zeros(2))
    save_progress(tmp_path / "c", Progress(state, 1.0, np.zeros(2)), fingerprint("a"))
    with pytest.raises(MTPError, match="other data"):
        load_progress(tmp_path / "c", fingerprint("b"))
    (tmp_path / "c").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(MTPError, match="no checkpoint"):
        load_progress(tmp_path / "c", fingerprint("a"))
    assert load_progress(tmp_path / "none", "") is None


def test_shares_are_balanced_by_load_and_hold_everything_once():
    loads = [100, 1, 1, 1, 50, 49, 2, 30]
    shares = balanced_shares(loads, 3)
    assert sorted(index for share in shares for index in share) == list(range(8))
    totals = [sum(loads[i] for i in share) for share in shares]
    assert max(totals) == 100
    assert balanced_shares([5], 2) == [[0], []]


def test_the_first_groups_alone_are_balanced_too():
    rng = np.random.default_rng(1)
    loads, groups = rng.integers(50, 150, 200), rng.permutation(200) % 8
    shares = balanced_shares(loads, 3, groups)
    assert sorted(i for share in shares for i in share) == list(range(200))
    for most in (1, 2, 4, 8):
        totals = [sum(loads[i] for i in share if groups[i] < most) for share in shares]
        assert max(totals) - min(totals) < 150


def test_alone_without_a_launcher(monkeypatch):
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    ranks = Ranks(communicator())
    assert (ranks.rank, ranks.size) == (0, 1)
    assert ranks.sum(np.ones(2)).tolist() == [1, 1]
    assert Ranks().scatter([3]) == 3


def test_a_launcher_of_another_mpi_is_an_error(monkeypatch):
    pytest.importorskip("mpi4py")
    monkeypatch.setenv("PMI_SIZE", "4")
    with pytest.raises(MTPError, match="4 ranks"):
        Ranks(communicator())


def test_first_functions_are_one_polynomial_each():
    template = untrained(16, 2)
    first = with_first_functions(template, np.random.default_rng(0))
    radial = first.radial_coeffs
    assert np.square(radial).sum(axis=(0, 1, 3)) == pytest.approx(1.0)
    for m in range(template.radial_funcs_count):
        assert (np.abs(radial[:, :, m]).argmax(axis=-1) == m).all()
    overlaps = np.einsum("stmr,stnr->mn", radial, radial) - np.eye(template.radial_funcs_count)
    assert np.abs(overlaps).max() < 0.1
    assert not np.array_equal(radial[0, 0], radial[0, 1])
    narrow = with_first_functions(untrained(16, 1, radial_basis_size=2), np.random.default_rng(0))
    assert np.isfinite(narrow.parameters).all()
