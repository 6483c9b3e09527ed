"""What a program leaves of a calculation, kept as one compressed file that its input names."""

import hashlib
import json
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mtp.atomic import atomic_path

FOLDER = Path("outputs")
# wavefunctions, densities and the like: gigabytes that only the program reads
BULKY = re.compile(
    r"(?i)WAVECAR|CHG|LOCPOT|PROOUT|TMPCAR|\.wfc|\.save/|\.gbw|-RESTART\.|\.gpw$|\.upf$"
)
LARGEST = 100_000_000  # bytes of a file that is kept


def geometry_digest(atoms: Atoms) -> str:
    """Hash of what a structure is, bit by bit.

    Parameters
    ----------
    atoms
        N atoms: numbers (N,), positions (N, 3) and cell (3, 3) in Å, periodicity (3,).

    Returns
    -------
    str
        SHA-256 in hexadecimal digits.
    """
    arrays = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    joined = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return hashlib.sha256(joined).hexdigest()


def input_digest(calculator: str, options: Mapping[str, Any], atoms: Atoms) -> str:
    """Hash of all that a calculation depends on.

    Parameters
    ----------
    calculator
        Its import path.
    options
        As in the configuration; a file that they name by an absolute path counts by its name.
    atoms
        N atoms with initial charges (e) and magnetic moments (µB).

    Returns
    -------
    str
        SHA-256 in hexadecimal digits.
    """
    spins = (atoms.get_initial_charges().tolist(), atoms.get_initial_magnetic_moments().tolist())
    values = [calculator, _without_folders(dict(options)), spins, geometry_digest(atoms)]
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=repr).encode()).hexdigest()


def _without_folders(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("/"):
        return Path(value).name
    if isinstance(value, Mapping):
        return {str(key): _without_folders(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_folders(inner) for inner in value]
    return value


def keep(folder: Path, program: str, atoms: Atoms, record: Mapping[str, Any]) -> Path:
    """Pack `folder` below `outputs/`, and beside its files `record` as calculation.json.

    Named by program, geometry (as the label's own file is) and input, so that the output of a label
    is found and a calculation that is done again takes its place.

    Parameters
    ----------
    folder
        Where the program ran.
    program
        Its name.
    atoms
        The structure (Å) that it was given.
    record
        What came of it; `input_sha256` is the hash of its input.

    Returns
    -------
    Path
        `outputs/PROGRAM-GEOMETRY-INPUT.tar.gz`.
    """
    name = f"{program}-{geometry_digest(atoms)[:12]}-{record['input_sha256'][:8]}"
    return pack(folder, name, record)


def pack(folder: Path, name: str, record: Mapping[str, Any]) -> Path:
    """Pack a folder without what is bulky as `outputs/NAME.tar.gz`, as `keep` does."""
    FOLDER.mkdir(exist_ok=True)
    (folder / "calculation.json").write_text(json.dumps(record, indent=1) + "\n")
    target = FOLDER / f"{name}.tar.gz"
    with atomic_path(target) as partial, tarfile.open(partial, "w:gz") as archive:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder).as_posix()
            if path.is_file() and not BULKY.search(inside) and path.stat().st_size <= LARGEST:
                archive.add(path, inside)
    return target
