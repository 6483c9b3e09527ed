"""Distances and neighbourhoods of configurations, from the kernel's neighbour lists."""

import numpy as np

from mtp.configuration import Configuration
from mtp.neighbours import neighbours

SEARCH_RADII = (2.5, 5.0, 10.0)


def minimal_distances(configuration: Configuration) -> dict[tuple[int, int], float]:
    """Smallest distance for each pair of types, periodic images included.

    Parameters
    ----------
    configuration : N atoms, Å

    Returns
    -------
    Å by pair of types (i, j) with i <= j; a pair that has none within 10 Å is left out

    Raises
    ------
    MTPError
        Atoms coincide, or the cell has no meaning.
    """
    wanted = _type_pairs(configuration.types)
    shortest: dict[tuple[int, int], float] = {}
    for radius in SEARCH_RADII:
        vectors, first, second = _pairs(configuration, radius)
        distances = np.linalg.norm(vectors, axis=1)
        types = configuration.types
        low, high = np.minimum(types[first], types[second]), np.maximum(types[first], types[second])
        for pair in wanted - shortest.keys():
            mine = distances[(low == pair[0]) & (high == pair[1])]
            if len(mine):
                shortest[pair] = float(mine.min())
        if shortest.keys() == wanted:
            break
    return shortest


def cut_sphere(configuration: Configuration, centre: int, radius: float) -> Configuration:
    """The atoms within a sphere around one atom, without a cell: MLIP-3's cut_extrapolative_nbh.

    Parameters
    ----------
    centre : index of the atom that becomes the origin and the first atom of the result
    radius : Å; images count as atoms, so it may exceed the cell

    Returns
    -------
    configuration without periodicity and without labels
    """
    vectors, first, second = _pairs(configuration, radius)
    around = first == centre
    types = configuration.types
    return Configuration(
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, bool),
        types=np.concatenate([types[[centre]], types[second[around]]]),
        positions=np.vstack([np.zeros(3), vectors[around]]),
    )


def _type_pairs(types: np.ndarray) -> set[tuple[int, int]]:
    present = np.unique(types).tolist()
    return {(i, j) for i in present for j in present if i <= j}


def _pairs(
    configuration: Configuration, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors (P, 3) from atom first[p] to atom second[p] within `radius`."""
    kernel = neighbours([configuration], radius).kernel
    vectors, second = kernel.pairs()
    first = np.repeat(np.arange(len(configuration)), np.diff(kernel.first))
    return vectors, first, second
