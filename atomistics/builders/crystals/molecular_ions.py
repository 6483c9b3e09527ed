"""Molecules in crystal files: hydrogen that was left out, and the charges that molecules have."""

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from atomistics.bonded import BOND, NONMETALS, whole
from atomistics.neighbours import pairs

SINGLE, PER_DECADE = 1.0, 0.71  # bond order 10^((d1 - d)/0.71 Å), d1 the sum of the radii: Pauling
# (The Nature of the Chemical Bond, 3rd ed., 7-5)
COORDINATED = 1.25  # of the sum of the radii: nearer metals make any valence possible
# sum of bond orders below which hydrogen is missing, by neighbours that are non-metals. Whole: CO
# 2.5, CO2 4.6, benzene 4.1, diamond 4; N2 2.8, azide 2.3. Without hydrogen: ring CH 3.1, NH2 1.4
LEAST = {6: (0.1, 2.3, 3.5, 3.4), 7: (0.1, 1.9), 8: (0.1,)}
VALENCES = {6: 4, 7: 3, 8: 2}
CHARGES = (0, 1, -1, 2, -2, 3, -3)
LARGEST = 80  # atoms of a molecule whose charge is looked for


def without_hydrogen(atoms: Atoms) -> str | None:
    """The first C, N or O whose bonds are too few, so that hydrogen was left out of a file.

    Parameters
    ----------
    atoms : N atoms, Å, of a crystal as it was refined

    Returns
    -------
    the atom in words; None where all have enough bonds
    """
    near = pairs(atoms, 2 * COORDINATED * covalent_radii[atoms.numbers].max())
    single = covalent_radii[atoms.numbers[near.i]] + covalent_radii[atoms.numbers[near.j]]
    metal = ~np.isin(atoms.numbers, NONMETALS)
    coordinated = np.unique(near.i[(near.distance < COORDINATED * single) & metal[near.j]])
    bound = (near.distance < BOND * single) & ~metal[near.i] & ~metal[near.j]
    order = np.where(
        (atoms.numbers[near.i] == 1) | (atoms.numbers[near.j] == 1),
        SINGLE,
        10 ** ((single - near.distance) / PER_DECADE),
    )[bound]
    count = np.bincount(near.i[bound], minlength=len(atoms))
    valence = np.bincount(near.i[bound], order, minlength=len(atoms))
    for number, least in LEAST.items():
        for n in np.flatnonzero(atoms.numbers == number):
            few = count[n] < len(least) and valence[n] < least[count[n]]
            if few and n not in coordinated:
                place = ", ".join(f"{x:.3f}" for x in atoms.get_scaled_positions()[n])
                return (
                    f"{atoms.symbols[n]} at {place} has bonds of {valence[n]:.1f} in all where"
                    f" {VALENCES[number]} belong"
                )
    return None


def ions(atoms: Atoms) -> dict[str, tuple[int, int, dict[str, int]]]:
    """Molecules with hydrogen, or with carbon and nitrogen: how many, their charge, their atoms.

    Charges are those for which bonds can be drawn (RDKit, after Kim and Kim, Bull. Korean Chem.
    Soc. 36, 1769 (2015)) without unpaired electrons, the smallest first.

    Parameters
    ----------
    atoms : N atoms, Å

    Returns
    -------
    by formula; a molecule for which no charge is found is left out
    """
    joined = whole(atoms)
    number = joined.arrays["molecule"]
    kinds: dict[str, tuple[int, int, dict[str, int]]] = {}
    unknown = set()
    for one in range(number.max() + 1):
        member = joined[number == one]
        formula, symbols = member.get_chemical_formula(), set(member.symbols)
        if formula in kinds:
            count, charge, content = kinds[formula]
            kinds[formula] = count + 1, charge, content
        elif formula not in unknown and ("H" in symbols or {"C", "N"} <= symbols):
            charge = _charge(member)
            if charge is None:
                unknown.add(formula)
            else:
                kinds[formula] = 1, charge, dict(member.symbols.formula.count())
    return kinds


def _charge(molecule: Atoms) -> int | None:
    """The smallest charge, e, for which every atom has its bonds and every electron its pair."""
    from rdkit import Chem, RDLogger
    from rdkit.Chem import rdDetermineBonds

    if len(molecule) > LARGEST:
        return None
    RDLogger.DisableLog("rdApp.*")
    lines = [
        f"{s} {x:.5f} {y:.5f} {z:.5f}"
        for s, (x, y, z) in zip(molecule.symbols, molecule.positions, strict=True)
    ]
    drawn = Chem.MolFromXYZBlock("\n".join([str(len(molecule)), "", *lines]) + "\n")
    electrons = int(sum(atomic_numbers[s] for s in molecule.symbols))
    for charge in CHARGES:
        if (electrons - charge) % 2:
            continue
        trial = Chem.Mol(drawn)
        try:
            rdDetermineBonds.DetermineBonds(trial, charge=charge, embedChiral=False)
        except (ValueError, RuntimeError):  # no bonds can be drawn
            continue
        if Chem.GetFormalCharge(trial) == charge and not any(
            a.GetNumRadicalElectrons() for a in trial.GetAtoms()
        ):
            return charge
    return None
