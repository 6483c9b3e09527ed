"""Meshes of k-points: which one a list of points is of, and how dense it is in a cell."""

import numpy as np
import spglib
from ase import Atoms
from numpy.typing import ArrayLike

Mesh = tuple[int, int, int]
MOST = 64  # points along an axis
OFF = 1e-4  # of a reciprocal vector: more than programs round off
STEPS = 10_000  # by which two points are one
EVEN = 1e-4  # Å, within which atoms are symmetric
EMPTY = 6.0  # Å without an atom along an axis: bands are flat across it


def mesh_of(points: ArrayLike, weights: ArrayLike, atoms: Atoms) -> Mesh | None:
    """The regular mesh, with the origin or half a step off it, whose points these are.

    Points that symmetry has left out are put back, by the operations (of the structure, of time,
    of both, none) under which each has as many images as its weight says.

    Parameters
    ----------
    points : (K, 3) in reciprocal lattice vectors
    weights : (K,) in any unit
    atoms : whose cell and symmetry they are of

    Returns
    -------
    numbers along the three vectors; None where the points are those of no mesh of up to 64, as of
    one that breaks the symmetry of its lattice
    """
    points, weights = np.reshape(np.asarray(points, float), (-1, 3)), np.asarray(weights, float)
    if len(points) == 0 or len(weights) != len(points) or (weights <= 0).any():
        return None
    own = spglib.get_symmetry((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), EVEN)
    same = np.eye(3, dtype=int)[None]
    for rotations in (same if own is None else own["rotations"], same):
        for signs in ((1, -1), (1,)):
            stars = [_star(point, rotations, signs) for point in points]
            shares = [len(star) for star in stars] / weights
            mesh = _mesh(whole := np.concatenate(stars))
            if np.ptp(shares) < 0.01 * shares.min() and np.prod(mesh) == len(whole):
                return mesh
    return None


def _star(point: np.ndarray, rotations: np.ndarray, signs: tuple[int, ...]) -> np.ndarray:
    """(M, 3) images of a point that are not one modulo a reciprocal lattice vector."""
    images = np.concatenate([sign * (point @ rotations) for sign in signs])
    steps = np.round(images % 1 * STEPS).astype(int) % STEPS
    return images[np.unique(steps, axis=0, return_index=True)[1]]


def _mesh(points: np.ndarray) -> Mesh:
    """The coarsest that holds the points; 0 along an axis where none does."""
    numbers = []
    for column in points.T:
        fits = (
            n
            for n in range(1, MOST + 1)
            for shift in (0.0, 0.5)
            if np.abs((along := column * n - shift) - np.round(along)).max() < OFF * n
        )
        numbers.append(next(fits, 0))
    return numbers[0], numbers[1], numbers[2]


def needed(atoms: Atoms) -> np.ndarray:
    """Lengths of the reciprocal vectors along which k-points count.

    Parameters
    ----------
    atoms : N atoms, Å

    Returns
    -------
    (3,) 1/Å with 2 pi; 0 along what is not periodic or has 6 Å without an atom
    """
    cell = atoms.cell.complete()
    heights = 1 / np.linalg.norm(cell.reciprocal(), axis=1)
    along = np.sort(cell.scaled_positions(atoms.positions) % 1, axis=0)
    gaps = np.diff(along, axis=0, append=along[:1] + 1).max(axis=0, initial=0)
    return np.where(atoms.pbc & (gaps * heights < EMPTY), 2 * np.pi / heights, 0.0)


def density(atoms: Atoms, mesh: Mesh) -> tuple[float, float]:
    """Between which spacings of k-points a cell has this mesh.

    Parameters
    ----------
    atoms : N atoms, Å
    mesh : numbers along its three vectors

    Returns
    -------
    1/Å with 2 pi: the widest distance of neighbouring points, and the distance from which on there
    would be fewer
    """
    lengths, numbers = needed(atoms), np.array(mesh)
    fewer = lengths[(numbers > 1) & (lengths > 0)] / (numbers - 1)[(numbers > 1) & (lengths > 0)]
    return float((lengths / numbers).max()), float(fewer.min(initial=np.inf))


def as_method(frames: list[Atoms], mesh: Mesh | None, listed: ArrayLike = ()) -> dict[str, str]:
    """What a file's k-points add to `Reading.method`; nothing where the mesh is not known.

    Parameters
    ----------
    frames : of the file; the first one's cell counts
    mesh : of all frames, where the file names it
    listed : (K, 4) points and weights, where it does not

    Returns
    -------
    `kpoints` and `k-point spacing` in words
    """
    if not frames or not frames[0].pbc.any():
        return {}
    rows = np.reshape(np.asarray(listed, float), (-1, 4))
    mesh = mesh or mesh_of(rows[:, :3], rows[:, 3], frames[0])
    if mesh is None:
        return {}
    low, high = density(frames[0], mesh)
    return {"kpoints": " x ".join(map(str, mesh)), "k-point spacing": f"{low:.3f} to {high:.3f}"}
