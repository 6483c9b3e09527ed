"""What parameters refer to: user files, earlier built structures, substances."""

import re
from pathlib import Path

from ase import Atoms
from ase.data import atomic_numbers

from atomistics.builders.mixtures.conformers import Template, from_atoms, from_smiles, single
from atomistics.builders.mixtures.parameters import Substance
from atomistics.errors import UserError
from atomistics.structures import KEPT, frames
from mtp.atomic import real_path

BUILT = "structures"


def user_file(reference: str, folder: Path) -> Atoms:
    """The structure in folder/files/NAME.ext.

    Parameters
    ----------
    reference : NAME.ext
    folder : of the task

    Returns
    -------
    N atoms, Å

    Raises
    ------
    UserError
        It lies outside that folder, by a link too, or is no structure.
    """
    return _read(inside(reference, folder))


def inside(reference: str, folder: Path) -> Path:
    """The path of folder/files/NAME.ext; UserError where it leads out of that folder."""
    path = folder / reference
    if not real_path(path).is_relative_to((folder / "files").resolve()):
        raise UserError(f"{path}: lies outside {folder / 'files'}; copy the file there")
    return path


def built(name: str, folder: Path) -> Atoms:
    """An earlier built structure, with its charge and molecule numbers.

    Parameters
    ----------
    name : its id
    folder : of the task

    Returns
    -------
    N atoms, Å

    Raises
    ------
    UserError
        It is not there.
    """
    return _read(folder / BUILT / f"{name}.extxyz")


def _read(path: Path) -> Atoms:
    if not path.is_file():
        raise UserError(f"{path}: no such file; put it there or correct the reference")
    images = frames(path)
    if len(images) != 1:
        raise UserError(f"{path}: holds {len(images)} structures, must hold one")
    if not len(images[0]):
        raise UserError(f"{path}: holds no atom; give a structure")
    image = images[0]
    charge = image.info.get("charge", 0)
    info = {"charge": int(charge)} if isinstance(charge, int) else {}
    atoms = Atoms(image.numbers, image.positions, cell=image.cell, pbc=image.pbc, info=info)
    for name in KEPT:
        if name in image.arrays:
            atoms.set_array(name, image.arrays[name])
    if "molecule" in image.arrays and image.arrays["molecule"].dtype.kind == "i":
        atoms.arrays["molecule"] = image.arrays["molecule"]
    return atoms


def templates(substance: Substance, seed: int, folder: Path) -> list[Template]:
    """The molecules of one formula unit of a substance, with repetitions."""
    if substance.smiles is not None:
        return from_smiles(substance.smiles, seed)
    if substance.formula is not None:
        return [single(symbol) for symbol in elements(substance.formula)]
    if substance.file is not None:
        atoms = user_file(substance.file, folder)
    else:
        atoms = built(substance.structure or "", folder)
    if atoms.pbc.any():
        source = substance.file or substance.structure
        raise UserError(f"'{source}': is periodic; a molecule's file must not be")
    molecule = from_atoms(atoms)
    return [Template(molecule.atoms, molecule.bonds, atoms.info.get("charge", 0))]


def elements(formula: str) -> list[str]:
    """Symbols of a formula in its order: Li2O gives Li, Li, O."""
    symbols: list[str] = []
    for symbol, number in re.findall(r"([A-Z][a-z]?)(\d*)", formula):
        if symbol not in atomic_numbers or symbol == "X" or number == "0":
            raise UserError(f"formula '{formula}': {symbol}{number} is no element; correct it")
        symbols += [symbol] * int(number or 1)
    return symbols
