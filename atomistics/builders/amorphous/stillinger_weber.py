"""A potential for amorphous silicon and germanium, to melt and quench packings of them.

Stillinger and Weber, Phys. Rev. B 31, 5262 (1985) for silicon; Ding and Andersen, Phys. Rev. B 34,
6987 (1986) for germanium. It makes starting structures; no label ever comes from it.
"""

import numpy as np
from ase import Atoms

from atomistics.builders.amorphous.quenching import QuenchingCalculator
from atomistics.neighbours import pairs_and_vectors

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


def evaluate(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces and virial of N atoms of one element.

    Parameters
    ----------
    atoms : of one element of TABLE (Å)

    Returns
    -------
    energy (eV), forces (N, 3) eV/Å, virial (3, 3) eV
    """
    epsilon, sigma, strength = TABLE[str(atoms.symbols[0])]
    near, vectors = pairs_and_vectors(atoms, CUT * sigma)
    inside = near.distance < CUT * sigma * (1 - 1e-9)
    (i, j, r), vectors = near.at(inside), vectors[inside]
    x, unit = r / sigma, vectors / r[:, None]
    tail, slope = np.exp(1 / (x - CUT)), -1 / (x - CUT) ** 2
    pair = BIG_B * x**-4 - 1
    energy = 0.5 * epsilon * BIG_A * float((pair * tail).sum())
    along = 0.5 * epsilon * BIG_A / sigma * tail * (-4 * BIG_B * x**-5 + pair * slope)
    pull = along[:, None] * unit  # dE/d(vector from i to j), of each pair twice
    one, other = triplets(i)
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
    return energy, forces, vectors.T @ pull


def triplets(i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs p < q of pairs that begin at one atom.

    Parameters
    ----------
    i : (P,) first atoms of pairs, sorted

    Returns
    -------
    p, q : (T,) indices of pairs
    """
    count = np.bincount(i)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    left = np.repeat(np.arange(len(i)), count[i])
    ends = np.cumsum(count[i])
    right = np.arange(len(left)) - np.repeat(ends - count[i], count[i]) + first[i[left]]
    kept = right > left
    return left[kept], right[kept]


class StillingerWeber(QuenchingCalculator):
    """Of silicon or germanium, over all pairs and triplets within the cutoff (Si: 3.77 Å)."""

    evaluate = staticmethod(evaluate)
