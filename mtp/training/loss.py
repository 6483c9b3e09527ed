"""MLIP-3's training loss: its weights and scalings, and the penalty that fixes the gauge freedom.

f = (1/N) sum_configurations [ w_e (dE)^2 + sum_atoms w_f |dF|^2 + w_s sum_9 (dS)^2 ] + penalty
(Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002, 2021, eq. 9; MLIP-3 manual, `mlp train`).
N is the number of configurations, so f does not depend on how they are spread over ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtp.configuration import Configuration
from mtp.engine import Labels, Weights
from mtp.errors import MTPError

REGULARISATION = 1e-10
WEIGHT_FEATURE = "weight"


@dataclass(frozen=True)
class LossWeights:
    """Weights of `mlp train` with MLIP-3's names and defaults.

    With N atoms an energy counts energy_weight / N^weight_scaling, a stress stress_weight / N, a
    force force_weight / N^weight_scaling_forces (times scale_by_force / (|F|^2 + scale_by_force)
    if that is positive). `Feature weight X` of a configuration multiplies all of them, `Feature
    energy_weight X`, `force_weight` and `stress_weight` those of one kind.
    """

    energy_weight: float = 1.0
    force_weight: float = 0.01
    stress_weight: float = 0.001
    weight_scaling: int = 1
    weight_scaling_forces: int = 0
    scale_by_force: float = 0.0
    penalty_weight: float = 1e-6
    regularisation: float = REGULARISATION


def labels_of(
    configurations: Sequence[Configuration], weights: LossWeights
) -> tuple[Labels, Weights]:
    """Labels and loss weights of C configurations with N atoms, in their order.

    Parameters
    ----------
    configurations : Å, eV, eV/Å
    weights : of energies, forces, virials, and how they scale

    Returns
    -------
    energies (C,) eV, forces (N, 3) eV/Å, virials (C, 6) eV, and their weights, all scalings in
    them; a missing label has weight zero

    Raises
    ------
    MTPError
        A `Feature weight` (or of one kind of label) is no number of at least 0.
    """
    sizes = np.array([len(c) for c in configurations], float)
    energy = _own(configurations, "energy") * weights.energy_weight / sizes**weights.weight_scaling
    virial = _own(configurations, "stress") * weights.stress_weight / sizes
    targets = Labels(
        np.array([c.energy or 0.0 for c in configurations]),
        np.concatenate([_forces(c) for c in configurations]),
        np.array([np.zeros(6) if c.virial is None else c.virial for c in configurations]),
    )
    return targets, Weights(
        energy * [c.energy is not None for c in configurations],
        np.concatenate([_force_weights(c, weights) for c in configurations]),
        virial * [c.virial is not None for c in configurations],
    )


def _own(configurations: Sequence[Configuration], kind: str) -> NDArray[np.float64]:
    """(C,) what the features of each configuration make of the weight of one kind of label."""
    return np.array(
        [
            configuration_weight(c) * configuration_weight(c, f"{kind}_{WEIGHT_FEATURE}")
            for c in configurations
        ]
    )


def configuration_weight(configuration: Configuration, feature: str = WEIGHT_FEATURE) -> float:
    """The value of `Feature weight`, 1 without one.

    Parameters
    ----------
    configuration : its features are read
    feature : another one, of the weight of one kind of label

    Returns
    -------
    factor of its loss weights

    Raises
    ------
    MTPError
        It is no number of at least 0.
    """
    text = configuration.features.get(feature, "1")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < np.inf:
        raise MTPError(f"Feature {feature} {text[:40]!r} must be a number of at least 0")
    return value


def _forces(configuration: Configuration) -> NDArray[np.float64]:
    return (
        np.zeros((len(configuration), 3)) if configuration.forces is None else configuration.forces
    )


def _force_weights(configuration: Configuration, weights: LossWeights) -> NDArray[np.float64]:
    size = len(configuration)
    if configuration.forces is None:
        return np.zeros(size)
    weight = float(_own([configuration], "force")[0]) * weights.force_weight
    weight /= size**weights.weight_scaling_forces
    if weights.scale_by_force <= 0:
        return np.full(size, weight)
    squares = np.sum(np.square(configuration.forces), axis=1)
    return weight * weights.scale_by_force / (squares + weights.scale_by_force)


@dataclass(frozen=True)
class Penalty:
    """MLIP-3's soft constraints on the coefficients, counted once and not per configuration.

    weight [ sum_m (|c_m|^2 - 1)^2 + sum_{m<n} (c_m . c_n)^2 ] over the radial functions m, where
    c_m runs over all pairs of species and basis functions: it fixes the freedom to scale and mix
    radial functions. Plus regularisation |x|^2 over the linear coefficients, MLIP's being 1e-10.
    radial_shape (S, S, M, R).
    """

    radial_shape: tuple[int, int, int, int]
    weight: float
    regularisation: float = REGULARISATION

    def value_and_gradient(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """The penalty at some coefficients.

        Parameters
        ----------
        x : (n,) coefficients, in the order of `Potential.parameters`

        Returns
        -------
        the penalty and its gradient (n,)
        """
        c, linear = self._functions(x), x[int(np.prod(self.radial_shape)) :]
        excess = c @ c.T - np.eye(len(c))
        diagonal = np.diag(excess)
        value = self.weight * np.sum(np.triu(excess) ** 2)
        value += self.regularisation * (linear @ linear)
        gradient = 2.0 * self.weight * ((excess + np.diag(diagonal)) @ c)
        return float(value), np.concatenate(
            [self._flat(gradient), 2.0 * self.regularisation * linear]
        )

    def curvature(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Gauss-Newton matrix of the penalty.

        Parameters
        ----------
        x : (n,) coefficients, in the order of `Potential.parameters`

        Returns
        -------
        (n, n)
        """
        c, radial = self._functions(x), int(np.prod(self.radial_shape))
        rows = []
        for m, n in zip(*np.triu_indices(len(c)), strict=True):
            row = np.zeros_like(c)
            row[m] += c[n]
            row[n] += c[m]
            rows.append(self._flat(row))
        matrix = np.diag(np.where(np.arange(len(x)) < radial, 0.0, 2.0 * self.regularisation))
        jacobian = np.array(rows)
        matrix[:radial, :radial] += 2.0 * self.weight * (jacobian.T @ jacobian)
        return matrix

    def _functions(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M, S * S * R): the coefficients of each radial function."""
        species, _, functions, size = self.radial_shape
        radial = x[: species * species * functions * size].reshape(-1, functions, size)
        return radial.transpose(1, 0, 2).reshape(functions, -1)

    def _flat(self, functions: NDArray[np.float64]) -> NDArray[np.float64]:
        species, _, count, size = self.radial_shape
        return functions.reshape(count, species * species, size).transpose(1, 0, 2).ravel()
