"""Crystalline bulk and solid solutions."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from ase.geometry import minkowski_reduce

from atomistics.bonded import deformed
from atomistics.builders.crystals.source import lattice_of, repeated, standard, substitute
from atomistics.builders.solid.parameters import Solid
from atomistics.structures import heights

BEYOND, OFF = 1.25, 1.4  # times the atoms asked for: more; so many times fewer
LARGER = 1.5  # of a further repeat, about
LONGER = 1.6  # as COMPACT, where a compact cell has far more atoms than asked for
UNITS = 16  # primitive cells, beyond which shapes are too many to try
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
    whole = _nearer(parameters, atoms) if len(atoms) * a * b * c > _most(parameters) else None
    wide = substitute(whole or repeated(atoms, (a, b, c)), parameters, rng)
    if not any(parameters.strain_percent):
        return wide
    xx, yy, zz, yz, xz, xy = np.array(parameters.strain_percent) / 100
    strain = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    strained = deformed(wide, np.eye(3) + strain)
    strained.info = wide.info
    return strained


def _most(parameters: Solid) -> float:
    """Atoms beyond which a smaller cell is looked for."""
    if not parameters.atoms or not parameters.min_length_angstrom:
        return np.inf
    return BEYOND * parameters.atoms * LARGER**parameters.further_repeats


def _nearer(parameters: Solid, conventional: Atoms) -> Atoms | None:
    """A supercell of the primitive cell, of any shape, with about the atoms asked for: of those as
    long as they must be the most compact; None where each is further off than OFF."""
    if parameters.cell == "as-given" or not parameters.atoms:
        return None
    cell = standard(conventional, primitive=True)
    wanted, least = parameters.atoms / len(cell), parameters.min_length_angstrom or 0.0
    if wanted > UNITS:
        return None
    numbers = range(max(1, int(np.ceil(wanted / OFF))), int(wanted * BEYOND) + 1)
    for number in sorted(numbers, key=lambda n: abs(np.log(n / wanted))):
        turned = [minkowski_reduce(one @ cell.cell.array)[0] for one in _hermite(number)]
        lowest = [heights(Atoms(cell=vectors, pbc=True)).min().round(3) for vectors in turned]
        if max(lowest) >= least:
            break
    else:
        return None
    chosen = turned[int(np.argmax(lowest))]
    chosen = chosen * np.sign(np.linalg.det(chosen))
    made = make_supercell(cell, np.rint(chosen @ np.linalg.inv(cell.cell.array)).astype(int))
    made.set_cell(made.cell.standard_form()[0], scale_atoms=True)
    times = np.ones(3, int)
    for _ in range(parameters.further_repeats):
        times[np.argmin((times * heights(made)).round(3))] += 1
    return made.repeat(times.tolist())


def _hermite(number: int) -> Iterator[np.ndarray]:
    """Every sublattice (3, 3) of an index once, by its Hermite normal form."""
    for a in range(1, number + 1):
        for c in range(1, number // a + 1) if number % a == 0 else ():
            if number // a % c:
                continue
            f = number // a // c
            for b, d, e in itertools.product(range(c), range(f), range(f)):
                yield np.array([[a, b, d], [0, c, e], [0, 0, f]])


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
        for longest in (COMPACT, LONGER):
            compact = [one for one in steps if shape(one) <= max(longest, shape(steps[0])) + 1e-6]
            times = min(compact, key=lambda one: abs(np.log(one.prod() / wanted)))
            if times.prod() <= BEYOND * wanted:
                break
    for _ in range(parameters.further_repeats):
        times = further(times)
    return times
