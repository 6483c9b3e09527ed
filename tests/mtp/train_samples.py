"""Small training data: crystals of two species labelled by a potential that is known."""

from dataclasses import replace

import numpy as np

from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.potential import untrained
from mtp.training.starting_point import with_random_functions


def labelled(potential, count, seed):
    """Rattled crystals of two species, labelled by a known potential."""
    rng = np.random.default_rng(seed)
    grid = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)], float)
    configurations = []
    for number in range(count):
        cell = np.diag(rng.uniform(4.6, 5.6, 3)) + rng.normal(0, 0.1, (3, 3))
        positions = (grid / 2) @ cell + rng.normal(0, 0.25, (8, 3))
        types = rng.permutation(np.arange(8) % 2)[: 8 - number % 3]
        configurations.append(Configuration(cell, types, positions[: len(types)]))
    return [
        replace(c, energy=e.energy, forces=e.forces, virial=e.virial)
        for c, e in zip(configurations, Engine(potential).evaluate(configurations), strict=True)
    ]


def reference():
    potential = with_random_functions(untrained(6, 2, 1.5, 4.0, 5), np.random.default_rng(5))
    potential = replace(potential, scaling=0.1)
    rng = np.random.default_rng(6)
    return replace(
        potential,
        species_coeffs=np.array([-2.0, -3.0]),
        moment_coeffs=rng.normal(size=len(potential.alpha_moment_mapping)),
    )
