"""Crystals from their source, and atoms substituted in what was made of them."""

from collections import Counter
from functools import reduce
from math import gcd
from pathlib import Path

import numpy as np
import spglib
from ase import Atoms
from ase.build import bulk
from ase.data import covalent_radii
from ase.spacegroup import Spacegroup, crystal
from scipy.spatial import Voronoi, cKDTree

from atomistics.bonded import deformed
from atomistics.builders.crystals.databases import from_materials_project, from_optimade
from atomistics.builders.crystals.molecular_ions import without_hydrogen
from atomistics.builders.crystals.ordering import from_file
from atomistics.builders.crystals.parameters import (
    CellParameters,
    Crystal,
    CrystalSite,
    Substitution,
)
from atomistics.builders.sources import built, elements
from atomistics.errors import UserError
from atomistics.neighbours import pairs_and_vectors
from atomistics.structures import heights

LARGEST = 200_000  # atoms of anything cut from a crystal
SAME = 1e-3  # Å, fractional: positions of one orbit
SYMPREC = 1e-3  # Å
FROM_FILE = ("ordering", "rounded", "emptied")  # of a file's info, kept
ROOM, PUSHES = 0.75, 200  # of covalent radii, about an interstitial; steps


def lattice_of(source: Crystal, folder: Path) -> Atoms:
    """The source's cell, scaled, as given: not reduced, nothing substituted.

    Parameters
    ----------
    source : space group, prototype, file, built structure or database entry
    folder : of the task

    Returns
    -------
    the cell, Å

    Raises
    ------
    UserError
        The source cannot be read, contradicts itself, or has no cell of three vectors.
    """
    if source.space_group is not None:
        atoms = _from_space_group(source)
    elif source.prototype is not None:
        atoms = _from_prototype(source)
    elif source.file is not None:
        atoms = from_file(source.file, source.ordering, folder)
    elif source.structure is not None:
        atoms = built(source.structure, folder)
    elif source.materials_project is not None:
        atoms = from_materials_project(source.materials_project)
    else:
        atoms = from_optimade(source.optimade or "", source.optimade_id or "")
    if atoms.cell.rank < 3:
        raise UserError("crystal: its source has no cell of three vectors; give a periodic one")
    if (source.space_group or source.file) and (few := without_hydrogen(atoms)):
        raise UserError(
            f"{source.file or 'sites'}: {few}: hydrogen seems to be left out; give a crystal with"
            " all its atoms, or kind: other, which takes a file as it is"
        )
    plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    plain.info = {key: value for key, value in atoms.info.items() if key in FROM_FILE}
    return plain if source.scale == 1 else deformed(plain, source.scale * np.eye(3))


def standard(atoms: Atoms, primitive: bool = False) -> Atoms:
    """The conventional (or primitive) cell, spglib's idealized standard (symprec 1e-3 Å).

    Parameters
    ----------
    atoms : the cell, Å
    primitive : the primitive one

    Returns
    -------
    the cell, Å; `info` is kept

    Raises
    ------
    UserError
        spglib finds no symmetry.
    """
    dataset = spglib.standardize_cell(_spglib(atoms), to_primitive=primitive, symprec=SYMPREC)
    if dataset is None:
        raise UserError("crystal: spglib finds no symmetry; are atoms on top of one another?")
    cell, fractional, numbers = dataset
    return Atoms(numbers, scaled_positions=fractional, cell=cell, pbc=True, info=atoms.info)


def rotations(atoms: Atoms) -> np.ndarray:
    """Point-group operations of a crystal.

    Parameters
    ----------
    atoms : the cell, Å

    Returns
    -------
    (R, 3, 3) in fractional coordinates of the cell
    """
    symmetry = spglib.get_symmetry(_spglib(atoms), symprec=SYMPREC)
    return np.unique(symmetry["rotations"], axis=0)


def _spglib(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers


def _from_space_group(source: Crystal) -> Atoms:
    """Orbits by the International Tables' operations (ase.spacegroup)."""
    for site in source.sites:
        elements(site.element)
    cell = _cell_parameters(source.lattice, source.space_group)
    try:
        group = Spacegroup(source.space_group, source.setting)
        for site in source.sites:
            _check_multiplicity(group, site)
        return crystal(
            [site.element for site in source.sites],
            [site.position for site in source.sites],
            spacegroup=group,
            cellpar=cell,
            symprec=SAME,
            onduplicates="error",
        )
    except UserError:
        raise
    except Exception as error:  # ASE raises of several kinds for groups, settings, duplicates
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"space_group {source.space_group}: {reason}") from error


def _check_multiplicity(group: Spacegroup, site: CrystalSite) -> None:
    if site.wyckoff is None:
        return
    orbit, _ = group.equivalent_sites([site.position], symprec=SAME)
    if len(orbit) != int(site.wyckoff[:-1]):
        raise UserError(
            f"sites: {site.element} at {site.position} is {len(orbit)}-fold in {group.symbol}, "
            f"not {site.wyckoff}; correct one of the two"
        )


def _cell_parameters(lattice: CellParameters | None, group: int | None) -> list[float]:
    """a, b, c (Å), alpha, beta, gamma (degrees), completed by the crystal system of the group."""
    number, given = group or 1, lattice or CellParameters(a_angstrom=1)
    a, b, c = given.a_angstrom, given.b_angstrom, given.c_angstrom
    cubic, hexagonal, tetragonal = number > 194, 142 < number <= 194, 74 < number <= 142
    lengths = [a, b or a, c or a] if cubic else [a, b or a, c]
    if lengths[2] is None or (number < 75 and b is None):
        raise UserError(f"lattice: space group {number} needs more of b_angstrom, c_angstrom")
    angles = [given.alpha_degrees, given.beta_degrees, given.gamma_degrees]
    fixed = [90.0, 90.0, 120.0 if hexagonal else 90.0]
    if 2 < number < 16 and angles[1] is None:
        raise UserError(f"lattice: space group {number} is monoclinic; give beta_degrees")
    if number < 3 and None in angles:
        raise UserError(f"lattice: space group {number} is triclinic; give all three angles")
    angles = [angle or value for angle, value in zip(angles, fixed, strict=True)]
    if (cubic or hexagonal or tetragonal) and abs(lengths[1] - a) > SAME:
        raise UserError(f"lattice: space group {number} has b = a; leave b_angstrom out")
    if cubic and (abs(lengths[2] - a) > SAME or angles != fixed):
        raise UserError(f"lattice: space group {number} is cubic; give a_angstrom alone")
    return [*lengths, *angles]


def _from_prototype(source: Crystal) -> Atoms:
    lattice = source.lattice or CellParameters(a_angstrom=1)
    name = source.formula or ""
    elements(name)
    cubic = source.prototype not in ("hcp", "wurtzite")
    try:
        return bulk(name, source.prototype, a=lattice.a_angstrom, c=lattice.c_angstrom, cubic=cubic)
    except Exception as error:  # ValueError, RuntimeError, NotImplementedError by ase.build.bulk
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"prototype {source.prototype} of {name}: {reason}") from error


def repeated(atoms: Atoms, times: tuple[int, int, int]) -> Atoms:
    """The cell repeated.

    Parameters
    ----------
    atoms : the cell, Å
    times : along a, b, c

    Returns
    -------
    the supercell, Å

    Raises
    ------
    UserError
        That is more than LARGEST atoms.
    """
    if (count := len(atoms) * int(np.prod(times))) > LARGEST:
        raise UserError(f"crystal: {count} atoms, more than {LARGEST}; ask for a smaller cell")
    return atoms.repeat(times)


def substitute(atoms: Atoms, source: Crystal, rng: np.random.Generator) -> Atoms:
    """Random atoms replaced or removed, then interstitials put in.

    Every rule speaks of the atoms there before any of them: five times 0.2 of an element leaves
    none of it. Whole atoms nearest to the fractions (largest remainders), at least one each.

    Parameters
    ----------
    atoms : N atoms, Å, left as they are
    source : its substitutions and interstitials
    rng : draws the sites

    Returns
    -------
    a copy; `info` says what was done

    Raises
    ------
    UserError
        A rule names an element that is not there.
    """
    changed, report, gone = atoms.copy(), [], []
    symbols = np.array(atoms.symbols)
    for element in dict.fromkeys(rule.element for rule in source.substitutions):
        rules = [rule for rule in source.substitutions if rule.element == element]
        sites = np.flatnonzero(symbols == element)
        counts = amounts(rules, len(sites))
        chosen = rng.permutation(sites)[: sum(counts)]
        for rule, count, part in zip(
            rules, counts, np.split(chosen, np.cumsum(counts)[:-1]), strict=True
        ):
            report.append(f"{element}>{rule.by or 'vacancy'}:{count}/{len(sites)}")
            if rule.by is None:
                gone += part.tolist()
            else:
                elements(rule.by)
                changed.symbols[part] = rule.by
    del changed[sorted(gone)]
    if report:
        changed.info["substitutions"] = " ".join(report)
    for put in source.interstitials:
        changed = interstitials(changed, put.element, put.count, rng)
    return changed


def amounts(rules: list[Substitution], sites: int) -> list[int]:
    """Whole atoms of each rule on `sites` sites of their element; UserError where they are not."""
    exact = [rule.count or (rule.fraction or 0) * sites for rule in rules]
    counts = [int(n) for n in exact]
    short = round(sum(exact)) - sum(counts)
    for n in sorted(range(len(rules)), key=lambda n: counts[n] - exact[n])[: max(0, short)]:
        counts[n] += 1
    counts = [max(1, n) for n in counts]
    if sum(counts) > sites:
        raise UserError(
            f"substitutions: {sum(counts)} of {sites} {rules[0].element} atoms; use a larger cell "
            "or another amount"
        )
    return counts


def interstitials(atoms: Atoms, element: str, count: int, rng: np.random.Generator) -> Atoms:
    """Atoms put one by one into the largest voids, equal ones drawn by the seed.

    Voids are the corners of the Voronoi cells of the atoms and their images.

    Parameters
    ----------
    atoms : N atoms, Å, left as they are
    element : symbol
    count : how many
    rng : draws among equal voids

    Returns
    -------
    a copy; `info["interstitials"]` says how far (Å) the last one is from its nearest atom
    """
    elements(element)
    filled = atoms.copy()
    for _ in range(count):
        places, room = voids(filled)
        best = places[room > room.max() - 0.05]
        filled += Atoms(element, [best[rng.integers(len(best))]])
    _made_room(filled)
    number = atoms.arrays.get("molecule")
    if number is not None:
        filled.arrays["molecule"][len(atoms) :] = -1
    filled.info["interstitials"] = f"{element}:{count} at {room.max():.2f} Å"
    return filled


def _made_room(atoms: Atoms) -> None:
    """Neighbours too near by their covalent radii pushed apart, in place, until none is: in dense
    crystals no void is as large as their own atoms."""
    radii = ROOM * covalent_radii[atoms.numbers]
    for _ in range(PUSHES):
        (i, j, r), vectors = pairs_and_vectors(atoms, 2 * radii.max())
        short = radii[i] + radii[j] - r
        if not (short > 1e-3).any():
            return
        moves = np.maximum(short, 0.0)[:, None] * vectors / r[:, None]
        np.add.at(atoms.positions, i, -moves / 2)


def voids(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Voronoi corners inside the cell.

    Parameters
    ----------
    atoms : N atoms, Å

    Returns
    -------
    corners (V, 3) Å and their distances (V,) to the nearest atom, Å
    """
    reach = np.ceil(8.0 / heights(atoms)).astype(int)
    reach[~atoms.pbc] = 0
    spans = [range(-n, n + 1) for n in reach]
    shifts = np.array(np.meshgrid(*spans)).reshape(3, -1).T @ atoms.cell.array
    images = (atoms.positions[None] + shifts[:, None]).reshape(-1, 3)
    corners = Voronoi(images).vertices
    fractional = corners @ np.linalg.inv(atoms.cell.complete().array)
    corners = corners[((fractional > -1e-6) & (fractional < 1 - 1e-6)).all(axis=1)]
    room = cKDTree(images).query(corners)[0]
    order = np.lexsort(corners.round(4).T)
    return corners[order], room[order]


def reduced(atoms: Atoms) -> tuple[Counter[str], int]:
    """The formula unit.

    Parameters
    ----------
    atoms : N atoms

    Returns
    -------
    its elements, and how many units there are
    """
    counts = Counter(atoms.symbols)
    units = reduce(gcd, counts.values())
    return Counter({symbol: n // units for symbol, n in counts.items()}), units
