"""Where a training starts: species, innermost distance and first radial functions.

Old coefficients are kept exactly; only what the training set adds gets new ones, from the seed.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from mtp.basis import LARGEST_LEVEL, level_basis, level_scalars
from mtp.configuration import Configuration
from mtp.errors import MTPError
from mtp.potential import Potential, untrained

MINDIST_MARGIN = 0.99
LEVELS = (6, 8, 10, 12, 14, 16, 18, 20)
LABELS_PER_COEFFICIENT = 30
SCATTER = 0.03


def with_species(potential: Potential, present: set[int], rng: np.random.Generator) -> Potential:
    """The potential for the species of the training set, numbered 0, 1, ... as in its file.

    An untrained template takes the number of species from the training set, as MLIP-3 does. A
    species that is new to a trained potential starts from the mean radial functions of the others
    with its partner, scattered by a tenth, and with the mean energy (eV) of a lone atom.

    Parameters
    ----------
    potential : template or trained
    present : types in the training set
    rng : scatters the new radial functions

    Returns
    -------
    the potential itself where it has all species already

    Raises
    ------
    MTPError
        A species of the potential, or a number below the largest, is not in the training set.
    """
    count = max(present) + 1
    missing = sorted(set(range(count)) - present)
    if potential.trained:
        missing = sorted(set(range(potential.species_count)) - present) + [
            species for species in missing if species >= potential.species_count
        ]
    if missing:
        raise MTPError(
            f"species {', '.join(map(str, missing))} of the potential not present in the training "
            "set; add configurations with them or renumber the types"
        )
    if not potential.trained:
        return replace(potential, species_count=count)
    return potential if count == potential.species_count else _extended(potential, count, rng)


def _extended(potential: Potential, count: int, rng: np.random.Generator) -> Potential:
    old = potential.species_count
    radial = np.empty((count, count, *potential.radial_shape[2:]))
    radial[:old, :old] = potential.radial_coeffs
    radial[old:, :old] = radial[:old, :old].mean(axis=0)
    radial[:old, old:] = radial[:old, :old].mean(axis=1)[:, None]
    radial[old:, old:] = radial[:old, :old].mean(axis=(0, 1))
    scatter = 1.0 + 0.1 * rng.normal(size=radial.shape)
    scatter[:old, :old] = 1.0
    constants = np.full(count, potential.species_coeffs.mean())
    constants[:old] = potential.species_coeffs
    return replace(
        potential,
        species_count=count,
        radial_coeffs=radial * scatter,
        species_coeffs=constants,
        active_set=None,
    )


def with_min_dist(potential: Potential, shortest: float) -> Potential:
    """The same function with min_dist set to 0.99 of the shortest distance.

    A radial function is a polynomial in r times (max_dist - r)^2, so coefficients on the new
    interval represent it exactly: they are the old ones times the matrix between the two
    Chebyshev bases, and energies change by rounding only.

    Parameters
    ----------
    potential : template or trained
    shortest : Å, the shortest distance in the training set

    Returns
    -------
    the potential, without active set where it has changed

    Raises
    ------
    MTPError
        No two atoms are closer than the cutoff.
    """
    shorter = MINDIST_MARGIN * shortest
    if shorter >= potential.max_dist:
        raise MTPError(
            f"no two atoms of the training set are closer than the cutoff {potential.max_dist} A"
        )
    moved = replace(potential, min_dist=shorter, active_set=None)
    if not potential.trained or abs(shorter - potential.min_dist) < 1e-6 * shorter:
        return moved if not potential.trained else potential
    change = _chebyshev_change(potential, moved)
    return replace(moved, radial_coeffs=potential.radial_coeffs @ change.T)


def _chebyshev_change(old: Potential, new: Potential) -> NDArray[np.float64]:
    """(R, R) matrix from coefficients on the old interval of distances to those on the new."""
    size = old.radial_basis_size
    distances = np.linspace(new.min_dist, new.max_dist, 4 * size)

    def values(potential: Potential) -> NDArray[np.float64]:
        low, high = potential.min_dist, potential.max_dist
        return chebyshev.chebvander((2 * distances - low - high) / (high - low), size - 1)

    return np.linalg.lstsq(values(new), values(old), rcond=None)[0]


def enlarged(
    potential: Potential, level: int, radial_basis: int, cutoff: float, rng: np.random.Generator
) -> Potential:
    """The same function of a larger basis: a start for fitting what the smaller could not hold.

    Parameters
    ----------
    potential
        A trained potential of a level's basis.
    level, radial_basis, cutoff
        Of the larger one: even, 2 to 28; polynomials per radial function; Å. None smaller than the
        potential's own.
    rng
        Gives radial functions to moments that the smaller basis has not.

    Returns
    -------
    Potential
        Functions of the lower level keep their coefficients, new ones have none, and further
        polynomials begin at nought, so energies are the same to rounding. A longer cutoff is no
        such subset: radial functions are then the least squares of the old ones.

    Raises
    ------
    MTPError
        The potential is untrained, not of a level, or larger than asked for.
    """
    own = level_of(potential)
    small = level < own or radial_basis < potential.radial_basis_size
    if small or cutoff < potential.max_dist - 1e-9:
        raise MTPError(
            f"level {own}, {potential.radial_basis_size} polynomials and {potential.max_dist:g} A"
            f" cannot be reduced to {level}, {radial_basis} and {cutoff:g} A"
        )
    larger = untrained(level, potential.species_count, potential.min_dist, cutoff, radial_basis)
    start = with_random_functions(replace(larger, core=potential.core), rng)
    radial, functions = np.array(start.radial_coeffs), potential.radial_funcs_count
    change = _radial_change(potential, larger)
    radial[:, :, :functions] = potential.radial_coeffs @ change.T
    places = {graph: i for i, graph in enumerate(level_scalars(level))}
    moments = np.zeros(len(places))
    for graph, coefficient in zip(level_scalars(own), potential.moment_coeffs, strict=True):
        moments[places[graph]] = coefficient
    return replace(
        start,
        scaling=potential.scaling,
        radial_coeffs=radial,
        species_coeffs=np.array(potential.species_coeffs),
        moment_coeffs=moments,
    )


def level_for(training: Sequence[Configuration], species: int, radial_basis: int) -> int:
    """The highest of LEVELS with so many labels a coefficient that it cannot learn them by heart.

    Parameters
    ----------
    training : labelled; an energy, three components an atom and six of a virial count
    species, radial_basis : of the potential

    Returns
    -------
    a level, the lowest where there are fewer labels
    """
    labels = sum(
        (c.energy is not None) + 3 * len(c) * (c.forces is not None) + 6 * (c.virial is not None)
        for c in training
    )
    sizes = {
        level: untrained(level, species, radial_basis_size=radial_basis).parameter_count
        for level in LEVELS
    }
    return max(
        (level for level in LEVELS if sizes[level] * LABELS_PER_COEFFICIENT <= labels),
        default=LEVELS[0],
    )


def level_of(potential: Potential) -> int:
    """The level whose basis a potential has.

    Parameters
    ----------
    potential : trained

    Returns
    -------
    even, 2 to 28

    Raises
    ------
    MTPError
        It is untrained, or its basis is that of no level.
    """
    if not potential.trained:
        raise MTPError("potential is untrained: there is nothing to enlarge; start from scratch")
    count = len(potential.alpha_moment_mapping)
    for level in range(2, LARGEST_LEVEL + 1, 2):
        if len(level_scalars(level)) == count:
            ours = level_basis(level)
            pairs = (
                (ours.alpha_index_basic, potential.alpha_index_basic),
                (ours.alpha_index_times, potential.alpha_index_times),
                (ours.alpha_moment_mapping, potential.alpha_moment_mapping),
            )
            if all(np.array_equal(mine, theirs) for mine, theirs in pairs):
                return level
        elif len(level_scalars(level)) > count:
            break
    raise MTPError(f"its {count} basis functions are those of no level; start from scratch")


def _radial_change(old: Potential, new: Potential) -> NDArray[np.float64]:
    """(R', R) matrix from coefficients of the old radial functions to those of the new.

    Exact where only polynomials are added; for another cutoff the least squares over distances.
    """
    size, larger = old.radial_basis_size, new.radial_basis_size
    if new.max_dist == old.max_dist:
        return np.eye(larger, size)
    distances = np.linspace(new.min_dist, new.max_dist, 20 * larger)

    def values(potential: Potential) -> NDArray[np.float64]:
        low, high = potential.min_dist, potential.max_dist
        inside = np.minimum(distances, high)
        x = (2 * inside - low - high) / (high - low)
        smooth = np.square(high - inside)[:, None]
        return smooth * chebyshev.chebvander(x, potential.radial_basis_size - 1)

    return np.linalg.lstsq(values(new), values(old), rcond=None)[0]


def with_first_functions(potential: Potential, rng: np.random.Generator) -> Potential:
    """Radial functions an untrained potential starts from: one polynomial each; the rest zero.

    Function m begins as the Chebyshev polynomial of degree m for every pair of species, as in
    MLIP-3, scattered by SCATTER so that pairs differ. Functions that start apart end in one
    minimum, where random ones end in several (MLIP-3's example 01: loss 0.001154 from 13 of 16
    such starts and 2 of 4 random ones, 0.001257 from the others).

    Parameters
    ----------
    potential : template
    rng : scatters them

    Returns
    -------
    a potential with coefficients, all but the radial ones zero
    """
    _, _, functions, size = potential.radial_shape
    radial = SCATTER * rng.normal(size=potential.radial_shape) / (1.0 + np.arange(size))
    radial[:, :, range(functions), [min(m, size - 1) for m in range(functions)]] += 1.0
    return _normalised(potential, radial)


def with_random_functions(potential: Potential, rng: np.random.Generator) -> Potential:
    """Random smooth radial functions for an untrained potential; the rest zero.

    A function is the sum of one shared by all pairs of species and one of its own; amplitudes
    fall with the order of the polynomial.

    Parameters
    ----------
    potential : template
    rng : draws them

    Returns
    -------
    a potential with coefficients, all but the radial ones zero
    """
    _, _, functions, size = potential.radial_shape
    shared = rng.normal(size=(1, 1, functions, size))
    own = rng.normal(size=potential.radial_shape)
    return _normalised(potential, (shared + own) / (1.0 + np.arange(size)))


def _normalised(potential: Potential, radial: NDArray[np.float64]) -> Potential:
    """The potential with these functions at norm 1 over all pairs, which the penalty asks for."""
    radial = radial / np.sqrt(np.sum(radial**2, axis=(0, 1, 3), keepdims=True))
    return replace(
        potential,
        radial_coeffs=radial,
        species_coeffs=np.zeros(potential.species_count),
        moment_coeffs=np.zeros(len(potential.alpha_moment_mapping)),
    )


def moment_degrees(potential: Potential) -> NDArray[np.int64]:
    """Number of radial functions that each basis function multiplies.

    Parameters
    ----------
    potential : its contraction graph is read

    Returns
    -------
    (K,)
    """
    basic = len(potential.alpha_index_basic)
    degrees = np.zeros(potential.alpha_moments_count, int)
    degrees[:basic] = 1
    for first, second, _, target in potential.alpha_index_times:
        degrees[target] = degrees[first] + degrees[second]
    return degrees[potential.alpha_moment_mapping]


def balanced_scaling(potential: Potential, diagonal: NDArray[np.float64]) -> float:
    """Scaling at which basis functions of every degree weigh alike in the linear fit.

    A basis function of degree d grows as scaling^d. The slope of the logarithm of their sizes in d
    is made zero (MLIP-3 searches for this value by repeated fits).

    Parameters
    ----------
    potential : with the present scaling
    diagonal : (K,) of the normal matrix at it: summed squares of each basis function

    Returns
    -------
    the scaling, a plain factor
    """
    degrees, size = moment_degrees(potential), 0.5 * np.log(np.maximum(diagonal, 1e-300))
    spread = np.var(degrees)
    slope = np.mean((degrees - degrees.mean()) * (size - size.mean())) / spread if spread else 0.0
    return float(potential.scaling * np.exp(-slope))
