"""Distances and neighbourhoods of configurations, from the kernel's neighbour lists."""

import numpy as np

from mtp.configuration import Configuration
from mtp.engine import neighbours

SEARCH_RADII = (2.5, 5.0, 10.0)


def minimal_distances(configuration: Configuration) -> dict[tuple[int, int], float]:
    """Smallest distance (angstrom) for each pair of types (i <= j), periodic images included.

    A pair that has none within 10 angstrom is left out. MTPError where atoms coincide.
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
    """The atom `centre` at the origin and all atoms within `radius` (angstrom), without a cell.

    MLIP-3's cut_extrapolative_nbh: images count as atoms, labels are dropped.
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
