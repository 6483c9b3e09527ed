"""Isolated atoms and dimers, not periodic, in a cell that plane-wave codes can use."""

from pathlib import Path

import numpy as np
from ase import Atoms

from atomistics.builders.isolated.parameters import Isolated
from atomistics.builders.sources import elements


def build(parameters: Isolated, rng: np.random.Generator, folder: Path) -> Atoms:
    """The atom, or the two along x.

    Parameters
    ----------
    parameters : elements, distance (Å), vacuum (Å)
    rng, folder : not used

    Returns
    -------
    one or two atoms, Å, not periodic

    Raises
    ------
    UserError
        An element is none.
    """
    del rng, folder
    for element in parameters.elements:
        elements(element)
    places = [[0, 0, 0], [parameters.distance_angstrom or 0, 0, 0]][: len(parameters.elements)]
    atoms = Atoms(parameters.elements, places)
    atoms.center(vacuum=max(parameters.vacuum_angstrom, 0.5))
    return atoms
