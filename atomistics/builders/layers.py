"""Layers along z: stacked into one cell, strained to one cross-section."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii, vdw_radii
from ase.neighborlist import natural_cutoffs, neighbor_list

from atomistics.bonded import IONIC_RADII, molecules
from atomistics.errors import UserError
from atomistics.neighbours import pairs

IN_PLANE = (True, True, False)
NEAREST = 0.8  # of the sum of the covalent radii, across a gap (Na-Na 2.7, Pt-O 1.6 Å)
ANIONS = 0.85  # of the sum of their ionic radii: O-O 2.38 Å, of a shared edge 2.5 in rutile
VAN_DER_WAALS = 1.0  # of the sum of Bondi's radii: C-C 3.40, C-S 3.50 Å across a gap of sheets
BOND, APART = 1.25, 1.2  # of covalent radii; Å between planes that may lie on two sheets
ALIKE = 4.0  # Å, within which a crystal's own pairs say how near they come elsewhere
REACH = 4.5  # Å below a face, beyond which no atom can be near the other one


@dataclass(frozen=True)
class Match:
    """Supercell (2, 2) of a layer whose a, b come nearest to given ones, and what that strains."""

    supercell: np.ndarray
    strain: float  # largest absolute principal strain


def layered(slab: Atoms) -> bool:
    """Whether a slab is a sheet, or sheets that no bond joins: its faces are van der Waals faces.

    Parameters
    ----------
    slab : N atoms, Å, periodic along a and b

    Returns
    -------
    whether a plane between two of its layers, or none at all as it has one only, is without bonds
    """
    z = np.sort(slab.positions[:, 2])
    if z[-1] - z[0] < 1.0:
        return True
    alone = slab.copy()
    alone.cell[2] = [0, 0, z[-1] - z[0] + 20.0]
    i, j = neighbor_list("ij", alone, natural_cutoffs(alone, mult=BOND))
    low, high = np.sort([slab.positions[i, 2], slab.positions[j, 2]], axis=0)
    middles = (z[1:] + z[:-1])[np.diff(z) > APART] / 2
    return any(not ((low < middle) & (high > middle)).any() for middle in middles)


def stacked(
    layers: list[Atoms],
    gap: float,
    vacuum: float,
    names: Sequence[str] = ("lower", "upper"),
    bonded: bool | Sequence[bool] = True,
    nearest: np.ndarray | None = None,
    beyond: float = 0.0,
) -> Atoms:
    """Layers from the bottom up, periodic along z.

    The gap is wider where atoms across it would come nearer than `NEAREST` of the sum of their
    covalent radii, or two anions nearer than those have in crystals; of sheets (`bonded` false)
    nearer than the sum of their van der Waals radii. Without vacuum the last one meets the first in
    the same way. The first layer's a and b hold for all; `info` of all is kept, charges are added.

    Parameters
    ----------
    layers : z from 0 to their cell's height, Å
    gap : Å between them
    vacuum : Å on top; 0: the last layer meets the first
    names : of the layers, in order
    bonded : whether covalent radii decide; by layer: where either of two that meet is bonded
    nearest : (118 + 1, 118 + 1) Å by atomic numbers, as of `shortest`, instead of covalent radii
    beyond : Å, added to what van der Waals radii need

    Returns
    -------
    N atoms, Å; the array `layer` (N,) says which layer an atom was built into, `info["layers"]` has
    their names in order
    """
    whole = Atoms(cell=layers[0].cell, pbc=True)
    numbers, z, charge, info = [], 0.0, 0, {}
    for n, layer in enumerate(layers):
        moved = layer.copy()
        moved.positions[:, 2] += z
        open_ = vacuum and n == len(layers) - 1
        z += layer.cell[2, 2]
        upper = (n + 1) % len(layers)
        meet = bonded if isinstance(bonded, bool) else bonded[n] or bonded[upper]
        needed = clearance(layer, layers[upper], meet, nearest)
        z += vacuum if open_ else max(gap, needed + (0.0 if meet else beyond))
        number = layer.arrays.get("molecule", np.full(len(layer), -1))
        before = max((n.max(initial=-1) for n in numbers), default=-1) + 1
        numbers.append(np.where(number < 0, -1, number + before))
        charge += layer.info.get("charge", 0)
        info |= layer.info
        moved.arrays = {key: moved.arrays[key] for key in ("numbers", "positions")}
        whole += moved
    whole.cell[2] = [0, 0, z]
    whole.arrays["molecule"] = np.concatenate(numbers)
    whole.arrays["layer"] = np.repeat(range(len(layers)), [len(layer) for layer in layers])
    whole.info = info | {"charge": charge, "layers": " ".join(names)}
    return whole


def clearance(
    lower: Atoms, upper: Atoms, bonded: bool = True, nearest: np.ndarray | None = None
) -> float:
    """The gap at which no two atoms across it are too near.

    Two atoms `across` apart in the plane need sqrt(least^2 - across^2) along z, less how deep they
    lie below the two faces.

    Parameters
    ----------
    lower, upper : layers of one a and b, Å
    bonded, nearest : as of `stacked`

    Returns
    -------
    Å; negative: none needed
    """
    deep, high = lower.cell[2, 2] - lower.positions[:, 2], upper.positions[:, 2]
    i, j = np.flatnonzero(deep < REACH), np.flatnonzero(high < REACH)
    turns = (upper.positions[j, :2] - lower.positions[i, None, :2]) @ np.linalg.inv(plane(lower))
    across = np.linalg.norm((turns - turns.round()) @ plane(lower), axis=2)
    table = covalent_radii if bonded else np.where(np.isnan(vdw_radii), 2.0, vdw_radii)
    radii = [table[one.numbers[n]] for one, n in ((lower, i), (upper, j))]
    least = (NEAREST if bonded else VAN_DER_WAALS) * (radii[0][:, None] + radii[1])
    if nearest is not None:
        least = nearest[np.ix_(lower.numbers[i], upper.numbers[j])]
    ionic = [
        np.array([IONIC_RADII.get(symbol, -np.inf) for symbol in one.symbols[n]])
        for one, n in ((lower, i), (upper, j))
    ]
    least = np.maximum(least, ANIONS * (ionic[0][:, None] + ionic[1]))
    needed = np.sqrt(np.maximum(0, least**2 - across**2)) - deep[i, None] - high[j]
    return float(needed.max(initial=-np.inf))


def shortest(atoms: Atoms, factor: float) -> np.ndarray:
    """Least distances of pairs of elements across a fault or boundary, by those in the crystal.

    Titanium of a perovskite keeps from titanium, as in the crystal, not only from oxygen. Atoms of
    one molecule do not count; pairs that are not near each other have the share of their covalent
    radii that the nearest pair has.

    Parameters
    ----------
    atoms : N atoms, Å, of the crystal
    factor : of its own shortest distances

    Returns
    -------
    (119, 119) Å by atomic numbers
    """
    radii, number = covalent_radii[atoms.numbers], molecules(atoms)
    near = pairs(atoms, max(ALIKE, 3.0 * radii.max()))
    near = near.at((number[near.i] < 0) | (number[near.i] != number[near.j]))
    ratio = near.distance / (radii[near.i] + radii[near.j])
    sizes = covalent_radii[:119]
    least = float(ratio.min(initial=1.5)) * (sizes[:, None] + sizes)
    own = np.full(least.shape, np.inf)
    np.minimum.at(own, (atoms.numbers[near.i], atoms.numbers[near.j]), near.distance)
    own = np.minimum(own, own.T)
    return factor * np.where(own < ALIKE, own, least)


def strain(films: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Largest absolute principal strain that takes each of some films to a target.

    Stretches of the deformation F = film^-1 target are its singular values (Biot strain).

    Parameters
    ----------
    films : (F, 2, 2) a and b, Å
    target : (2, 2) Å

    Returns
    -------
    (F,) plain fractions
    """
    deformations = np.linalg.inv(films) @ target
    return abs(np.linalg.svd(deformations, compute_uv=False) - 1).max(axis=1)


def match(film: np.ndarray, target: np.ndarray, most: float) -> Match:
    """The film's supercell nearest to target vectors, turned at will.

    Parameters
    ----------
    film, target : (2, 2) a and b, Å, both right-handed
    most : strain that is worth looking for

    Returns
    -------
    supercell (2, 2) and strain; infinite where none is within reach
    """
    heights = abs(np.linalg.det(film)) / np.linalg.norm(film, axis=1)[::-1]
    reach = np.ceil(np.linalg.norm(target, axis=1).max() * (1 + most) / heights).astype(int)
    steps = itertools.product(*(range(-n, n + 1) for n in reach))
    lattice = np.array([step for step in steps if any(step)])
    lengths = np.linalg.norm(lattice @ film, axis=1)
    wanted = np.linalg.norm(target, axis=1)
    near = [lattice[abs(lengths - length) <= 1.3 * most * length + 1e-6] for length in wanted]
    a, b = np.indices([len(one) for one in near]).reshape(2, -1)
    supercells = np.stack([near[0][a], near[1][b]], axis=1)
    supercells = supercells[np.linalg.det(supercells) > 0.5]
    if not len(supercells):
        return Match(np.eye(2, dtype=int), np.inf)
    strains = strain(supercells @ film, target)
    best = int(np.argmin(strains.round(9)))
    return Match(supercells[best], float(strains[best]))


def stretched(layer: Atoms, supercell: np.ndarray, target: np.ndarray) -> Atoms:
    """The layer repeated to a supercell, turned and strained in the plane to a target.

    Heights, and the atoms' fractional places in the plane, stay.

    Parameters
    ----------
    layer : N atoms, Å
    supercell : (2, 2) integers, rows by a and b
    target : (2, 2) Å

    Returns
    -------
    the layer over the target

    Raises
    ------
    UserError
        The supercell lost atoms.
    """
    transform = np.eye(3, dtype=int)
    transform[:2, :2] = supercell
    repeated = supercell_of(layer, transform)
    cell = repeated.cell.array.copy()
    cell[:2] = 0
    cell[:2, :2] = target
    repeated.set_cell(cell, scale_atoms=True)
    return repeated


def supercell_of(atoms: Atoms, transform: np.ndarray) -> Atoms:
    """The supercell of given rows, atoms wrapped into it along periodic axes.

    Parameters
    ----------
    atoms : N atoms, Å
    transform : (3, 3) integers

    Returns
    -------
    N |det transform| atoms, Å

    Raises
    ------
    UserError
        The supercell lost atoms.
    """
    reach = abs(transform).sum(axis=0)
    reach[2] = 0 if transform[2, 2] == 1 else reach[2]
    new = Atoms(cell=transform @ atoms.cell.array, pbc=atoms.pbc)
    spans = [range(-n, n + 1) for n in reach]
    shifts = np.array(list(itertools.product(*spans))) @ atoms.cell.array
    positions = (atoms.positions[None] + shifts[:, None]).reshape(-1, 3)
    fractional = positions @ np.linalg.inv(new.cell.array)
    inside = ((fractional >= -1e-7) & (fractional < 1 - 1e-7) | ~atoms.pbc).all(axis=1)
    new += Atoms(np.tile(atoms.numbers, len(shifts))[inside], positions[inside])
    if len(new) != len(atoms) * abs(round(float(np.linalg.det(transform)))):
        raise UserError("layers: a supercell lost atoms; give the structure a plainer cell")
    return new


def plane(atoms: Atoms) -> np.ndarray:
    """Vectors a and b in the xy plane.

    Parameters
    ----------
    atoms : a cell whose a and b lie there

    Returns
    -------
    (2, 2) Å
    """
    return atoms.cell.array[:2, :2]


def fitted(film: Atoms, target: np.ndarray, most: float, name: str) -> Atoms:
    """A layer brought to another cross-section by the least strain.

    Parameters
    ----------
    film : N atoms, Å
    target : (2, 2) Å
    most : strain allowed
    name : of the layer, for the error

    Returns
    -------
    the layer; `info` says the strain in percent

    Raises
    ------
    UserError
        No supercell of it fits within `most`.
    """
    matching = match(plane(film), target, most)
    if matching.strain > most:
        raise UserError(
            f"{name}: no supercell of it fits the stack's cross-section within {100 * most:g} % "
            "strain; widen the first layer (repeat, min_width_angstrom) or raise max_strain_percent"
        )
    layer_ = stretched(film, matching.supercell, target)
    layer_.info = film.info | {f"strain_percent_{name}": round(100 * matching.strain, 4)}
    layer_.arrays["molecule"] = molecules(layer_)
    return layer_
