"""A pair potential for glasses and melts of silicates and borates, to melt and quench packings.

Guillot and Sator, Geochim. Cosmochim. Acta 71, 1249 (2007); boron of Wang, Krishnan, Wang,
Smedskjaer, Mauro and Bauchy, J. Non-Cryst. Solids 498, 294 (2018), which fits the others: charges
and a Buckingham term with oxygen. A core C / r^12 as Pedone's keeps hot atoms from falling into
each other; electrostatics as there. It makes starting structures; no label ever comes from it.
"""

import numpy as np
from ase import Atoms

from atomistics.builders.amorphous.pedone import CUTOFF, coulomb, neutral_oxide, summed
from atomistics.builders.amorphous.quenching import QuenchingCalculator
from atomistics.neighbours import pairs_and_vectors

# charge, e
CHARGES = {
    "O": -0.945,
    "Si": 1.89,
    "Ti": 1.89,
    "Al": 1.4175,
    "B": 1.4175,
    "Mg": 0.945,
    "Ca": 0.945,
    "Na": 0.4725,
    "K": 0.4725,
}
# A (eV), rho (Å), C (eV Å^6)
BUCKINGHAM = {
    ("O", "O"): (9022.79, 0.265, 85.0921),
    ("Si", "O"): (50306.10, 0.161, 46.2978),
    ("Ti", "O"): (50126.64, 0.178, 46.2978),
    ("Al", "O"): (28538.42, 0.172, 34.5778),
    ("B", "O"): (206941.81, 0.124, 35.0018),
    ("Mg", "O"): (32652.64, 0.178, 27.2810),
    ("Ca", "O"): (155667.70, 0.178, 42.2597),
    ("Na", "O"): (120303.80, 0.17, 0.0),
    ("K", "O"): (2284.77, 0.29, 0.0),
    ("B", "B"): (484.40, 0.35, 0.0),
    ("Si", "B"): (337.70, 0.29, 0.0),
}
CORE = {True: 22.0, False: 1.0}  # eV Å^12, of two oxygens or not


def covers(atoms: Atoms) -> bool:
    """Whether all elements are in the table, with oxygen among them, and charges balance.

    Parameters
    ----------
    atoms : N atoms

    Returns
    -------
    whether `GuillotSator` says anything of them
    """
    return neutral_oxide(atoms, CHARGES)


def evaluate(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces and virial.

    Parameters
    ----------
    atoms : N atoms, Å, whose elements are in CHARGES

    Returns
    -------
    energy (eV), forces (N, 3) eV/Å, virial (3, 3) eV

    Source: Guillot and Sator (2007); Wang et al. (2018).
    """
    (i, j, r), vectors = pairs_and_vectors(atoms, CUTOFF)
    symbols = sorted(set(atoms.symbols))
    kind = np.array([symbols.index(s) for s in atoms.symbols])
    charges = np.array([CHARGES[s] for s in atoms.symbols])
    rows = np.array([[_terms(a, b) for b in symbols] for a in symbols])
    height, width, attraction, core = rows[kind[i], kind[j]].T
    energy, slope = coulomb(charges[i] * charges[j], r)
    wall = height * np.exp(-r / width)
    energy += wall - attraction / r**6 + core / r**12
    slope += -wall / width + 6 * attraction / r**7 - 12 * core / r**13
    return summed(energy, slope, (i, r, vectors), charges)


def _terms(one: str, other: str) -> tuple[float, float, float, float]:
    """A, rho, C and core of two elements; no terms but charges for two metals."""
    given = BUCKINGHAM.get((one, other)) or BUCKINGHAM.get((other, one))
    core = CORE[one == other == "O"] if "O" in (one, other) else 0.0
    return (*(given or (0.0, 1.0, 0.0)), core)


class GuillotSator(QuenchingCalculator):
    """Of a silicate or borate, over all pairs within 7 Å."""

    evaluate = staticmethod(evaluate)
