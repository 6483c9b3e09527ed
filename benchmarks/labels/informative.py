"""Batches of configurations whose labels would lower the error of a fit most.

A fit is least squares about its present coefficients: with rows J of derivatives of energies and
forces, weighed as the loss weighs them, the covariance of n coefficients is C = (sum over the
training set of J^T J + ridge)^-1, and the error to expect on a set is trace(F C), F the sum of
J^T J over it. Each configuration lowers that by what its own rows add, given all chosen before
it: duplicates add nothing, what is often seen counts often. J. T. Ash et al., "Gone fishing" (BAIT,
2021); K. Chaloner and I. Verdinelli, Statist. Sci. 10, 273 (1995).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.potential import Potential
from mtp.selection.maxvol import Matrix
from mtp.training.loss import LossWeights, configuration_weight

RIDGE = 1e-6  # of the information of training set and candidates together, in each coefficient
MOST_ROWS = 32  # directions of a configuration that are kept, the least known first
MEMORY = 2**29  # bytes of all kept rows of all candidates


def information_rows(
    engine: Engine, configurations: Sequence[Configuration], weights: LossWeights, first: int = 1
) -> Iterator[Matrix]:
    """Rows of energies and forces of each configuration, times the root of their loss weights.

    Parameters
    ----------
    engine : of a trained potential
    configurations : of N atoms each, Å; labels are not needed
    weights : of energies and forces
    first : number that errors give to the first

    Yields
    ------
    (1 + 3 N, n)

    Raises
    ------
    MTPError
        A type is not in the potential, or atoms coincide.
    """
    for number, configuration in enumerate(configurations, first):
        size = len(configuration)
        rows = engine.configuration_rows(engine.neighbours([configuration], number), 0)
        rows = rows[: 1 + 3 * size]
        scales = np.full(len(rows), weights.force_weight / size**weights.weight_scaling_forces)
        scales[0] = weights.energy_weight / size**weights.weight_scaling
        yield rows * np.sqrt(scales * configuration_weight(configuration))[:, None]


def most_informative(
    potential: Potential,
    training: Sequence[Configuration],
    candidates: Sequence[Configuration],
    number: int,
    weights: LossWeights | None = None,
) -> list[int]:
    """Which candidates to label so that the error on all candidates falls most.

    Parameters
    ----------
    potential : trained
    training : what it was trained on, Å
    candidates : what the error shall be low on, each as often as it is seen
    number : how many to choose
    weights : of energies and forces in the fits to come; None: MLIP's

    Returns
    -------
    indices of candidates, the most useful first

    Raises
    ------
    MTPError
        A type is not in the potential, or atoms coincide.
    """
    engine, weights = Engine(potential), weights or LossWeights()
    size = potential.parameter_count
    trained_on, sought = (
        sum((r.T @ r for r in information_rows(engine, part, weights)), np.zeros((size, size)))
        for part in (training, candidates)
    )
    everything = trained_on + sought
    trained_on += np.diag(
        np.maximum(RIDGE * np.diag(everything), 1e-12 * np.trace(everything) / size)
    )
    whiten = np.linalg.inv(np.linalg.cholesky(trained_on)).T  # C = whiten whiten^T
    values, vectors = np.linalg.eigh(whiten.T @ sought @ whiten)
    target = vectors * np.sqrt(np.maximum(values, 0.0))
    most = int(np.clip(MEMORY // (24 * size * max(1, len(candidates))), 1, MOST_ROWS))
    state = _Greedy.start(
        [_leading(r @ whiten, most) for r in information_rows(engine, candidates, weights)], target
    )
    return [state.take() for _ in range(min(number, len(candidates)))]


def _leading(rows: Matrix, most: int) -> Matrix:
    """(most, n): the directions in which (m, n) rows say most; zero where there are fewer."""
    vectors = np.linalg.eigh(rows @ rows.T)[1]
    kept = vectors[:, ::-1][:, :most].T @ rows
    return np.vstack([kept, np.zeros((most - len(kept), rows.shape[1]))])


@dataclass
class _Greedy:
    """Rows R (F, k, n) of F candidates; C the covariance after all taken so far.

    spread (F, k, n) R C; reach (F, k, n) R C T, where T T^T is the information sought; own (F, k,
    k) R C R^T; left (F,): not taken yet.
    """

    rows: Matrix
    spread: Matrix
    reach: Matrix
    own: Matrix
    left: NDArray[np.bool_]

    @classmethod
    def start(cls, rows: list[Matrix], target: Matrix) -> "_Greedy":
        stacked = np.array(rows)
        own = stacked @ stacked.transpose(0, 2, 1)
        return cls(stacked, stacked.copy(), stacked @ target, own, np.ones(len(rows), bool))

    def take(self) -> int:
        """The candidate whose label lowers trace(F C) most; C is then what it leaves."""
        gains = np.full(len(self.left), -np.inf)
        one = np.eye(self.own.shape[1])
        places = np.flatnonzero(self.left)
        solved = np.linalg.solve(self.own[places] + one, self.reach[places])
        gains[places] = np.einsum("fkn,fkn->f", solved, self.reach[places])
        best = int(np.argmax(gains))
        shared = self.spread @ self.rows[best].T  # R C R_best^T
        share = shared @ np.linalg.inv(self.own[best] + one)
        spread, reach = self.spread[best].copy(), self.reach[best].copy()
        self.own -= share @ shared.transpose(0, 2, 1)
        self.spread -= share @ spread
        self.reach -= share @ reach
        self.left[best] = False
        return best
