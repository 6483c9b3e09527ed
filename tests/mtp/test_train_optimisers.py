"""The minimisers on separable least-squares problems without atoms."""

import itertools

import numpy as np
import pytest

from mtp.errors import MTPError
from mtp.training.line_search import EXACT, LOOSE, LinePoint, wolfe_point
from mtp.training.optimisers import OptimiserState, bfgs, first_state, gauss_newton


class Exponentials:
    """y(t) = sum_k c_k exp(-theta_k t), the classic separable least-squares problem."""

    def __init__(self, seed=0, terms=3, noise=1e-4, batches=1):
        self.batches, self.asked = batches, []
        rng = np.random.default_rng(seed)
        self.t = np.linspace(0, 4, 60)
        rates = np.array([0.3, 1.1, 3.5])[:terms]
        self.y = np.exp(-np.outer(self.t, rates)) @ np.array([1.0, -2.0, 3.0])[:terms]
        self.y += noise * rng.normal(size=60)
        self.linear_start, self.terms = terms, terms

    def parts(self, x):
        basis = np.exp(-np.outer(self.t, x[: self.terms]))
        c = x[self.terms :]
        return basis @ c - self.y, np.hstack([-self.t[:, None] * basis * c, basis]), basis

    def value_and_gradient(self, x):
        r, jacobian, _ = self.parts(x)
        return float(r @ r), 2 * jacobian.T @ r

    def curvature(self, x, batch):
        self.asked.append(batch)
        jacobian = self.parts(x)[1][batch :: self.batches]
        return 2 * self.batches * jacobian.T @ jacobian

    def solve_linear(self, x):
        _, _, basis = self.parts(x)
        return np.concatenate([x[: self.terms], np.linalg.lstsq(basis, self.y, rcond=None)[0]])


class Rosenbrock:
    linear_start = 2

    def solve_linear(self, x):
        return x

    def value_and_gradient(self, x):
        a, b = 1 - x[0], x[1] - x[0] ** 2
        return a * a + 100 * b * b, np.array([-2 * a - 400 * x[0] * b, 200 * b])


def last(steps, most):
    state = None
    for state in itertools.islice(steps, most):  # noqa: B007
        pass
    return state


START = np.array([0.1, 0.7, 5.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("optimiser", [bfgs, gauss_newton])
def test_reaches_the_noise_of_a_separable_problem(optimiser):
    problem = Exponentials()
    start = first_state(problem, problem.solve_linear(START))
    end = last(optimiser(problem, start), 300)
    assert end.value < 1e-6 < start.value
    assert np.sort(end.x[:3]) == pytest.approx([0.3, 1.1, 3.5], rel=0.1)


def test_gauss_newton_needs_few_evaluations():
    problem = Exponentials()
    start = first_state(problem, problem.solve_linear(START))
    evaluations = {}
    for steps in (bfgs(problem, start), gauss_newton(problem, start, refresh=2)):
        for state in steps:
            if state.value < 1e-6:
                break
        evaluations[steps.__name__] = state.evaluations
    assert evaluations["gauss_newton"] * 1.5 < evaluations["bfgs"]


@pytest.mark.parametrize("optimiser", [bfgs, gauss_newton])
def test_values_never_rise_and_the_end_is_stationary(optimiser):
    problem = Exponentials(seed=1, terms=2)
    start = first_state(problem, np.array([0.2, 1.5, 0.5, -1.0]))
    states = list(itertools.islice(optimiser(problem, start), 500))
    values = [start.value, *(s.value for s in states)]
    assert all(b <= a for a, b in itertools.pairwise(values))
    assert np.linalg.norm(states[-1].gradient) < 1e-4


def test_a_matrix_is_of_one_batch_after_the_other_and_averaged_with_those_before():
    problem = Exponentials(batches=4)
    start = first_state(problem, problem.solve_linear(START))
    end = last(gauss_newton(problem, start, refresh=1), 300)
    assert end.value < 1e-6 < start.value
    assert problem.asked[:6] == [0, 1, 2, 3, 0, 1]
    assert end.averaged == end.sample == 4
    whole = sum(problem.curvature(end.x, batch) for batch in range(4)) / 4
    assert end.curvature == pytest.approx(whole, rel=1e-3, abs=1e-3 * np.abs(whole).max())


@pytest.mark.parametrize("batches", [1, 4])
@pytest.mark.parametrize("optimiser", [bfgs, gauss_newton])
def test_a_run_resumed_at_any_state_repeats_bit_for_bit(optimiser, batches):
    problem = Exponentials(batches=batches)
    states = list(itertools.islice(optimiser(problem, first_state(problem, START)), 36))
    for middle in (0, 3, 7, 19):
        resumed = list(itertools.islice(optimiser(problem, states[middle]), 35 - middle))
        for one, other in zip(states[middle + 1 :], resumed, strict=True):
            assert one.x.tobytes() == other.x.tobytes()
            assert one.value == other.value


def test_bfgs_solves_rosenbrock():
    problem = Rosenbrock()
    end = last(bfgs(problem, first_state(problem, np.array([-1.2, 1.0]))), 40)
    assert end.value < 1e-6
    assert end.evaluations < 60


def test_a_start_that_is_not_finite_is_an_error():
    with pytest.raises(MTPError, match="loss at the start is nan"):
        first_state(Exponentials(), np.full(6, np.nan))


@pytest.mark.parametrize("wolfe", [EXACT, LOOSE])
@pytest.mark.parametrize("first_step", [1e-4, 0.1, 1.0, 50.0, 1e6])
def test_line_search_satisfies_the_strong_wolfe_conditions(first_step, wolfe):
    function = Rosenbrock().value_and_gradient
    x = np.array([-1.2, 1.0])
    value, gradient = function(x)
    start = LinePoint(0.0, value, -float(gradient @ gradient), x, gradient)
    point = wolfe_point(function, start, -gradient, first_step, wolfe)
    assert point.value <= value + wolfe.decrease * point.step * start.slope
    assert abs(point.slope) <= wolfe.curvature * abs(start.slope)


def test_line_search_steps_back_from_infinity():
    def up(x):
        return (float(x[0] ** 2), 2 * x) if x[0] < 1 else (np.nan, np.full(1, np.nan))

    start = LinePoint(0.0, 4.0, -4.0, np.array([-2.0]), np.array([-4.0]))
    point = wolfe_point(up, start, np.array([1.0]), 100.0)
    assert point.value <= 1.0


def test_state_is_immutable():
    with pytest.raises(AttributeError):
        OptimiserState(np.zeros(1), 0.0, np.zeros(1)).value = 1.0
