"""Molecules at solids: adsorbed on sites of a slab, or a liquid layer over it."""

import itertools
from pathlib import Path

import numpy as np
from ase import Atoms
from scipy.spatial import Voronoi, cKDTree
from scipy.spatial.transform import Rotation

from atomistics.bonded import IONIC_RADII
from atomistics.builders.layers import clearance, plane, stacked
from atomistics.builders.mixtures.conformers import Template, total_charge
from atomistics.builders.mixtures.films import film_on
from atomistics.builders.solid_molecule.parameters import Adsorption, SolidMolecule
from atomistics.builders.solid_surface.build import cut
from atomistics.builders.solid_surface.compensation import formal_charges
from atomistics.builders.sources import templates
from atomistics.errors import UserError
from atomistics.neighbours import pairs

TURNS = 24  # about the surface normal, tried for the most room
FACE, IONIC_FACE = 0.9, 1.6  # Å below the highest atom; Ti of rutile (110) lies 1.3 below O
LEVEL = 0.05  # Å, within which atoms are as near to a site
APART = 1.4  # Å, the least between an adsorbed molecule and anything else


def build(parameters: SolidMolecule, rng: np.random.Generator, folder: Path) -> Atoms:
    """A slab with a molecule or a liquid on it; charges and sizes in info.

    Parameters
    ----------
    parameters : surface, adsorbate or liquid (density g/cm3), gap and vacuum (Å)
    rng : places and substitutions
    folder : of the task

    Returns
    -------
    N atoms, Å, periodic, the slab below

    Raises
    ------
    UserError
        The parameters cannot be met.
    """
    slab = cut(parameters.surface, rng, folder)
    if parameters.adsorbate is not None:
        atoms = _adsorbed(slab, parameters.adsorbate, rng, folder)
        atoms.cell[2, 2] += parameters.vacuum_angstrom
        return atoms
    layers = [slab, film_on(slab, parameters.liquid, rng, folder)]
    return stacked(layers, parameters.gap_angstrom, parameters.vacuum_angstrom)


def _adsorbed(slab: Atoms, wanted: Adsorption, rng: np.random.Generator, folder: Path) -> Atoms:
    parts = templates(wanted, int(rng.integers(2**31 - 1)), folder)
    if len(parts) != 1:
        raise UserError("adsorbate: must be one molecule or ion; add counter-ions by a stack")
    molecule = _oriented(parts[0], wanted.bound_atom)
    atoms = slab.copy()
    feet = _sites(slab, wanted.site) + np.array([0, 0, wanted.height_angstrom])
    if wanted.bound_atom is not None:  # a lone pair seeks cations: sites that need no lifting
        lifts = np.array([_lift(slab, parts[0].atoms[[wanted.bound_atom]], [f]) for f in feet])
        feet = feet[lifts < lifts.min() + 0.1]
    for foot in _spread(feet, slab, wanted.count, rng):
        atoms = _placed(atoms, slab, parts[0], molecule + foot, foot, rng)
    atoms.cell[2] = [0, 0, atoms.positions[:, 2].max()]
    atoms.pbc = True
    charge = total_charge([(parts[0], wanted.count)])
    atoms.info |= {"charge": charge, "site": wanted.site, "adsorbed": wanted.count}
    return atoms


def _oriented(molecule: Template, bound: int | None) -> np.ndarray:
    """Positions (N, 3) Å about the foot: the bound atom down there, or lying flat over it."""
    positions = molecule.atoms.positions - molecule.atoms.positions.mean(axis=0)
    if bound is None:
        axes = np.linalg.svd(positions)[2]
        flat = positions @ (axes * np.sign(np.linalg.det(axes))).T
        return flat - [0, 0, flat[:, 2].min()]
    if bound >= len(positions):
        raise UserError(f"adsorbate.bound_atom {bound}: the molecule has {len(positions)} atoms")
    upwards = -positions[bound]
    if np.linalg.norm(upwards) > 1e-6:
        positions = Rotation.align_vectors([[0, 0, 1]], [upwards])[0].apply(positions)
    return positions - positions[bound]


def _sites(slab: Atoms, kind: str) -> np.ndarray:
    """All sites (S, 3) Å of one kind on the top face, as high as the highest atom they lie on.

    Of the face seen from above: on an atom, half-way between two that are nearest to there, and
    where the nearest atoms are farthest away (vertices of Voronoi cells with atoms all around).
    pymatgen's AdsorbateSiteFinder has no hollow on square faces.
    """
    depth = IONIC_FACE if formal_charges(slab).any() else FACE
    face = slab.positions[slab.positions[:, 2] > slab.positions[:, 2].max() - depth]
    images = np.array(list(itertools.product((-1, 0, 1), repeat=2))) @ slab.cell.array[:2]
    points = (face + images[:, None]).reshape(-1, 3)
    cells, tree = Voronoi(points[:, :2]), cKDTree(points[:, :2])
    between = points[cells.ridge_points, :2].mean(axis=1)
    places = {"ontop": face[:, :2], "bridge": between, "hollow": cells.vertices}[kind]
    fractions = (places @ np.linalg.inv(plane(slab))).round(4)
    sites: dict[tuple[float, ...], list[float]] = {}  # Qhull has a square's vertex twice
    for place in places[((fractions >= 0) & (fractions < 1)).all(axis=1)]:
        around = points[tree.query_ball_point(place, tree.query(place)[0] + LEVEL)]
        x, y = (around[:, :2] - place).T
        angles = np.sort(np.arctan2(y, x))
        widest = np.diff([*angles, angles[0] + 2 * np.pi]).max()
        if {"ontop": True, "bridge": len(around) == 2, "hollow": widest < np.pi + 0.1}[kind]:
            key = tuple((place.round(2) + 0.0).tolist())
            sites[key] = [*place.tolist(), float(around[:, 2].max())]
    if not sites:
        raise UserError(f"adsorbate.site {kind}: this face has none; choose another kind")
    return np.array([sites[key] for key in sorted(sites)])


def _lift(slab: Atoms, molecule: Atoms, positions: np.ndarray | list[np.ndarray]) -> float:
    """Å by which a molecule's atoms at some positions have to be lifted off a slab, at least 0.

    Its other non-metals keep from anions of the face as oxygen does: their lone pairs are repelled.
    """
    above = Atoms(molecule.numbers, positions)
    above.positions[:, 2] -= slab.cell[2, 2]
    repelled = above.copy()
    bare = (above.numbers != 1) & ~np.isin(list(above.symbols), list(IONIC_RADII))
    repelled.numbers[bare] = 8
    return max(0.0, clearance(slab, above), clearance(slab, repelled))


def _spread(
    sites: np.ndarray, atoms: Atoms, count: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """As many sites, the first at random, each other one as far as can be from those before."""
    if count > len(sites):
        raise UserError(f"adsorbate.count {count}: there are {len(sites)} sites; widen the slab")
    marks = Atoms("H" * len(sites), sites, cell=atoms.cell, pbc=atoms.pbc)
    distance = marks.get_all_distances(mic=True)
    chosen = [int(rng.integers(len(sites)))]
    while len(chosen) < count:
        chosen.append(int(np.argmax(distance[chosen].min(axis=0).round(6))))
    return [sites[n] for n in chosen]


def _placed(
    atoms: Atoms,
    slab: Atoms,
    molecule: Template,
    positions: np.ndarray,
    foot: np.ndarray,
    rng: np.random.Generator,
) -> Atoms:
    """The molecule added, turned about its foot to where it needs least lifting and has most
    room."""
    best, rank = atoms, (np.inf, 0.0)
    start = rng.uniform(0, 360)
    number = atoms.arrays["molecule"].max(initial=-1) + 1
    for turn in range(TURNS):
        spin = Rotation.from_euler("z", start + 360 * turn / TURNS, degrees=True)
        added = Atoms(molecule.atoms.numbers, spin.apply(positions - foot) + foot)
        lift = _lift(slab, molecule.atoms, added.positions)
        added.positions[:, 2] += lift
        added.arrays["molecule"] = np.full(len(added), number)
        trial = atoms + added
        close = pairs(trial, 4.0)
        across = (close.i >= len(atoms)) & (close.j < len(atoms))
        room = float(close.distance[across].min(initial=4.0))
        if room >= APART and (round(lift, 1), -room) < rank:
            best, rank = trial, (round(lift, 1), -room)
    if best is atoms:
        raise UserError(
            f"adsorbate: nearer than {APART} Å to its surroundings; raise height_angstrom"
        )
    return best
