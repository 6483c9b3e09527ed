"""Energies, forces, virials, loss gradients and design matrices of moment tensor potentials."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mtp import _kernel
from mtp.errors import MTPError
from mtp.neighbours import Neighbours, finite, neighbours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mtp.neighbours import Geometry
    from mtp.potential import Potential


class Evaluation(NamedTuple):
    """What a potential says of one configuration of N atoms.

    energy (eV), forces (N, 3) (eV/Å), virial (6,) = -dE/dstrain (eV) in the order xx yy zz yz xz
    xy, which is MLIP's PlusStress and -volume times ASE's stress, site_energies (N,) (eV).
    """

    energy: float
    forces: np.ndarray
    virial: np.ndarray
    site_energies: np.ndarray


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels: energy (C,) eV, forces (N, 3) eV/Å, virial (C, 6) eV; any value where weight is 0."""

    energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of squared residuals, every scaling included; 0 where a label is missing.

    energy (C,) 1/eV^2, forces (C,) or (N,) (Å/eV)^2, virial (C,) 1/eV^2, for N atoms in C
    configurations.
    """

    energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


class Loss(NamedTuple):
    """Sum over a share of data: value, its gradient (n,) by the parameters, and the predictions.

    energy (C,) eV, forces (N, 3) eV/Å, virial (C, 6) eV.
    """

    value: float
    gradient: np.ndarray
    energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


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
        """Take other coefficients; nothing is prepared anew.

        Parameters
        ----------
        parameters : (n,) in the order of `Potential.parameters`

        Raises
        ------
        MTPError
            A coefficient is not finite.
        """
        if not np.isfinite(parameters).all():
            raise MTPError("a coefficient of the potential is NaN or infinite")
        radial, species, moment = (parameters[part] for part in self.potential.slices)
        self.parameters = parameters.copy()
        self._model.set(self.potential.scaling, radial, species, moment)

    def evaluate(self, data: Neighbours | Sequence[Geometry], first: int = 1) -> list[Evaluation]:
        """Energy, forces, virial and site energies of each configuration, its core included.

        Losses and rows are of the potential alone: labels there are the rest (`without_core`).

        Parameters
        ----------
        data : configurations (Å), or neighbour lists of them that reach max_dist
        first : number that errors give to the first configuration

        Returns
        -------
        one Evaluation (eV, eV/Å) per configuration, in order

        Raises
        ------
        MTPError
            A type is not in the potential, atoms coincide, or a result is not finite.
        """
        near = self.neighbours(data, first)
        energy, forces, virial, sites = self._call(_kernel.evaluate, near, self.threads)
        core = self.potential.core
        if core is not None and (added := core.evaluate(near)) is not None:
            sites, forces, virial = sites + added[0], forces + added[1], virial + added[2]
            energy = np.add.reduceat(sites, near.atom_begin[:-1])
        if near.ghosts is not None:  # a lone atom's energy, which they have in their own place
            sites[near.ghosts] = 0.0
            energy = np.add.reduceat(sites, near.atom_begin[:-1])
        if not (finite(energy) and finite(forces)):
            number = first + int(np.argmax(~_finite_configurations(near, energy, forces)))
            raise MTPError(f"configuration {number}: energy or forces are not finite")
        begin = near.atom_begin.tolist()
        return [
            Evaluation(float(energy[c]), forces[a:b], virial[c], sites[a:b])
            for c, (a, b) in enumerate(pairwise(begin))
        ]

    def neighbours(self, data: Neighbours | Sequence[Geometry], first: int = 1) -> Neighbours:
        """Neighbour lists within max_dist (Å); given lists are passed on if they reach as far.

        Parameters
        ----------
        data : configurations (Å), or their lists
        first : number that errors give to the first configuration

        Returns
        -------
        lists whose cutoff is at least max_dist

        Raises
        ------
        MTPError
            The lists given are of a shorter cutoff, or a configuration has no meaning.
        """
        if not isinstance(data, Neighbours):
            return neighbours(data, self.potential.max_dist, self.potential.species_count, first)
        if data.cutoff < self.potential.max_dist:
            raise MTPError(
                f"neighbours within {data.cutoff} Å do not reach max_dist = "
                f"{self.potential.max_dist} Å; build them anew"
            )
        return data

    def loss_and_gradient(self, near: Neighbours, targets: Labels, weights: Weights) -> Loss:
        """Sum of w_E (E-E0)^2 + sum_i w_F |F-F0|^2 + w_V |V-V0|^2 and its gradient.

        V is the virial, |V|^2 runs over all nine components. Tangent and adjoint passes, no
        Jacobian is stored (Griewank & Walther, Evaluating Derivatives, 2008, ch. 3).

        Parameters
        ----------
        near : neighbour lists of C configurations with N atoms together
        targets : labels in eV and eV/Å
        weights : of the squared residuals, 0 where a label is missing

        Returns
        -------
        Loss with gradient (n,) by the coefficients in the order of `Potential.parameters`

        Raises
        ------
        MTPError
            A label or weight has another shape than the configurations ask for, or a weight is not
            finite.
        """
        return self._loss(near, targets, weights, gradient=True)

    def loss(self, near: Neighbours, targets: Labels, weights: Weights) -> Loss:
        """The loss alone, at the cost of an evaluation.

        Parameters
        ----------
        near, targets, weights : as of `loss_and_gradient`

        Returns
        -------
        Loss with an empty gradient

        Raises
        ------
        MTPError
            As `loss_and_gradient`.
        """
        return self._loss(near, targets, weights, gradient=False)

    def site_rows(self, near: Neighbours, begin: int = 0, end: int | None = None) -> np.ndarray:
        """Derivatives of the site energies of configurations [begin, end) by the n coefficients.

        Parameters
        ----------
        near : neighbour lists of C configurations
        begin, end : numbers from 0; None: to the last

        Returns
        -------
        (atoms, n): a row an atom, dE_i/dx, eV per unit of each coefficient

        Raises
        ------
        MTPError
            A type is not in the potential, or atoms coincide.
        """
        end = len(near) if end is None else end
        return self._call(_kernel.site_rows, self.neighbours(near), begin, end)

    def configuration_rows(
        self, near: Neighbours, configuration: int, *, linear: bool = False
    ) -> np.ndarray:
        """Derivatives of energy, forces and virial of one configuration by the n coefficients.

        Parameters
        ----------
        near : neighbour lists of C configurations
        configuration : which of them, from 0
        linear : only the columns of the species and moment coefficients, in which the model is
            linear

        Returns
        -------
        (1 + 3 N + 6, n): energy (eV), x y z of each of N forces (eV/Å), xx yy zz yz xz xy of the
        virial (eV)

        Raises
        ------
        MTPError
            A type is not in the potential, or atoms coincide.
        """
        near = self.neighbours(near)
        return self._call(_kernel.configuration_rows, near, configuration, linear)

    def linear_system(self, near: Neighbours, targets: Labels, weights: Weights) -> NormalEquations:
        """Normal equations of the m species and moment coefficients with the radial ones fixed.

        Parameters
        ----------
        near, targets, weights : as of `loss_and_gradient`

        Returns
        -------
        matrix (m, m), vector (m,), constant: the loss is x^T matrix x - 2 vector^T x + constant

        Raises
        ------
        MTPError
            As `loss_and_gradient`.
        """
        return self._normal_equations(near, targets, weights, linear=True)

    def gauss_newton(self, near: Neighbours, targets: Labels, weights: Weights) -> NormalEquations:
        """Gauss-Newton matrix of the loss; one configuration's Jacobian J at a time is in memory.

        Parameters
        ----------
        near, targets, weights : as of `loss_and_gradient`

        Returns
        -------
        matrix J^T W J (n, n), vector J^T W r (n,), constant r^T W r, with r = prediction - label:
        the
        loss is the constant, its gradient 2 vector

        Raises
        ------
        MTPError
            As `loss_and_gradient`.
        """
        return self._normal_equations(near, targets, weights, linear=False)

    def _normal_equations(
        self, near: Neighbours, targets: Labels, weights: Weights, *, linear: bool
    ) -> NormalEquations:
        labels = _shaped(near, targets)
        scales = _expanded(near, weights)
        predicted = [-0.0, -0.0, -0.0] if linear else self.loss(near, targets, weights)[2:]
        sign = -1 if linear else 1
        size = len(self.parameters) - (self.potential.slices.species.start if linear else 0)
        matrix, vector, constant = np.zeros((size, size)), np.zeros(size), 0.0
        residual = [sign * (p - label) for p, label in zip(predicted, labels, strict=True)]
        for c in range(len(near)):
            weight = np.sqrt(_rows_of(near, c, scales, (1, 3, 1)))
            kept = weight > 0
            rows = self.configuration_rows(near, c, linear=linear)[kept]
            rows *= weight[kept, None]
            r = weight[kept] * _rows_of(near, c, residual, (1, 1, 1))[kept]
            matrix += rows.T @ rows  # numpy takes half the work of a product with itself
            vector += rows.T @ r
            constant += r @ r
        return NormalEquations(matrix, vector, float(constant))

    def _loss(self, near: Neighbours, targets: Labels, weights: Weights, *, gradient: bool) -> Loss:
        arrays = [*_shaped(near, targets), *_expanded(near, weights)]
        near = self.neighbours(near)
        return Loss(*self._call(_kernel.loss, near, arrays, gradient, self.threads))

    def _call(self, function: Callable, near: Neighbours, *arguments: object) -> Any:
        try:
            return function(self._model, near.kernel, *arguments)
        except ValueError as error:
            raise MTPError(str(error)) from None


def _finite_configurations(near: Neighbours, energy: np.ndarray, forces: np.ndarray) -> np.ndarray:
    """(C,) whether energy and forces of a configuration are finite."""
    atoms = np.isfinite(forces).all(axis=1)
    parts = (atoms[a:b].all() for a, b in pairwise(near.atom_begin))
    return np.isfinite(energy) & np.fromiter(parts, bool, len(energy))


def _shaped(near: Neighbours, targets: Labels) -> list[np.ndarray]:
    shapes = [(len(near),), (near.atom_count, 3), (len(near), 6)]
    arrays = [
        np.ascontiguousarray(a, float) for a in (targets.energy, targets.forces, targets.virial)
    ]
    for array, shape in zip(arrays, shapes, strict=True):
        if array.shape != shape:
            raise MTPError(f"labels have shape {array.shape}, the configurations need {shape}")
    return arrays


def _expanded(near: Neighbours, weights: Weights) -> list[np.ndarray]:
    forces = np.asarray(weights.forces, float)
    if forces.shape == (len(near),):
        forces = np.repeat(forces, np.diff(near.atom_begin))
    arrays = [np.asarray(weights.energy, float), forces, np.asarray(weights.virial, float)]
    for array, size in zip(arrays, (len(near), near.atom_count, len(near)), strict=True):
        if array.shape != (size,) or not np.isfinite(array).all():
            raise MTPError(f"weights need {size} finite values, got shape {array.shape}")
    return arrays


def _rows_of(
    near: Neighbours, c: int, arrays: Sequence[np.ndarray], repeats: tuple[int, int, int]
) -> np.ndarray:
    """Values of (C, ..), (N, ..), (C, ..) arrays in the row order of configuration c.

    Weights repeat over components; the three shear components count twice in the squared norm.
    """
    begin, end = near.atom_begin[c : c + 2]
    energy, forces, virial = arrays
    if repeats == (1, 3, 1):
        shear = np.array([1, 1, 1, 2, 2, 2]) * virial[c]
        return np.concatenate([energy[c : c + 1], np.repeat(forces[begin:end], 3), shear])
    return np.concatenate([energy[c : c + 1], forces[begin:end].ravel(), virial[c]])
