"""Crystalline bulk and solid solutions."""

from pathlib import Path

import numpy as np
from ase import Atoms

from atomistics.bonded import deformed
from atomistics.builders.crystals.source import lattice_of, repeated, standard, substitute
from atomistics.builders.solid.parameters import Solid
from atomistics.structures import heights

COMPACT = 1.4  # longest over lowest height of a cell that need not be longer


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
    a, b, c = _times(parameters, atoms).tolist()
    wide = substitute(repeated(atoms, (a, b, c)), parameters, rng)
    if not any(parameters.strain_percent):
        return wide
    xx, yy, zz, yz, xz, xy = np.array(parameters.strain_percent) / 100
    strain = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    strained = deformed(wide, np.eye(3) + strain)
    strained.info = wide.info
    return strained


def _times(parameters: Solid, cell: Atoms) -> np.ndarray:
    """Repeats (3,) of the cell along a, b, c: of those no longer than they must be, or than COMPACT
    allows, the ones nearest to the number of atoms asked for."""
    times, height = np.array(parameters.supercell), heights(cell)

    def further(repeats: np.ndarray) -> np.ndarray:
        return repeats + (np.arange(3) == np.argmin((repeats * height).round(3)))

    def shape(repeats: np.ndarray) -> float:
        return float((repeats * height).max() / (repeats * height).min())

    if parameters.min_length_angstrom is not None:
        times = np.ceil(parameters.min_length_angstrom / height - 1e-9).astype(int)
    if parameters.atoms:
        wanted, steps = parameters.atoms / len(cell), [times]
        while steps[-1].prod() < wanted:
            steps.append(further(steps[-1]))
        compact = [one for one in steps if shape(one) <= max(COMPACT, shape(times)) + 1e-6]
        times = min(compact, key=lambda one: abs(np.log(one.prod() / wanted)))
    for _ in range(parameters.further_repeats):
        times = further(times)
    return times
