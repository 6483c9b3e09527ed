"""Neighbour lists of many configurations, kept between evaluations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mtp import _kernel
from mtp.errors import MTPError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mtp.configuration import Configuration

MOST_SPECIES = 1000
CLOSEST = 1e-4  # Å
IDENTITY = np.eye(3)


class Geometry(Protocol):
    """What the engine needs of a configuration: Å; a row of `cell` counts if it is periodic."""

    cell: np.ndarray
    pbc: np.ndarray
    positions: np.ndarray
    types: np.ndarray


class Neighbours:
    """Neighbour lists of many configurations, kept between evaluations: 28 bytes per pair.

    Errors name configurations by numbers from `first` on.
    """

    def __init__(self, cutoff: float, species: int = MOST_SPECIES, first: int = 1) -> None:
        self.kernel = _kernel.Neighbours()
        self.cutoff, self.species, self.first = cutoff, species, first
        self._ghosts: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.kernel.atom_begin) - 1

    @property
    def atom_begin(self) -> np.ndarray:
        """(C + 1,): atoms of configuration c are [atom_begin[c], atom_begin[c + 1])."""
        return self.kernel.atom_begin

    @property
    def atom_count(self) -> int:
        """Atoms of all configurations."""
        return int(self.kernel.atom_begin[-1])

    @property
    def ghosts(self) -> np.ndarray | None:
        """(N,) which atoms are neighbours only (see `Configuration`); None where there is none."""
        if not self._ghosts:
            return None
        flags = np.zeros(self.atom_count, bool)
        for number, own in self._ghosts.items():
            flags[self.atom_begin[number] : self.atom_begin[number + 1]] = own
        return flags

    @property
    def pair_counts(self) -> np.ndarray:
        """(C,): pairs of each configuration, the measure of work when balancing."""
        return np.diff(self.kernel.first[self.kernel.atom_begin])

    def add(self, configuration: Geometry, closest: float = CLOSEST) -> None:
        """Append the neighbour list of one configuration (Å).

        Raises
        ------
        MTPError
            NaN, a flat cell, a type out of range, or atoms nearer than `closest` (Å).
        """
        name = f"configuration {len(self) + self.first}"
        types = np.asarray(configuration.types)
        positions = np.asarray(configuration.positions, float).reshape(-1, 3)
        if types.shape != positions.shape[:1]:
            raise MTPError(f"{name}: one type per position is needed")
        if ((types < 0) | (types >= MOST_SPECIES)).any():
            raise MTPError(f"{name}: types must be 0 to {MOST_SPECIES - 1}")
        if (highest := types.max(initial=0)) >= self.species:
            raise MTPError(
                f"{name}: atom type {highest} is not in the potential, which has {self.species} "
                "species; train it on such a set or renumber the types"
            )
        ghosts = getattr(configuration, "ghosts", None)
        periodic = [ghosts is None and bool(f) for f in np.broadcast_to(configuration.pbc, 3)]
        try:
            cell = _full_cell(configuration.cell, periodic)
            self.kernel.add(cell, periodic, positions, types.astype(np.int32), self.cutoff, closest)
        except (ValueError, MTPError) as error:
            raise MTPError(f"{name}: {error}") from None
        if ghosts is not None:
            self.kernel.drop_centres(ghosts)
            self._ghosts[len(self) - 1] = ghosts


def _full_cell(cell: np.ndarray, periodic: Sequence[bool]) -> np.ndarray:
    """(3, 3) rows; a cell of k < 3 rows is that of the k periodic directions."""
    rows = np.asarray(cell, float).reshape(-1, 3)
    full = np.zeros((3, 3))
    full[: len(rows)] = rows[:3]
    if not np.isfinite(full).all():
        raise MTPError("the cell holds NaN or infinity; mend the Supercell lines")
    if any(flag and not row.any() for flag, row in zip(periodic, full, strict=True)):
        raise MTPError("a periodic direction has no cell vector; set pbc or the cell")
    return full


def neighbours(
    configurations: Iterable[Geometry], cutoff: float, species: int = MOST_SPECIES, first: int = 1
) -> Neighbours:
    """Neighbour lists of all configurations, by linked cells.

    Parameters
    ----------
    configurations : Å
    cutoff : Å; images count, so it may exceed the cell
    species : types must lie below this
    first : number that errors give to the first configuration

    Returns
    -------
    lists of all of them in one object

    Raises
    ------
    MTPError
        A configuration has NaN, a flat cell, a type out of range, or atoms nearer than 1e-4 Å.

    Source: R. W. Hockney and J. W. Eastwood, Computer Simulation Using Particles (1988), ch. 8.
    """
    result = Neighbours(cutoff, species, first)
    for configuration in configurations:
        result.add(configuration)
    return result


class VerletList:
    """Neighbours of one configuration within cutoff + skin, following the atoms until they leave.

    L. Verlet, Phys. Rev. 159, 98 (1967). A changing cell counts as motion: pairs v become
    v G + w_j - w_i with G from the old to the new cell; valid while
    (cutoff + 2 max |w|) |G^-1| <= cutoff + skin, w taken since the list was built.
    """

    def __init__(self, cutoff: float, skin: float) -> None:
        self.cutoff, self.skin = cutoff, max(0.0, skin)
        self.near: Neighbours | None = None
        self.rebuilt = 0
        self._built: Configuration | None = None
        self._last: Configuration | None = None

    def follow(self, now: Configuration) -> Neighbours:
        """The list for these positions, which it keeps: moved along where safe, else built anew.

        Parameters
        ----------
        now : the configuration, Å

        Returns
        -------
        neighbours within cutoff and skin, vectors as they are now

        Raises
        ------
        MTPError
            As `neighbours`.

        Source: L. Verlet, Phys. Rev. 159, 98 (1967).
        """
        if self._holds(now):
            self.near.kernel.move(*_motion(self._last, now))
        else:
            self.near = neighbours([now], self.cutoff + self.skin)
            self._built = now
            self.rebuilt += 1
        self._last = now
        return self.near

    def _holds(self, now: Configuration) -> bool:
        """False also where anything is not finite: building says what is wrong."""
        built = self._built
        if built is None or not (_same(built.types, now.types) and _same(built.pbc, now.pbc)):
            return False
        strained = not _same(built.cell, now.cell)
        if strained and not (built.volume and now.volume and np.isfinite(now.cell).all()):
            return False
        was, back = built.positions, 1.0
        if strained:
            strain = np.linalg.solve(built.cell, now.cell)
            was, back = was @ strain, 1.0 / np.linalg.svd(strain, compute_uv=False)[-1]
        farthest = math.sqrt(_kernel.farthest(now.positions, was))
        return (self.cutoff + 2 * farthest) * back <= self.cutoff + self.skin


def _motion(before: Configuration, now: Configuration) -> tuple[np.ndarray, np.ndarray]:
    """G (3, 3) with cell G = new cell, and w (N, 3) = r_new - r_old G."""
    if _same(before.cell, now.cell):
        return IDENTITY, now.positions - before.positions
    strain = np.linalg.solve(before.cell, now.cell)
    return strain, now.positions - before.positions @ strain


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Bit by bit, at a tenth of what a comparison of numbers costs an MD step."""
    return one is other or one.tobytes() == other.tobytes()


def finite(values: np.ndarray | float) -> bool:
    """Whether all values are finite: a finite sum of squares says so at once.

    Parameters
    ----------
    values : of any shape and unit; where their squares overflow each is looked at

    Returns
    -------
    False where one is NaN or infinite
    """
    if isinstance(values, float):
        return math.isfinite(values)
    return math.isfinite(np.vdot(values, values)) or bool(np.isfinite(values).all())
