"""The .cfg text format of MLIP-2 and MLIP-3: strict streaming reader, full-precision atomic writer.

Format: MLIP-3 manual (github.com/ashapeev/mlip-3, section ".cfg files") and the files themselves.
What MLIP itself reads is read as MLIP reads it: SuperCell, Atomic_data:, `Features:`, no id, no
type (0), ghost true or false, some components of the virial (the others count as 0), Virial:
(divided by the volume). The last two are counted in a warning.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from mtp import _kernel
from mtp.atomic import atomic_open
from mtp.configuration import PER_ATOM, Configuration, from_atoms
from mtp.errors import MTPError

__all__ = ["Configuration", "from_atoms", "iterate_cfg", "parse_cfg", "read_cfg", "write_cfg"]

VIRIAL_ORDER = ("xx", "yy", "zz", "yz", "xz", "xy")
COLUMNS = (
    *("id", "type", "cartes_x", "cartes_y", "cartes_z", "direct_x", "direct_y", "direct_z"),
    *("fx", "fy", "fz", "site_en", "nbh_grades", *PER_ATOM),
)
ALIASES = {"SuperCell": "Supercell", "Atomic_data": "AtomData"}
LARGEST_TYPE = 999
# Python reads and writes the tables where the compiler had no std::to_chars
KERNEL_TEXT = getattr(_kernel, "fast_text", False)
END = b"END_CFG"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
FLAGS = {"true": 1.0, "false": 0.0}
DIALECTS = {
    "BEGIN": "; this is the format of MLIP-1: let `mlp convert` of an MLIP-2 read and write it",
    "n": "; this looks like MLIP's binary format: write text by MLIP's `mlp convert`",
}


class CfgWarning(UserWarning):
    """How many configurations of a file were read in MLIP's way although they say less or else."""


class _Cursor:
    """A place in the bytes of one configuration, its line number, and errors that name both.

    The first line has the number `number` + 1. `notes` counts what was read in MLIP's way although
    it says something else.
    """

    def __init__(self, data: bytes, name: str, number: int, notes: Counter[str]) -> None:
        self.data, self.name, self.number, self.notes = data, name, number, notes
        self.at = 0
        self.line = ""

    def row(self) -> list[str] | None:
        """Words of the next line, which may be blank; None at the end."""
        if self.at >= len(self.data):
            return None
        end = self.data.find(b"\n", self.at)
        end = len(self.data) if end < 0 else end
        self.line = self.data[self.at : end].decode("utf-8", "surrogateescape")
        self.at = end + 1
        self.number += 1
        return self.line.split()

    def next(self) -> list[str] | None:
        """Words of the next line that is not blank; None at the end."""
        while (words := self.row()) is not None:
            if words:
                return words
        return None

    def error(self, message: str, line: int | None = None) -> MTPError:
        return MTPError(f"{self.name}:{self.number if line is None else line}: {message}")

    def value(self, words: list[str], key: str) -> str:
        """The single value of a keyword, on its line or on the next one."""
        words = words[1:] or self.next() or []
        if len(words) != 1:
            raise self.error(f"{key} needs one value, found {_shown(' '.join(words))}")
        return words[0]

    def numbers(self, words: list[str], count: int, what: str) -> list[float]:
        if len(words) != count:
            raise self.error(f"{what} needs {count} numbers, found {len(words)}")
        return [self.number_of(word, what) for word in words]

    def number_of(self, word: str, what: str, line: int | None = None) -> float:
        try:
            value = float(word.replace("_", "?"))
        except ValueError:
            raise self.error(f"{what}: {_shown(word)} is not a number", line) from None
        if not np.isfinite(value):
            raise self.error(
                f"{what}: {word} is not finite; remove or recompute this configuration", line
            )
        return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def read_cfg(path: str | Path) -> list[Configuration]:
    """Read all configurations of a .cfg file.

    Parameters
    ----------
    path : the file, of MLIP-2 or MLIP-3

    Returns
    -------
    configurations: Å, eV, eV/Å, virial eV (see `Configuration`)

    Raises
    ------
    MTPError
        With file and line, on anything cut off, not finite or not understood.
    """
    return list(iterate_cfg(path))


def iterate_cfg(path: str | Path) -> Iterator[Configuration]:
    """Read configurations one at a time, so that memory does not grow with the file.

    Parameters
    ----------
    path : the file

    Yields
    ------
    configurations as of `read_cfg`

    Raises
    ------
    MTPError
        As `read_cfg`; and where the file cannot be read.
    """
    try:
        with Path(path).open("rb") as stream:
            yield from _parsed(stream, str(path), 1)
    except OSError as error:
        raise MTPError(f"{path}: cannot be read ({error.strerror})") from None


def parse_cfg(lines: Iterable[str], name: str, first_line: int = 1) -> Iterator[Configuration]:
    """Read configurations from lines of text.

    Parameters
    ----------
    lines : the text
    name : what errors call it
    first_line : number that errors give to the first line

    Yields
    ------
    configurations as of `read_cfg`

    Raises
    ------
    MTPError
        As `read_cfg`.
    """
    encoded = (line.rstrip("\n").encode("utf-8", "surrogateescape") + b"\n" for line in lines)
    yield from _parsed(encoded, name, first_line)


def _parsed(lines: Iterable[bytes], name: str, first_line: int) -> Iterator[Configuration]:
    notes: Counter[str] = Counter()
    try:
        for begin, block in _blocks(lines, first_line):
            source = _Cursor(block, name, begin - 1, notes)
            if (words := source.next()) is None:
                return
            if words != ["BEGIN_CFG"]:
                hint = DIALECTS.get(words[0], "")
                raise source.error(f"expected BEGIN_CFG, found {_shown(' '.join(words))}{hint}")
            yield _parse_one(source)
    finally:
        for note, count in notes.items():
            warnings.warn(f"{name}: {note}: {count} configurations", CfgWarning, stacklevel=2)


def _blocks(lines: Iterable[bytes], first_line: int) -> Iterator[tuple[int, bytes]]:
    """Pieces that end with a line END_CFG, each with the number of its first line."""
    block, begin = [], first_line
    for number, line in enumerate(lines, first_line):
        block.append(line if number > first_line else line.removeprefix(BYTE_ORDER_MARK))
        if END in line and line.strip() == END:
            yield begin, b"".join(block)
            block, begin = [], number + 1
    if block:
        yield begin, b"".join(block)


def _parse_one(source: _Cursor) -> Configuration:
    begin, fields, features = source.number, {}, {}
    while (words := source.next()) != ["END_CFG"]:
        if words is None:
            raise source.error("the file ends inside this configuration; it is truncated", begin)
        key = words[0].rstrip(":")
        key = ALIASES.get(key, key)
        if key == "Feature":
            if len(words) < 2:
                raise source.error("Feature needs a name")
            value = "".join(source.line.split(None, 2)[2:]).rstrip()
            features[words[1]] = f"{features[words[1]]}\n{value}" if words[1] in features else value
        elif key == "Features":
            features |= _feature_table(source, words[1:])
        else:
            if (name := "PlusStress" if key == "Virial" else key) in fields:
                raise source.error(f"{key} appears twice in this configuration")
            fields[name] = _section(source, key, words, fields)
    for needed in ("Size", "AtomData"):
        if needed not in fields:
            raise source.error(f"this configuration has no {needed}", begin)
    return _assemble(source, begin, fields, features)


def _feature_table(source: _Cursor, names: list[str]) -> dict[str, str]:
    """Values of `Features: name name ...`, one word each, on the next line."""
    values = source.next() or []
    if len(values) != len(names):
        raise source.error(f"Features: has {len(names)} names but {len(values)} values")
    return dict(zip(names, values, strict=True))


def _size(source: _Cursor, words: list[str]) -> int:
    word = source.value(words, "Size")
    if not word.isdecimal() or len(word) > 12 or int(word) < 1:
        raise source.error(f"Size must be a positive integer, found {_shown(word)}")
    return int(word)


def _supercell(source: _Cursor, words: list[str]) -> list[list[float]]:
    """Up to three periodic vectors (Å); the first word that is not a number ends them."""
    values = [source.number_of(word, "Supercell") for word in words[1:]]
    while True:
        place = source.at, source.number
        row = source.next()
        if row is None or (row[0][0].isalpha() and row[0].lower() not in {"nan", "inf"}):
            source.at, source.number = place
            break
        values += [source.number_of(word, "Supercell vector") for word in row]
        if len(values) % 3:
            raise source.error(f"Supercell vector needs 3 numbers, found {len(row)}")
        if len(values) > 9:
            raise source.error("Supercell has more than three vectors")
    if len(values) % 3:
        raise source.error(f"Supercell vectors need 3 numbers each, found {len(values)} in all")
    return [values[k : k + 3] for k in range(0, len(values), 3)]


def _virial(source: _Cursor, words: list[str]) -> np.ndarray:
    order = tuple(words[1:]) or VIRIAL_ORDER
    if not set(order) <= set(VIRIAL_ORDER) or len(set(order)) < len(order):
        components = " ".join(VIRIAL_ORDER)
        raise source.error(f"{words[0]} needs the six components {components}, or some, each once")
    values = source.numbers(source.next() or [], len(order), words[0])
    if len(order) < len(VIRIAL_ORDER):
        missing = len(VIRIAL_ORDER) - len(order)
        source.notes[f"{words[0]} lacks {missing} components, which count as 0 as in MLIP"] += 1
    by_name = dict(zip(order, values, strict=True))
    return np.array([by_name.get(component, 0.0) for component in VIRIAL_ORDER])


def _atom_data(source: _Cursor, words: list[str], fields: dict) -> dict[str, np.ndarray]:
    if "Size" not in fields:
        raise source.error("AtomData needs Size before it")
    columns, size = words[1:], fields["Size"]
    for column in columns:
        if column not in COLUMNS or columns.count(column) > 1:
            raise source.error(f"AtomData column {_shown(column)} is unknown or repeated")
    if not columns:
        raise source.error("AtomData names no columns")
    first = source.number + 1
    table = _fast_table(source, columns, size)
    if table is None:
        table = _careful_table(source, columns, size)
    _check_whole_numbers(source, columns, table, first)
    by_name = dict(zip(columns, table.T, strict=True))
    by_name["type"] = by_name["type"].astype(np.int64) if "type" in columns else np.zeros(size, int)
    return by_name


def _fast_table(source: _Cursor, columns: list[str], size: int) -> np.ndarray | None:
    """(size, columns) by the kernel; None where a line is not what it should be."""
    if not KERNEL_TEXT:
        return None
    flag = columns.index("ghost") if "ghost" in columns else -1
    parsed = _kernel.parse_table(source.data, source.at, size, len(columns), flag)
    if parsed is None:
        return None
    table, source.at = parsed
    source.number += size
    return table


def _careful_table(source: _Cursor, columns: list[str], size: int) -> np.ndarray:
    """(size, columns), or the error that says what is wrong on which line."""
    rows = []
    for count in range(size):
        row = source.row()
        if row is None:
            raise source.error(f"the file ends after {count} of {size} atoms; it is truncated")
        if len(row) != len(columns):
            raise source.error(f"atom line has {len(row)} of {len(columns)} columns of AtomData")
        rows.append([_cell(source, *pair) for pair in zip(columns, row, strict=True)])
    return np.array(rows)


def _cell(source: _Cursor, column: str, word: str) -> float:
    if column == "ghost" and word in FLAGS:
        return FLAGS[word]
    if column == "ghost" and word not in {"0", "1", "0.0", "1.0"}:
        raise source.error(f"ghost must be true or false, found {_shown(word)}")
    if column in {"id", "type"} and not (word.isdecimal() and len(word) <= 12):
        raise source.error(f"{column} must be a whole number, found {_shown(word)}")
    return source.number_of(word, column)


def _check_whole_numbers(
    source: _Cursor, columns: list[str], table: np.ndarray, first: int
) -> None:
    """Error unless ids run from 1 on and types are whole numbers the program can hold."""
    if "id" in columns:
        ids = table[:, columns.index("id")]
        wrong = np.flatnonzero(ids != np.arange(1, len(ids) + 1))
        if len(wrong):
            message = f"id must be {wrong[0] + 1}, found {ids[wrong[0]]:g}"
            raise source.error(message, first + int(wrong[0]))
    if "type" in columns:
        types = table[:, columns.index("type")]
        wrong = np.flatnonzero((types != np.floor(types)) | (types < 0) | (types > LARGEST_TYPE))
        if len(wrong):
            message = f"type must be 0-{LARGEST_TYPE}, found {types[wrong[0]]:g}"
            raise source.error(message, first + int(wrong[0]))


def _section(source: _Cursor, key: str, words: list[str], fields: dict) -> object:
    match key:
        case "Size":
            return _size(source, words)
        case "Supercell":
            return _supercell(source, words)
        case "AtomData":
            return _atom_data(source, words, fields)
        case "Energy":
            return source.number_of(source.value(words, "Energy"), "Energy")
        case "PlusStress":
            return _virial(source, words)
        case "Virial":
            fields["per volume"] = True
            return _virial(source, words)
    hint = "; PlusStress: (eV) has the sign this format means" if key == "Stress" else ""
    raise source.error(f"{_shown(words[0])} is not a keyword of this format{hint}")


def _assemble(source: _Cursor, begin: int, fields: dict, features: dict) -> Configuration:
    columns, rows = fields["AtomData"], fields.get("Supercell", [])
    cell = np.zeros((3, 3))
    cell[: len(rows)] = rows or 0.0
    columns.pop("id", None)
    cartesian = _triple(source, begin, columns, "cartes_")
    direct = _triple(source, begin, columns, "direct_")
    if (cartesian is None) == (direct is None):
        raise source.error("AtomData needs either cartes_x y z or direct_x y z", begin)
    if direct is not None and len(rows) < 3:
        raise source.error("direct_x y z need three Supercell vectors", begin)
    configuration = Configuration(
        cell=cell,
        pbc=np.arange(3) < len(rows),
        types=columns.pop("type"),
        positions=cartesian if direct is None else direct @ cell,
        forces=_triple(source, begin, columns, "f"),
        energy=fields.get("Energy"),
        virial=fields.get("PlusStress"),
        site_energies=columns.pop("site_en", None),
        grades=columns.pop("nbh_grades", None),
        features=features,
        columns={name: values.copy() for name, values in columns.items()},
    )
    if "per volume" in fields:
        if configuration.volume == 0:
            raise source.error("Virial: is divided by the volume, which needs three vectors", begin)
        source.notes["Virial: is divided by the volume, as MLIP does; write PlusStress: (eV)"] += 1
        configuration.virial = configuration.virial / configuration.volume
    return configuration


def _triple(source: _Cursor, begin: int, columns: dict, prefix: str) -> np.ndarray | None:
    names = [prefix + axis for axis in "xyz"]
    present = [name for name in names if name in columns]
    if present and len(present) < 3:
        raise source.error(
            f"AtomData has {' '.join(present)} but not all of {' '.join(names)}", begin
        )
    return np.column_stack([columns.pop(name) for name in names]) if present else None


def write_cfg(path: str | Path, configurations: Iterable[Configuration]) -> int:
    """Write all configurations, whole or not at all; they read back bit for bit.

    Parameters
    ----------
    path : the file
    configurations : Å, eV, eV/Å, virial eV

    Returns
    -------
    how many were written

    Raises
    ------
    MTPError
        The file cannot be written.
    """
    count = 0
    with atomic_open(path) as stream:
        for configuration in configurations:
            append_cfg(stream, configuration)
            count += 1
    return count


def append_cfg(stream: IO[str], configuration: Configuration) -> None:
    """Write one configuration to an open text stream.

    Parameters
    ----------
    stream : open for text
    configuration : Å, eV, eV/Å, virial eV, in the shortest digits that read back exactly
    """
    c = configuration
    lines = ["BEGIN_CFG", " Size", f"    {len(c.types)}"]
    if np.any(c.pbc):
        lines.append(" Supercell")
        lines += [_row(vector) for vector in c.cell[np.asarray(c.pbc, bool)]]
    names, values = _atom_columns(c)
    lines.append(" AtomData:  id type " + " ".join(f"{name:>20}" for name in names))
    lines.append(_table_text(c.types, values, names.index("ghost") if "ghost" in names else -1))
    if c.energy is not None:
        lines += [" Energy", f"    {float(c.energy)!r}"]
    if c.virial is not None:
        lines.append(" PlusStress: " + " ".join(f"{name:>20}" for name in VIRIAL_ORDER))
        lines.append(_row(c.virial))
    for key, value in c.features.items():
        lines += [f" Feature   {key}\t{part}" for part in (str(value).splitlines() or [""])]
    stream.write("\n".join([*lines, "END_CFG", ""]) + "\n")


def _row(numbers: np.ndarray) -> str:
    return "        " + " ".join(f"{float(number)!r:>20}" for number in numbers)


def _table_text(types: np.ndarray, values: np.ndarray, ghost: int) -> str:
    """Lines of atoms without the last line's end; column `ghost` (-1: none) as true and false."""
    if KERNEL_TEXT:
        return _kernel.format_table(types, values, ghost).removesuffix("\n")
    rows = []
    for index, (kind, row) in enumerate(zip(types.tolist(), values.tolist(), strict=True), 1):
        words = [repr(number) for number in row]
        if ghost >= 0:
            words[ghost] = str(bool(row[ghost])).lower()
        rows.append(f"{index:>14} {kind:>4} " + " ".join(f"{word:>20}" for word in words))
    return "\n".join(rows)


def _atom_columns(c: Configuration) -> tuple[list[str], np.ndarray]:
    names, parts = ["cartes_x", "cartes_y", "cartes_z"], [c.positions]
    if c.forces is not None:
        names, parts = [*names, "fx", "fy", "fz"], [*parts, c.forces]
    scalars = {"site_en": c.site_energies, **c.columns, "nbh_grades": c.grades}
    for name, values in scalars.items():
        if values is not None:
            names, parts = [*names, name], [*parts, values[:, None]]
    return names, np.hstack(parts).astype(float)
