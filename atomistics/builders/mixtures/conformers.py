"""Molecules and ions from SMILES: RDKit embeds them, GFN1-xTB gives them their geometry."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.optimize import BFGS
from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem

from atomistics.errors import UserError
from atomistics.formulas import no_isotopes
from atomistics.reference.catalog import Method
from atomistics.reference.convergence import LabelFailedError
from atomistics.reference.methods import reference_calculator

RELAXED = 40  # atoms; larger molecules keep the geometry of RDKit's force field
STEPS, FORCE = 60, 0.1  # of the relaxation, eV/Å
STRETCHED = 1.3  # of the sum of the covalent radii: a bond that broke in the relaxation
_GFN1 = Method("gfn1-xtb", timeout=120.0)
RDLogger.DisableLog("rdApp.*")


@dataclass(frozen=True)
class Template:
    """One molecule, ion or atom: geometry (Å), bonds (B, 2) by atom index, charge (e).

    `loose`: an atom of a glass, which belongs to no molecule and may be bound to any other.
    """

    atoms: Atoms
    bonds: np.ndarray
    charge: int
    loose: bool = False

    @property
    def mass(self) -> float:
        """In u."""
        return float(self.atoms.get_masses().sum())


@lru_cache(maxsize=256)
def single(element: str) -> Template:
    """A loose atom."""
    return Template(Atoms(element, [(0, 0, 0)]), np.zeros((0, 2), int), 0, loose=True)


def from_smiles(smiles: str, seed: int) -> list[Template]:
    """The molecules of one formula unit: a salt's SMILES gives each ion by itself."""
    whole = Chem.MolFromSmiles(smiles)
    if whole is None or not whole.GetNumAtoms():
        raise UserError(f"smiles '{smiles}': is not a molecule RDKit can read; check it")
    if any(atom.GetAtomicNum() == 0 for atom in whole.GetAtoms()):
        raise UserError(f"smiles '{smiles}': has an open attachment point *; close it")
    no_isotopes(whole, smiles)
    parts = Chem.GetMolFrags(whole, asMols=True)
    return [_molecule(Chem.MolToSmiles(part), seed) for part in parts]


@lru_cache(maxsize=256)
def _molecule(smiles: str, seed: int) -> Template:
    molecule = Chem.MolFromSmiles(smiles)
    return relaxed(template(molecule, seed, smiles))


def template(molecule: Chem.Mol, seed: int, name: str) -> Template:
    """Hydrogens added, embedded by ETKDGv3 (seeded), then MMFF94 or UFF where it has parameters.

    Riniker and Landrum, J. Chem. Inf. Model. 55, 2562 (2015). Six-coordinate centres such as P in
    PF6- are marked octahedral, since neither force field knows them.
    """
    molecule = Chem.AddHs(molecule)
    for atom in molecule.GetAtoms():
        if atom.GetDegree() == 6 and atom.GetChiralTag() == Chem.CHI_UNSPECIFIED:
            atom.SetChiralTag(Chem.CHI_OCTAHEDRAL)
            atom.SetIntProp("_chiralPermutation", 1)
    options = AllChem.ETKDGv3()
    options.randomSeed = seed
    options.useRandomCoords = molecule.GetNumAtoms() > 100
    status = AllChem.EmbedMolecule(molecule, options)
    options.useRandomCoords = True
    if status != 0 and AllChem.EmbedMolecule(molecule, options) != 0:
        raise UserError(f"smiles '{name}': RDKit finds no geometry for it; give a file instead")
    octahedral = any(atom.GetDegree() == 6 for atom in molecule.GetAtoms())
    if not octahedral and AllChem.MMFFHasAllMoleculeParams(molecule):
        AllChem.MMFFOptimizeMolecule(molecule, maxIters=500)
    elif not octahedral and AllChem.UFFHasAllMoleculeParams(molecule):
        AllChem.UFFOptimizeMolecule(molecule, maxIters=500)
    charges = [float(atom.GetFormalCharge()) for atom in molecule.GetAtoms()]
    symbols = [atom.GetSymbol() for atom in molecule.GetAtoms()]
    atoms = Atoms(symbols, molecule.GetConformer().GetPositions(), charges=charges)
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in molecule.GetBonds()]
    return Template(atoms, np.array(bonds, int).reshape(-1, 2), round(sum(charges)))


def relaxed(molecule: Template) -> Template:
    """At most 60 BFGS steps with GFN1-xTB; as it was when that fails or breaks a bond.

    RDKit's force fields miss small species by tenths of an Å (N2: 1.46 Å, carbonate lopsided).
    """
    if not 1 < len(molecule.atoms) <= RELAXED:
        return molecule
    atoms = molecule.atoms.copy()
    atoms.calc = _calculator()
    try:
        BFGS(atoms, logfile=None, maxstep=0.1).run(fmax=FORCE, steps=STEPS)
    except (LabelFailedError, UserError):
        return molecule
    atoms = Atoms(atoms.numbers, atoms.positions)
    if (bond_lengths(atoms, molecule.bonds) > STRETCHED * _radii(atoms, molecule.bonds)).any():
        return molecule
    return Template(atoms, molecule.bonds, molecule.charge)


@lru_cache(maxsize=1)
def _calculator() -> object:
    return reference_calculator(_GFN1)


def bond_lengths(atoms: Atoms, bonds: np.ndarray) -> np.ndarray:
    """Lengths of bonds, without periodic boundaries.

    Parameters
    ----------
    atoms : N atoms, Å
    bonds : (B, 2) indices

    Returns
    -------
    (B,) Å
    """
    return np.linalg.norm(atoms.positions[bonds[:, 0]] - atoms.positions[bonds[:, 1]], axis=1)


def _radii(atoms: Atoms, bonds: np.ndarray) -> np.ndarray:
    return covalent_radii[atoms.numbers][bonds].sum(axis=1)


def from_atoms(atoms: Atoms) -> Template:
    """A molecule from a file: bonds where two atoms are nearer than 1.3 covalent distances.

    Parameters
    ----------
    atoms : N atoms, Å

    Returns
    -------
    the molecule with its bonds, neutral
    """
    first, second = np.triu_indices(len(atoms), 1)
    pairs = np.column_stack([first, second])
    near = bond_lengths(atoms, pairs) < STRETCHED * _radii(atoms, pairs)
    return Template(Atoms(atoms.numbers, atoms.positions), pairs[near], 0)


def total_charge(molecules: Sequence[tuple[Template, int]]) -> int:
    """Net charge (e) of counted molecules."""
    return sum(molecule.charge * count for molecule, count in molecules)
