"""Potentials and configurations the tests of the engine make for themselves."""

import gzip
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from mtp.potential import untrained

SHARED = Path(__file__).parents[3] / "shared/data/mtp"


@dataclass
class Sample:
    cell: np.ndarray
    positions: np.ndarray
    types: np.ndarray
    pbc: np.ndarray = field(default_factory=lambda: np.ones(3, bool))


def unzipped(name, folder):
    path = folder / name
    path.write_bytes(gzip.decompress((SHARED / f"{name}.gz").read_bytes()))
    return path


def random_potential(level, species, seed=0, *, max_dist=4.0, size=5):
    template = untrained(level, species, 0.8, max_dist, size)
    rng = np.random.default_rng(seed)
    return template.with_parameters(0.1 * rng.normal(size=template.parameter_count))


def random_sample(seed, atoms=4, species=2, pbc=(True, True, True), edge=3.4):
    """A triclinic cell, mostly smaller than the cutoff, with atoms at least 0.9 Å apart."""
    rng = np.random.default_rng(seed)
    cell = edge * np.eye(3) + rng.uniform(-0.8, 0.8, (3, 3))
    positions = np.empty((0, 3))
    for _ in range(2000):
        if len(positions) == atoms:
            break
        point = rng.uniform(-0.5, 1.5, 3) @ cell
        if all(np.linalg.norm(v) > 0.9 for p in positions for v in images(point - p, cell, pbc, 1)):
            positions = np.vstack([positions, point])
    return Sample(cell, positions, rng.integers(0, species, len(positions)), np.array(pbc))


def images(vector, cell, pbc, reach):
    if not any(pbc):
        return [vector]
    ranges = [range(-reach, reach + 1) if periodic else (0,) for periodic in pbc]
    return [vector + np.array(n) @ cell for n in product(*ranges)]


samples = st.builds(
    random_sample,
    seed=st.integers(0, 10_000),
    atoms=st.integers(1, 6),
    species=st.integers(1, 3),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    edge=st.floats(2.2, 6.0),
)


def site_energies(potential, sample, count=None):
    """The definition, summed over all images without any trick: (N,) eV, or of the first atoms."""
    energies = []
    for i, center in enumerate(sample.positions[:count]):
        moments = np.zeros(potential.alpha_moments_count)
        for j, other in enumerate(sample.positions):
            for vector in images(other - center, sample.cell, sample.pbc, 6):
                r = np.linalg.norm(vector)
                if 1e-9 < r < potential.max_dist:
                    radial = radial_functions(potential, sample.types[i], sample.types[j], r)
                    for n, (mu, *powers) in enumerate(potential.alpha_index_basic):
                        moments[n] += radial[mu] * np.prod((vector / r) ** powers)
        for a, b, factor, target in potential.alpha_index_times:
            moments[target] += factor * moments[a] * moments[b]
        scalars = moments[potential.alpha_moment_mapping]
        energies.append(
            potential.species_coeffs[sample.types[i]] + potential.moment_coeffs @ scalars
        )
    return np.array(energies)


def radial_functions(potential, central, other, r):
    low, high = potential.min_dist, potential.max_dist
    x = (2 * r - low - high) / (high - low)
    chebyshev = np.polynomial.chebyshev.chebvander(x, potential.radial_basis_size - 1)
    factor = potential.scaling * (high - r) ** 2
    return factor * potential.radial_coeffs[central, other] @ chebyshev.ravel()
