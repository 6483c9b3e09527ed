"""A potential for amorphous silicon and germanium, to melt and quench packings of them.

Stillinger and Weber, Phys. Rev. B 31, 5262 (1985) for silicon; Ding and Andersen, Phys. Rev. B 34,
6987 (1986) for germanium. It makes starting structures; no label ever comes from it.
"""

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mtp.configuration import Configuration
from mtp.neighbours import Neighbours

# epsilon (eV), sigma (Å), lambda
TABLE: dict[str, tuple[float, float, float]] = {
    "Si": (2.1682, 2.0951, 21.0),
    "Ge": (1.93, 2.181, 31.0),
}
BIG_A, BIG_B, CUT, GAMMA, COSINE = 7.049556277, 0.6022245584, 1.80, 1.20, -1 / 3


def covers(atoms: Atoms) -> bool:
    """Whether it is one element of the table.

    Parameters
    ----------
    atoms : N atoms

    Returns
    -------
    whether `StillingerWeber` says anything of them
    """
    present = set(atoms.symbols)
    return len(present) == 1 and present <= set(TABLE)


class StillingerWeber(Calculator):
    """Energy (eV), forces (N, 3) eV/Å and stress (6,) eV/Å^3; periodic in x, y, z."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """One evaluation over all pairs and triplets within the cutoff (Si: 3.77 Å).

        Parameters
        ----------
        atoms : N atoms, Å; None for those of the last call
        properties : not used: all are found
        system_changes : names of ASE's `all_changes`
        """
        super().calculate(atoms, properties or ["energy"], system_changes)
        assert self.atoms is not None  # the base class has just set it
        self.results = evaluate(self.atoms)


def evaluate(atoms: Atoms) -> dict[str, Any]:
    """Energy, forces and stress of N atoms of one element.

    Parameters
    ----------
    atoms : of one element of TABLE (Å)

    Returns
    -------
    energy and free_energy (eV), forces (N, 3) eV/Å, stress (6,) eV/Å^3, as ASE names them
    """
    epsilon, sigma, strength = TABLE[str(atoms.symbols[0])]
    neighbours = Neighbours(CUT * sigma)
    cell, kinds = atoms.cell.array, np.zeros(len(atoms), int)
    neighbours.add(Configuration(cell, kinds, atoms.positions, pbc=atoms.pbc), closest=0.0)
    vectors, j = neighbours.kernel.pairs()
    count = np.diff(neighbours.kernel.first)
    i = np.repeat(np.arange(len(atoms)), count)
    r = np.sqrt(np.einsum("pk,pk->p", vectors, vectors))
    inside = r < CUT * sigma * (1 - 1e-9)
    vectors, i, j, r = vectors[inside], i[inside], j[inside], r[inside]
    x, unit = r / sigma, vectors / r[:, None]
    tail, slope = np.exp(1 / (x - CUT)), -1 / (x - CUT) ** 2
    pair = BIG_B * x**-4 - 1
    energy = 0.5 * epsilon * BIG_A * float((pair * tail).sum())
    along = 0.5 * epsilon * BIG_A / sigma * tail * (-4 * BIG_B * x**-5 + pair * slope)
    pull = along[:, None] * unit  # dE/d(vector from i to j), of each pair twice
    one, other = _triplets(i)
    edge, bend = np.exp(GAMMA / (x - CUT)), -GAMMA / sigma / (x - CUT) ** 2
    cosine = np.einsum("tk,tk->t", unit[one], unit[other])
    off = cosine - COSINE
    weight = epsilon * strength * edge[one] * edge[other]
    energy += float((weight * off**2).sum())
    for a, b in ((one, other), (other, one)):
        turn = (unit[b] - cosine[:, None] * unit[a]) / r[a][:, None]
        np.add.at(pull, a, (2 * weight * off)[:, None] * turn)
        np.add.at(pull, a, (weight * off**2 * bend[a])[:, None] * unit[a])
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, i, pull)
    np.add.at(forces, j, -pull)
    stress = vectors.T @ pull / atoms.get_volume()
    voigt = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    return {"energy": energy, "free_energy": energy, "forces": forces, "stress": voigt}


def _triplets(i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs p < q (T,) of one atom i: `i` (P,) is sorted."""
    count = np.bincount(i)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    left = np.repeat(np.arange(len(i)), count[i])
    ends = np.cumsum(count[i])
    right = np.arange(len(left)) - np.repeat(ends - count[i], count[i]) + first[i[left]]
    kept = right > left
    return left[kept], right[kept]
