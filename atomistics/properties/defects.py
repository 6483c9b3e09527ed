"""What breaks the lattice: vacancies, surfaces, and all of its bonds."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units

from atomistics.properties.asked import PropertiesAsked
from atomistics.properties.measuring import (
    Capped,
    Measurement,
    PropertyError,
    PropertyValue,
    at_rest,
    conventional,
    on,
    supercell,
    symmetry,
)

SITES = 4  # inequivalent sites of an element whose vacancy is looked at
VACUUM = 12.0  # Å
FIRM = 0.02  # eV/Å: at rest enough for an energy difference of eV
J_PER_M2 = units.m**2 / units.J


def vacancies(crystal: Atoms, asked: PropertiesAsked) -> dict[str, list[Atoms]]:
    """Supercells that lack an atom.

    Parameters
    ----------
    crystal : relaxed, Å
    asked : `length` (Å), the least distance of opposite faces

    Returns
    -------
    by element one cell for every inequivalent site, at most 4

    Raises
    ------
    PropertyError
        spglib finds no symmetry.
    """
    unit = conventional(crystal)
    equivalent = symmetry(unit).equivalent_atoms
    whole = unit.repeat(supercell(unit, asked.length))
    table: dict[str, list[Atoms]] = {}
    for site in np.unique(equivalent):
        element = unit.symbols[site]
        if len(table.get(element, [])) < SITES:
            lacking = whole.copy()
            del lacking[int(site)]
            table.setdefault(element, []).append(lacking)
    return table


def vacancy(crystal: Atoms, asked: PropertiesAsked, calculator: Capped) -> Measurement:
    """Formation energy at constant volume, ions as they are and relaxed.

    Of an element E(N-1) - (N-1)/N E(N); of a compound that of all vacancies of one formula unit far
    from each other (Schottky), which needs no chemical potential: the sum over its atoms of
    E(vacancy) - E(N), plus the energy of the unit. The lowest of inequivalent sites counts.

    Parameters
    ----------
    crystal : relaxed, Å
    asked : `length` (Å) of the supercell
    calculator : asked at every step of the relaxations

    Returns
    -------
    eV

    Raises
    ------
    PropertyError
        A cell does not come to rest.
    LabelFailedError
        A call fails.
    """
    unit = conventional(crystal)
    size = supercell(unit, asked.length)
    whole = on(unit.repeat(size), calculator)
    energy, atoms = float(whole.get_potential_energy()), len(whole)
    stiff, relaxed = {}, {}
    for element, cells in vacancies(crystal, asked).items():
        of_cells = []
        for cell in cells:
            lacking = on(cell, calculator)
            before = float(lacking.get_potential_energy())
            # a perfectly symmetric start may be a saddle: a little off it
            lacking.rattle(0.01, seed=1)
            at_rest(lacking, rest=FIRM)
            of_cells.append((before, min(before, float(lacking.get_potential_energy()))))
        stiff[element], relaxed[element] = (min(e) for e in zip(*of_cells, strict=True))
    formula, units_in = whole.symbols.formula.reduce()
    counts = formula.count()
    name = "vacancy" if len(counts) == 1 else "schottky"
    removed = energy / units_in
    values = [
        PropertyValue(key, sum(n * (table[e] - energy) for e, n in counts.items()) + removed)
        for key, table in ((name, relaxed), (f"{name}_unrelaxed", stiff))
    ]
    n = "x".join(map(str, size))
    return Measurement(values, f"{n} conventional cells, {atoms} atoms, constant volume, neutral")


def slabs(crystal: Atoms, plane: Sequence[int], thickness: float) -> list[Atoms]:
    """Slabs of the crystal's own composition with two equal faces, each cut where it can be.

    Parameters
    ----------
    crystal : Å
    plane : h k l of the conventional cell
    thickness : Å, at least

    Returns
    -------
    cells with VACUUM (Å) along z; none where no cut does

    Raises
    ------
    PropertyError
        The plane is 0 0 0, or the crystal cannot be cut along it.

    Source: Tran et al., Sci. Data 3, 160080 (2016), by pymatgen's SlabGenerator.
    """
    from pymatgen.core.surface import SlabGenerator
    from pymatgen.io.ase import AseAtomsAdaptor

    unit = conventional(crystal)
    bulk = AseAtomsAdaptor.get_structure(unit)
    if not any(plane):
        raise PropertyError("planes: 0 0 0 is no plane")
    generator = SlabGenerator(
        bulk, tuple(plane), thickness, VACUUM, center_slab=True, primitive=True
    )
    cells = []
    for slab in generator.get_slabs(symmetrize=False):
        whole = slab.composition.reduced_formula == bulk.composition.reduced_formula
        if whole and slab.is_symmetric() and not slab.is_polar():
            cell = Atoms(
                [site.specie.symbol for site in slab],
                cell=slab.lattice.matrix,
                scaled_positions=slab.frac_coords,
                pbc=True,
            )
            cells.append(cell)
    return cells


def surfaces(crystal: Atoms, asked: PropertiesAsked, calculator: Capped) -> Measurement:
    """Energy of each plane: (E(slab) - n E(bulk)) / 2 A, ions as cut and relaxed.

    The termination of lowest energy as cut is relaxed. The bound is what a slab of half the
    thickness more would change as cut.

    Parameters
    ----------
    crystal : relaxed, Å
    asked : `planes` (h k l) and `length` (Å), the thickness
    calculator : asked at every step of the relaxations

    Returns
    -------
    J/m2 of each plane that could be cut

    Raises
    ------
    PropertyError
        No plane could be cut, or a slab does not come to rest.
    LabelFailedError
        A call fails.
    """
    bulk = on(conventional(crystal), calculator)
    per_atom = float(bulk.get_potential_energy()) / len(bulk)
    values, missing = [], []
    for plane in asked.planes:
        word = "".join(map(str, plane))
        cut = [on(cell, calculator) for cell in slabs(crystal, plane, asked.length)]
        if not cut:
            missing.append(f"{word}: no slab with two equal faces, unpolar and of the composition")
            continue
        energies = [_excess(cell, per_atom) for cell in cut]
        best = int(np.argmin(energies))
        thicker = slabs(crystal, plane, 1.5 * asked.length)
        bound = None
        if len(thicker) == len(cut):
            bound = abs(_excess(on(thicker[best], calculator), per_atom) - energies[best])
        at_rest(cut[best], rest=FIRM)
        values += [
            PropertyValue(f"surface_{word}", _excess(cut[best], per_atom), bound),
            PropertyValue(f"surface_{word}_unrelaxed", energies[best], bound),
        ]
        missing.append(f"{word}: {len(cut[best])} atoms")
    if not values:
        raise PropertyError("; ".join(missing))
    return Measurement(values, f"{'; '.join(missing)}; vacuum {VACUUM:g} Å")


def _excess(slab: Atoms, per_atom: float) -> float:
    area = float(np.linalg.norm(np.cross(slab.cell[0], slab.cell[1])))
    return (float(slab.get_potential_energy()) - len(slab) * per_atom) / (2 * area) * J_PER_M2


def cohesion(
    crystal: Atoms, asked: PropertiesAsked, calculator: Capped, atom_energies: dict[str, float]
) -> Measurement:
    """Energy of isolated atoms less that of the crystal.

    Parameters
    ----------
    crystal : relaxed, Å
    asked : `length` (Å) of the box of an atom
    calculator : asked for the crystal, and for atoms that are not given
    atom_energies : eV by element, where `calculator` is a model: one made for condensed matter says
        nothing of an atom alone, so both are held against the reference's atoms

    Returns
    -------
    eV/atom, and eV of each atom that was calculated

    Raises
    ------
    LabelFailedError
        A call fails.
    """
    values = []
    atoms = dict(atom_energies)
    for element in dict.fromkeys(crystal.get_chemical_symbols()):
        if element not in atoms:
            alone = Atoms(element, cell=np.eye(3) * (asked.length + VACUUM), pbc=True)
            atoms[element] = float(on(alone, calculator).get_potential_energy())
            values.append(PropertyValue(f"atom_{element}", atoms[element]))
    energy = float(on(crystal, calculator).get_potential_energy())
    free = sum(atoms[element] for element in crystal.get_chemical_symbols())
    values.insert(0, PropertyValue("cohesive_energy", (free - energy) / len(crystal)))
    return Measurement(values, "against the reference's own isolated atoms, as it computes them")
