"""Crystalline bulk and solid solutions."""

from pathlib import Path

import numpy as np
from ase import Atoms

from atomistics.builders.crystals import lattice_of, standard, substitute
from atomistics.structures import heights
from planner.prepare.crystals import Solid


def build(parameters: Solid, rng: np.random.Generator, folder: Path) -> Atoms:
    """The crystal's cell repeated, then substituted: compositions are those of the whole cell."""
    atoms = lattice_of(parameters, folder)
    if parameters.cell != "as-given":
        atoms = standard(atoms, parameters.cell == "primitive")
    repeats = np.array(parameters.supercell)
    if parameters.min_length_angstrom is not None:
        repeats = np.ceil(parameters.min_length_angstrom / heights(atoms) - 1e-9).astype(int)
    return substitute(atoms.repeat(tuple(repeats)), parameters, rng)
