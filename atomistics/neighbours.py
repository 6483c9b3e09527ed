"""Pairs of atoms under periodic boundaries, for cells of any size and shape."""

from typing import NamedTuple

import numpy as np
from ase import Atoms

from mtp.configuration import Configuration
from mtp.neighbours import Neighbours


class Pairs(NamedTuple):
    """Each pair once from either side: atom i (P,), j or an image of it (P,), distance (P,) Å."""

    i: np.ndarray
    j: np.ndarray
    distance: np.ndarray

    def at(self, chosen: np.ndarray) -> "Pairs":
        """Those that a mask or index picks.

        Parameters
        ----------
        chosen : (P,) flags, or indices

        Returns
        -------
        the pairs, distances in Å
        """
        return Pairs(self.i[chosen], self.j[chosen], self.distance[chosen])


def pairs(atoms: Atoms, reach: float) -> Pairs:
    """All pairs of atoms up to a distance, an atom and its own images included, in order of i.

    By the linked cells of the MTP kernel.

    Parameters
    ----------
    atoms : N atoms, Å
    reach : Å; may exceed the cell many times over

    Returns
    -------
    i (P,), j (P,), distance (P,) Å

    Raises
    ------
    MTPError
        Positions or cell mean nothing (not finite, flat).
    """
    return pairs_and_vectors(atoms, reach)[0]


def pairs_and_vectors(atoms: Atoms, reach: float) -> tuple[Pairs, np.ndarray]:
    """The same with the way from i to j.

    Parameters
    ----------
    atoms : N atoms, Å
    reach : Å

    Returns
    -------
    the pairs of `pairs`, and (P, 3) Å from i to that image of j

    Raises
    ------
    MTPError
        As `pairs`.
    """
    neighbours, kinds = Neighbours(reach), np.zeros(len(atoms), int)
    cell, pbc = atoms.cell.array, atoms.pbc
    neighbours.add(Configuration(cell, kinds, atoms.positions, pbc=pbc), closest=0.0)
    vectors, j = neighbours.kernel.pairs()
    i = np.repeat(np.arange(len(atoms)), np.diff(neighbours.kernel.first))
    return Pairs(i, j, np.sqrt(np.einsum("pk,pk->p", vectors, vectors))), vectors
