"""What a SMILES or a formula amounts to: atoms, charge, mass."""

import re
from collections import Counter
from functools import cache
from typing import Any

from atomistics.errors import UserError

PIECE = re.compile(r"([A-Z][a-z]?)([0-9]*)")


@cache
def composition(smiles: str) -> tuple[Counter[str], int]:
    """Atoms by element (hydrogens included) and charge in e; UserError when it is no SMILES."""
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        raise UserError(f"smiles: {smiles!r} is not a molecule")
    no_isotopes(molecule, smiles)
    whole = Chem.AddHs(molecule)
    atoms = Counter(a.GetSymbol() for a in whole.GetAtoms() if a.GetAtomicNum())
    return atoms, Chem.GetFormalCharge(whole)


@cache
def donors(smiles: str) -> list[int]:
    """Heavy atoms with a lone pair by index in the canonical SMILES, the likeliest to bind first.

    Carbon counts where it has a formal charge below 0 (carbon monoxide); then N, O, S, P, halogens.
    """
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(Chem.MolToSmiles(Chem.MolFromSmiles(smiles)))
    order = ["N", "O", "S", "P", "Se", "F", "Cl", "Br", "I"]
    ranked = [
        (atom.GetFormalCharge() >= 0, order.index(atom.GetSymbol()), atom.GetIdx())
        if atom.GetSymbol() in order
        else (False, -1, atom.GetIdx())
        for atom in molecule.GetAtoms()
        if (atom.GetSymbol() in order and atom.GetFormalCharge() <= 0)
        or (atom.GetSymbol() == "C" and atom.GetFormalCharge() < 0)
    ]
    return [index for _, _, index in sorted(ranked)]


def no_isotopes(molecule: Any, smiles: str) -> None:
    """UserError for a molecule of RDKit with isotopes, whose masses would be lost silently."""
    for atom in molecule.GetAtoms():
        if atom.GetAtomicNum() and atom.GetIsotope():
            symbol = atom.GetSymbol()
            raise UserError(
                f"smiles: {smiles!r}: {atom.GetIsotope()}{symbol}: isotopes are not kept apart"
                f" here; write {symbol}, and set the mass in your own MD (same potential)"
            )


def atoms_of_formula(formula: str) -> Counter[str]:
    """Atoms by element of a formula without brackets."""
    counts: Counter[str] = Counter()
    for element, count in PIECE.findall(formula):
        counts[element] += int(count or 1)
    return counts


def mass(atoms: Counter[str]) -> float:
    """Mass in u of atoms by element; UserError names an element that does not exist."""
    from ase.data import atomic_masses, atomic_numbers

    for element in atoms:
        if element not in atomic_numbers or element == "X":
            raise UserError(f"{element}: no such element")
    return float(sum(n * atomic_masses[atomic_numbers[e]] for e, n in atoms.items()))
