"""Gauss-Newton on a growing part of the data, before all of it counts.

Far from the minimum a part of the data tells the way as well as all of it, at a part of the cost
(R. H. Byrd et al., Math. Program. 134, 127, 2012).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mtp.training.optimisers import OptimiserState, Problem, first_state, gauss_newton

FEWEST_BATCHES = 4  # with fewer, the parts cost as much as they save
ITERATIONS_PER_CHECK = 4
PATIENCE = 3
LEAST_GAIN = 1e-3


class Parted(Problem, Protocol):
    """A problem that can go on with the first of its batches only."""

    def use(self, batches: int) -> None:
        """Values, gradients and matrices are of the first `batches` from now on; 0: of all."""
        ...

    def unseen_loss(self, x: NDArray[np.float64]) -> float:
        """Loss of the batches that come next, as many as are in use.

        Parameters
        ----------
        x : (n,)

        Returns
        -------
        loss per configuration
        """
        ...


def first_part(problem: Parted, state: OptimiserState) -> OptimiserState:
    """The state `pretrain` starts from: on one batch, or the given one where there are too few."""
    return _on(problem, state, 1) if problem.batches >= FEWEST_BATCHES else state


def pretrain(problem: Parted, state: OptimiserState) -> Iterator[OptimiserState]:
    """Minimise on 1, 2, 4, ... batches, each until the next ones, unseen, gain no more.

    The last state has part 0: it is of all data.
    """
    while state.part:
        steps = _steps(problem, state)
        while state.stale < PATIENCE and (step := next(steps, None)):
            yield (state := step)
        state = _on(problem, state, 2 * state.part)
    yield state


def on_all_data(problem: Parted, state: OptimiserState) -> OptimiserState:
    """The state with value and gradient of all data; iterations count from 0."""
    return _on(problem, state, 0)


def _steps(problem: Parted, state: OptimiserState) -> Iterator[OptimiserState]:
    problem.use(0)
    share = state.part / problem.batches
    problem.use(state.part)
    unseen, stale, passes = state.unseen, state.stale, state.passes
    for step in gauss_newton(problem, state):
        passes += share
        if step.iteration % ITERATIONS_PER_CHECK == 0:
            loss = problem.unseen_loss(step.x)
            stale = 0 if loss < (1 - LEAST_GAIN) * unseen else stale + 1
            unseen = min(unseen, loss)
        yield replace(step, unseen=unseen, stale=stale, passes=passes)


def _on(problem: Parted, state: OptimiserState, part: int) -> OptimiserState:
    problem.use(0)
    part = part if part < problem.batches else 0
    problem.use(part)
    fresh = first_state(problem, state.x)
    return replace(
        fresh,
        damping=state.damping,
        evaluations=state.evaluations + 1,
        iteration=state.iteration if part else 0,
        passes=state.passes,
        part=part,
    )
