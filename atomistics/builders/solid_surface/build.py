"""Crystal surfaces: slabs by Miller or Miller-Bravais indices, molecules in them left whole."""

from collections import Counter
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import minkowski_reduce
from pymatgen.core.surface import Slab as PymatgenSlab
from pymatgen.core.surface import SlabGenerator
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from atomistics.bonded import BOND, deformed, formulas, longest_bonds, molecules
from atomistics.builders.crystals.source import lattice_of, reduced, repeated, standard, substitute
from atomistics.builders.layers import clearance, closest
from atomistics.builders.solid_surface.compensation import (
    PLANE,
    POLAR,
    compensated,
    dipole_density,
    formal_charges,
)
from atomistics.builders.solid_surface.parameters import Slab, SolidSurface
from atomistics.errors import UserError
from atomistics.neighbours import pairs
from atomistics.structures import heights

IN_PLANE = (True, True, False)
DEPTH = 3.3  # Å, to which two terminations are compared
NEARER = 0.9  # of the crystal's shortest distance, across a fault or boundary
FAULTED = 4  # places of a fault that are tried, next to the middle


def build(parameters: SolidSurface, rng: np.random.Generator, folder: Path) -> Atoms:
    """The slab in the middle of its vacuum, periodic along z too.

    Parameters
    ----------
    parameters : crystal, plane, thickness and vacuum (Å)
    rng : draws substitutions
    folder : of the task

    Returns
    -------
    N atoms, Å

    Raises
    ------
    UserError
        The slab cannot be cut as asked.
    """
    return with_vacuum(cut(parameters, rng, folder), parameters.vacuum_angstrom)


def with_vacuum(slab: Atoms, vacuum: float) -> Atoms:
    """Enlarge the cell along z, half of it below.

    Parameters
    ----------
    slab : N atoms, Å
    vacuum : Å

    Returns
    -------
    a copy, periodic in three directions
    """
    atoms = slab.copy()
    atoms.cell[2] = [0, 0, slab.cell[2, 2] + vacuum]
    atoms.positions[:, 2] += vacuum / 2
    atoms.pbc = True
    return atoms


def cut(slab: Slab, rng: np.random.Generator, folder: Path) -> Atoms:
    """Cut a slab, repeat it in the plane and substitute.

    a lies along x, b in the xy plane, both reduced (Minkowski) and repeated. Cut by pymatgen's
    SlabGenerator (Tran et al., Sci. Data 3, 160080 (2016)) from the conventional cell, in whole
    formula units.

    Parameters
    ----------
    slab : crystal, plane, thickness (Å), repetitions
    rng : draws substitutions
    folder : of the task

    Returns
    -------
    N atoms, Å, z from 0 to the thickness of the outermost atoms, which is the cell's height

    Raises
    ------
    UserError
        The plane is none, or no cut has what was asked.
    """
    return widened(surface_cell(slab, folder), slab, rng)


def surface_cell(slab: Slab, folder: Path) -> Atoms:
    """The slab over the smallest surface cell, nothing repeated or substituted.

    Parameters
    ----------
    slab : crystal, plane, thickness (Å), sheets, fault, scale along the normal
    folder : of the task

    Returns
    -------
    N atoms, Å, as of `cut`

    Raises
    ------
    UserError
        The plane is none, or no cut has what was asked.
    """
    crystal = standard(lattice_of(slab, folder))
    atoms = _sheets(slab, crystal) if slab.sheets else _terminated(slab, crystal)
    if slab.normal_scale != 1:
        atoms = deformed(atoms, np.diag([1, 1, slab.normal_scale]))
        atoms.positions[:, 2] -= atoms.positions[:, 2].min()
        atoms.cell[2] = [0, 0, max(float(np.ptp(atoms.positions[:, 2])), 1e-3)]
    if slab.fault is not None:
        atoms = _faulted(atoms, slab.fault)
    indices = " ".join(map(str, slab.miller))
    thickness = round(float(atoms.cell[2, 2]), 4)
    atoms.info = {"miller": f"({indices})", "thickness_angstrom": thickness}
    return atoms


def terminations(slab: Slab, folder: Path) -> int:
    """How many different terminations the plane has that leave molecules whole."""
    return len(_offered(slab, standard(lattice_of(slab, folder)))[0])


def _sheets(slab: Slab, crystal: Atoms) -> Atoms:
    """The lowest sheets of a layered crystal: connected by bonds within, by none across."""
    wanted, thickness = slab.sheets or 1, 6.0 * (slab.sheets or 1)
    while thickness < 20.0 * wanted + 20:
        thick = slab.model_copy(update={"sheets": None, "thickness_angstrom": thickness})
        atoms = _terminated(thick, crystal)
        number = _bonded_parts(atoms)
        height = [atoms.positions[number == n, 2].mean() for n in range(number.max() + 1)]
        if len(height) > wanted:
            kept = atoms[np.isin(number, np.argsort(height)[:wanted])]
            kept.cell[2] = [0, 0, max(float(np.ptp(kept.positions[:, 2])), 1e-3)]
            kept.positions[:, 2] -= kept.positions[:, 2].min()
            return kept
        thickness += 4.0 * wanted
    raise UserError(f"sheets: {slab.miller} of this crystal has no separate sheets; give thickness")


def _bonded_parts(atoms: Atoms) -> np.ndarray:
    """Number (N,) of the part each atom is bound to, metals included."""
    radii = BOND * covalent_radii[atoms.numbers]
    near = pairs(atoms, 2 * radii.max())
    near = near.at(near.distance < radii[near.i] + radii[near.j])
    edges = coo_array((np.ones(len(near.i)), (near.i, near.j)), shape=(len(atoms), len(atoms)))
    return connected_components(edges)[1]


def _faulted(atoms: Atoms, shift: list[float]) -> Atoms:
    """The upper half moved along the plane, between two of the planes next to the middle.

    Where that leaves most room: in diamond the shifts of the glide set and those of the shuffle set
    differ. The half is lifted where atoms would come nearer than NEARER of the crystal's own
    shortest distance (a rigid point of the gamma surface, before it relaxes).
    """
    planes = np.unique(atoms.positions[:, 2].round(2))
    if len(planes) < 2:
        raise UserError("fault: a slab of one plane has no upper half; make it thicker")
    between = (planes[1:] + planes[:-1]) / 2
    middle = sorted(between, key=lambda z: abs(z - atoms.cell[2, 2] / 2))[:FAULTED]
    nearest, whole = NEARER * closest(atoms), formulas(atoms, molecules(atoms))
    made = [_shifted(atoms, np.array(shift), float(z), nearest) for z in middle]
    sound = [one for one in made if formulas(one, molecules(one)) == whole]
    if not sound:
        raise UserError("fault: it would cut molecules; choose another face")
    return min(sound, key=lambda one: round(float(one.cell[2, 2]), 2))


def _shifted(atoms: Atoms, shift: np.ndarray, level: float, nearest: float) -> Atoms:
    """Everything above `level` (Å) moved by fractions of a and b, and lifted as needed."""
    above = atoms.positions[:, 2] > level
    lower, upper = atoms[~above], atoms[above]
    lower.cell[2, 2] = lower.positions[:, 2].max()
    gap = float(upper.positions[:, 2].min() - lower.cell[2, 2])
    upper.positions += [*(shift @ atoms.cell.array[:2, :2]), -upper.positions[:, 2].min()]
    lift = max(0.0, clearance(lower, upper, nearest=nearest) - gap)
    moved = atoms.copy()
    moved.positions[above] += [*(shift @ atoms.cell.array[:2, :2]), lift]
    moved.cell[2, 2] += lift
    moved.wrap(eps=1e-6)
    return moved


def widened(atoms: Atoms, slab: Slab, rng: np.random.Generator) -> Atoms:
    """Repeated in the plane as asked, then substituted; molecules numbered.

    Parameters
    ----------
    atoms : a surface cell, Å
    slab : repetitions or least width (Å), substitutions
    rng : draws them

    Returns
    -------
    N atoms, Å; `info` says the dipole (e/Å) of a polar one

    Raises
    ------
    UserError
        A substitution names an element that is not there, or there are more atoms than LARGEST.
    """
    repeat = list(slab.repeat)
    if slab.min_width_angstrom is not None:
        widths = heights(atoms)[:2]
        repeat = [int(n) for n in np.ceil(slab.min_width_angstrom / widths - 1e-9)]
    for _ in range(slab.further_repeats):
        repeat[int(np.argmin((repeat * heights(atoms)[:2]).round(3)))] += 1
    wide = repeated(atoms, (repeat[0], repeat[1], 1))
    if slab.compensated:
        wide = compensated(wide, molecules(wide), rng)
    if abs(polar := dipole_density(wide)) > POLAR:
        wide.info["dipole_e_per_angstrom"] = round(polar, 3)
    wide = substitute(wide, slab, rng)
    wide.arrays["molecule"] = molecules(wide)
    return wide


def three_indices(miller: list[int], crystal: Atoms) -> tuple[int, int, int]:
    """Miller indices of the conventional cell.

    Parameters
    ----------
    miller : h k l, or h k i l
    crystal : the conventional cell

    Returns
    -------
    h, k, l

    Raises
    ------
    UserError
        All are 0; or of four h + k + i is not 0, or the cell is not hexagonal.
    """
    text = "(" + " ".join(map(str, miller)) + ")"
    if len(miller) == 4:
        if sum(miller[:3]) != 0:
            raise UserError(f"miller {text}: h + k + i must be 0; correct the third index")
        if not np.allclose(crystal.cell.angles(), [90, 90, 120], atol=0.01):
            raise UserError(f"miller {text}: four indices need a hexagonal cell; give h k l")
        miller = [miller[0], miller[1], miller[3]]
    if not any(miller):
        raise UserError(f"miller {text}: at least one index must differ from 0")
    return miller[0], miller[1], miller[2]


def _terminated(slab: Slab, crystal: Atoms) -> Atoms:
    """The asked termination, or the first that leaves molecules whole at this thickness."""
    offered, repair, wanted = _offered(slab, crystal)
    count = len(offered)
    if slab.termination is not None and slab.termination >= count:
        raise UserError(
            f"termination {slab.termination}: the plane {slab.miller} has {count}, counted from 0; "
            "choose one of them"
        )
    turn = slab.termination_in_turn
    every = [(number + turn) % count for number in range(count)]
    for number in every if slab.termination is None else [slab.termination]:
        atoms = _thick_enough(slab, crystal, offered[number].shift, repair)
        if not wanted or not set(formulas(atoms, molecules(atoms))) - wanted:
            return _trimmed(atoms, slab, wanted)
    raise UserError(
        f"miller {slab.miller}: "
        + (f"each of its {count} terminations" if slab.termination is None else "this termination")
        + " cuts molecules; choose another plane, or keep_molecules: false"
    )


def _thick_enough(
    slab: Slab, crystal: Atoms, shift: float, repair: dict[tuple[str, str], float]
) -> Atoms:
    structure = AseAtomsAdaptor.get_structure(crystal)
    miller, wanted = three_indices(slab.miller, crystal), slab.thickness_angstrom or 0.0
    height, short = wanted, 1.0
    while short > 1e-3:
        thick = SlabGenerator(structure, miller, height, 10, center_slab=True)
        made = thick.get_slab(shift=shift)
        atoms = _upright(thick.repair_broken_bonds(made, repair) if repair else made)
        short = wanted - atoms.cell[2, 2]
        height += max(short, 0)
    return atoms


def _offered(
    slab: Slab, crystal: Atoms
) -> tuple[list[PymatgenSlab], dict[tuple[str, str], float], set[str]]:
    """Terminations, the bonds to mend in them, and the molecules that must stay whole.

    Those without a dipole come first, of these those that cut weaker bonds, then fewer.
    """
    miller = three_indices(slab.miller, crystal)
    structure = AseAtomsAdaptor.get_structure(crystal)
    wanted = set(formulas(crystal, molecules(crystal))) if slab.keep_molecules else set()
    generator = SlabGenerator(structure, miller, 1, 10, in_unit_planes=True, center_slab=True)
    every = longest_bonds(crystal, in_molecules=False) or None
    # pymatgen's own search for equal slabs takes most of a minute for low symmetry
    cuts = generator.get_slabs(bonds=every, max_broken_bonds=10**6, filter_out_sym_slabs=False)
    offered, mend = _distinct(cuts), {}
    if wanted:
        uncut = [cut for cut in offered if _molecules_of(cut) <= wanted]
        mend = {} if uncut else longest_bonds(crystal, in_molecules=True)
        mended = generator.get_slabs(bonds=mend, repair=True, filter_out_sym_slabs=False)
        offered = uncut or _distinct(mended)
    bare = [_upright(cut) for cut in offered]
    order = [(abs(dipole_density(cut)) > POLAR, _cut_strength(cut, crystal)) for cut in bare]
    return [offered[n] for n in sorted(range(len(offered)), key=order.__getitem__)], mend, wanted


def _cut_strength(slab: Atoms, crystal: Atoms) -> float:
    """Strength of the bonds an atom of a slab has lost, e, by Pauling's rule: a cation's charge
    over its neighbours (J. Am. Chem. Soc. 51, 1010 (1929)); 0 without balanced charges."""
    charge = dict(zip(crystal.symbols, formal_charges(crystal), strict=True))
    reach = longest_bonds(crystal, in_molecules=False)
    lost = 0.0
    for pair, length in reach.items():
        cation = max(pair, key=charge.__getitem__)
        if len(set(pair)) < 2 or charge[cation] <= 0:
            continue
        whole, left = (_neighbours(atoms, pair, length, cation) for atoms in (crystal, slab))
        share = Counter(crystal.symbols)[cation] / len(crystal)
        lost += charge[cation] * (1 - left / whole) * share
    return round(lost, 2)


def _neighbours(atoms: Atoms, pair: tuple[str, str], length: float, cation: str) -> float:
    """Mean number of the pair's other element within `length` (Å) of its cation."""
    near = pairs(atoms, length)
    own = np.array(atoms.symbols)
    other = pair[0] if pair[1] == cation else pair[1]
    bound = (own[near.i] == cation) & (own[near.j] == other)
    return bound.sum() / max(1, (own == cation).sum())


def _distinct(slabs: list[PymatgenSlab]) -> list[PymatgenSlab]:
    """Those with different tops, the first of each."""
    distinct: list[tuple[PymatgenSlab, Atoms]] = []
    for slab in slabs:
        atoms = _upright(slab)
        if not any(_same_top(atoms, other) for _, other in distinct):
            distinct.append((slab, atoms))
    return [slab for slab, _ in distinct]


def _molecules_of(slab: PymatgenSlab) -> set[str]:
    atoms = AseAtomsAdaptor.get_atoms(slab)
    return set(formulas(atoms, molecules(atoms)))


def _trimmed(atoms: Atoms, slab: Slab, wanted: set[str]) -> Atoms:
    """The thinnest slab thick enough: from the top in whole formula units, termination kept."""
    levels = np.unique(atoms.positions[:, 2].round(1))
    composition, _ = reduced(atoms)
    for top in levels[levels >= (slab.thickness_angstrom or 0) - 0.1]:
        thinner = atoms[atoms.positions[:, 2] < top + PLANE]
        extent = float(thinner.positions[:, 2].max())
        if (
            extent > (slab.thickness_angstrom or 0) - 1e-3
            and reduced(thinner)[0] == composition
            and _same_top(thinner, atoms)
            and (not wanted or set(formulas(thinner, molecules(thinner))) <= wanted)
        ):
            thinner.cell[2] = [0, 0, extent]
            return thinner
    return atoms


def _same_top(one: Atoms, other: Atoms) -> bool:
    profiles = []
    for atoms in (one, other):
        depth = atoms.positions[:, 2].max() - atoms.positions[:, 2]
        near = depth < DEPTH
        profiles.append(sorted(zip(atoms.numbers[near], depth[near], strict=True)))
    return len(profiles[0]) == len(profiles[1]) and np.allclose(*profiles, atol=PLANE)


def _upright(slab: PymatgenSlab) -> Atoms:
    """pymatgen's slab with a along x, b in the plane, reduced, z from 0; no vacuum."""
    tilted = AseAtomsAdaptor.get_atoms(slab)
    form, turn = tilted.cell.standard_form()
    positions = tilted.positions @ turn.T
    low, high = positions[:, 2].min(), positions[:, 2].max()
    cell = np.array([form[0], form[1], [0, 0, max(high - low, 1e-3)]])
    cell[:2], _ = (part[:2] for part in minkowski_reduce(cell, pbc=IN_PLANE))
    atoms = Atoms(tilted.numbers, positions - [0, 0, low], cell=cell, pbc=IN_PLANE)
    return _in_plane(atoms)


def _in_plane(atoms: Atoms) -> Atoms:
    """A copy turned once more so that the reduced a lies along x, right-handed, wrapped."""
    cell = atoms.cell.array.copy()
    if np.cross(cell[0], cell[1])[2] < 0:
        cell[1] *= -1
    turned = atoms.copy()
    turned.set_cell(cell)
    form, turn = turned.cell.standard_form()
    turned.positions = turned.positions @ turn.T
    turned.set_cell(form)
    turned.wrap(eps=1e-6)
    return turned
