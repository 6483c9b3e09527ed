"""Polymers: chains of a repeat unit with end groups and tacticity, packed with what else is in."""

from pathlib import Path

import numpy as np
from ase import Atoms
from rdkit import Chem

from atomistics.builders.mixtures.conformers import Template, template
from atomistics.builders.mixtures.packing import Room, box, pack
from atomistics.builders.mixtures.sizing import Batch, gathered, realized
from atomistics.builders.polymer.parameters import Polymer
from atomistics.builders.sources import templates
from atomistics.errors import UserError
from atomistics.units import GRAMS_PER_CM3, PER_LITRE

LONGEST = 700  # atoms of a chain; RDKit's embedding needs minutes beyond
HANDS = (Chem.CHI_TETRAHEDRAL_CW, Chem.CHI_TETRAHEDRAL_CCW)


def build(parameters: Polymer, rng: np.random.Generator, folder: Path) -> Atoms:
    """A box of exactly the density asked for (cell from masses), chains whole across its faces.

    Parameters
    ----------
    parameters : monomers, lengths, density (g/cm3)
    rng : sequences and places
    folder : of the task, whose files the components may name

    Returns
    -------
    N atoms, Å, periodic

    Raises
    ------
    UserError
        They cannot be packed, or a chain cannot be made.
    """
    chosen = chains(parameters, rng, folder)
    volume = chosen.volume(parameters.density_g_cm3)
    room = Room(box(volume, parameters.box_ratio), parameters.min_distance_angstrom)
    atoms = pack(chosen, room, rng)
    atoms.info |= report(parameters, chosen, volume)
    return atoms


def report(parameters: Polymer, chosen: Batch, volume: float) -> dict[str, str | int]:
    """What was built, for info."""
    return {
        "degree_of_polymerisation": parameters.degree_of_polymerisation,
        "chains": parameters.chains,
        "tacticity": parameters.tacticity or "none",
        **realized(parameters.additives, chosen.units, volume),
    }


def chains(parameters: Polymer, rng: np.random.Generator, folder: Path) -> Batch:
    """Every chain with a conformation (and, if atactic, a sequence) of its own, and additives."""
    made = [(chain(parameters, rng), 1) for _ in range(parameters.chains)]
    seed = int(rng.integers(2**31 - 1))
    parts = [templates(component, seed, folder) for component in parameters.additives]
    masses = [sum(molecule.mass for molecule in part) for part in parts]
    repeats = parameters.chains * parameters.degree_of_polymerisation
    units = [
        component.count or max(1, round((component.mole_ratio or 0) * repeats))
        for component in parameters.additives
    ]
    molar = [n for n, c in enumerate(parameters.additives) if c.molarity_mol_l is not None]
    fixed = sum(molecule.mass for molecule, _ in made)
    fixed += sum(masses[n] * units[n] for n in range(len(units)) if n not in molar)
    per_volume = {n: (parameters.additives[n].molarity_mol_l or 0) * PER_LITRE for n in molar}
    room = parameters.density_g_cm3 / GRAMS_PER_CM3 - sum(masses[n] * per_volume[n] for n in molar)
    if room <= 0:
        raise UserError("additives: so much salt is denser than the box; lower molarity_mol_l")
    for n in molar:
        units[n] = max(1, round(per_volume[n] * fixed / room))
    return Batch(made + gathered(parts, units), units)


def chain(parameters: Polymer, rng: np.random.Generator) -> Template:
    """One chain: units zipped head to tail by RDKit, then embedded.

    The hand of a unit's stereocentre is seen from head to tail, so that equal hands are meso
    diads: all equal is isotactic, alternating is syndiotactic, at random is atactic.
    """
    count = parameters.degree_of_polymerisation
    hands = np.zeros(count, int)
    if parameters.tacticity == "syndiotactic":
        hands = np.arange(count) % 2
    elif parameters.tacticity == "atactic":
        hands = rng.integers(2, size=count)
    molecule = _open(parameters.head, "head", [1])
    for number, hand in enumerate(hands, 1):
        unit = _open(parameters.repeat_unit, "repeat_unit", [number, number + 1])
        if parameters.tacticity is not None:
            _stereocentre(unit, parameters.repeat_unit).SetChiralTag(HANDS[hand])
        molecule = Chem.CombineMols(molecule, unit)
    molecule = Chem.CombineMols(molecule, _open(parameters.tail, "tail", [count + 1]))
    whole = Chem.RemoveHs(Chem.molzip(molecule))
    if Chem.AddHs(whole).GetNumAtoms() > LONGEST:
        raise UserError(
            f"degree_of_polymerisation {count}: a chain of more than {LONGEST} atoms; shorten it"
        )
    return template(whole, int(rng.integers(2**31 - 1)), parameters.repeat_unit)


def _open(smiles: str, key: str, numbers: list[int]) -> Chem.Mol:
    """A fragment whose attachment points, as written, carry the numbers of their joints."""
    fragment = Chem.MolFromSmiles(smiles)
    points = [] if fragment is None else [a for a in fragment.GetAtoms() if a.GetAtomicNum() == 0]
    if len(points) != len(numbers) or len(Chem.GetMolFrags(fragment)) != 1:
        raise UserError(f"{key} '{smiles}': RDKit cannot read it as one fragment; correct it")
    if any(point.GetDegree() != 1 for point in points):
        raise UserError(f"{key} '{smiles}': each [*] must be bound to one atom; correct it")
    for point, number in zip(points, numbers, strict=True):
        point.SetAtomMapNum(number)
        point.SetIsotope(number)
    return fragment


def _stereocentre(unit: Chem.Mol, smiles: str) -> Chem.Atom:
    """The one stereocentre on the way from head to tail."""
    labels = dict(
        Chem.FindMolChiralCenters(unit, includeUnassigned=True, useLegacyImplementation=False)
    )
    ends = [atom.GetIdx() for atom in unit.GetAtoms() if atom.GetAtomicNum() == 0]
    backbone = set(Chem.GetShortestPath(unit, *ends))
    centres = sorted(backbone & set(labels))
    if len(centres) != 1:
        raise UserError(
            f"tacticity: the backbone of '{smiles}' has {len(centres)} stereocentres, not one; "
            "leave tacticity out, or write the stereochemistry into the SMILES"
        )
    return unit.GetAtomWithIdx(centres[0])
