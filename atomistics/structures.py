"""The structures of a campaign: read from their files, refused early when unsound."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from atomistics.errors import UserError
from atomistics.neighbours import pairs
from atomistics.structure_index import FORMATS, Structure
from mtp.errors import MTPError
from mtp.reading.frames import ReadOptions
from mtp.reading.labels import require_full_sites

TOO_CLOSE = 0.6  # of the sum of the covalent radii; the shortest bonds known are near 0.75
LAYER_NAMES = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}( [a-z0-9][a-z0-9_-]{0,63})*")
ELECTRONS = re.compile(r"(?i)charge|spin|multiplicity|magmom|moment|hubbard|^u(hf)?$")
KEPT = ("initial_magmoms", "initial_charges")  # columns of a file that calculations see
OWN_COLUMNS = ("numbers", "positions", "spacegroup_kinds", "layer", "molecule")
FLAT = 1e-3  # Å or Å^3


def load(structure: Structure) -> Atoms:
    """The structure of an entry of the index.

    Initial magnetic moments (μB) and charges (e) of the file stay (moments that a calculation found
    are the start of the next one), of a layered structure also the array `layer` and the names
    `info["layers"]`; `unused` names what does not.

    Parameters
    ----------
    structure : the entry, with its path

    Returns
    -------
    N atoms, Å, without calculator; `info` holds the ids `structure` and `subsystem`

    Raises
    ------
    UserError
        The file cannot be read, or holds more than one frame or none.
    """
    atoms_read = _one(structure)
    info = {"structure": structure.id, "subsystem": structure.subsystem}
    atoms = Atoms(
        atoms_read.numbers,
        atoms_read.positions,
        cell=atoms_read.cell,
        pbc=atoms_read.pbc,
        info=info,
    )
    moments = atoms_read.calc.results.get("magmoms") if atoms_read.calc else None
    if moments is not None and "initial_magmoms" not in atoms_read.arrays:
        atoms_read.set_array("initial_magmoms", np.asarray(moments, float))
    for name in KEPT:
        if name in atoms_read.arrays and atoms_read.arrays[name].any():
            atoms.set_array(name, atoms_read.arrays[name])
    named = LAYER_NAMES.fullmatch(str(atoms_read.info.get("layers", "")))
    if named and atoms_read.arrays.get("layer", np.zeros(0)).dtype.kind == "i":
        atoms.arrays["layer"] = atoms_read.arrays["layer"]
        atoms.info["layers"] = named[0]
    adsorbed, molecule = atoms_read.info.get("adsorbed"), atoms_read.arrays.get("molecule")
    if type(adsorbed) in (int, np.int64) and molecule is not None:
        numbers = np.unique(molecule[molecule >= 0])
        if 0 < adsorbed <= len(numbers):  # those added to the face have the highest numbers
            on_face = np.isin(molecule, numbers[-adsorbed:])
            atoms.arrays["adsorbate"] = np.where(on_face, molecule, -1)
    return atoms


def _one(structure: Structure) -> Atoms:
    images = frames(structure.path)
    if len(images) != 1 or not len(images[0]):
        raise UserError(
            f"{structure.path}: holds {len(images)} frames, must hold one with atoms in it"
        )
    return images[0]


def unused(structure: Structure) -> list[str]:
    """What stands in the structure's file and no calculation sees, by name."""
    atoms = _one(structure)
    info = {key for key in atoms.info if ELECTRONS.search(key)}
    if atoms.info.get("charge") == 0:  # as every calculation takes it
        info -= {"charge"}
    names = [*info, *(atoms.arrays.keys() - {*OWN_COLUMNS, *KEPT})]
    if atoms.constraints:
        names.append("constraints")
    if atoms.calc is not None:
        kept = {"magmoms"} if "initial_magmoms" not in atoms.arrays else set()
        names += atoms.calc.results.keys() - kept
    if structure.path.suffix == ".cif" and "_atom_site_moment" in structure.path.read_text():
        names.append("magnetic moments of the CIF (write them as initial_magmoms to an extxyz)")
    return sorted(names)


def frames(path: Path) -> list[Atoms]:
    """All structures in a file.

    Parameters
    ----------
    path : its suffix is one of FORMATS

    Returns
    -------
    Å, with whatever labels the file gives

    Raises
    ------
    UserError
        It is no structure, or a site of a CIF is shared or partly occupied.
    """
    # ASE's readers are half a second of imports, which only jobs that read a structure need
    from ase.io import read

    form = FORMATS[path.suffix.lower()]
    if form == "vasp":
        from mtp.reading.poscar import read_poscar

        try:
            return [read_poscar(path, ReadOptions())]
        except MTPError as error:
            raise UserError(str(error)) from None
    with _reading(path):
        if form == "extxyz":
            _check_count(path.read_bytes().splitlines())
    if form == "cif":
        return _of_cif(path)
    with _reading(path):
        images = read(path, index=":", format=form)
    try:
        for atoms in images:
            require_full_sites(atoms, path)
    except MTPError as error:
        raise UserError(str(error)) from None
    return images


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """UserError for what ASE's readers raise: whatever the malformed line led to."""
    try:
        yield
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(": ")
        raise UserError(f"{path}: not a structure: {reason}") from error


def _of_cif(path: Path) -> list[Atoms]:
    """The structures of a CIF; UserError for a site that no frame can hold."""
    from ase.io.cif import parse_cif

    from atomistics.cif_sites import fault

    with _reading(path):
        blocks = [block for block in parse_cif(str(path)) if block.has_structure()]
        faults = [fault(block) for block in blocks]
    if said := next((one for one in faults if one), None):
        raise UserError(f"{path}: {said}")
    with _reading(path):
        return [block.get_atoms() for block in blocks]


def _check_count(lines: list[bytes]) -> None:
    """ValueError for more atoms than lines, which ASE would look for over minutes."""
    count = lines[0].strip() if lines else b""
    if count.isdigit() and (len(count) > 12 or int(count) > len(lines)):
        raise ValueError(f"{count[:20].decode()} atoms announced in {len(lines)} lines")


def heights(atoms: Atoms) -> np.ndarray:
    """Heights of the cell: 1 / |reciprocal vector|.

    Parameters
    ----------
    atoms : the cell, Å

    Returns
    -------
    (3,) Å; inf where not periodic
    """
    reciprocal = np.linalg.inv(atoms.cell.complete().array)
    return np.where(atoms.pbc, 1 / np.linalg.norm(reciprocal, axis=0), np.inf)


def check(atoms: Atoms, species: list[str], cutoff: float) -> None:
    """Check that a calculation may start from this structure.

    Parameters
    ----------
    atoms : N atoms, Å
    species : of the campaign
    cutoff : Å, of the potential: a periodic cell lower than that makes atoms see their own images,
        which no larger system repeats

    Raises
    ------
    UserError
        In one line: a number that is not finite, a strange element, a flat cell, atoms too near
        each
        other, a cell too low.
    """
    name = f"structure {atoms.info.get('structure', atoms.get_chemical_formula())}"
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        raise UserError(f"{name}: positions or cell hold a NaN or infinity")
    strange = sorted(set(atoms.symbols) - set(species))
    if strange:
        what = "an unknown element" if strange == ["X"] else f"element {', '.join(strange)}"
        raise UserError(f"{name}: {what} is not in species {species}; add it there or remove it")
    if atoms.cell.rank < 3 and atoms.cell.lengths()[atoms.pbc].min(initial=1) < FLAT:
        raise UserError(f"{name}: periodic along a cell vector of no length; give it a cell")
    if atoms.cell.complete().volume < FLAT:
        raise UserError(f"{name}: its cell has no volume; give it a cell")
    low = heights(atoms).min()
    if low < cutoff:
        raise UserError(
            f"{name}: cell height {low:.3f} Å is below the cutoff {cutoff:g} Å; repeat the cell"
        )
    _check_distances(atoms, name)


def _check_distances(atoms: Atoms, name: str) -> None:
    radii = TOO_CLOSE * covalent_radii[atoms.numbers]
    near = pairs(atoms, 2 * radii.max(initial=0))
    bounds = radii[near.i] + radii[near.j]
    for worst in np.flatnonzero(near.distance < bounds)[:1]:
        pair = "-".join(f"{atoms.symbols[k]}{k}" for k in (near.i[worst], near.j[worst]))
        raise UserError(
            f"{name}: atoms {pair} are {near.distance[worst]:.3f} Å apart, the least sensible is "
            f"{bounds[worst]:.3f} Å; move or remove one"
        )
