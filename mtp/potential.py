"""Moment tensor potentials: their coefficients, and where each lies in the parameter vector."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mtp.basis import Basis, level_basis
from mtp.errors import MTPError

if TYPE_CHECKING:
    from mtp.repulsion import RepulsiveCore
    from mtp.selection.active_set import ActiveSet


class Slices(NamedTuple):
    """Where each kind of coefficient lies in the flat parameter vector."""

    radial: slice
    species: slice
    moment: slice


@dataclass(frozen=True, eq=False)
class Potential:
    """One moment tensor potential, MTP format 1.1.0 of MLIP-3.

    The energy (eV) of an atom of species s is species_coeffs[s] + sum_k moment_coeffs[k] B_k, with
    radial functions scaling * sum_r c[s, t, mu, r] T_r(x) (max_dist - r)^2, T_r the Chebyshev
    polynomials on [min_dist, max_dist] (Shapeev, Multiscale Model. Simul. 14, 1153, 2016).

    Attributes
    ----------
    min_dist, max_dist : Å
    radial_coeffs : (S, S, M, R), for S species, M radial functions, R polynomials
    species_coeffs : (S,) eV
    moment_coeffs : (K,) eV
    active_set : rows of MaxVol, in an `.almtp` file
    core : repulsion that the energy is on top of, in a file beside

    All three arrays of coefficients are None in an untrained template.
    """

    species_count: int
    min_dist: float
    max_dist: float
    radial_basis_size: int
    basis: Basis
    radial_coeffs: np.ndarray | None = None
    species_coeffs: np.ndarray | None = None
    moment_coeffs: np.ndarray | None = None
    scaling: float = 1.0
    version: str = "1.1.0"
    name: str = "MTP1m"
    potential_tag: str = ""
    radial_basis_type: str = "RBChebyshev"
    active_set: ActiveSet | None = None
    core: RepulsiveCore | None = None

    @property
    def radial_funcs_count(self) -> int:
        """M, the number of radial functions per pair of species."""
        return self.basis.radial_funcs_count

    @property
    def alpha_moments_count(self) -> int:
        """Number of nodes of the contraction graph, basic moments included."""
        return self.basis.alpha_moments_count

    @property
    def alpha_index_basic(self) -> np.ndarray:
        """(n, 4): radial index and the powers of x, y, z of each basic moment."""
        return self.basis.alpha_index_basic

    @property
    def alpha_index_times(self) -> np.ndarray:
        """(m, 4): moment[d] += c * moment[a] * moment[b] for each row (a, b, c, d), in order."""
        return self.basis.alpha_index_times

    @property
    def alpha_moment_mapping(self) -> np.ndarray:
        """(K,): the moments that are basis functions."""
        return self.basis.alpha_moment_mapping

    @property
    def trained(self) -> bool:
        """Whether the coefficients exist."""
        return self.radial_coeffs is not None

    @property
    def radial_shape(self) -> tuple[int, int, int, int]:
        """(S, S, M, R)."""
        species = self.species_count
        return (species, species, self.radial_funcs_count, self.radial_basis_size)

    @property
    def slices(self) -> Slices:
        """MLIP-3's order of coefficients: radial, then species, then moment."""
        radial = int(np.prod(self.radial_shape))
        species = radial + self.species_count
        end = species + len(self.alpha_moment_mapping)
        return Slices(slice(0, radial), slice(radial, species), slice(species, end))

    @property
    def parameter_count(self) -> int:
        """Number of coefficients."""
        return self.slices.moment.stop

    @property
    def parameters(self) -> np.ndarray:
        """All coefficients (n,) as one vector, see `slices`.

        Raises
        ------
        MTPError
            The potential is an untrained template.
        """
        if self.radial_coeffs is None:
            raise MTPError("potential is untrained: it has no coefficients; train it first")
        return np.concatenate([self.radial_coeffs.ravel(), self.species_coeffs, self.moment_coeffs])

    def with_parameters(self, parameters: np.ndarray) -> Potential:
        """The same potential with other coefficients; its active set no longer applies.

        Parameters
        ----------
        parameters : (n,) in the order of `slices`

        Returns
        -------
        a trained potential without active set
        """
        radial, species, moment = (np.array(parameters[part], float) for part in self.slices)
        return replace(
            self,
            radial_coeffs=radial.reshape(self.radial_shape),
            species_coeffs=species,
            moment_coeffs=moment,
            active_set=None,
        )


def untrained(
    level: int,
    species_count: int,
    min_dist: float = 1.9,
    max_dist: float = 5.0,
    radial_basis_size: int = 8,
) -> Potential:
    """Template of a level without coefficients.

    Parameters
    ----------
    level : even, 2 to 28
    species_count : number of types
    min_dist, max_dist : Å, the interval of the radial functions; max_dist is the cutoff
    radial_basis_size : Chebyshev polynomials per radial function

    Returns
    -------
    a potential whose coefficients are None

    Raises
    ------
    MTPError
        No basis of this level exists.
    """
    return Potential(species_count, min_dist, max_dist, radial_basis_size, level_basis(level))
