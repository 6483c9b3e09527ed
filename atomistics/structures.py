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

INDEX = "index.yaml"
FORMATS = {".extxyz": "extxyz", ".xyz": "extxyz", ".cif": "cif", ".vasp": "vasp", ".poscar": "vasp"}
TOO_CLOSE = 0.6  # of the sum of the covalent radii; the shortest bonds known are near 0.75
LAYER_NAMES = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}( [a-z0-9][a-z0-9_-]{0,63})*")
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
    try:
        entries = yaml.safe_load(index.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{index}: no such file; a structures folder needs its index") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{index}: cannot be read: {_one_line(error)}") from error
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

    Of a layered structure the array `layer` and the names `info["layers"]` are kept as well.
    """
    images = frames(structure.path)
    if len(images) != 1 or not len(images[0]):
        raise UserError(
            f"{structure.path}: holds {len(images)} frames, must hold one with atoms in it"
        )
    found = images[0]
    info = {"structure": structure.id, "subsystem": structure.subsystem}
    atoms = Atoms(found.numbers, found.positions, cell=found.cell, pbc=found.pbc, info=info)
    named = LAYER_NAMES.fullmatch(str(found.info.get("layers", "")))
    if named and found.arrays.get("layer", np.zeros(0)).dtype.kind == "i":
        atoms.arrays["layer"] = found.arrays["layer"]
        atoms.info["layers"] = named[0]
    return atoms


def frames(path: Path) -> list[Atoms]:
    """All structures in a file of one of the FORMATS; UserError where it is none."""
    from ase.io import read  # half a second, which only jobs that read a structure need

    try:
        if FORMATS[path.suffix.lower()] == "extxyz":
            _check_count(path.read_bytes().splitlines())
        return read(path, index=":", format=FORMATS[path.suffix.lower()])
    except Exception as error:  # ASE's readers raise whatever the malformed line led to
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(": ")
        raise UserError(f"{path}: not a structure: {reason}") from error


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
