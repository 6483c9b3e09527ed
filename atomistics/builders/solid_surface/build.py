"""Crystal surfaces: slabs by Miller or Miller-Bravais indices, molecules in them left whole."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from pymatgen.core import Structure
from pymatgen.core.surface import Slab as PymatgenSlab
from pymatgen.core.surface import SlabGenerator
from pymatgen.io.ase import AseAtomsAdaptor

from atomistics.bonded import formulas, longest_bonds, molecules
from atomistics.builders.crystals.source import lattice_of, reduced, repeated, standard, substitute
from atomistics.builders.solid_surface.parameters import Slab, SolidSurface
from atomistics.errors import UserError
from atomistics.structures import heights

IN_PLANE = (True, True, False)
PLANE = 0.2  # Å, how far atoms of one plane may lie apart
DEPTH = 3.3  # Å, to which two terminations are compared


def build(parameters: SolidSurface, rng: np.random.Generator, folder: Path) -> Atoms:
    """The slab in the middle of its vacuum, periodic along z too."""
    return with_vacuum(cut(parameters, rng, folder), parameters.vacuum_angstrom)


def with_vacuum(slab: Atoms, vacuum: float) -> Atoms:
    """Cell along z enlarged by `vacuum` Å, half of it below."""
    atoms = slab.copy()
    atoms.cell[2] = [0, 0, slab.cell[2, 2] + vacuum]
    atoms.positions[:, 2] += vacuum / 2
    atoms.pbc = True
    return atoms


def cut(slab: Slab, rng: np.random.Generator, folder: Path) -> Atoms:
    """The slab with z from 0 to its thickness (Å, outermost atoms), which is its cell's height.

    a lies along x, b in the xy plane, both reduced (Minkowski) and repeated. Cut by pymatgen's
    SlabGenerator (Tran et al., Sci. Data 3, 160080 (2016)) from the conventional cell, in whole
    formula units.
    """
    return widened(surface_cell(slab, folder), slab, rng)


def surface_cell(slab: Slab, folder: Path) -> Atoms:
    """The slab over the smallest surface cell, nothing repeated or substituted."""
    atoms = _terminated(slab, standard(lattice_of(slab, folder)))
    indices = " ".join(map(str, slab.miller))
    thickness = round(float(atoms.cell[2, 2]), 4)
    atoms.info = {"miller": f"({indices})", "thickness_angstrom": thickness}
    return atoms


def widened(atoms: Atoms, slab: Slab, rng: np.random.Generator) -> Atoms:
    """Repeated in the plane as `slab` asks, then substituted; molecules numbered."""
    repeat = slab.repeat
    if slab.min_width_angstrom is not None:
        widths = heights(atoms)[:2]
        repeat = [int(n) for n in np.ceil(slab.min_width_angstrom / widths - 1e-9)]
    wide = substitute(repeated(atoms, (repeat[0], repeat[1], 1)), slab, rng)
    wide.arrays["molecule"] = molecules(wide)
    return wide


def three_indices(miller: list[int], crystal: Atoms) -> tuple[int, int, int]:
    """Miller indices of the conventional cell; h k i l needs h + k + i = 0 and a hexagonal cell."""
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
    miller = three_indices(slab.miller, crystal)
    structure = AseAtomsAdaptor.get_structure(crystal)
    wanted = set(formulas(crystal, molecules(crystal))) if slab.keep_molecules else set()
    shift, repair = _shift(slab, structure, miller, wanted)
    height, short = slab.thickness_angstrom, 1.0
    while short > 1e-3:
        thick = SlabGenerator(structure, miller, height, 10, center_slab=True)
        made = thick.get_slab(shift=shift)
        atoms = _upright(thick.repair_broken_bonds(made, repair) if repair else made)
        short = slab.thickness_angstrom - atoms.cell[2, 2]
        height += max(short, 0)
    if wanted and set(formulas(atoms, molecules(atoms))) - wanted:
        raise UserError(
            f"termination {slab.termination} of {slab.miller} cuts molecules; choose another one"
        )
    return _trimmed(atoms, slab, wanted)


def _shift(
    slab: Slab, structure: Structure, miller: tuple[int, int, int], wanted: set[str]
) -> tuple[float, dict[tuple[str, str], float]]:
    """Where the plane cuts, and the bonds to mend; terminations that cut fewer bonds come first."""
    crystal = AseAtomsAdaptor.get_atoms(structure)
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
    if slab.termination >= len(offered):
        raise UserError(
            f"termination {slab.termination}: the plane {slab.miller} has {len(offered)}, counted "
            "from 0; choose one of them"
        )
    return offered[slab.termination].shift, mend


def _distinct(slabs: list[PymatgenSlab]) -> list[PymatgenSlab]:
    """Those with different tops, the first of each."""
    found: list[tuple[PymatgenSlab, Atoms]] = []
    for slab in slabs:
        atoms = _upright(slab)
        if not any(_same_top(atoms, other) for _, other in found):
            found.append((slab, atoms))
    return [slab for slab, _ in found]


def _molecules_of(slab: PymatgenSlab) -> set[str]:
    atoms = AseAtomsAdaptor.get_atoms(slab)
    return set(formulas(atoms, molecules(atoms)))


def _trimmed(atoms: Atoms, slab: Slab, wanted: set[str]) -> Atoms:
    """The thinnest slab thick enough: from the top in whole formula units, termination kept."""
    levels = np.unique(atoms.positions[:, 2].round(1))
    composition, _ = reduced(atoms)
    for top in levels[levels >= slab.thickness_angstrom - 0.1]:
        thinner = atoms[atoms.positions[:, 2] < top + PLANE]
        extent = float(thinner.positions[:, 2].max())
        if (
            extent > slab.thickness_angstrom - 1e-3
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
    found = AseAtomsAdaptor.get_atoms(slab)
    form, turn = found.cell.standard_form()
    positions = found.positions @ turn.T
    low, high = positions[:, 2].min(), positions[:, 2].max()
    cell = np.array([form[0], form[1], [0, 0, max(high - low, 1e-3)]])
    cell[:2], _ = (part[:2] for part in minkowski_reduce(cell, pbc=IN_PLANE))
    atoms = Atoms(found.numbers, positions - [0, 0, low], cell=cell, pbc=IN_PLANE)
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
