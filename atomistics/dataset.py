"""Data sets: frames and their labels in one HDF5 file of flat ragged arrays.

Per frame: cell (Å), pbc, energy (eV), stress (eV/Å^3, ASE Voigt order), which labels are present,
`end` (atoms up to and with this frame). Per atom: atomic number, position (Å), force (eV/Å).
`info`: each frame's provenance as JSON; where its initial magnetic moments (μB) or charges (e) are
not all zero a list of the provenance and of these columns, for a label depends on them. An absent
label is zeros and a mask, never a NaN. A file is written once, whole or not at all; the same frames
give the same bytes. Kept of an Atoms object is what is listed here: no velocities, no constraints.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from atomistics.errors import UserError
from atomistics.structures import KEPT
from mtp.atomic import atomic_open
from mtp.errors import MTPError

FORMAT = "mtpilot data set 1"
LABELS = ("energy", "forces", "stress")
_FRAME: dict[str, tuple[tuple[int, ...], str]] = {
    "end": ((), "<i8"),
    "cell": ((3, 3), "<f8"),
    "pbc": ((3,), "|u1"),
    "energy": ((), "<f8"),
    "stress": ((6,), "<f8"),
    "labels": ((3,), "|u1"),
    "info_end": ((), "<i8"),
}
_ATOM: dict[str, tuple[tuple[int, ...], str]] = {
    "numbers": ((), "|u1"),
    "positions": ((3,), "<f8"),
    "forces": ((3,), "<f8"),
}
_INFO: dict[str, tuple[tuple[int, ...], str]] = {"info": ((), "|u1")}
_FIELDS = _FRAME | _ATOM | _INFO
_GAP = 16  # frames: reading past fewer is cheaper than another look-up in the file


def write(path: Path, frames: Sequence[Atoms]) -> None:
    """A new file of these frames in place of any old one, whole or not at all.

    Parameters
    ----------
    path : the file; its folder is made
    frames : Å, labels eV, eV/Å, eV/Å^3 in their calculators

    Raises
    ------
    UserError
        for a frame with a NaN or with provenance that is no plain data, and for a full disk.
    """
    arrays = _encode(path, frames)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_open(path, "w+b") as stream, h5py.File(stream, "w") as file:
            file.attrs["format"] = FORMAT
            for name, values in arrays.items():
                file.create_dataset(name, data=values, track_times=False)
    except (MTPError, OSError) as error:
        raise UserError(f"{path}: not written, make room and try again ({error})") from error


def _encode(path: Path, frames: Sequence[Atoms]) -> dict[str, np.ndarray]:
    rows: dict[str, list[Any]] = {name: [] for name in _FIELDS}
    for number, atoms in enumerate(frames):
        labels = _labels(atoms)
        values = [atoms.positions, atoms.cell.array, *labels.values()]
        if not all(np.isfinite(value).all() for value in values):
            raise UserError(f"{path}: frame {number} to write holds a NaN or infinity; drop it")
        rows["info"].append(np.frombuffer(_provenance(path, number, atoms), np.uint8))
        rows["info_end"].append(len(rows["info"][-1]))
        rows["end"].append(len(atoms))
        rows["cell"].append(atoms.cell.array)
        rows["pbc"].append(atoms.pbc)
        rows["numbers"].append(atoms.numbers)
        rows["positions"].append(atoms.positions)
        rows["labels"].append([name in labels for name in LABELS])
        rows["energy"].append(labels.get("energy", 0.0))
        rows["stress"].append(labels.get("stress", np.zeros(6)))
        rows["forces"].append(labels.get("forces", np.zeros((len(atoms), 3))))
    arrays = {name: np.array(rows[name], t).reshape(-1, *s) for name, (s, t) in _FRAME.items()}
    for name, (shape, dtype) in (_ATOM | _INFO).items():
        arrays[name] = np.concatenate([np.zeros((0, *shape)), *rows[name]]).astype(dtype)
    for name in ("end", "info_end"):
        arrays[name] = np.cumsum(arrays[name])
    return arrays


def _labels(atoms: Atoms) -> dict[str, Any]:
    """The results the calculator holds for exactly these positions; nothing is computed here."""
    if atoms.calc is None or atoms.calc.check_state(atoms):
        return {}
    return {name: atoms.calc.results[name] for name in LABELS if name in atoms.calc.results}


def _provenance(path: Path, number: int, atoms: Atoms) -> bytes:
    arrays = {k: atoms.arrays[k] for k in KEPT if k in atoms.arrays and atoms.arrays[k].any()}
    info = [atoms.info, arrays] if arrays else atoms.info
    try:
        return json.dumps(info, sort_keys=True, default=lambda value: value.tolist()).encode()
    except (TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path}: frame {number} to write, info: not plain data ({error})"
        ) from error


def _open(path: Path) -> h5py.File:
    if not path.exists():
        raise UserError(f"{path}: no such data set")
    try:
        # a file that is never changed needs no lock, and some cluster file systems have none
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise UserError(f"{path}: not readable as HDF5, restore a copy ({error})") from error
    sizes = {name: len(file[name]) for name in _FIELDS if name in file}
    if file.attrs.get("format") != FORMAT or len(sizes) != len(_FIELDS):
        raise UserError(f"{path}: HDF5, but not a '{FORMAT}'")
    ends = [int(file[name][-1]) if sizes[name] else 0 for name in ("end", "info_end")]
    atoms = {sizes[name] for name in _ATOM}
    if len({sizes[name] for name in _FRAME}) > 1 or atoms != {ends[0]} or sizes["info"] != ends[1]:
        raise UserError(f"{path}: its arrays disagree in length; restore it from a copy")
    return file


def count(path: Path) -> int:
    """Number of frames."""
    with _open(path) as file:
        return len(file["end"])


def read(path: Path, indices: Iterable[int] | None = None) -> list[Atoms]:
    """Read frames, each with its labels.

    Parameters
    ----------
    path : a file of `write`
    indices : from 0; None: all

    Returns
    -------
    frames in the order asked: Å, eV, eV/Å, eV/Å^3 (ASE's order and sign)

    Raises
    ------
    UserError
        An index is not in the file, or the file is none of ours or damaged.
    """
    total = count(path)
    wanted = np.array(range(total) if indices is None else list(indices), int)
    outside = wanted[(wanted < 0) | (wanted >= total)]
    if len(outside):
        raise UserError(f"{path}: frame {outside[0]} asked for, it holds {total}, counted from 0")
    if not len(wanted):
        return []
    order = np.argsort(wanted, kind="stable")
    ascending = wanted[order]
    frames: list[Atoms] = [Atoms()] * len(wanted)
    with _open(path) as file:
        runs = np.split(ascending, np.flatnonzero(np.diff(ascending) > _GAP) + 1)
        for place, atoms in zip(
            order, (a for run in runs for a in _decode(file, run)), strict=True
        ):
            frames[place] = atoms
    return frames


def _ends(file: h5py.File, name: str, begin: int, stop: int) -> np.ndarray:
    """Where the frames begin..stop-1 start in a ragged array, and where the last one ends."""
    return file[name][begin - 1 : stop] if begin else np.append(0, file[name][:stop])


def _decode(file: h5py.File, rows: np.ndarray) -> Iterator[Atoms]:
    """The frames of these ascending rows, read as one block from the first to the last of them."""
    begin, stop = int(rows[0]), int(rows[-1]) + 1
    ends, info_ends = (_ends(file, name, begin, stop) for name in ("end", "info_end"))
    block = {name: file[name][begin:stop] for name in _FRAME}
    block |= {name: file[name][ends[0] : ends[-1]] for name in _ATOM}
    info = file["info"][info_ends[0] : info_ends[-1]].tobytes()
    for row in rows - begin:
        part = slice(*(ends[row : row + 2] - ends[0]))
        note = slice(*(info_ends[row : row + 2] - info_ends[0]))
        note_of = json.loads(info[note])
        note_of = note_of if isinstance(note_of, list) else [note_of, {}]
        atoms = Atoms(
            block["numbers"][part],
            block["positions"][part],
            cell=block["cell"][row],
            pbc=block["pbc"][row].astype(bool),
            info=note_of[0],
        )
        for name, values in note_of[1].items():
            atoms.set_array(name, np.array(values, float))
        labels = {
            "energy": float(block["energy"][row]),
            "forces": block["forces"][part].copy(),
            "stress": block["stress"][row].copy(),
        }
        present = {name for name, has in zip(LABELS, block["labels"][row], strict=True) if has}
        if present:
            atoms.calc = SinglePointCalculator(atoms, **{name: labels[name] for name in present})
        yield atoms
