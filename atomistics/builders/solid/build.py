"""Crystalline bulk and solid solutions."""

from pathlib import Path

import numpy as np
from ase import Atoms

from atomistics.builders.crystals.source import lattice_of, repeated, standard, substitute
from atomistics.builders.solid.parameters import Solid
from atomistics.structures import heights


def build(parameters: Solid, rng: np.random.Generator, folder: Path) -> Atoms:
    """The crystal's cell repeated, then substituted: compositions are those of the whole cell."""
    atoms = lattice_of(parameters, folder)
    if parameters.cell != "as-given":
        atoms = standard(atoms, parameters.cell == "primitive")
    a, b, c = parameters.supercell
    if parameters.min_length_angstrom is not None:
        least = parameters.min_length_angstrom
        a, b, c = (int(n) for n in np.ceil(least / heights(atoms) - 1e-9))
    return substitute(repeated(atoms, (a, b, c)), parameters, rng)
