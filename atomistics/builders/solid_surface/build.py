"""Crystal surfaces: slabs by Miller or Miller-Bravais indices, molecules in them left whole."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import minkowski_reduce
from pymatgen.core import Structure
from pymatgen.core.surface import Slab as PymatgenSlab
from pymatgen.core.surface import SlabGenerator
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from atomistics.bonded import BOND, deformed, formulas, longest_bonds, molecules, whole
from atomistics.builders.crystals.source import lattice_of, reduced, repeated, standard, substitute
from atomistics.builders.layers import clearance, shortest
from atomistics.builders.solid_surface.compensation import (
    PLANE,
    POLAR,
    compensated,
    dipole_density,
    formal_charges,
)
from atomistics.builders.solid_surface.parameters import Slab, SolidSurface
from atomistics.builders.solid_surface.passivation import passivated
from atomistics.errors import UserError
from atomistics.neighbours import pairs
from atomistics.structures import heights

IN_PLANE = (True, True, False)
DEPTH = 3.3  # Å, to which two terminations are compared
NEARER = 0.9  # of the crystal's shortest distance, across a fault or boundary
Cut = Callable[[float], Atoms]  # least thickness, Å, to a slab of one termination
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
    return len(_offered(slab, standard(lattice_of(slab, folder))))


def _sheets(slab: Slab, crystal: Atoms) -> Atoms:
    """Sheets of a layered crystal, connected by bonds within, by none across: of a thick slab the
    lowest but one, as the outermost may be cut in two."""
    wanted, thickness = slab.sheets or 1, 6.0 * (slab.sheets or 1) + 6
    while thickness < 20.0 * wanted + 40:
        thick = slab.model_copy(
            update={"sheets": None, "thickness_angstrom": thickness, "termination_in_turn": 0}
        )
        atoms = _terminated(thick, crystal)
        number = _bonded_parts(atoms)
        height = [atoms.positions[number == n, 2].mean() for n in range(number.max() + 1)]
        if len(height) > wanted + 1:
            kept = atoms[np.isin(number, np.argsort(height)[1 : wanted + 1])]
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
    differ; of a shift and its opposite (in hexagonal planes one leads into hollows, the other on
    top) that which needs no lifting. The half is lifted where atoms would come nearer than NEARER
    of the crystal's own shortest distance (a rigid point of the gamma surface, before it relaxes).
    """
    planes = np.unique(atoms.positions[:, 2].round(2))
    if len(planes) < 2:
        raise UserError("fault: a slab of one plane has no upper half; make it thicker")
    between = (planes[1:] + planes[:-1]) / 2
    middle = sorted(between, key=lambda z: abs(z - atoms.cell[2, 2] / 2))[:FAULTED]
    nearest, whole = shortest(atoms, NEARER), formulas(atoms, molecules(atoms))
    # fractions of the two vectors at 60 degrees, where a and b are at 120
    own = np.array([shift[0] + shift[1], shift[1]] if _obtuse(atoms) else shift)
    made = [_shifted(atoms, sign * own, float(z), nearest) for z in middle for sign in (1.0, -1.0)]
    sound = [one for one in made if formulas(one, molecules(one)) == whole]
    if not sound:
        raise UserError("fault: it would cut molecules; choose another face")
    return min(sound, key=lambda one: round(float(one.cell[2, 2]), 2))


def _obtuse(atoms: Atoms) -> bool:
    """Whether a and b are those of a hexagonal net at 120 degrees."""
    a, b = atoms.cell.array[:2]
    return bool(a @ b < 0 and abs(np.linalg.norm(a + b) - np.linalg.norm(b)) < 1e-3)


def _shifted(atoms: Atoms, shift: np.ndarray, level: float, nearest: np.ndarray) -> Atoms:
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
    if slab.passivated:
        wide = passivated(wide, rng)
    elif slab.compensated:
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
    """The asked termination, or the first of them."""
    offered = _offered(slab, crystal)
    count, number = len(offered), slab.termination
    if number is not None and number >= count:
        raise UserError(
            f"termination {number}: the plane {slab.miller} has {count}, counted from 0; "
            "choose one of them"
        )
    chosen = offered[slab.termination_in_turn % count if number is None else number]
    return _trimmed(_thick_enough(slab, chosen), slab, crystal)


def _thick_enough(slab: Slab, cut_at: Cut) -> Atoms:
    wanted, height, short = slab.thickness_angstrom or 0.0, slab.thickness_angstrom or 0.0, 1.0
    while short > 1e-3:
        atoms = cut_at(height)
        short = wanted - atoms.cell[2, 2]
        height += max(short, 0)
    return atoms


def _offered(slab: Slab, crystal: Atoms) -> list[Cut]:
    """Terminations: those without a dipole first, of these those that cut weaker bonds.

    Molecules are not cut: where every plane would, whole ones are taken by their centres. Nor are
    sheets, where there is a plane between them that cuts no bond.
    """
    miller = three_indices(slab.miller, crystal)
    structure = AseAtomsAdaptor.get_structure(crystal)
    generator = SlabGenerator(structure, miller, 1, 10, in_unit_planes=True, center_slab=True)
    every = longest_bonds(crystal, in_molecules=False) or None
    # pymatgen's own search for equal slabs takes most of a minute for low symmetry
    made = generator.get_slabs(bonds=every, max_broken_bonds=10**6, filter_out_sym_slabs=False)
    offered = _distinct([_planar(structure, miller, one.shift) for one in made])
    if slab.keep_molecules and molecules(crystal).max(initial=-1) >= 0:
        uncut = [(one, bare) for one, bare in offered if _unbroken(bare, crystal)]
        offered = uncut or _distinct(_between_molecules(structure, miller))
    lost = [_cut_strength(bare, crystal) for _, bare in offered]
    polar = [abs(dipole_density(bare)) > POLAR for _, bare in offered]
    balanced = bool(formal_charges(crystal).any())
    cleft = [n for n, strength in enumerate(lost) if not strength] if balanced else []
    order = sorted(cleft or range(len(offered)), key=lambda n: (polar[n], lost[n]))
    return [offered[n][0] for n in order]


def _planar(structure: Structure, miller: tuple[int, int, int], shift: float) -> Cut:
    """Cut along a plane."""

    def made(height: float) -> Atoms:
        thick = SlabGenerator(structure, miller, max(height, 1.0), 10, center_slab=True)
        return _upright(thick.get_slab(shift=shift))

    return made


def _between_molecules(structure: Structure, miller: tuple[int, int, int]) -> list[Cut]:
    """Cuts between whole molecules, and single atoms, by the heights of their centres."""
    cell = SlabGenerator(structure, miller, 1, 10, in_unit_planes=True).oriented_unit_cell
    bulk = whole(_upright_cell(AseAtomsAdaptor.get_atoms(cell)))
    number, height = bulk.arrays["molecule"], float(bulk.cell[2, 2])
    bodies = [np.flatnonzero(number == n) for n in range(number.max() + 1)]
    bodies += [np.array([n]) for n in np.flatnonzero(number < 0)]
    for body in bodies:  # every body with its centre inside the cell
        down = np.floor(round(float(bulk.positions[body, 2].mean() / height), 6))
        bulk.positions[body] -= down * bulk.cell.array[2]
    centre = np.array([bulk.positions[body, 2].mean() for body in bodies])
    levels = np.sort(centre)
    below = [z for z, before in zip(levels, [-np.inf, *levels], strict=False) if z - before > PLANE]

    def at(level: float) -> Cut:
        def made(thickness: float) -> Atoms:
            lifted = bulk.copy()
            for body, z in zip(bodies, centre, strict=True):
                if z < level - PLANE / 2:
                    lifted.positions[body] += bulk.cell.array[2]
            layers = int(np.ceil(max(thickness, 1.0) / height - 1e-6))
            stack = Atoms(cell=bulk.cell, pbc=IN_PLANE)
            for layer in range(layers):
                stack += Atoms(lifted.numbers, lifted.positions + layer * bulk.cell.array[2])
            return _standing(stack)

        return made

    return [at(float(level)) for level in below]


def _unbroken(atoms: Atoms, crystal: Atoms) -> bool:
    """Whether a slab has the crystal's molecules, all of them whole."""
    there, own = (Counter(formulas(one, molecules(one))) for one in (atoms, crystal))
    return there.keys() == own.keys() and all(
        there[name] * len(crystal) == own[name] * len(atoms) for name in own
    )


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


def _distinct(cuts: list[Cut]) -> list[tuple[Cut, Atoms]]:
    """Those with different tops, the first of each, with its thinnest slab."""
    distinct: list[tuple[Cut, Atoms]] = []
    for one in cuts:
        bare = one(0.0)
        if not any(_same_top(bare, other) for _, other in distinct):
            distinct.append((one, bare))
    return distinct


def _trimmed(atoms: Atoms, slab: Slab, crystal: Atoms) -> Atoms:
    """The thinnest slab thick enough: from the top in whole formula units, termination kept."""
    levels = np.unique(atoms.positions[:, 2].round(1))
    composition, _ = reduced(atoms)
    kept_whole = slab.keep_molecules and _unbroken(atoms, crystal)
    for top in levels[levels >= (slab.thickness_angstrom or 0) - 0.1]:
        thinner = atoms[atoms.positions[:, 2] < top + PLANE]
        extent = float(thinner.positions[:, 2].max())
        if (
            extent > (slab.thickness_angstrom or 0) - 1e-3
            and reduced(thinner)[0] == composition
            and _same_top(thinner, atoms)
            and (not kept_whole or _unbroken(thinner, crystal))
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
    return _standing(_upright_cell(AseAtomsAdaptor.get_atoms(slab)))


def _upright_cell(tilted: Atoms) -> Atoms:
    """A cell turned so that a lies along x, b in the plane."""
    form, turn = tilted.cell.standard_form()
    return Atoms(tilted.numbers, tilted.positions @ turn.T, cell=form, pbc=True)


def _standing(slab: Atoms) -> Atoms:
    """A slab whose a and b lie in the plane: these reduced, c along z and as high as its atoms."""
    low, high = slab.positions[:, 2].min(), slab.positions[:, 2].max()
    cell = np.array([slab.cell[0], slab.cell[1], [0, 0, max(high - low, 1e-3)]])
    cell[:2], _ = (part[:2] for part in minkowski_reduce(cell, pbc=IN_PLANE))
    atoms = Atoms(slab.numbers, slab.positions - [0, 0, low], cell=cell, pbc=IN_PLANE)
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
