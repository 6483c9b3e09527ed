"""Packed layers over a given cross-section."""

from pathlib import Path

import numpy as np
from ase import Atoms

from atomistics.builders.layers import plane
from atomistics.builders.mixtures.packing import layer, pack
from atomistics.builders.mixtures.parameters import Film
from atomistics.builders.mixtures.sizing import batch, realized


def film_on(substrate: Atoms, film: Film, rng: np.random.Generator, folder: Path) -> Atoms:
    """A packed layer over a cross-section: mass, area and density give its height.

    The layer reaches from its lowest to its highest allowed atom centre; gaps come on top of it.

    Parameters
    ----------
    substrate : gives a and b, Å
    film : components, density (g/cm3), thickness (Å) or counts
    rng : places
    folder : of the task, whose files the components may name

    Returns
    -------
    N atoms, Å, z from 0 to the height of the cell

    Raises
    ------
    UserError
        It cannot be packed, or a component cannot be made.
    """
    area = abs(np.linalg.det(plane(substrate)))
    volume = area * film.thickness_angstrom if film.thickness_angstrom else None
    chosen = batch(film, int(rng.integers(2**31 - 1)), folder, volume)
    thickness = chosen.volume(film.density_g_cm3) / area
    room = layer(substrate.cell.array, thickness, film.min_distance_angstrom)
    packed = pack(chosen, room, rng)
    packed.info |= realized(film.components, chosen.units, area * thickness)
    return packed
