"""Interfaces of solids: lattice-matched crystals, an amorphous film or a particle on a crystal."""

from pathlib import Path

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from atomistics.bonded import molecules
from atomistics.builders.cluster.build import particle
from atomistics.builders.cluster.parameters import Cluster
from atomistics.builders.crystals.source import lattice_of, standard
from atomistics.builders.layers import clearance, layered, shortest, stacked
from atomistics.builders.matching import matched, turned
from atomistics.builders.mixtures.films import film_on
from atomistics.builders.solid_solid.parameters import SolidSolid
from atomistics.builders.solid_surface.build import (
    NEARER,
    cut,
    surface_cell,
    three_indices,
    widened,
)
from atomistics.builders.solid_surface.parameters import Slab
from atomistics.builders.sources import built
from atomistics.errors import UserError
from atomistics.structures import heights

SHIFTS = 12  # of a and of b each, tried for a mirrored grain: halves, thirds, quarters
CLEARANCE = 6.0  # Å between a particle and its images


def build(parameters: SolidSolid, rng: np.random.Generator, folder: Path) -> Atoms:
    """The substrate below, the other solid above it at the gap; strain and sizes in info.

    Parameters
    ----------
    parameters : substrate, and a film, a grain or an amorphous layer; gap and vacuum (Å)
    rng : places and substitutions
    folder : of the task

    Returns
    -------
    N atoms, Å, periodic

    Raises
    ------
    UserError
        No common cell within the strain and area allowed, or more atoms than allowed.
    """
    if parameters.film is not None:
        layers = _matched(parameters, parameters.film, rng, folder)
    elif parameters.grain is not None:
        layers = _grains(parameters, rng, folder)
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
    upper = layers[1]
    upper.positions += np.array(parameters.registry) @ upper.cell.array[:2]
    film = parameters.film
    bonded = parameters.contact == "bonded" and not (film and all(map(layered, layers)))
    nearest = shortest(layers[0], NEARER) if parameters.grain else None
    return stacked(
        layers,
        parameters.gap_angstrom,
        parameters.vacuum_angstrom,
        bonded=bonded,
        nearest=nearest,
        beyond=parameters.beyond_radii_angstrom,
    )


def _grains(parameters: SolidSolid, rng: np.random.Generator, folder: Path) -> list[Atoms]:
    """Two grains of the substrate: the upper one turned about the normal, or upside down."""
    slab = parameters.substrate
    below = surface_cell(slab, folder)
    if parameters.grain == "turned":
        below, above = turned(below, parameters.max_area_angstrom2)
    else:
        above = below.copy()
        above.positions[:, 2] = above.cell[2, 2] - above.positions[:, 2]
        above = _settled(below, above)
    return [widened(below, slab, rng), widened(above, slab, rng)]


def _settled(below: Atoms, above: Atoms) -> Atoms:
    """A mirrored grain moved in the plane to where both its faces come nearest to the other grain.

    A mirror alone puts like ions of rock salt upon each other, atoms of a metal on top.
    """
    nearest = shortest(below, NEARER)
    moves = [np.array(move) / SHIFTS for move in np.ndindex(SHIFTS, SHIFTS)]
    ranked = []
    for move in moves:
        moved = above.copy()
        moved.positions += move @ above.cell.array[:2]
        both = clearance(below, moved, nearest=nearest) + clearance(moved, below, nearest=nearest)
        ranked.append((round(both, 6), len(ranked)))
    moved = above.copy()
    moved.positions += moves[min(ranked)[1]] @ above.cell.array[:2]
    return moved


def _matched(
    parameters: SolidSolid, film: Slab, rng: np.random.Generator, folder: Path
) -> list[Atoms]:
    lower, upper = (surface_cell(slab, folder) for slab in (parameters.substrate, film))
    most = parameters.max_strain_percent / 100
    width = parameters.substrate.min_width_angstrom or 0.0
    lower, upper = matched(lower, upper, most, parameters.max_area_angstrom2, width)
    across = {key: getattr(parameters.substrate, key) for key in ("repeat", "min_width_angstrom")}
    wide = film.model_copy(update=across)
    return [widened(lower, parameters.substrate, rng), widened(upper, wide, rng)]


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
