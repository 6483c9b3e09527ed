"""The campaign's starting structures: a folder of files and its index, refused early when unsound.

index.yaml is a list; each entry has id, file (inside the folder), subsystem, family (Table 1 of the
paper), held_out, description; `fixed_cell: true` where no barostat may act, whatever a plan says
(nothing periodic, or a vacuum that it would close); and, where the file was built rather than
brought, its builder's parameters, its seed and its sha256.
"""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from ase import Atoms
from ase.data import covalent_radii
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atomistics.errors import UserError
from atomistics.neighbours import pairs
from atomistics.yaml_files import read_yaml
from mtp.errors import MTPError
from mtp.reading.frames import Told
from mtp.reading.poscar import read_poscar

INDEX = "index.yaml"
FORMATS = {".extxyz": "extxyz", ".xyz": "extxyz", ".cif": "cif", ".vasp": "vasp", ".poscar": "vasp"}
TOO_CLOSE = 0.6  # of the sum of the covalent radii; the shortest bonds known are near 0.75
LAYER_NAMES = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}( [a-z0-9][a-z0-9_-]{0,63})*")
KEPT = ("initial_magmoms", "initial_charges")  # columns of a file that calculations see
OWN_COLUMNS = ("numbers", "positions", "spacegroup_kinds", "layer", "molecule")
SAME_SITE = 1e-3  # fractional coordinates
FULL = 0.999
FLAT = 1e-3  # Å or Å^3
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
Family = Literal[
    "solid",
    "amorphous",
    "molecule",
    "solid-surface",
    "cluster",
    "solid-solid",
    "solid-molecule",
    "liquid-liquid",
    "polymer",
    "other",
]


class Structure(BaseModel):
    """One entry of the index; `path` is where its file lies."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    id: Name
    file: str
    subsystem: Name
    family: Family
    held_out: bool
    description: str = Field(min_length=1)
    fixed_cell: Literal[True] | None = None
    parameters: dict[str, Any] | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    folder: Path = Field(default=Path(), exclude=True)

    @property
    def path(self) -> Path:
        """The structure's file."""
        return self.folder / self.file


def read_index(folder: Path) -> list[Structure]:
    """The entries of folder/index.yaml in its order; UserError for anything unsound in it."""
    index = folder / INDEX
    structures = [_entry(folder, number, raw) for number, raw in enumerate(_entries(index))]
    for key in ("id", "file"):
        values = [getattr(structure, key) for structure in structures]
        for value in values:
            if values.count(value) > 1:
                raise UserError(f"{index}: {key} '{value}' appears twice; give each its own")
    held_out = [structure.subsystem for structure in structures if structure.held_out]
    for subsystem in dict.fromkeys(structure.subsystem for structure in structures):
        if subsystem not in held_out:
            raise UserError(
                f"{index}: subsystem '{subsystem}' has no held-out structure; set held_out on one"
            )
        if held_out.count(subsystem) == sum(s.subsystem == subsystem for s in structures):
            raise UserError(
                f"{index}: subsystem '{subsystem}' is held out whole; add one to train on"
            )
    return structures


def _entries(index: Path) -> list[object]:
    if not index.is_file():
        raise UserError(f"{index}: no such file; a structures folder needs its index")
    entries = read_yaml(index)
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{index}: must be a list of structures (id, file, subsystem, ...)")
    return entries


def _entry(folder: Path, number: int, raw: object) -> Structure:
    where = f"{folder / INDEX}: entry {number}"
    if not isinstance(raw, dict) or "folder" in raw:
        raise UserError(f"{where}: must be a mapping with id, file, subsystem, ... and no 'folder'")
    if "id" in raw:
        where += f" ({raw['id']})"
    try:
        structure = Structure.model_validate(raw | {"folder": folder})
    except (ValidationError, TypeError) as error:
        raise UserError(f"{where}: {_first_problem(error)}") from error
    inside = structure.path.resolve()
    if not inside.is_relative_to(folder.resolve()):
        raise UserError(f"{where}: file '{structure.file}' lies outside {folder}; copy it there")
    if inside.suffix.lower() not in FORMATS:
        raise UserError(f"{where}: file '{structure.file}' must end in one of {', '.join(FORMATS)}")
    if not inside.is_file():
        raise UserError(f"{where}: file '{structure.file}' is missing")
    if structure.sha256 not in {None, digest(inside)}:
        raise UserError(
            f"{where}: sha256 is not that of '{structure.file}'; the file was changed, rebuild it "
            "or delete the sha256 line to accept the change"
        )
    return structure


def _first_problem(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return _one_line(error)
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}={problem['input']!r:.80}: {problem['msg']}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def write_index(folder: Path, structures: list[Structure]) -> None:
    """Write folder/index.yaml whole, each entry with the sha256 its file has now."""
    entries = [
        s.model_dump(exclude_none=True) | {"sha256": digest(folder / s.file)} for s in structures
    ]
    temporary = folder / f"{INDEX}.tmp"
    temporary.write_text(yaml.safe_dump(entries, sort_keys=False, width=100), encoding="utf-8")
    temporary.replace(folder / INDEX)


def digest(path: Path) -> str:
    """Sha256 of the file's bytes, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(structure: Structure) -> Atoms:
    """The structure, no calculator; its info holds the ids `structure` and `subsystem`.

    Initial magnetic moments (μB) and charges (e) of the file stay (moments that a calculation found
    are the start of the next one), of a layered structure also the array `layer` and the names
    `info["layers"]`; `unused` names what does not.
    """
    found = _one(structure)
    info = {"structure": structure.id, "subsystem": structure.subsystem}
    atoms = Atoms(found.numbers, found.positions, cell=found.cell, pbc=found.pbc, info=info)
    moments = found.calc.results.get("magmoms") if found.calc else None
    if moments is not None and "initial_magmoms" not in found.arrays:
        found.set_array("initial_magmoms", np.asarray(moments, float))
    for name in KEPT:
        if name in found.arrays and found.arrays[name].any():
            atoms.set_array(name, found.arrays[name])
    named = LAYER_NAMES.fullmatch(str(found.info.get("layers", "")))
    if named and found.arrays.get("layer", np.zeros(0)).dtype.kind == "i":
        atoms.arrays["layer"] = found.arrays["layer"]
        atoms.info["layers"] = named[0]
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
    found = _one(structure)
    info = {"charge", "spin", "multiplicity", "spin_multiplicity", "magmom"} & found.info.keys()
    names = [*info, *(found.arrays.keys() - {*OWN_COLUMNS, *KEPT})]
    if found.constraints:
        names.append("constraints")
    if found.calc is not None:
        kept = {"magmoms"} if "initial_magmoms" not in found.arrays else set()
        names += found.calc.results.keys() - kept
    if structure.path.suffix == ".cif" and "_atom_site_moment" in structure.path.read_text():
        names.append("magnetic moments of the CIF (write them as initial_magmoms to an extxyz)")
    return sorted(names)


def frames(path: Path) -> list[Atoms]:
    """All structures in a file of one of the FORMATS; UserError where it is none."""
    from ase.io import read  # half a second, which only jobs that read a structure need

    form = FORMATS[path.suffix.lower()]
    try:
        if form == "vasp":
            return [read_poscar(path, Told())]
        if form == "extxyz":
            _check_count(path.read_bytes().splitlines())
        if form == "cif":
            _check_occupancies(path)
        return read(path, index=":", format=form)
    except (MTPError, UserError) as error:
        raise UserError(str(error)) from None
    except Exception as error:  # ASE's readers raise whatever the malformed line led to
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(": ")
        raise UserError(f"{path}: not a structure: {reason}") from error


def _check_occupancies(path: Path) -> None:
    """UserError for a site of a CIF that is shared or not full: no frame can say what sits there.

    ASE's reader puts the first or the likeliest element on every such site. An occupancy that is
    not given (absent, ?, .) is 1, as the CIF core dictionary has it.
    """
    from ase.io.cif import parse_cif

    for block in parse_cif(str(path)):
        known = [block.get(f"_atom_site_fract_{axis}") for axis in "xyz"]
        if any(column is None for column in known):
            continue
        places = np.array(known, float).T
        shares = block.get("_atom_site_occupancy") or [1.0] * len(places)
        shares = [float(s) if isinstance(s, int | float) else 1.0 for s in shares]
        names = block.get("_atom_site_label") or block.get("_atom_site_type_symbol")
        for place in places:
            apart = places - place
            same = np.flatnonzero(np.abs(apart - apart.round()).max(1) < SAME_SITE)
            if len(same) > 1 or shares[same[0]] < FULL:
                what = "shared" if len(same) > 1 else "partly occupied"
                raise UserError(
                    f"{path}: site {'/'.join(str(names[k]) for k in same)} is {what}, occupancy "
                    f"{'/'.join(f'{shares[k]:g}' for k in same)}; write an ordered cell or use "
                    "substitutions"
                )


def _check_count(lines: list[bytes]) -> None:
    """ValueError for more atoms than lines, which ASE would look for over minutes."""
    count = lines[0].strip() if lines else b""
    if count.isdigit() and (len(count) > 12 or int(count) > len(lines)):
        raise ValueError(f"{count[:20].decode()} atoms announced in {len(lines)} lines")


def heights(atoms: Atoms) -> np.ndarray:
    """Heights (3,) of the cell, Å: 1 / |reciprocal vector|; inf where not periodic."""
    reciprocal = np.linalg.inv(atoms.cell.complete().array)
    return np.where(atoms.pbc, 1 / np.linalg.norm(reciprocal, axis=0), np.inf)


def check(atoms: Atoms, species: list[str], cutoff: float) -> None:
    """UserError in one line when no calculation should start from this structure.

    `cutoff` (Å) is the potential's: a periodic cell lower than that makes atoms see their own
    images, which no larger system repeats.
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
