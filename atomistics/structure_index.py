"""structures/index.yaml: the campaign's starting structures, one entry each; reads no structure.

A list; each entry has id, file (inside the folder), subsystem, family (Table 1 of the paper),
held_out, description; `fixed_cell: true` where no barostat may act, whatever a plan says (nothing
periodic, or a vacuum that it would close); `single_point: true` of what has no dynamics to sample
(an isolated atom, a dimer): labelled once, as it stands, with the first reference data of its
subsystem; and, where the file was built rather than brought, its
builder's parameters, its seed and its sha256.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atomistics.errors import UserError
from atomistics.yaml_files import format_yaml, read_yaml
from mtp.atomic import atomic_open, real_path

INDEX = "index.yaml"
FORMATS = {".extxyz": "extxyz", ".xyz": "extxyz", ".cif": "cif", ".vasp": "vasp", ".poscar": "vasp"}
StructureName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
TableFamily = Literal[
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
    id: StructureName
    file: str
    subsystem: StructureName
    family: TableFamily
    held_out: bool
    description: str = Field(min_length=1)
    fixed_cell: Literal[True] | None = None
    single_point: Literal[True] | None = None
    parameters: dict[str, Any] | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    folder: Path = Field(default=Path(), exclude=True)

    @property
    def path(self) -> Path:
        """The structure's file."""
        return self.folder / self.file


def read_index(folder: Path, files: bool = True) -> list[Structure]:
    """The entries of folder/index.yaml in its order; UserError for anything unsound in it.

    Without `files` the structures' own files are not looked at: whether they are there and those
    that the index means is for the jobs that read them.
    """
    index = folder / INDEX
    structures = [_entry(folder, number, raw, files) for number, raw in enumerate(_entries(index))]
    for key in ("id", "file"):
        values = [getattr(structure, key) for structure in structures]
        for value in values:
            if values.count(value) > 1:
                raise UserError(f"{index}: {key} '{value}' appears twice; give each its own")
    for structure in structures:
        if structure.held_out and structure.single_point:
            raise UserError(
                f"{index}: {structure.id}: held_out and single_point; evaluation is MD, which a"
                " single point has none of"
            )
    held_out = [structure.subsystem for structure in structures if structure.held_out]
    for subsystem in dict.fromkeys(structure.subsystem for structure in structures):
        if subsystem not in held_out:
            raise UserError(
                f"{index}: subsystem '{subsystem}' has no held-out structure; set held_out on one"
            )
        moving = [s for s in structures if s.subsystem == subsystem and not s.single_point]
        if held_out.count(subsystem) >= len(moving):
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


def _entry(folder: Path, number: int, raw: object, files: bool) -> Structure:
    where = f"{folder / INDEX}: entry {number}"
    if not isinstance(raw, dict) or "folder" in raw:
        raise UserError(f"{where}: must be a mapping with id, file, subsystem, ... and no 'folder'")
    if "id" in raw:
        where += f" ({raw['id']})"
    try:
        structure = Structure.model_validate(raw | {"folder": folder})
    except (ValidationError, TypeError) as error:
        raise UserError(f"{where}: {_first_problem(error)}") from error
    if files:
        _check_file(structure, folder, where)
    return structure


def _check_file(structure: Structure, folder: Path, where: str) -> None:
    inside = real_path(structure.path)
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
    with atomic_open(folder / INDEX) as file:
        file.write(format_yaml(entries, width=100))


def digest(path: Path) -> str:
    """Sha256 of the file's bytes, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
