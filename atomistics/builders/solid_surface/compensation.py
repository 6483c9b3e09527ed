"""Polar slabs: their dipole by formal charges, and atoms moved from face to face that end it.

Tasker, J. Phys. C 12, 4977 (1979): a slab of charged planes (type III) is no surface as it stands.
Half a plane (rock salt (111), layered oxides (0001)) or a quarter of one (wurtzite (0001)) moved
from one face to the other, where it continues the crystal, ends its dipole and keeps its
composition (Noguera, J. Phys. Condens. Matter 12, R367 (2000)).
"""

from collections import Counter
from functools import reduce
from math import gcd

import numpy as np
from ase import Atoms
from pymatgen.core import Composition

from atomistics.builders.crystals.ordering import oxidation_states

PLANE = 0.2  # Å, how far atoms of one plane may lie apart
POLAR = 0.05  # e/Å, formal dipole per area above which a slab is told to be polar
SAME = 0.05  # Å, within which an atom moved by a lattice vector meets another


def formal_charges(slab: Atoms) -> np.ndarray:
    """Oxidation states by element, their mean taken off.

    Parameters
    ----------
    slab : N atoms

    Returns
    -------
    (N,) e; 0 where none balance
    """
    charges = oxidation_states(Composition(slab.get_chemical_formula(empirical=True)))
    q = np.array([charges.get(symbol, 0.0) for symbol in slab.symbols])
    return q - q.mean()


def dipole_density(slab: Atoms) -> float:
    """Dipole along z per area of a slab of formal charges; grows with the thickness if polar.

    Parameters
    ----------
    slab : N atoms, Å

    Returns
    -------
    e/Å; 0 where the composition has no oxidation states that balance
    """
    area = abs(np.linalg.det(slab.cell.array[:2, :2]))
    return float(formal_charges(slab) @ slab.positions[:, 2] / area)


def compensated(slab: Atoms, molecule: np.ndarray, rng: np.random.Generator) -> Atoms:
    """The slab with as many atoms of one face moved to the other as end its dipole.

    Parameters
    ----------
    slab : z from 0 to its cell's height (Å), repeated in the plane, nothing substituted
    molecule : (N,) number of the molecule of each atom, -1 for none: molecules are not taken apart
    rng : draws the first atom moved, the others as far from each other as can be

    Returns
    -------
    Atoms with z from 0, `info["compensated"]` saying what was moved; the slab itself where it is
    not polar, or where no face is a plane of single atoms, some of which have to move in whole
    units of it (LaO of a perovskite). Of two faces the one of lower charge: lithium before oxygen.
    """
    if abs(dipole_density(slab)) <= POLAR:
        return slab
    moved = [_from_top(one, molecule, rng) for one in (slab, _upside_down(slab))]
    charges = [abs(q) for _, _, q in filter(None, moved)]
    if not charges:
        return slab
    top, bottom = moved
    chosen = top if top and abs(top[2]) <= min(charges) + 1e-9 else bottom
    assert chosen is not None  # one of them is there
    made = chosen[0] if chosen is top else _upside_down(chosen[0])
    made.positions[:, 2] -= made.positions[:, 2].min()
    made.cell[2, 2] = max(float(np.ptp(made.positions[:, 2])), 1e-3)
    made.wrap(eps=1e-6)
    thickness = round(float(made.cell[2, 2]), 4)
    made.info |= {"compensated": chosen[1], "thickness_angstrom": thickness}
    return made


def _upside_down(slab: Atoms) -> Atoms:
    """Mirrored in the plane: top and bottom exchanged."""
    turned = slab.copy()
    turned.positions[:, 2] = slab.positions[:, 2].max() - slab.positions[:, 2]
    return turned


def _from_top(
    slab: Atoms, molecule: np.ndarray, rng: np.random.Generator
) -> tuple[Atoms, str, float] | None:
    """Atoms of the top plane moved below the bottom, in words, and their charge (e); or None."""
    area = abs(np.linalg.det(slab.cell.array[:2, :2]))
    top = np.flatnonzero(slab.positions[:, 2] > slab.positions[:, 2].max() - PLANE)
    step = stacking(slab)
    if step is None or (molecule[top] >= 0).any():
        return None
    sites = _next_plane(slab, step)
    unit, units = _unit(slab[top])
    of_unit = dict(zip(slab.symbols, formal_charges(slab), strict=True))
    charge = sum(count * of_unit[symbol] for symbol, count in unit.items())
    if abs(charge) < 1e-6 or _unit(sites)[0] != unit:
        return None
    down = slab.positions[top, 2].mean() - sites.positions[:, 2].mean()
    number = round(dipole_density(slab) * area / (charge * down))
    if not 0 < number <= min(units, _unit(sites)[1]):  # all of them: another termination
        return None
    made = slab.copy()
    for symbol, count in unit.items():
        own = top[slab.symbols[top] == symbol]
        free = sites[sites.symbols == symbol]
        chosen = own[far_apart(slab[own], number * count, rng)]
        made.positions[chosen] = free.positions[far_apart(free, number * count, rng)]
    name = "".join(f"{s}{n if n > 1 else ''}" for s, n in sorted(unit.items()))
    return made, f"{number} of {units} {name} moved to the other face", charge


def _unit(plane: Atoms) -> tuple[Counter[str], int]:
    """What a plane of atoms repeats, and how often: LaO of a perovskite's plane."""
    counts = Counter(plane.symbols)
    units = reduce(gcd, counts.values())
    return Counter({symbol: count // units for symbol, count in counts.items()}), units


def stacking(slab: Atoms) -> np.ndarray | None:
    """The shortest downward translation of the crystal.

    Parameters
    ----------
    slab : N atoms, Å

    Returns
    -------
    (3,) Å, mapping every atom onto one of its element or below the slab; None where the slab is not
    thick enough to show one
    """
    top = int(slab.positions[:, 2].argmax())
    below = np.flatnonzero((slab.numbers == slab.numbers[top]) & _deeper(slab, top))
    steps = slab.positions[below] - slab.positions[top]
    plane = np.linalg.inv(slab.cell.array[:2, :2])
    for step in steps[np.argsort(-steps[:, 2])]:
        landed = slab.positions + step
        inside = landed[:, 2] > -SAME
        if inside.sum() < len(slab) / 4:
            continue
        apart = landed[inside][:, None] - slab.positions[None]
        turns = apart[..., :2] @ plane
        apart[..., :2] = (turns - turns.round()) @ slab.cell.array[:2, :2]
        same = slab.numbers[inside][:, None] == slab.numbers[None]
        near = np.where(same, np.linalg.norm(apart, axis=2), np.inf)
        if near.min(axis=1).max() < SAME:
            return step
    return None


def _next_plane(slab: Atoms, step: np.ndarray) -> Atoms:
    """The plane of the crystal that would follow below the slab, `step` (3,) Å repeating it."""
    further = [slab.copy() for _ in range(2)]
    for n, image in enumerate(further, 1):
        image.positions += n * step
    below = further[0] + further[1]
    below = below[below.positions[:, 2] < -SAME]
    plane = below[below.positions[:, 2] > below.positions[:, 2].max() - PLANE]
    plane.wrap(eps=1e-6)
    return plane


def _deeper(slab: Atoms, top: int) -> np.ndarray:
    return slab.positions[:, 2] < slab.positions[top, 2] - PLANE


def far_apart(plane: Atoms, number: int, rng: np.random.Generator) -> list[int]:
    """Atoms of a plane, the first at random, each other one as far as can be from those before.

    Parameters
    ----------
    plane : N atoms, Å
    number : how many
    rng : draws the first

    Returns
    -------
    their indices
    """
    distance = plane.get_all_distances(mic=True)
    chosen = [int(rng.integers(len(plane)))]
    while len(chosen) < number:
        chosen.append(int(np.argmax(distance[chosen].min(axis=0).round(6))))
    return chosen
