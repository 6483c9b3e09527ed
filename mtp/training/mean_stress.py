"""The mean stress of frames that belong together, brought to that of their labels after a fit.

In MD the errors of single frames average out; what their mean is off by stays, and makes a density
wrong. A sum of squares heeds it little: it is a small part of what frames scatter by.
"""

import numpy as np
from numpy.typing import NDArray

from mtp.engine import Engine, Labels, Weights
from mtp.neighbours import Neighbours
from mtp.training.normal_equations import conditioned

MEAN_FEATURE = "mean_stress"  # names the group of a frame
DEAREST = 100.0
FEWEST = 8  # frames; the mean of fewer is theirs, not that of their kind
AXES = 3


def add_sums(
    total: NDArray[np.float64],
    engine: Engine,
    batch: tuple[Neighbours, Labels, Weights],
    groups: NDArray[np.int64],
    volumes: NDArray[np.float64],
) -> None:
    """Add what the mean stresses of groups are made of, by the m linear coefficients.

    Parameters
    ----------
    total : (G, 3, m + 3), added to: for xx, yy and zz the sum over frames, each by weight times
        squared volume, of -stress (eV/Å^3) by each coefficient, -stress of the label, and 1; last
        the number of frames
    engine : its radial coefficients count
    batch : C configurations; frames without weight of their virial (eV) or volume do not count
    groups : (C,) number of the group, -1: of none
    volumes : (C,) Å^3
    """
    near, labels, weights = batch
    for c in np.flatnonzero((groups >= 0) & (weights.virial > 0) & (volumes > 0)):
        weight, volume, part = weights.virial[c], volumes[c], total[groups[c]]
        rows = engine.configuration_rows(near, c, linear=True)[-6 : -6 + AXES]
        part[:, :-3] += weight * volume * rows
        part[:, -3] += weight * volume * labels.virial[c, :AXES]
        part[:, -2] += weight * volume**2
        part[:, -1] += 1


class MeanStresses:
    """The means of the groups that are large enough: G of them, three axes each."""

    def __init__(self, sums: NDArray[np.float64]) -> None:
        kept = sums[sums[:, 0, -1] >= FEWEST].reshape(-1, sums.shape[-1])
        self.weights = kept[:, -2]
        self.rows, self.labels = kept[:, :-3] / kept[:, -2:-1], kept[:, -3] / kept[:, -2]

    def __len__(self) -> int:
        return len(self.labels) // AXES

    def errors(self, linear: NDArray[np.float64]) -> NDArray[np.float64]:
        """-stress of the model less that of the labels.

        Parameters
        ----------
        linear : (m,) coefficients

        Returns
        -------
        (3 G,) eV/Å^3
        """
        return self.rows @ linear - self.labels

    def step(
        self,
        linear: NDArray[np.float64],
        hessian: NDArray[np.float64],
        price: float,
        held: int = 0,
    ) -> NDArray[np.float64]:
        """The change d of the coefficients that brings the means as near as the price allows.

        The minimum of d^T hessian d + dearness * sum over the means of weight * error^2, where the
        weight is what the error costs if all frames have it alike, with the greatest dearness, up
        to DEAREST, at which d^T hessian d is within the price.

        Parameters
        ----------
        linear : (m,) coefficients, at the minimum of the loss or near
        hessian : (m, m) half that of the loss, summed over frames
        price : in the units of that loss
        held : so many coefficients, from the first, do not change

        Returns
        -------
        (m,)
        """
        hessian, rows = hessian[held:, held:], self.rows[:, held:]
        scale, damped = conditioned(hessian)
        weighed = np.sqrt(self.weights)[:, None] * rows * scale
        spread = np.linalg.solve(damped, weighed.T)
        gain, modes = np.linalg.eigh(weighed @ spread)
        errors = modes.T @ (np.sqrt(self.weights) * self.errors(linear))

        def shift(dearness: float) -> NDArray[np.float64]:
            return dearness / (1.0 + dearness * gain) * errors

        for dearness in DEAREST * 10 ** -np.arange(0.0, 8.0, 0.05):
            if gain @ shift(dearness) ** 2 <= price:
                break
        return np.concatenate([np.zeros(held), -scale * (spread @ modes @ shift(dearness))])
