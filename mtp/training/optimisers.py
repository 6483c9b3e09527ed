"""Minimisers of the training loss: resumable generators over a State that holds all they know.

`bfgs` is the compatible path, `gauss_newton` the fast one. Both see the problem only through
loss, gradient and curvature, so they are tested on least-squares problems without any atoms.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mtp.errors import MTPError
from mtp.training.line_search import EXACT, LOOSE, LinePoint, Wolfe, wolfe_point

LINEAR_SOLVES = (25, 70, 100, 150, 250, 400)
SMALLEST_DAMPING, LARGEST_DAMPING = 1e-8, 1e6
STALE_STEP, STEP_GROWTH = 0.2, 1.3
MOST_AVERAGED = 4  # Gauss-Newton matrices, each of another batch
REMEMBERED = 16  # steps that a fresh inverse Hessian learns anew


class Problem(Protocol):
    """f(x) = sum of weighted squared residuals + penalties, linear in x[linear_start:]."""

    linear_start: int
    batches: int

    def value_and_gradient(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """The function to be minimised.

        Parameters
        ----------
        x : (n,)

        Returns
        -------
        f and its gradient (n,)
        """
        ...

    def curvature(self, x: NDArray[np.float64], batch: int) -> NDArray[np.float64]:
        """Gauss-Newton matrix of f: the Hessian without second derivatives of residuals.

        Parameters
        ----------
        x : (n,)
        batch : estimate from this one of the `batches` of the data

        Returns
        -------
        (n, n)
        """
        ...

    def solve_linear(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Put the linear parameters at the exact minimum for the others.

        Parameters
        ----------
        x : (n,)

        Returns
        -------
        (n,), the same but from `linear_start` on
        """
        ...


@dataclass(frozen=True)
class OptimiserState:
    """Everything an optimiser needs to go on, so that a restart repeats the run bit for bit.

    curvature (n, n) is the mean Gauss-Newton matrix of the last `averaged` batches, of which up to
    `sample` are taken; steps (2, m, n) the last moves and the changes of the gradient along them.
    part, passes, unseen and stale belong to mtp.training.pretraining: batches in use (0: all),
    passes over all data so far, lowest loss of unseen batches, checks since it fell.
    """

    x: NDArray[np.float64]
    value: float
    gradient: NDArray[np.float64]
    inverse_hessian: NDArray[np.float64] | None = None
    iteration: int = 0
    damping: float = 1.0
    step: float = 1.0
    age: int = 0
    next_batch: int = 0
    sample: int = 1
    averaged: int = 0
    curvature: NDArray[np.float64] | None = None
    steps: NDArray[np.float64] | None = None
    evaluations: int = 0
    part: int = 0
    passes: float = 0.0
    unseen: float = float("inf")
    stale: int = 0


def first_state(problem: Problem, x: NDArray[np.float64]) -> OptimiserState:
    """Where an optimiser begins.

    Parameters
    ----------
    problem : evaluated once
    x : (n,)

    Returns
    -------
    the state at x

    Raises
    ------
    MTPError
        The loss or its gradient is not finite there.
    """
    value, gradient = problem.value_and_gradient(x)
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        raise MTPError(
            f"the training loss at the start is {value}: check the labels and the starting "
            "potential, or start from an untrained one"
        )
    return OptimiserState(x, value, gradient, evaluations=1)


def bfgs(problem: Problem, state: OptimiserState) -> Iterator[OptimiserState]:
    """Dense BFGS (Nocedal & Wright 2006, algorithm 6.1), the linear parameters solved at times.

    Solves them at the iterations at which MLIP-3 does, but keeps the inverse Hessian, whose
    information the solve does not invalidate. Ends where no step lowers the value.
    """
    while True:
        if state.iteration in LINEAR_SOLVES:
            state = _solved(problem, state)
        following = _quasi_newton_step(problem, state, EXACT)
        if following is None:
            return
        state = replace(following, iteration=state.iteration + 1, step=1.0)
        yield state


def _solved(problem: Problem, state: OptimiserState) -> OptimiserState:
    x = problem.solve_linear(state.x)
    value, gradient = problem.value_and_gradient(x)
    if not value < state.value:
        return state
    return replace(state, x=x, value=value, gradient=gradient, evaluations=state.evaluations + 1)


def _quasi_newton_step(
    problem: Problem, state: OptimiserState, wolfe: Wolfe
) -> OptimiserState | None:
    """One step along -H g with the BFGS update of H; None where no step lowers the value."""
    gradient, matrix, first_step = state.gradient, state.inverse_hessian, state.step
    if matrix is None:
        norm = float(np.linalg.norm(gradient))
        if norm == 0.0:
            return None
        direction, first_step = -gradient, min(1.0, 1e-2 / norm)
    else:
        direction = -(matrix @ gradient)
    slope = float(direction @ gradient)
    if not slope < 0:
        return None
    counted = _Counting(problem.value_and_gradient)
    start = LinePoint(0.0, state.value, slope, state.x, gradient)
    point = wolfe_point(counted, start, direction, first_step, wolfe)
    if point is None:
        return None
    return replace(
        state,
        x=point.x,
        value=point.value,
        gradient=point.gradient,
        inverse_hessian=bfgs_update(matrix, point.x - state.x, point.gradient - gradient),
        step=point.step,
        evaluations=state.evaluations + counted.calls,
    )


class _Counting:
    def __init__(self, function: Callable) -> None:
        self.function, self.calls = function, 0

    def __call__(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        self.calls += 1
        return self.function(x)


def bfgs_update(
    matrix: NDArray[np.float64] | None, s: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """BFGS update of the inverse Hessian.

    Parameters
    ----------
    matrix : (n, n); None before the first update: the identity
    s, y : (n,) step and change of the gradient

    Returns
    -------
    (n, n); `matrix` as it is where the curvature along s is not positive

    Source: Nocedal and Wright, Numerical Optimization (2006), eq. 6.17.
    """
    curvature = float(s @ y)
    if curvature <= 1e-12 * float(np.linalg.norm(s) * np.linalg.norm(y)):
        return matrix
    if matrix is None:
        matrix = np.eye(len(s))
    product = matrix @ y
    factor = (1.0 + float(y @ product) / curvature) / curvature
    cross = np.outer(product / curvature, s)
    return matrix - cross - cross.T + np.outer(factor * s, s)


def gauss_newton(
    problem: Problem, state: OptimiserState, refresh: int = 16
) -> Iterator[OptimiserState]:
    """BFGS whose inverse Hessian restarts from the damped Gauss-Newton matrix every few steps.

    The linear parameters take part in the matrix but not in its damping, which projects them out
    of the damped step (Kaufman's variable projection, BIT 15, 49, 1975; Golub & Pereyra, Inverse
    Problems 19, R1, 2003). A matrix is that of one batch of the data, averaged with those of the
    batches before it (taken at coefficients that have moved a little since), and the last steps
    are applied to it anew: they know the curvature of all data where the fit is going. Marquardt's
    scaling of the damping by the diagonal keeps the gauge directions, along which the loss is
    flat, from taking part at all. The BFGS updates in between add the curvature of the residuals
    that Gauss-Newton leaves out; their first trial step follows the last accepted one, because
    the old matrix is too soft for a model of such a high degree.
    Ends where no step lowers the value although the matrix is fresh and heavily damped.
    """
    while True:
        if state.inverse_hessian is None or state.age >= refresh:
            state = _refreshed(problem, state)
        following = _quasi_newton_step(problem, state, LOOSE)
        if following is None:
            if state.age == 0 and state.damping >= LARGEST_DAMPING:
                return
            damping = state.damping * (16.0 if state.age == 0 else 1.0)
            state = replace(state, inverse_hessian=None, damping=damping)
            continue
        fresh = state.age == 0
        step = min(1.0, following.step * (STALE_STEP if fresh else STEP_GROWTH))
        steps = _with_step(state, following) if problem.batches > 1 else None
        if fresh:
            following = _adapted(problem, state, following)
        done, age = state.iteration + 1, state.age + 1
        state = replace(following, iteration=done, age=age, step=step, steps=steps)
        yield state


def _with_step(before: OptimiserState, after: OptimiserState) -> NDArray[np.float64]:
    """The remembered steps (2, m, n) with the one between two states."""
    new = np.array([[after.x - before.x], [after.gradient - before.gradient]])
    kept = new if before.steps is None else np.concatenate([before.steps, new], axis=1)
    return kept[:, -REMEMBERED:]


def _refreshed(problem: Problem, state: OptimiserState) -> OptimiserState:
    matrix = problem.curvature(state.x, state.next_batch)
    averaged = min(state.averaged + 1, state.sample)
    if state.curvature is not None:
        matrix = state.curvature + (matrix - state.curvature) / averaged
    inverse, damping = _damped_inverse(matrix, problem.linear_start, state.damping)
    if state.steps is not None:
        for step, change in zip(*state.steps, strict=True):
            inverse = bfgs_update(inverse, step, change)
    return replace(
        state,
        inverse_hessian=inverse,
        damping=damping,
        curvature=matrix,
        averaged=averaged,
        age=0,
        step=1.0,
        next_batch=(state.next_batch + 1) % problem.batches,
    )


def _damped_inverse(
    matrix: NDArray[np.float64], linear_start: int, strength: float
) -> tuple[NDArray[np.float64], float]:
    """Inverse of a matrix with a damping of at least this strength, and the strength it took."""
    damping = np.diag(matrix).copy()
    damping[:linear_start] *= strength
    damping[linear_start:] *= SMALLEST_DAMPING
    damping += 1e-14 * float(np.max(np.diag(matrix)))
    try:
        factor = np.linalg.cholesky(matrix + np.diag(damping))
    except np.linalg.LinAlgError:
        return _damped_inverse(matrix, linear_start, 4.0 * max(strength, 1e-6))
    half = np.linalg.solve(factor, np.eye(len(matrix)))
    return half.T @ half, strength


def _adapted(problem: Problem, state: OptimiserState, following: OptimiserState) -> OptimiserState:
    """Less damping after a fresh matrix whose full step was good; more data, then more damping,
    after one cut short: a matrix from a part of the data may miss what the rest constrains.
    """
    full = float(state.gradient @ state.inverse_hessian @ state.gradient)
    ratio = (state.value - following.value) / (0.5 * full)
    if following.step > 0.9 and ratio > 0.6:
        return replace(following, damping=max(0.2 * state.damping, SMALLEST_DAMPING))
    if following.step >= 0.5 and ratio >= 0.25:
        return following
    if state.sample < (most := min(MOST_AVERAGED, problem.batches)):
        return replace(following, sample=min(2 * state.sample, most))
    return replace(following, damping=min(4.0 * state.damping, LARGEST_DAMPING))
