"""Molecules and molecular ions inside crystals: finite groups of bound non-metals."""

from collections import deque

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

NONMETALS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 52, 53)  # H, B to F, Si to Cl, As to Br,
# Te, I: what forms molecules and molecular ions
# Å, of anions (Shannon, Acta Cryst. A 32, 751 (1976), six neighbours)
IONIC_RADII = {"O": 1.40, "F": 1.33, "Cl": 1.81, "Br": 1.96, "I": 2.20, "S": 1.84, "Se": 1.98}
BOND = 1.2  # of the sum of the covalent radii


def bonds(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Covalent bonds between non-metals, both ways.

    Parameters
    ----------
    atoms : N atoms, Å

    Returns
    -------
    i (P,), j (P,) and image shift (P, 3) in cells
    """
    bound = np.flatnonzero(np.isin(atoms.numbers, NONMETALS))
    part = Atoms(atoms.numbers[bound], atoms.positions[bound], cell=atoms.cell, pbc=atoms.pbc)
    i, j, shift = _neighbours("ijS", part)
    return bound[i], bound[j], shift


def _neighbours(quantities: str, atoms: Atoms) -> tuple[np.ndarray, ...]:
    """ASE's list of all pairs within `BOND` of the sum of their covalent radii."""
    # brings SciPy's graphs, a third of a second of every job that knows this module
    from ase.neighborlist import neighbor_list

    return neighbor_list(quantities, atoms, (BOND * covalent_radii[atoms.numbers]).tolist())


def molecules(atoms: Atoms) -> np.ndarray:
    """Which molecule or molecular ion each atom is in.

    A group is endless when a path of bonds leads from an atom to its own image (graphite, SiO2).

    Parameters
    ----------
    atoms : N atoms, Å

    Returns
    -------
    (N,) numbers from 0; -1: in none, or in an endless net
    """
    number = np.full(len(atoms), -1)
    for following, group in enumerate(_finite_groups(atoms)):
        number[list(group)] = following
    return number


def whole(atoms: Atoms) -> Atoms:
    """Put the atoms of each molecule into one image; others are wrapped.

    Parameters
    ----------
    atoms : N atoms, Å, left as they are

    Returns
    -------
    a copy with the array `molecule` (N,)
    """
    copy = atoms.copy()
    copy.wrap()
    copy.arrays["molecule"] = molecules(copy)
    for group in _finite_groups(copy):
        copy.positions[list(group)] += np.array(list(group.values())) @ copy.cell.array
    return copy


def _finite_groups(atoms: Atoms) -> list[dict[int, np.ndarray]]:
    """Of each molecule its atoms, each with the image (3,) that makes it whole."""
    i, j, shift = bonds(atoms)
    neighbours: dict[int, list[tuple[int, np.ndarray]]] = {}
    for one, other, image in zip(i, j, shift, strict=True):
        neighbours.setdefault(int(one), []).append((int(other), image))
    groups, visited = [], set()
    for start in sorted(neighbours):
        if start not in visited:
            group, finite = _group(start, neighbours)
            visited.update(group)
            groups += [group] if finite else []
    return groups


def _group(
    start: int, neighbours: dict[int, list[tuple[int, np.ndarray]]]
) -> tuple[dict[int, np.ndarray], bool]:
    image = {start: np.zeros(3, int)}
    waiting, finite = deque([start]), True
    while waiting:
        here = waiting.popleft()
        for other, shift in neighbours[here]:
            there = image[here] + shift
            if other not in image:
                image[other] = there
                waiting.append(other)
            elif (image[other] != there).any():
                finite = False
    return image, finite


def formulas(atoms: Atoms, number: np.ndarray) -> list[str]:
    """Formula of each molecule.

    Parameters
    ----------
    atoms : N atoms
    number : (N,) as of `molecules`

    Returns
    -------
    sorted
    """
    groups = [np.flatnonzero(number == n) for n in range(number.max(initial=-1) + 1)]
    return sorted(atoms[group].get_chemical_formula() for group in groups)


def longest_bonds(atoms: Atoms, in_molecules: bool) -> dict[tuple[str, str], float]:
    """Longest bond of pairs of elements: within molecules, or all but metallic ones.

    Bonds of metals to non-metals count among all, so that a cut through fewer of them is known.

    Parameters
    ----------
    atoms : N atoms, Å
    in_molecules : only bonds within molecules

    Returns
    -------
    Å, 0.02 more than the bond, by pair of symbols in order of the alphabet
    """
    number, plain = molecules(atoms), np.isin(atoms.numbers, NONMETALS)
    i, j, length = _neighbours("ijd", atoms)
    longest: dict[tuple[str, str], float] = {}
    for one, other, distance in zip(i, j, length, strict=True):
        same = number[one] == number[other] >= 0
        if same or (not in_molecules and (plain[one] or plain[other])):
            first, second = sorted((str(atoms.symbols[one]), str(atoms.symbols[other])))
            longest_yet = longest.get((first, second), 0.0)
            longest[first, second] = max(longest_yet, float(distance) + 0.02)
    return longest


def deformed(atoms: Atoms, deformation: np.ndarray) -> Atoms:
    """A copy in a deformed cell, molecules and molecular ions moved as rigid bodies.

    Parameters
    ----------
    atoms : N atoms; molecules may be cut by periodic boundaries (they come out whole)
    deformation : (3, 3), cell' = cell @ deformation, as positions (N, 3) in rows

    Returns
    -------
    Atoms with the array `molecule`; single atoms and endless nets follow the cell.
    """
    made = whole(atoms)
    number = made.arrays["molecule"]
    moved = made.positions @ deformation
    for n in range(number.max(initial=-1) + 1):
        members = number == n
        centre = made.positions[members].mean(axis=0)
        moved[members] = made.positions[members] + centre @ deformation - centre
    made.set_cell(made.cell.array @ deformation)
    made.positions = moved
    return made
