"""A pair potential for oxide glasses, to melt and quench packings before the reference sees them.

Pedone, Malavasi, Menziani, Cormack and Segre, J. Phys. Chem. B 110, 11780 (2006): partial charges,
a Morse term of each cation with oxygen and of oxygen with itself, a repulsion C / r^12. The
electrostatics are Wolf's, damped and shifted (Fennell and Gezelter, J. Chem. Phys. 124, 234104
(2006)). It makes starting structures; no label ever comes from it.
"""

from collections.abc import Mapping

import numpy as np
from ase import Atoms
from scipy.special import erfc

from atomistics.builders.amorphous.quenching import QuenchingCalculator
from atomistics.neighbours import pairs_and_vectors

COULOMB = 14.399645  # eV Å / e^2
CUTOFF, DAMPING = 7.0, 0.25  # Å, 1/Å
# charge (e); D (eV), a (1/Å), r0 (Å), C (eV Å^12) with oxygen
TABLE: dict[str, tuple[float, float, float, float, float]] = {
    "O": (-1.2, 0.042395, 1.379316, 3.618701, 22.0),
    "Li": (0.6, 0.001114, 3.429506, 2.681360, 1.0),
    "Na": (0.6, 0.023363, 1.763867, 3.006315, 5.0),
    "K": (0.6, 0.011612, 2.062605, 3.305308, 5.0),
    "Mg": (1.2, 0.038908, 2.281000, 2.586153, 5.0),
    "Ca": (1.2, 0.030211, 2.241334, 2.923245, 5.0),
    "Al": (1.8, 0.361581, 1.900442, 2.164818, 0.9),
    "Si": (2.4, 0.340554, 2.006700, 2.100000, 1.0),
    "Ge": (2.4, 0.158118, 2.294230, 2.261313, 5.0),
    "P": (3.0, 0.831326, 2.585833, 1.800790, 1.0),
}


def covers(atoms: Atoms) -> bool:
    """Whether all elements are in the table, with oxygen among them, and charges balance.

    Parameters
    ----------
    atoms : N atoms

    Returns
    -------
    whether `Pedone` says anything of them
    """
    return neutral_oxide(atoms, {symbol: row[0] for symbol, row in TABLE.items()})


def evaluate(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces and virial.

    Parameters
    ----------
    atoms : N atoms, Å, whose elements are in TABLE

    Returns
    -------
    energy (eV), forces (N, 3) eV/Å, virial (3, 3) eV

    Source: Pedone et al., J. Phys. Chem. B 110, 11780 (2006); Fennell and Gezelter, J. Chem. Phys.
    124, 234104 (2006).
    """
    (i, j, r), vectors = pairs_and_vectors(atoms, CUTOFF)
    rows = np.array([TABLE[s] for s in atoms.symbols])
    oxygen = np.array(atoms.symbols) == "O"
    energy, slope = coulomb(rows[i, 0] * rows[j, 0], r)
    bound = oxygen[i] | oxygen[j]
    other = np.where(oxygen[i], j, i)
    _, depth, width, rest, core = rows[other].T
    stretch = np.exp(-width * (r - rest))
    morse = depth * ((1 - stretch) ** 2 - 1) + core / r**12
    energy += np.where(bound, morse, 0.0)
    pull = 2 * depth * width * stretch * (1 - stretch) - 12 * core / r**13
    slope += np.where(bound, pull, 0.0)
    return summed(energy, slope, (i, r, vectors), rows[:, 0])


def neutral_oxide(atoms: Atoms, charges: Mapping[str, float]) -> bool:
    """Whether all elements have a charge here, with oxygen among them, and charges balance.

    Parameters
    ----------
    atoms : N atoms
    charges : e, by element

    Returns
    -------
    whether a potential of these charges says anything of the atoms
    """
    symbols = set(atoms.symbols)
    charge = sum(charges[s] for s in atoms.symbols) if symbols <= charges.keys() else 1.0
    return "O" in symbols and abs(charge) < 1e-6


def summed(
    energy: np.ndarray,
    slope: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
    charges: np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces and virial of pairs that each stand there twice, and of the charges alone.

    Parameters
    ----------
    energy, slope : (P,) eV, eV/Å of each pair
    pairs : first atoms (P,), distances (P,) Å, vectors (P, 3) Å from the first to the second
    charges : (N,) e

    Returns
    -------
    energy (eV), forces (N, 3) eV/Å, virial (3, 3) eV
    """
    first, r, vectors = pairs
    pairwise = (slope / r)[:, None] * vectors  # dE/dr along the vector
    forces = np.zeros((len(charges), 3))
    np.add.at(forces, first, pairwise)
    shifted = float(erfc(DAMPING * CUTOFF) / CUTOFF)
    alone = -COULOMB * (shifted / 2 + DAMPING / np.pi**0.5) * (charges**2).sum()
    return 0.5 * float(energy.sum()) + float(alone), forces, 0.5 * vectors.T @ pairwise


def coulomb(charges: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Damped shifted-force electrostatics of pairs.

    Parameters
    ----------
    charges : (P,) e^2, products of two charges; r : (P,) Å

    Returns
    -------
    energies (P,) eV, slopes (P,) eV/Å
    """

    def both(x: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        value = erfc(DAMPING * x) / x
        gauss = 2 * DAMPING / np.pi**0.5 * np.exp(-((DAMPING * x) ** 2)) / x
        return value, -(value / x + gauss)

    value, slope = both(r)
    value_end, slope_end = both(CUTOFF)
    energy = charges * COULOMB * (value - value_end - slope_end * (r - CUTOFF))
    return energy, charges * COULOMB * (slope - slope_end)


class Pedone(QuenchingCalculator):
    """Of an oxide, over all pairs within 7 Å."""

    evaluate = staticmethod(evaluate)
