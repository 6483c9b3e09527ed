"""The mean stresses of groups after a fit: what they are, what brings them nearer and its price."""

from dataclasses import replace

import numpy as np
import pytest

from mtp.engine import Engine
from mtp.parallel import Ranks
from mtp.training.fit import TrainingOptions, train
from mtp.training.loss import LossWeights
from mtp.training.mean_stress import DEAREST, FEWEST
from mtp.training.objective import Objective, survey
from tests.mtp.train_samples import labelled, reference

WEIGHTS = LossWeights(stress_weight=0.01)
PUSH = np.array([0.4, 0.3, 0.5, 0, 0, 0])  # eV, in labels that no potential of this shape can have


@pytest.fixture(scope="module")
def frames():
    """Three groups: one is pushed by as much as its twins are not, one is too small."""
    plain = [
        replace(c, virial=c.virial + PUSH * (-1) ** n)
        for n, c in enumerate(labelled(reference(), 30, 3))
    ]
    names = ["even", "odd"]
    return [
        replace(c, features={"mean_stress": names[n % 2] if n < 30 - FEWEST + 1 else "few"})
        for n, c in enumerate(plain)
    ]


def problem(frames, **options):
    potential = reference()
    loads, _ = survey(frames, potential.max_dist)
    return Objective(Ranks(), potential, frames, [], WEIGHTS, loads, **options)


def mean_errors(potential, frames, name):
    """(3,) eV/Å^3: of -stress, each frame by the square of its volume and 1 / atoms."""
    chosen = [c for c in frames if c.features["mean_stress"] == name]
    errors = [
        (e.virial - c.virial)[:3] / c.volume
        for c, e in zip(chosen, Engine(potential).evaluate(chosen), strict=True)
    ]
    return np.average(errors, axis=0, weights=[c.volume**2 / len(c) for c in chosen])


def test_errors_of_the_means_are_those_of_single_evaluations(frames):
    found = problem(frames)
    x = found.potential.parameters
    means = found.mean_stresses(x)
    assert len(means) == 2  # the third has too few frames
    expected = [mean_errors(found.potential, frames, name) for name in ("even", "odd")]
    assert means.errors(x[found.linear_start :]) == pytest.approx(np.ravel(expected), abs=1e-12)


def test_parts_add_up(frames):
    whole, first, second = (problem(part) for part in (frames, frames[:13], frames[13:]))
    x = whole.potential.parameters
    names = whole.groups
    parts = sum(p.share.mean_stresses(x, names) for p in (first, second))
    assert whole.share.mean_stresses(x, names) == pytest.approx(parts, rel=1e-10, abs=1e-10)


def test_the_step_is_the_minimum_of_loss_and_dear_means(frames):
    found = problem(frames)
    x = found.potential.parameters
    linear, means = x[found.linear_start :], found.mean_stresses(x)
    root = np.random.default_rng(0).normal(size=(2 * len(linear), len(linear)))
    hessian = root.T @ root
    dear = DEAREST * means.rows.T * means.weights
    expected = -np.linalg.solve(hessian + dear @ means.rows, dear @ means.errors(linear))
    assert means.step(linear, hessian, np.inf) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    most = expected @ hessian @ expected
    for price in (most / 2, most / 100, 0.0):
        cheap = means.step(linear, hessian, price)
        assert 0.7 * price <= cheap @ hessian @ cheap <= price + 1e-12 * most


def test_held_species_stay(frames):
    found = problem(frames, hold_atoms=True)
    x = found.potential.parameters
    moved = found.with_mean_stresses(x, found.mean_stresses(x), 0.05)
    assert (moved == x)[found.potential.slices.species].all()
    assert not np.array_equal(moved, x)


def test_a_fit_ends_nearer_to_the_means_at_its_price(frames):
    options = TrainingOptions(weights=WEIGHTS, iteration_limit=60, mean_stress=0.5)
    lines: list[str] = []
    plain = train(Ranks(), reference(), frames, [], replace(options, mean_stress=0.0), lines.append)
    assert not any("Mean stresses" in line for line in lines)
    fitted = train(Ranks(), reference(), frames, [], options, lines.append)
    assert any("Mean stresses of 2 groups" in line for line in lines)
    judge = problem(frames)
    before, after = (judge.value_and_gradient(p.parameters)[0] for p in (plain, fitted))
    assert before < after < 1.5 * before
    far, near = (
        np.linalg.norm([mean_errors(p, frames, name) for name in ("even", "odd")])
        for p in (plain, fitted)
    )
    assert near < 0.92 * far


def test_frames_of_no_group_are_fitted_as_ever(frames):
    alone = [replace(c, features={}) for c in frames]
    options = TrainingOptions(weights=WEIGHTS, iteration_limit=5)
    first, second = (
        train(Ranks(), reference(), alone, [], replace(options, mean_stress=share), lambda _: None)
        for share in (0.0, 0.05)
    )
    assert np.array_equal(first.parameters, second.parameters)
