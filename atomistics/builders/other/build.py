"""The user's own structure, or an empty box, and molecules soaked into its free room."""

from pathlib import Path

import numpy as np
from ase import Atoms

from atomistics.bonded import whole
from atomistics.builders.mixtures.overlaps import Walls
from atomistics.builders.mixtures.packing import Room, pack
from atomistics.builders.mixtures.sizing import batch
from atomistics.builders.other.parameters import Other, Region, Soak
from atomistics.builders.sources import built, user_file
from atomistics.errors import UserError


def build(parameters: Other, rng: np.random.Generator, folder: Path) -> Atoms:
    """The host as it is (repeated), its atoms not moved, then the soaked molecules.

    Parameters
    ----------
    parameters : file, built structure or empty box (Å); what is soaked into it
    rng : places
    folder : of the task

    Returns
    -------
    N atoms, Å, the host's first

    Raises
    ------
    UserError
        The host has no cell that can be repeated or filled, or the molecules find no room.
    """
    host = _host(parameters, folder)
    if parameters.soak is None:
        return host
    return _soaked(host, parameters.soak, rng, folder)


def _host(parameters: Other, folder: Path) -> Atoms:
    if parameters.box_angstrom is not None:
        return Atoms(cell=parameters.box_angstrom, pbc=True)
    if parameters.file is not None:
        atoms = user_file(parameters.file, folder)
    else:
        atoms = built(parameters.structure or "", folder)
    if parameters.supercell != [1, 1, 1] and not atoms.pbc.all():
        raise UserError("supercell: the structure is not periodic; leave supercell out")
    charge = atoms.info.get("charge", 0) * int(np.prod(parameters.supercell))
    atoms = whole(atoms.repeat(tuple(parameters.supercell)))
    atoms.info["charge"] = charge
    return atoms


def _soaked(host: Atoms, soak: Soak, rng: np.random.Generator, folder: Path) -> Atoms:
    if host.cell.rank < 3:
        raise UserError("soak: the host has no cell of three vectors; give it one in its file")
    chosen = batch(soak, int(rng.integers(2**31 - 1)), folder)
    walls = _walls(soak.region, host) if soak.region else Walls()
    pbc = (bool(host.pbc[0]), bool(host.pbc[1]), bool(host.pbc[2]))
    room = Room(host.cell.array, soak.min_distance_angstrom, pbc, walls, host)
    return pack(chosen, room, rng)


def _walls(region: Region, host: Atoms) -> Walls:
    centre = np.array(region.centre) @ host.cell.array
    if region.shape == "sphere":
        return Walls(centre=centre, radius=region.size_angstrom)
    half = region.size_angstrom / 2
    return Walls(low=centre[2] - half, high=centre[2] + half)
