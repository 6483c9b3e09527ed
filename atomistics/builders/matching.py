"""Two slabs in one cell: the smallest common supercell, and what it strains."""

import itertools
from collections.abc import Iterator

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce

from atomistics.bonded import molecules
from atomistics.builders.layers import match, plane, stretched
from atomistics.errors import UserError

LARGEST = 500.0  # Å^2, cross-section of a stack that is widened until all its crystals fit


def matched(
    lower: Atoms, upper: Atoms, most: float, largest: float, width: float = 0.0
) -> tuple[Atoms, Atoms]:
    """Both slabs in the common cell that is the smallest once it is repeated to a least width.

    After Zur and McGill, J. Appl. Phys. 55, 378 (1984): every supercell of the substrate `lower`,
    which keeps its lattice, by increasing area; the film `upper` is turned and strained. A cell a
    little larger and wide enough goes before a narrow one that would have to be doubled.
    (pymatgen's ZSLGenerator finds the same cells, in minutes.)

    Parameters
    ----------
    lower, upper : slabs, Å
    most : principal strain of the film
    largest : Å^2, before it is repeated
    width : Å, to which the caller repeats the cell

    Returns
    -------
    both over one a and b

    Raises
    ------
    UserError
        There is none within `most` and `largest`.
    """
    own, chosen, least = plane(lower), None, np.inf
    area = abs(np.linalg.det(own))
    for multiple in range(1, int(largest / area + 1e-6) + 1):
        if multiple >= least:
            break
        for below in _supercells(multiple, own):
            target = _upright(below @ own)
            one = match(plane(upper), target, most)
            across = abs(np.linalg.det(target)) / np.linalg.norm(target, axis=1)
            repeated = multiple * float(np.prod(np.maximum(1, np.ceil(width / across - 1e-9))))
            rank = (repeated, multiple, round(one.strain, 9))
            if one.strain <= most and (chosen is None or rank < chosen[0]):
                chosen, least = (rank, one, below), repeated
    if chosen is None:
        raise UserError(
            f"solid-solid: no common cell within {100 * most:g} % strain and {largest:g} Å^2; "
            "raise max_strain_percent or max_area_angstrom2"
        )
    (_, multiple, _), one, below = chosen
    target = _upright(below @ own)
    below = np.rint(below).astype(int)
    layers = stretched(lower, below, target), stretched(upper, one.supercell, target)
    for layer in layers:
        layer.arrays["molecule"] = molecules(layer)
    percent = round(100 * one.strain, 4)
    layers[0].info = {"strain_percent": percent, "area_angstrom2": round(float(multiple * area), 4)}
    return layers


def turned(crystal: Atoms, largest: float) -> tuple[Atoms, Atoms]:
    """Two grains of one slab, one turned about the normal, in their smallest common cell.

    Two different sublattices of one shape coincide once one grain is turned (twist boundaries:
    square lattices 36.87 degrees, sigma 5); turns that the lattice has as
    symmetry make no boundary and are left out.

    Parameters
    ----------
    crystal : a slab, Å
    largest : Å^2

    Returns
    -------
    both grains over one a and b; `info` says the angle

    Raises
    ------
    UserError
        There is none within `largest`.
    """
    own = plane(crystal)
    area = abs(np.linalg.det(own))
    for multiple in range(2, int(largest / area + 1e-6) + 1):
        sublattices = list(_supercells(multiple, own))
        shapes = [_upright(one @ own) for one in sublattices]
        for i, j in itertools.combinations(range(len(shapes)), 2):
            if not np.allclose(shapes[i], shapes[j], atol=1e-3):
                continue
            rotation = np.linalg.inv(sublattices[i] @ own) @ (sublattices[j] @ own)
            turn = own @ rotation @ np.linalg.inv(own)
            if np.allclose(turn, turn.round(), atol=1e-3):
                continue
            grains = [
                stretched(crystal, np.rint(sublattices[n]).astype(int), shapes[i]) for n in (i, j)
            ]
            angle = float(np.degrees(np.arctan2(rotation[0, 1], rotation[0, 0])))
            for one in grains:
                one.arrays["molecule"] = molecules(one)
            grains[0].info = {"turned_degrees": round(abs(angle), 3), "strain_percent": 0.0}
            return grains[0], grains[1]
    raise UserError(
        f"solid-solid: no turned grain within {largest:g} Å^2; raise max_area_angstrom2 or take"
        " grain: mirrored"
    )


def widened(lower: Atoms, others: list[np.ndarray], most: float) -> Atoms:
    """The smallest supercell of a slab, up to LARGEST Å^2, that others fit.

    As it is where it fits, or where nothing does: whoever strains the others then says which.

    Parameters
    ----------
    lower : a slab, Å
    others : their a and b, (2, 2) Å each
    most : strain of each

    Returns
    -------
    the slab
    """
    area = abs(np.linalg.det(plane(lower)))
    for multiple in range(1, max(1, int(LARGEST / area)) + 1):
        for below in _supercells(multiple, plane(lower)):
            target = _upright(below @ plane(lower))
            if all(match(other, target, most).strain <= most for other in others):
                return lower if multiple == 1 else stretched(lower, below, target)
    return lower


def _supercells(multiple: int, cell: np.ndarray) -> Iterator[np.ndarray]:
    """All distinct supercells (2, 2) of a multiple of the area, reduced, right-handed."""
    for i in range(1, multiple + 1):
        for j in range(multiple // i if multiple % i == 0 else 0):
            shape = np.array([[i, j], [0, multiple // i]])
            full = np.zeros((3, 3))
            full[:2, :2], full[2, 2] = shape @ cell, 1
            _, turn = minkowski_reduce(full, pbc=(True, True, False))
            reduced = turn[:2, :2] @ shape
            if np.linalg.det(reduced) < 0:
                reduced = reduced * [[1], [-1]]
            a, b = reduced @ cell
            if a @ b < 0 and np.linalg.norm(a + b) < np.linalg.norm(b) + 1e-6:
                reduced[1] += reduced[0]  # a rhombus by its 60 degrees, never by its 120
            yield reduced


def _upright(vectors: np.ndarray) -> np.ndarray:
    """The same two vectors (2, 2), turned so that the first lies along x."""
    a, b = np.linalg.norm(vectors, axis=1)
    cosine = vectors[0] @ vectors[1] / a / b
    return np.array([[a, 0], [b * cosine, b * np.sqrt(1 - cosine**2)]])
