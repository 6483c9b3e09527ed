"""Molecules at solids: adsorbed on sites of a slab, or a liquid layer over it."""

from pathlib import Path

import numpy as np
from ase import Atoms
from pymatgen.analysis.adsorption import AdsorbateSiteFinder
from pymatgen.core.surface import Slab as PymatgenSlab
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.spatial.transform import Rotation

from atomistics.builders.layers import stacked
from atomistics.builders.mixtures.conformers import Template, total_charge
from atomistics.builders.mixtures.films import film_on
from atomistics.builders.solid_molecule.parameters import Adsorption, SolidMolecule
from atomistics.builders.solid_surface.build import cut, with_vacuum
from atomistics.builders.sources import templates
from atomistics.errors import UserError
from atomistics.neighbours import pairs

TURNS = 24  # about the surface normal, tried for the most room
FACE, OUTERMOST = 0.9, 0.2  # Å below the highest atom: all of the face, its outermost plane
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
    top = slab.cell[2, 2]
    atoms = slab.copy()
    atoms.cell[2] = [0, 0, top + wanted.height_angstrom + np.ptp(molecule[:, 2])]
    for site in _spread(_sites(slab, wanted.site), slab, wanted.count, rng):
        foot = np.array([*site[:2], top + wanted.height_angstrom])
        atoms = _placed(atoms, parts[0], molecule + foot, foot, rng)
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
    """All sites (S, 3) Å of one kind on the top face (pymatgen's AdsorbateSiteFinder).

    Montoya and Persson, npj Comput. Mater. 3, 14 (2017). A face of several elements may have no
    hollow between atoms of all its planes; it is then looked for between those of the outermost.
    """
    structure = AseAtomsAdaptor.get_structure(with_vacuum(slab, 20.0))
    body = PymatgenSlab(
        structure.lattice,
        structure.species,
        structure.frac_coords,
        (0, 0, 1),
        structure,
        0,
        np.eye(3),
    )
    sites = np.zeros((0, 3))
    for height in (FACE, OUTERMOST):
        finder = AdsorbateSiteFinder(body, height=height)
        sites_of = finder.find_adsorption_sites(
            distance=0, positions=[kind], symm_reduce=0, put_inside=True
        )
        sites = np.array(sites_of[kind]).reshape(-1, 3)
        if len(sites):
            break
    else:
        raise UserError(f"adsorbate.site {kind}: this face has none; choose another kind")
    return sites[np.lexsort(sites.round(3).T)]


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
    molecule: Template,
    positions: np.ndarray,
    foot: np.ndarray,
    rng: np.random.Generator,
) -> Atoms:
    """The molecule added, turned about its foot to where it has most room."""
    best, most = atoms, 0.0
    start = rng.uniform(0, 360)
    number = atoms.arrays["molecule"].max(initial=-1) + 1
    for turn in range(TURNS):
        spin = Rotation.from_euler("z", start + 360 * turn / TURNS, degrees=True)
        added = Atoms(molecule.atoms.numbers, spin.apply(positions - foot) + foot)
        added.arrays["molecule"] = np.full(len(added), number)
        trial = atoms + added
        close = pairs(trial, 4.0)
        across = (close.i >= len(atoms)) & (close.j < len(atoms))
        room = close.distance[across].min(initial=4.0)
        if room > most + 1e-6:
            best, most = trial, room
    if most < APART:
        raise UserError(f"adsorbate: {most:.2f} Å from its surroundings; raise height_angstrom")
    return best
