"""Molecular systems: liquids, mixtures, salt melts in a periodic box, or molecules alone."""

from pathlib import Path

import numpy as np
from ase import Atoms

from atomistics.builders.amorphous.parameters import Amorphous
from atomistics.builders.mixtures.overlaps import Walls
from atomistics.builders.mixtures.packing import Room, box, pack
from atomistics.builders.mixtures.sizing import batch, realized
from atomistics.builders.molecule.parameters import Molecule

DROPLET = 0.6  # g/cm3, of molecules together in vacuum


def build(parameters: Molecule | Amorphous, rng: np.random.Generator, folder: Path) -> Atoms:
    """A box of exactly the density asked for (cell from masses), or a cluster in vacuum.

    Parameters
    ----------
    parameters : components, density (g/cm3) or vacuum (Å), least distance (Å)
    rng : places
    folder : of the task, whose files the components may name

    Returns
    -------
    N atoms, Å

    Raises
    ------
    UserError
        They cannot be packed, or a component cannot be made.
    """
    chosen = batch(parameters, int(rng.integers(2**31 - 1)), folder)
    vacuum = getattr(parameters, "vacuum_angstrom", None)
    if vacuum is None:
        volume = chosen.volume(parameters.density_g_cm3 or 1)
        room = Room(box(volume, parameters.box_ratio), parameters.min_distance_angstrom)
    else:
        volume = chosen.volume(DROPLET)
        room = _droplet(volume, parameters.min_distance_angstrom)
    atoms = pack(chosen, room, rng)
    atoms.info |= realized(parameters.components, chosen.units, volume)
    if vacuum is not None:
        atoms.center(vacuum=max(vacuum, 0.5))
    return atoms


def _droplet(volume: float, least: float) -> Room:
    """A ball large enough for the volume (Å^3) and for stretched molecules, nothing periodic."""
    radius = (3 * volume / (4 * np.pi)) ** (1 / 3) + 3
    walls = Walls(centre=np.full(3, radius), radius=radius)
    return Room(np.eye(3) * 2 * radius, least, (False, False, False), walls)
