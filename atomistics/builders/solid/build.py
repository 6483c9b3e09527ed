"""Crystalline bulk and solid solutions."""

from pathlib import Path

import numpy as np
from ase import Atoms

from atomistics.bonded import deformed
from atomistics.builders.crystals.source import lattice_of, repeated, standard, substitute
from atomistics.builders.solid.parameters import Solid
from atomistics.structures import heights


def build(parameters: Solid, rng: np.random.Generator, folder: Path) -> Atoms:
    """The crystal's cell repeated, then substituted: compositions are those of the whole cell.

    Parameters
    ----------
    parameters : source, cell, repetitions or least length (Å), strain
    rng : draws substitutions
    folder : of the task, whose files the source may name

    Returns
    -------
    N atoms, Å, periodic

    Raises
    ------
    UserError
        The source cannot be read, or the parameters not be met.
    """
    atoms = lattice_of(parameters, folder)
    if parameters.cell != "as-given":
        atoms = standard(atoms, parameters.cell == "primitive")
    times = np.array(parameters.supercell)
    if parameters.min_length_angstrom is not None:
        times = np.ceil(parameters.min_length_angstrom / heights(atoms) - 1e-9).astype(int)
    for _ in range(parameters.further_repeats):
        times[np.argmin((times * heights(atoms)).round(3))] += 1
    a, b, c = times.tolist()
    wide = substitute(repeated(atoms, (a, b, c)), parameters, rng)
    if not any(parameters.strain_percent):
        return wide
    xx, yy, zz, yz, xz, xy = np.array(parameters.strain_percent) / 100
    strain = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    strained = deformed(wide, np.eye(3) + strain)
    strained.info = wide.info
    return strained
