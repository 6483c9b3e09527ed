"""A potential for amorphous carbon and for alloys of silicon with it or with germanium, to quench.

Tersoff, Phys. Rev. B 39, 5566 (1989), errata 41, 3248 (1990). It makes starting structures; no
label ever comes from it.
"""

import numpy as np
from ase import Atoms

from atomistics.builders.amorphous.quenching import QuenchingCalculator
from atomistics.builders.amorphous.stillinger_weber import triplets
from atomistics.neighbours import pairs_and_vectors

# A, B (eV), lambda, mu (1/Å), beta, n, c, d, h, R, S (Å)
TABLE: dict[str, tuple[float, ...]] = {
    "C": (
        *(1393.6, 346.74, 3.4879, 2.2119, 1.5724e-7, 0.72751),
        *(38049.0, 4.3484, -0.57058, 1.8, 2.1),
    ),
    "Si": (
        *(1830.8, 471.18, 2.4799, 1.7322, 1.1e-6, 0.78734),
        *(100390.0, 16.217, -0.59825, 2.7, 3.0),
    ),
    "Ge": (
        *(1769.0, 419.23, 2.4451, 1.7047, 9.0166e-7, 0.75627),
        *(106430.0, 15.652, -0.43884, 2.8, 3.1),
    ),
}
CHI = {"CSi": 0.9776, "GeSi": 1.00061}  # of the attraction between two elements


def covers(atoms: Atoms) -> bool:
    """Whether all elements are in the table, and each two of them have an attraction.

    Parameters
    ----------
    atoms : N atoms

    Returns
    -------
    whether `Tersoff` says anything of them
    """
    return published(set(atoms.symbols))


def published(present: set[str]) -> bool:
    """The same of elements: of carbon with germanium nothing is published.

    Parameters
    ----------
    present : symbols

    Returns
    -------
    whether the table covers them
    """
    return bool(present) and present <= set(TABLE) and not {"C", "Ge"} <= present


def evaluate(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces and virial of N atoms.

    Parameters
    ----------
    atoms : of elements of TABLE (Å)

    Returns
    -------
    energy (eV), forces (N, 3) eV/Å, virial (3, 3) eV
    """
    symbols = sorted(set(atoms.symbols))
    rows = np.array([TABLE[s] for s in symbols])
    chi = np.array([[CHI.get("".join(sorted((a, b))), 1.0) for b in symbols] for a in symbols])
    kind = np.array([symbols.index(s) for s in atoms.symbols])
    near, vectors = pairs_and_vectors(atoms, float(rows[:, 10].max()))
    outer = np.sqrt(rows[kind[near.i], 10] * rows[kind[near.j], 10])
    inside = near.distance < outer * (1 - 1e-9)
    (i, j, r), vectors, outer = near.at(inside), vectors[inside], outer[inside]
    own, other, unit = rows[kind[i]], rows[kind[j]], vectors / r[:, None]
    (big_a, big_b, _, _, beta, n, c, d, h, _, _), length = own.T, len(r)
    inner = np.sqrt(own[:, 9] * other[:, 9])
    phase = np.pi * np.clip((r - inner) / (outer - inner), 0, 1)
    cut, cut_slope = 0.5 + 0.5 * np.cos(phase), -0.5 * np.pi * np.sin(phase) / (outer - inner)
    lam, mu = ((own[:, k] + other[:, k]) / 2 for k in (2, 3))
    repulsion = np.sqrt(big_a * other[:, 0]) * np.exp(-lam * r)
    attraction = chi[kind[i], kind[j]] * np.sqrt(big_b * other[:, 1]) * np.exp(-mu * r)
    p, q = triplets(i)
    p, q = np.concatenate([p, q]), np.concatenate([q, p])  # zeta of the bond p, by its neighbour q
    cosine = np.einsum("tk,tk->t", unit[p], unit[q])
    off = h[p] - cosine
    width = d[p] ** 2 + off**2
    angular = 1 + (c[p] / d[p]) ** 2 - c[p] ** 2 / width
    zeta = np.bincount(p, cut[q] * angular, minlength=length)
    power = (beta * np.maximum(zeta, 1e-30)) ** n
    order = (1 + power) ** (-0.5 / n)
    energy = 0.5 * float((cut * (repulsion - order * attraction)).sum())
    along = 0.5 * cut_slope * (repulsion - order * attraction)
    along += 0.5 * cut * (mu * order * attraction - lam * repulsion)
    pull = along[:, None] * unit  # dE/d(vector from i to j), of each pair twice
    # dE/d zeta
    bond = 0.25 * cut * attraction * order * power / (1 + power) / np.maximum(zeta, 1e-30)
    np.add.at(pull, q, (bond[p] * cut_slope[q] * angular)[:, None] * unit[q])
    turning = bond[p] * cut[q] * (-2 * c[p] ** 2 * off / width**2)
    for a, b in ((p, q), (q, p)):
        np.add.at(pull, a, (turning / r[a])[:, None] * (unit[b] - cosine[:, None] * unit[a]))
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, i, pull)
    np.add.at(forces, j, -pull)
    return energy, forces, vectors.T @ pull


class Tersoff(QuenchingCalculator):
    """Of carbon, silicon, germanium, SiC or SiGe, within 2.1 to 3.1 Å."""

    evaluate = staticmethod(evaluate)
