"""Deterministic structure builders: one module per family, each on the library of its field."""

import importlib
import io
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io import write

from atomistics.analysis.observables import density
from atomistics.builders.families import Parameters
from atomistics.errors import UserError

DECIMALS = 6  # of positions and cells (Å), so that what is written is what was built


def build(
    parameters: Parameters, seed: int, folder: Path, calculator: Calculator | None = None
) -> Atoms:
    """Build a structure; the same seed gives the same bytes when written.

    Parameters
    ----------
    parameters : of one family
    seed : of everything drawn
    folder : of the task: user files lie in folder/files, earlier built structures in
        folder/structures/ID.extxyz
    calculator : of atomistics.reference, for steps that need MD

    Returns
    -------
    N atoms, Å, without calculator. info: family, seed, charge (e, of molecules and ions; crystals
    count
    as neutral), and what the family reports (strain, molarity, ...). arrays: `molecule`, the index
    of
    the molecule or ion an atom belongs to, or -1; of layered structures `layer`, the place in
    `info["layers"]`.

    Raises
    ------
    UserError
        The parameters cannot be met; one line that names the key.
    """
    folder_of_family = parameters.family.replace("-", "_")
    module = importlib.import_module(f"atomistics.builders.{folder_of_family}.build")
    steps = {"calculator": calculator} if parameters.family == "amorphous" else {}
    atoms = module.build(parameters, np.random.default_rng(seed), Path(folder), **steps)
    if not len(atoms):
        raise UserError(f"{parameters.family}: no atom is left; enlarge the structure")
    return _finished(atoms, parameters, seed)


def _finished(atoms: Atoms, parameters: Parameters, seed: int) -> Atoms:
    """Rounded, wrapped where periodic, with nothing but molecule numbers and reported info."""
    molecule = atoms.arrays.get("molecule", np.full(len(atoms), -1))
    info = {"family": parameters.family, "seed": seed, "charge": 0, **atoms.info}
    cell = np.round(atoms.cell.array, DECIMALS) + 0.0
    clean = Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=atoms.pbc, info=info)
    clean.positions = np.round(clean.positions, DECIMALS) + 0.0
    clean.arrays["molecule"] = molecule.astype(int)
    if "layer" in atoms.arrays:
        clean.arrays["layer"] = atoms.arrays["layer"].astype(int)
    return clean


def as_text(atoms: Atoms) -> str:
    """The structure as extended XYZ, the same characters for the same structure.

    Parameters
    ----------
    atoms : N atoms, Å

    Returns
    -------
    the text
    """
    text = io.StringIO()
    write(text, atoms, format="extxyz")
    return text.getvalue()


def summary(atoms: Atoms) -> str:
    """One line for people.

    Parameters
    ----------
    atoms : N atoms, Å, as built

    Returns
    -------
    formula, cell (Å), density (g/cm3) and what the builder reported
    """
    parts = [f"{len(atoms)} atoms", atoms.get_chemical_formula(empirical=True)]
    if atoms.pbc.all():
        lengths = " x ".join(f"{length:.2f}" for length in atoms.cell.lengths())
        parts += [f"{lengths} Å", f"{density(atoms):.4g} g/cm3"]
    return ", ".join([*parts, *(f"{key} {value}" for key, value in atoms.info.items())])
