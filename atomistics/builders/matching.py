"""Two slabs in one cell: pymatgen's lattice matching, the strain measured."""

import warnings
from collections.abc import Iterator

import numpy as np
from ase import Atoms
from pymatgen.analysis.interfaces.zsl import ZSLGenerator

from atomistics.builders.bonded import molecules
from atomistics.builders.layers import Match, plane, strain, stretched
from planner.errors import UserError


def matched(lower: Atoms, upper: Atoms, most: float, largest: float) -> tuple[Atoms, Atoms]:
    """Both slabs in the smallest common cell (at most `largest` Å^2) within the film's strain.

    The substrate, `lower`, keeps its lattice; `most` bounds the principal strains of `upper`.
    """
    limit = 2 * max(abs(np.linalg.det(plane(slab))) for slab in (lower, upper))
    found: list[tuple[float, Match, np.ndarray]] = []
    while not found:
        limit = min(limit, largest)
        found = list(_matches(lower, upper, most, limit))
        if limit == largest:
            break
        limit *= 2
    if not found:
        raise UserError(
            f"solid-solid: no common cell within {100 * most:g} % strain and {largest:g} Å^2; "
            "raise max_strain_percent or max_area_angstrom2"
        )
    area, above, below = min(found, key=lambda one: (round(one[0], 6), one[1].strain))
    target = _upright(below @ plane(lower))
    layers = stretched(lower, below, target), stretched(upper, above.supercell, target)
    for one in layers:
        one.arrays["molecule"] = molecules(one)
    percent = round(100 * above.strain, 4)
    layers[0].info = {"strain_percent": percent, "area_angstrom2": round(float(area), 4)}
    return layers


def _matches(
    lower: Atoms, upper: Atoms, most: float, largest: float
) -> Iterator[tuple[float, Match, np.ndarray]]:
    """Area (Å^2), the film's supercell and strain, the substrate's supercell (2, 2).

    Zur and McGill, J. Appl. Phys. 55, 378 (1984), by pymatgen's ZSLGenerator.
    """
    generator = ZSLGenerator(
        max_area_ratio_tol=2 * most + most**2, max_area=largest + 1e-3, max_length_tol=most,
        max_angle_tol=most, bidirectional=True,
    )  # fmt: skip
    film, substrate = (np.column_stack([plane(slab), np.zeros(2)]) for slab in (upper, lower))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs = list(generator(film, substrate))
    for pair in pairs:
        below = _integers(pair.substrate_sl_vectors, lower)
        above = _integers(pair.film_sl_vectors, upper)
        if np.linalg.det(below) < 0:
            below, above = below[::-1], above[::-1]
        if np.linalg.det(above) < 0:  # else the film would be mirrored
            above = above * [[1], [-1]]
        area = abs(np.linalg.det(below @ plane(lower)))
        off = strain(above @ plane(upper), below @ plane(lower))
        if off <= most and area <= largest + 1e-3:
            yield area, Match(above, off), below


def _integers(vectors: list, slab: Atoms) -> np.ndarray:
    return np.rint(np.array(vectors)[:, :2] @ np.linalg.inv(plane(slab))).astype(int)


def _upright(vectors: np.ndarray) -> np.ndarray:
    """The same two vectors (2, 2), turned so that the first lies along x."""
    a, b = np.linalg.norm(vectors, axis=1)
    cosine = vectors[0] @ vectors[1] / a / b
    return np.array([[a, 0], [b * cosine, b * np.sqrt(1 - cosine**2)]])
