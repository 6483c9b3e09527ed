"""Contacts between molecules undone: a soft push-off that keeps bonds and angles.

After Auhl et al., J. Chem. Phys. 119, 12718 (2003): overlapping atoms repel by a bounded potential,
so that molecules may pass through one another, while springs hold distances of atoms one or two
bonds apart. Any cell, any molecule, fixed hosts; SciPy's L-BFGS-B, no random number.
"""

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from scipy.optimize import minimize
from scipy.sparse import coo_array

from atomistics.errors import UserError
from atomistics.neighbours import Pairs, pairs

SPARE = 1.03  # aimed at, of the distance asked for; a little more each round
STIFFNESS = 20.0  # of springs and walls against the push-off
CROWDED = 0.02  # Å^2 an atom left of the push-off's energy after a round: no use going on
HOPELESS = 0.1  # or starting anew: far too dense
ROUNDS, STEPS = 8, 200


class JammedError(UserError):
    """Nearly there: another start may well do."""


@dataclass(frozen=True)
class Walls:
    """Where atoms may be: low <= z <= high, or a ball (centre (3,), radius), Å."""

    low: float = -np.inf
    high: float = np.inf
    centre: np.ndarray = field(default_factory=lambda: np.zeros(3))
    radius: float = np.inf

    def outside(self, positions: np.ndarray) -> np.ndarray:
        """Displacement of each atom from the nearest allowed place.

        Parameters
        ----------
        positions : (N, 3) Å

        Returns
        -------
        (N, 3) Å; 0 inside
        """
        away = np.zeros_like(positions)
        z = positions[:, 2]
        away[:, 2] = z - np.clip(z, self.low, self.high)
        if np.isfinite(self.radius):
            from_centre = positions - self.centre
            length = np.linalg.norm(from_centre, axis=1)
            beyond = np.maximum(0, length - self.radius) / np.maximum(length, 1e-9)
            away += from_centre * beyond[:, None]
        return away


@dataclass(frozen=True)
class Bonding:
    """Springs (S, 2) of rest length (S,) Å; codes i * N + j of pairs up to three bonds apart."""

    springs: np.ndarray
    lengths: np.ndarray
    near: np.ndarray


def bonding(positions: np.ndarray, bonds: np.ndarray) -> Bonding:
    """Springs that keep molecules in shape.

    Parameters
    ----------
    positions : (N, 3) Å, where every molecule has its shape
    bonds : (B, 2) indices

    Returns
    -------
    springs between atoms up to two bonds apart, and pairs up to three
    """
    n = len(positions)
    ones = np.ones(2 * len(bonds))
    both = np.vstack([bonds, bonds[:, ::-1]])
    one = coo_array((ones, both.T), shape=(n, n)).tocsr()
    two = one @ one + one
    three = two @ one + two
    springs = np.argwhere(np.triu(two.toarray(), 1))
    lengths = np.linalg.norm(positions[springs[:, 0]] - positions[springs[:, 1]], axis=1)
    i, j = three.nonzero()
    return Bonding(springs, lengths, i * n + j)


@dataclass(frozen=True)
class Distances:
    """Least distance of two unbound atoms, Å: `least`, or more where their radii say so.

    `radii` (K, N): sums of two radii in any of the K rows; -inf where a row says nothing.
    """

    least: float
    radii: np.ndarray

    def of(self, neighbours: Pairs) -> np.ndarray:
        """The least distance of each pair.

        Parameters
        ----------
        neighbours : P pairs

        Returns
        -------
        (P,) Å
        """
        return np.maximum(
            self.least, (self.radii[:, neighbours.i] + self.radii[:, neighbours.j]).max(axis=0)
        )

    def times(self, factor: float) -> "Distances":
        """All of them longer by a factor."""
        return Distances(factor * self.least, factor * self.radii)


def contacts(atoms: Atoms, near: np.ndarray, wanted: Distances) -> Pairs:
    """Pairs nearer than wanted, each once, but for bound ones in the same image.

    Parameters
    ----------
    atoms : N atoms, Å
    near : codes i * N + j of bound pairs
    wanted : least distances

    Returns
    -------
    the pairs
    """
    close = pairs(atoms, max(wanted.least, 2 * wanted.radii.max(initial=0)))
    close = close.at(close.distance < wanted.of(close))
    direct = np.linalg.norm(atoms.positions[close.j] - atoms.positions[close.i], axis=1)
    bound = np.isin(close.i * len(atoms) + close.j, near) & (abs(direct - close.distance) < 1e-6)
    return close.at((close.i < close.j) & ~bound)


def remove_overlaps(
    atoms: Atoms,
    bonds: np.ndarray,
    wanted: Distances,
    walls: Walls,
    fixed: np.ndarray | None = None,
) -> Atoms:
    """Move atoms until unbound ones are as far apart as wanted, under the periodic boundaries.

    Parameters
    ----------
    atoms : molecules whole (not wrapped), as they shall be shaped, Å; left as they are
    bonds : (B, 2) indices
    wanted : least distances, Å
    walls : where atoms may be
    fixed : (N,) true for atoms of a host, which neither move nor repel each other

    Returns
    -------
    a copy

    Raises
    ------
    JammedError
        It is not done within ROUNDS; another start may be.
    UserError
        No start will do: what is asked for is too dense.
    """
    moved = atoms.copy()
    held = np.zeros(len(atoms), bool) if fixed is None else fixed
    bound = bonding(atoms.positions, bonds)
    for number in range(ROUNDS):
        if (
            not _short(moved, bound, wanted, held)
            and not (abs(walls.outside(moved.positions[~held])) > 0.05).any()
        ):
            return moved
        aim = wanted.times(SPARE + 0.01 * number)
        result = minimize(
            _energy,
            moved.positions[~held].ravel(),
            jac=True,
            method="L-BFGS-B",
            args=(moved, bound, aim, walls, held),
            options={"maxiter": STEPS},
        )
        moved.positions[~held] = result.x.reshape(-1, 3)
        if result.fun > CROWDED * len(atoms):
            break
    if not (shortfall := _short(moved, bound, wanted, held)):
        return moved
    raise (UserError if result.fun > HOPELESS * len(atoms) else JammedError)(
        f"packing: atoms stay {shortfall} is asked for; lower the density or min_distance_angstrom,"
        " or take another seed"
    )


def _short(atoms: Atoms, bound: Bonding, wanted: Distances, held: np.ndarray) -> str:
    """The pair farthest from what is wanted, in words; nothing where all are far enough."""
    close = contacts(atoms, bound.near, wanted)
    close = close.at(~(held[close.i] & held[close.j]))
    if not len(close.distance):
        return ""
    lack = wanted.of(close) - close.distance
    worst = int(lack.argmax())
    return f"{close.distance[worst]:.2f} Å apart where {wanted.of(close)[worst]:.3g} Å"


def _energy(
    free: np.ndarray,
    atoms: Atoms,
    bound: Bonding,
    wanted: Distances,
    walls: Walls,
    held: np.ndarray,
) -> tuple[float, np.ndarray]:
    atoms.positions[~held] = free.reshape(-1, 3)
    x = atoms.positions
    close = contacts(atoms, bound.near, wanted)
    close = close.at(~(held[close.i] & held[close.j]))
    i, j = close.i, close.j
    apart = _minimum_image(x[j] - x[i], atoms)
    energy, gradient = _harmonic(x, (i, j), apart, wanted.of(close), 1.0)
    i, j = bound.springs.T
    more, slope = _harmonic(x, (i, j), x[j] - x[i], bound.lengths, STIFFNESS)
    away = walls.outside(x) * ~held[:, None]
    total = energy + more + STIFFNESS / 2 * (away**2).sum()
    return total, (gradient + slope + STIFFNESS * away)[~held].ravel()


def _minimum_image(vectors: np.ndarray, atoms: Atoms) -> np.ndarray:
    cell = atoms.cell.complete().array
    turns = np.round(vectors @ np.linalg.inv(cell)) * atoms.pbc
    return vectors - turns @ cell


def _harmonic(
    x: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    apart: np.ndarray,
    rest: np.ndarray,
    k: float,
) -> tuple[float, np.ndarray]:
    """Energy and gradient (N, 3) of k/2 (d - rest)^2 over pairs with vectors `apart` (P, 3)."""
    distance = np.maximum(np.linalg.norm(apart, axis=1), 1e-9)
    stretch = distance - rest
    pull = (k * stretch / distance)[:, None] * apart
    gradient = np.zeros_like(x)
    np.add.at(gradient, ends[1], pull)
    np.add.at(gradient, ends[0], -pull)
    return float(k / 2 * (stretch**2).sum()), gradient
