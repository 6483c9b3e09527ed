"""Interfaces of solids: lattice-matched crystals, an amorphous film or a particle on a crystal."""

import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from pymatgen.analysis.interfaces.zsl import ZSLGenerator
from scipy.spatial.transform import Rotation

from atomistics.builders.bonded import molecules
from atomistics.builders.cluster import particle
from atomistics.builders.crystals import lattice_of, standard
from atomistics.builders.layers import match, pile, plane, strain, stretched
from atomistics.builders.packing import layer, pack
from atomistics.builders.sizing import batch, realized
from atomistics.builders.solid_surface import cut, three_indices
from atomistics.builders.sources import built
from atomistics.structures import heights
from planner.errors import UserError
from planner.prepare.crystals import Cluster, Slab
from planner.prepare.families import AmorphousFilm, SolidSolid

CLEARANCE = 6.0  # Å between a particle and its images


def build(parameters: SolidSolid, rng: np.random.Generator, folder: Path) -> Atoms:
    """The substrate below, the other solid above it at the gap; strain and sizes in info."""
    if parameters.film is not None:
        layers = list(_matched(parameters, parameters.film, rng, folder))
    elif parameters.amorphous is not None:
        substrate = cut(parameters.substrate, rng, folder)
        layers = [substrate, film_on(substrate, parameters.amorphous, rng, folder)]
    else:
        layers = _supported(parameters, rng, folder)
    if sum(map(len, layers)) > parameters.max_atoms:
        raise UserError(
            f"solid-solid: {sum(map(len, layers))} atoms, more than max_atoms "
            f"{parameters.max_atoms}; make it thinner or smaller, or raise max_atoms"
        )
    return pile(layers, parameters.gap_angstrom, parameters.vacuum_angstrom)


def film_on(substrate: Atoms, film: AmorphousFilm, rng: np.random.Generator, folder: Path) -> Atoms:
    """A packed layer over the substrate's cross-section: mass, area and density give its height.

    The layer reaches from its lowest to its highest allowed atom centre; gaps come on top of it.
    """
    area = abs(np.linalg.det(plane(substrate)))
    volume = area * film.thickness_angstrom if film.thickness_angstrom else None
    chosen = batch(film, int(rng.integers(2**31 - 1)), folder, volume)
    thickness = chosen.volume(film.density_g_cm3) / area
    room = layer(substrate.cell.array, thickness, film.min_distance_angstrom)
    packed = pack(chosen, room, rng)
    packed.info |= realized(film.components, chosen.units, area * thickness)
    return packed


def _matched(
    parameters: SolidSolid, film: Slab, rng: np.random.Generator, folder: Path
) -> tuple[Atoms, Atoms]:
    """Substrate and film in the smallest common cell within the strain allowed to the film.

    Zur and McGill, J. Appl. Phys. 55, 378 (1984), by pymatgen's ZSLGenerator; the substrate keeps
    its lattice. Strains are the principal ones of the film in the plane.
    """
    lower, upper = cut(parameters.substrate, rng, folder), cut(film, rng, folder)
    most = parameters.max_strain_percent / 100
    generator = ZSLGenerator(
        max_area_ratio_tol=2 * most + most**2, max_area=parameters.max_area_angstrom2,
        max_length_tol=most, max_angle_tol=most, bidirectional=True,
    )  # fmt: skip
    spatial = [np.column_stack([plane(slab), np.zeros(2)]) for slab in (upper, lower)]
    best: tuple[float, float, np.ndarray, np.ndarray] | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for found in generator(*spatial):
            below, above = (_integers(v, slab) for v, slab in (
                (found.substrate_sl_vectors, lower), (found.film_sl_vectors, upper)))  # fmt: skip
            if np.linalg.det(below) < 0:
                below, above = below[::-1], above[::-1]
            if np.linalg.det(above) < 0:
                above = above * [[1], [-1]]
            area = abs(np.linalg.det(below @ plane(lower)))
            if best and area > best[0] + 1e-6:
                break
            off = strain(above @ plane(upper), below @ plane(lower))
            if off <= most and (
                best is None or (round(area, 6), off) < (round(best[0], 6), best[1])
            ):
                best = (area, off, below, above)
    if best is None:
        raise UserError(
            f"solid-solid: no common cell within {parameters.max_strain_percent:g} % strain and "
            f"{parameters.max_area_angstrom2:g} Å^2; raise max_strain_percent or max_area_angstrom2"
        )
    _, off, below, above = best
    target = _upright(below @ plane(lower))
    layers = stretched(lower, below, target), stretched(upper, above, target)
    for one in layers:
        one.arrays["molecule"] = molecules(one)
    layers[0].info = {"strain_percent": round(100 * off, 4), "area_angstrom2": round(best[0], 4)}
    return layers


def _integers(vectors: list, slab: Atoms) -> np.ndarray:
    return np.rint(np.array(vectors)[:, :2] @ np.linalg.inv(plane(slab))).astype(int)


def _upright(vectors: np.ndarray) -> np.ndarray:
    """The same two vectors (2, 2), turned so that the first lies along x."""
    a, b = np.linalg.norm(vectors, axis=1)
    cosine = vectors[0] @ vectors[1] / a / b
    return np.array([[a, 0], [b * cosine, b * np.sqrt(1 - cosine**2)]])


def _supported(parameters: SolidSolid, rng: np.random.Generator, folder: Path) -> list[Atoms]:
    """A particle over the middle of the substrate, the first facet of a Wulff body downwards."""
    wanted = parameters.particle
    grain = (
        particle(wanted, rng, folder)
        if isinstance(wanted, Cluster)
        else built(wanted or "", folder)
    )
    if grain.pbc.any():
        raise UserError(f"particle '{wanted}': is periodic; name a cluster")
    if isinstance(wanted, Cluster) and wanted.facets:
        crystal = standard(lattice_of(wanted, folder))
        down = np.array(three_indices(wanted.facets[0].miller, crystal)) @ crystal.cell.reciprocal()
        turn = Rotation.align_vectors([[0, 0, -1]], [down])[0]
        grain.positions = turn.apply(grain.positions)
    grain.positions -= grain.positions.min(axis=0)
    extent = np.ptp(grain.positions, axis=0)
    needed = float(np.hypot(*extent[:2])) + CLEARANCE
    slab = parameters.substrate
    if slab.min_width_angstrom is None and slab.repeat == [1, 1]:
        slab = slab.model_copy(update={"min_width_angstrom": float(extent[:2].max()) + CLEARANCE})
        needed = 0.0
    substrate = cut(slab, rng, folder)
    if heights(substrate)[:2].min() < needed:
        raise UserError(f"substrate: too narrow for the particle; min_width_angstrom {needed:.1f}")
    middle = substrate.cell.array[:2].sum(axis=0) / 2
    grain.positions += middle - [*extent[:2] / 2, 0]
    above = Atoms(grain.numbers, grain.positions, cell=substrate.cell, pbc=substrate.pbc)
    above.cell[2, 2] = max(extent[2], 1e-3)
    above.arrays["molecule"] = molecules(grain)
    above.info = {"charge": grain.info.get("charge", 0)}
    return [substrate, above]


def fitted(film: Atoms, target: np.ndarray, most: float, name: str) -> Atoms:
    """A layer brought to another cross-section (2, 2) by the least strain, `most` allowed."""
    found = match(plane(film), target, most)
    if found.strain > most:
        raise UserError(
            f"{name}: no supercell of it fits the stack's cross-section within {100 * most:g} % "
            "strain; widen the first layer (repeat, min_width_angstrom) or raise max_strain_percent"
        )
    layer_ = stretched(film, found.supercell, target)
    layer_.info = film.info | {f"strain_percent_{name}": round(100 * found.strain, 4)}
    layer_.arrays["molecule"] = molecules(layer_)
    return layer_
