"""Energies, forces, stresses, loss gradients and design matrices of moment tensor potentials."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mtp import _kernel
from mtp.errors import MTPError
from mtp.neighbours import Neighbours, neighbours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mtp.neighbours import Structure
    from mtp.potential import Potential


class Evaluation(NamedTuple):
    """energy (eV), forces (N, 3) (eV/Å), stress (6,) = -dE/dstrain (eV), site_energies (N,) (eV).

    The stress is MLIP's PlusStress, -V times the stress of ASE, xx yy zz yz xz xy.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray
    site_energies: np.ndarray


@dataclass(frozen=True, eq=False)
class Targets:
    """Labels: energy (C,) eV, forces (N, 3) eV/Å, stress (C, 6) eV; any value where weight is 0."""

    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of squared residuals, every scaling included; 0 where a label is missing.

    energy (C,), forces (C,) or (N,), stress (C,).
    """

    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray


class Loss(NamedTuple):
    """Sum over a share of data: value, its gradient by the parameters, and the predictions."""

    value: float
    gradient: np.ndarray
    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray


class NormalEquations(NamedTuple):
    """matrix (n, n), vector (n,), constant: see the method that returns it."""

    matrix: np.ndarray
    vector: np.ndarray
    constant: float


class Engine:
    """One potential, ready to be evaluated; `threads` share the configurations."""

    def __init__(self, potential: Potential, threads: int = 1) -> None:
        self.threads = max(1, threads)
        self._model = _kernel.Model(
            potential.alpha_index_basic,
            potential.alpha_index_times,
            potential.alpha_moment_mapping,
            potential.alpha_moments_count,
            potential.species_count,
            potential.radial_funcs_count,
            potential.radial_basis_size,
            potential.min_dist,
            potential.max_dist,
        )
        self.potential = potential
        self.update(potential.parameters)

    def update(self, parameters: np.ndarray) -> None:
        """Take other coefficients (order of `Potential.parameters`); nothing is prepared anew."""
        if not np.isfinite(parameters).all():
            raise MTPError("a coefficient of the potential is NaN or infinite")
        radial, species, moment = (parameters[part] for part in self.potential.slices)
        self.parameters = parameters.copy()
        self._model.set(self.potential.scaling, radial, species, moment)

    def evaluate(self, data: Neighbours | Sequence[Structure], first: int = 1) -> list[Evaluation]:
        """Energy, forces, stress and site energies of each configuration.

        Raises MTPError where a type is not in the potential or a result is not finite; it names
        configurations by numbers from `first` on.
        """
        found = self.neighbours(data, first)
        energy, forces, stress, sites = self._call(_kernel.evaluate, found, self.threads)
        if not (np.isfinite(energy).all() and np.isfinite(forces).all()):
            number = first + int(np.argmax(~_finite_configurations(found, energy, forces)))
            raise MTPError(f"configuration {number}: energy or forces are not finite")
        begin = found.atom_begin.tolist()
        return [
            Evaluation(float(energy[c]), forces[a:b], stress[c], sites[a:b])
            for c, (a, b) in enumerate(pairwise(begin))
        ]

    def neighbours(self, data: Neighbours | Sequence[Structure], first: int = 1) -> Neighbours:
        """Neighbour lists fit for this potential."""
        if not isinstance(data, Neighbours):
            return neighbours(data, self.potential.max_dist, self.potential.species_count, first)
        if data.cutoff < self.potential.max_dist:
            raise MTPError(
                f"neighbours within {data.cutoff} Å do not reach max_dist = "
                f"{self.potential.max_dist} Å; build them anew"
            )
        return data

    def loss_and_gradient(self, found: Neighbours, targets: Targets, weights: Weights) -> Loss:
        """Sum of w_E (E-E0)^2 + sum_i w_F |F-F0|^2 + w_S |S-S0|^2 and its gradient.

        |S|^2 runs over all nine components. Tangent and adjoint passes: no Jacobian is stored.
        """
        return self._loss(found, targets, weights, gradient=True)

    def loss(self, found: Neighbours, targets: Targets, weights: Weights) -> Loss:
        """The loss alone, with an empty gradient, at the cost of an evaluation."""
        return self._loss(found, targets, weights, gradient=False)

    def site_rows(self, found: Neighbours, begin: int = 0, end: int | None = None) -> np.ndarray:
        """(atoms, parameters): derivatives of the site energies of configurations [begin, end)."""
        end = len(found) if end is None else end
        return self._call(_kernel.site_rows, self.neighbours(found), begin, end)

    def configuration_rows(
        self, found: Neighbours, configuration: int, *, linear: bool = False
    ) -> np.ndarray:
        """(1 + 3 N + 6, parameters): derivatives of energy, forces and stress of one configuration.

        Rows: energy, then x y z of each force, then xx yy zz yz xz xy of the stress. With `linear`
        only the columns of the species and moment coefficients, in which the model is linear.
        """
        found = self.neighbours(found)
        return self._call(_kernel.configuration_rows, found, configuration, linear)

    def linear_system(
        self, found: Neighbours, targets: Targets, weights: Weights
    ) -> NormalEquations:
        """Normal equations of the species and moment coefficients with the radial ones fixed.

        The loss is x^T matrix x - 2 vector^T x + constant at coefficients x.
        """
        return self._normal_equations(found, targets, weights, linear=True)

    def gauss_newton(
        self, found: Neighbours, targets: Targets, weights: Weights
    ) -> NormalEquations:
        """J^T W J, J^T W r and the loss r^T W r with r = prediction - label.

        The gradient of the loss is 2 vector. A configuration's Jacobian at a time is in memory.
        """
        return self._normal_equations(found, targets, weights, linear=False)

    def _normal_equations(
        self, found: Neighbours, targets: Targets, weights: Weights, *, linear: bool
    ) -> NormalEquations:
        labels = _shaped(found, targets)
        scales = _expanded(found, weights)
        predicted = [-0.0, -0.0, -0.0] if linear else self.loss(found, targets, weights)[2:]
        sign = -1 if linear else 1
        size = len(self.parameters) - (self.potential.slices.species.start if linear else 0)
        matrix, vector, constant = np.zeros((size, size)), np.zeros(size), 0.0
        residual = [sign * (p - label) for p, label in zip(predicted, labels, strict=True)]
        for c in range(len(found)):
            weight = np.sqrt(_rows_of(found, c, scales, (1, 3, 1)))
            kept = weight > 0
            rows = self.configuration_rows(found, c, linear=linear)[kept]
            rows *= weight[kept, None]
            r = weight[kept] * _rows_of(found, c, residual, (1, 1, 1))[kept]
            matrix += rows.T @ rows  # numpy takes half the work of a product with itself
            vector += rows.T @ r
            constant += r @ r
        return NormalEquations(matrix, vector, float(constant))

    def _loss(
        self, found: Neighbours, targets: Targets, weights: Weights, *, gradient: bool
    ) -> Loss:
        arrays = [*_shaped(found, targets), *_expanded(found, weights)]
        found = self.neighbours(found)
        return Loss(*self._call(_kernel.loss, found, arrays, gradient, self.threads))

    def _call(self, function: Callable, found: Neighbours, *arguments: object) -> Any:
        try:
            return function(self._model, found.kernel, *arguments)
        except ValueError as error:
            raise MTPError(str(error)) from None


def _finite_configurations(found: Neighbours, energy: np.ndarray, forces: np.ndarray) -> np.ndarray:
    """(C,) whether energy and forces of a configuration are finite."""
    atoms = np.isfinite(forces).all(axis=1)
    parts = (atoms[a:b].all() for a, b in pairwise(found.atom_begin))
    return np.isfinite(energy) & np.fromiter(parts, bool, len(energy))


def _shaped(found: Neighbours, targets: Targets) -> list[np.ndarray]:
    shapes = [(len(found),), (found.atom_count, 3), (len(found), 6)]
    arrays = [
        np.ascontiguousarray(a, float) for a in (targets.energy, targets.forces, targets.stress)
    ]
    for array, shape in zip(arrays, shapes, strict=True):
        if array.shape != shape:
            raise MTPError(f"labels have shape {array.shape}, the configurations need {shape}")
    return arrays


def _expanded(found: Neighbours, weights: Weights) -> list[np.ndarray]:
    forces = np.asarray(weights.forces, float)
    if forces.shape == (len(found),):
        forces = np.repeat(forces, np.diff(found.atom_begin))
    arrays = [np.asarray(weights.energy, float), forces, np.asarray(weights.stress, float)]
    for array, size in zip(arrays, (len(found), found.atom_count, len(found)), strict=True):
        if array.shape != (size,) or not np.isfinite(array).all():
            raise MTPError(f"weights need {size} finite values, got shape {array.shape}")
    return arrays


def _rows_of(
    found: Neighbours, c: int, arrays: Sequence[np.ndarray], repeats: tuple[int, int, int]
) -> np.ndarray:
    """Values of (C, ..), (N, ..), (C, ..) arrays in the row order of configuration c.

    Weights repeat over components; the three shear components count twice in the squared norm.
    """
    begin, end = found.atom_begin[c : c + 2]
    energy, forces, stress = arrays
    if repeats == (1, 3, 1):
        shear = np.array([1, 1, 1, 2, 2, 2]) * stress[c]
        return np.concatenate([energy[c : c + 1], np.repeat(forces[begin:end], 3), shear])
    return np.concatenate([energy[c : c + 1], forces[begin:end].ravel(), stress[c]])
