"""Finite particles: cubes, spheres and Wulff polyhedra cut from a crystal."""

from collections import Counter
from dataclasses import dataclass
from functools import reduce
from math import gcd
from pathlib import Path

import numpy as np
from ase import Atoms
from scipy.spatial import ConvexHull, HalfspaceIntersection, QhullError

from atomistics.bonded import molecules, whole
from atomistics.builders.cluster.parameters import Cluster
from atomistics.builders.crystals.source import LARGEST, lattice_of, rotations, standard, substitute
from atomistics.builders.solid_surface.build import three_indices
from atomistics.errors import UserError
from atomistics.structures import heights

SHELL = 1e-4  # Å, within which atoms are equally far out


@dataclass(frozen=True)
class Shape:
    """A body {x: max of normals @ x <= r} (a ball without normals), for r = 1 Å: its measures."""

    normals: np.ndarray  # (F, 3), already divided by the relative distances of the facets
    volume: float  # Å^3
    reach: float  # Å, of its farthest point

    def gauge(self, positions: np.ndarray) -> np.ndarray:
        """How far out each position lies: the r of the surface through it.

        Parameters
        ----------
        positions : (N, 3) Å from the centre

        Returns
        -------
        (N,) Å
        """
        if not len(self.normals):
            return np.linalg.norm(positions, axis=1)
        return (positions @ self.normals.T).max(axis=1)


def build(parameters: Cluster, rng: np.random.Generator, folder: Path) -> Atoms:
    """The particle in the middle of an orthorhombic cell, not periodic.

    Parameters
    ----------
    parameters : shape, size (Å or atoms), vacuum (Å)
    rng : draws substitutions
    folder : of the task, whose files the parameters may name

    Returns
    -------
    N atoms, Å

    Raises
    ------
    UserError
        The parameters cannot be met.
    """
    atoms = particle(parameters, rng, folder)
    atoms.center(vacuum=max(parameters.vacuum_angstrom, 0.5))
    return atoms


def particle(parameters: Cluster, rng: np.random.Generator, folder: Path) -> Atoms:
    """Atoms of the shape about the origin, molecules whole, then substituted.

    Parameters
    ----------
    parameters : shape and size (Å or atoms)
    rng : draws substitutions
    folder : of the task, whose files the parameters may name

    Returns
    -------
    N atoms, Å, as yet without a cell of their own

    Raises
    ------
    UserError
        Nothing of the crystal fits inside, or it cannot be met otherwise.
    """
    crystal = whole(standard(lattice_of(parameters, folder)))
    shape = _shape(parameters, crystal)
    per_volume = len(crystal) / crystal.get_volume()
    wanted = (parameters.atoms or 0) / per_volume
    if parameters.diameter_angstrom is not None:
        d = parameters.diameter_angstrom
        wanted = d**3 if parameters.shape == "cubic" else np.pi / 6 * d**3
    radius = (wanted / shape.volume) ** (1 / 3)
    block = _block(crystal, shape.reach * (radius + (3 if parameters.atoms else 0)), parameters)
    units = _units(block)
    outward = shape.gauge(np.array([block.positions[unit].mean(axis=0) for unit in units]))
    if parameters.atoms:
        radius = _radius_of_count(outward, [len(u) for u in units], parameters.atoms)
    inside = [n for n in np.lexsort((range(len(units)), outward)) if outward[n] <= radius + SHELL]
    kept = [units[n] for n in inside]
    if parameters.stoichiometric:
        kept = _stoichiometric(kept, block, crystal)
    chosen = np.sort(np.concatenate([np.zeros(0, int), *kept]))
    if len(chosen) < 2:
        inside_text = "one atom" if len(chosen) else "nothing"
        raise UserError(f"cluster: {inside_text} of the crystal fits inside; enlarge it")
    bare = Atoms(block.numbers[chosen], block.positions[chosen])
    atoms = substitute(bare, parameters, rng)
    atoms.arrays["molecule"] = molecules(atoms)
    return atoms


def _shape(parameters: Cluster, crystal: Atoms) -> Shape:
    if parameters.shape == "spherical":
        return Shape(np.zeros((0, 3)), 4 / 3 * np.pi, 1.0)
    if parameters.shape == "cubic":
        return Shape(np.vstack([np.eye(3), -np.eye(3)]), 8.0, 3**0.5)
    return _wulff(parameters, crystal)


def _wulff(parameters: Cluster, crystal: Atoms) -> Shape:
    """Facets at distances proportional to their surface energies (Wulff 1901), all equivalent ones.

    Planes of the conventional cell, multiplied by its point group; a family given twice keeps the
    lower energy.
    """
    reciprocal = crystal.cell.reciprocal().array
    lowest: dict[tuple[int, ...], float] = {}
    for facet in parameters.facets:
        miller = np.array(three_indices(facet.miller, crystal))
        for rotation in rotations(crystal):
            plane = tuple(int(h) for h in np.rint(miller @ rotation))
            lowest[plane] = min(facet.energy_j_m2, lowest.get(plane, np.inf))
    normals = np.array(list(lowest)) @ reciprocal
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    energies = np.array(list(lowest.values()))
    energies /= energies.min()
    open_shape = UserError("facets: they do not enclose a body; add planes in other directions")
    try:
        if (ConvexHull(normals).equations[:, 3] > -1e-9).any():
            raise open_shape
        body = HalfspaceIntersection(np.column_stack([normals, -energies]), np.zeros(3))
    except QhullError:
        raise open_shape from None
    corners = body.intersections
    reach = float(np.linalg.norm(corners, axis=1).max())
    return Shape(normals / energies[:, None], float(ConvexHull(corners).volume), reach)


def _block(crystal: Atoms, reach: float, parameters: Cluster) -> Atoms:
    """The crystal around the origin (an atom, or the middle of the cell) as far as `reach` Å."""
    middle = crystal.positions[0] if parameters.centre == "atom" else crystal.cell.sum(axis=0) / 2
    spare = np.ptp(crystal.positions, axis=0).max() + 1
    times = np.ceil((reach + spare) / heights(crystal)).astype(int)
    if len(crystal) * np.prod(2 * times + 1) > LARGEST:
        raise UserError("cluster: too large; give a smaller diameter_angstrom or fewer atoms")
    block = crystal.repeat(tuple(2 * times + 1))
    block.positions -= times @ crystal.cell.array + middle
    block.arrays["molecule"] = np.concatenate(
        [
            np.where(
                crystal.arrays["molecule"] < 0, -1, crystal.arrays["molecule"] + n * len(crystal)
            )
            for n in range(len(block) // len(crystal))
        ]
    )
    return block


def _units(block: Atoms) -> list[np.ndarray]:
    """Atom indices of what stays together: molecules, and every other atom by itself."""
    number = block.arrays["molecule"]
    loose = [np.array([n]) for n in np.flatnonzero(number < 0)]
    order = np.argsort(number, kind="stable")
    order = order[number[order] >= 0]
    groups = np.split(order, np.flatnonzero(np.diff(number[order])) + 1) if len(order) else []
    return loose + groups


def _radius_of_count(outward: np.ndarray, sizes: list[int], atoms: int) -> float:
    """The radius at which whole shells come nearest to a number of atoms."""
    order = np.argsort(outward, kind="stable")
    counts = np.cumsum(np.array(sizes)[order])
    ends = np.append(np.diff(outward[order]) > SHELL, True)
    best = np.argmin(np.where(ends, abs(counts - atoms), np.inf))
    return float(outward[order][best])


def _stoichiometric(kept: list[np.ndarray], block: Atoms, crystal: Atoms) -> list[np.ndarray]:
    """As many formula units as are there; of each kind the outermost surplus goes."""
    kinds = [block[unit].get_chemical_formula() for unit in kept]
    there = Counter(kinds)
    formula = Counter(crystal[unit].get_chemical_formula() for unit in _units(crystal))
    divisor = reduce(gcd, formula.values())
    ratio = {kind: n // divisor for kind, n in formula.items()}
    allowed = min(there[kind] // n for kind, n in ratio.items())
    left = Counter({kind: allowed * n for kind, n in ratio.items()})
    result = []
    for kind, unit in zip(kinds, kept, strict=True):  # from the inside out
        if left[kind]:
            left[kind] -= 1
            result.append(unit)
    return result
