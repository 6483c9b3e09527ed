"""The .cfg text format of MLIP-2 and MLIP-3: strict streaming reader, full-precision atomic writer.

Format: MLIP-3 manual (github.com/ashapeev/mlip-3, section ".cfg files") and the files themselves.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from mtp.atomic import atomic_open
from mtp.configuration import PER_ATOM, Configuration, from_atoms
from mtp.errors import MTPError

__all__ = ["Configuration", "from_atoms", "iterate_cfg", "parse_cfg", "read_cfg", "write_cfg"]

VIRIAL_ORDER = ("xx", "yy", "zz", "yz", "xz", "xy")
COLUMNS = (
    *("id", "type", "cartes_x", "cartes_y", "cartes_z", "direct_x", "direct_y", "direct_z"),
    *("fx", "fy", "fz", "site_en", "nbh_grades", *PER_ATOM),
)
LARGEST_TYPE = 999


class _Lines:
    """Lines of one file with their numbers, and errors that name both."""

    def __init__(self, lines: Iterable[str], name: str, first_line: int = 1) -> None:
        self.lines = iter(lines)
        self.name = name
        self.number = first_line - 1
        self.pending: list[str] | None = None
        self.line = ""

    def next(self) -> list[str] | None:
        """Words of the next line that is not blank; None at the end of the file."""
        if self.pending is not None:
            words, self.pending = self.pending, None
            return words
        for line in self.lines:
            self.number += 1
            if words := line.split():
                self.line = line
                return words
        return None

    def block(self, count: int) -> list[list[str]]:
        """Words of the next `count` lines, blank ones included."""
        rows = [line.split() for line in islice(self.lines, count)]
        self.number += len(rows)
        return rows

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
    """All configurations of a .cfg file: Å, eV, eV/Å, virial eV (see `Configuration`).

    Raises
    ------
    MTPError
        With file and line, on anything cut off, not finite or not understood.
    """
    return list(iterate_cfg(path))


def iterate_cfg(path: str | Path) -> Iterator[Configuration]:
    """Configurations one at a time, so that memory does not grow with the file."""
    try:
        with Path(path).open(encoding="utf-8", errors="surrogateescape") as stream:
            yield from parse_cfg(stream, str(path))
    except OSError as error:
        raise MTPError(f"{path}: cannot be read ({error.strerror})") from None


def parse_cfg(lines: Iterable[str], name: str, first_line: int = 1) -> Iterator[Configuration]:
    """Configurations in text lines; errors name `name` and the line, counted from `first_line`."""
    source = _Lines(lines, name, first_line)
    while (words := source.next()) is not None:
        if words != ["BEGIN_CFG"]:
            raise source.error(f"expected BEGIN_CFG, found {_shown(' '.join(words))}")
        yield _parse_one(source)


def _parse_one(source: _Lines) -> Configuration:
    begin, fields, features = source.number, {}, {}
    while (words := source.next()) != ["END_CFG"]:
        if words is None:
            raise source.error("the file ends inside this configuration; it is truncated", begin)
        key = words[0].rstrip(":")
        if key == "Feature":
            if len(words) < 2:
                raise source.error("Feature needs a name")
            value = "".join(source.line.split(None, 2)[2:]).rstrip()
            features[words[1]] = f"{features[words[1]]}\n{value}" if words[1] in features else value
            continue
        if (name := "PlusStress" if key == "Virial" else key) in fields:
            raise source.error(f"{key} appears twice in this configuration")
        fields[name] = _section(source, key, words, fields)
    for needed in ("Size", "AtomData"):
        if needed not in fields:
            raise source.error(f"this configuration has no {needed}", begin)
    return _assemble(source, begin, fields, features)


def _size(source: _Lines, words: list[str]) -> int:
    word = source.value(words, "Size")
    if not word.isdecimal() or len(word) > 12 or int(word) < 1:
        raise source.error(f"Size must be a positive integer, found {_shown(word)}")
    return int(word)


def _supercell(source: _Lines) -> list[list[float]]:
    """Up to three periodic vectors (Å); the first word that is not a number ends them."""
    rows = []
    while (row := source.next()) is not None:
        if row[0][0].isalpha() and row[0].lower() not in {"nan", "inf"}:
            source.pending = row
            return rows
        if len(rows) == 3:
            raise source.error("Supercell has more than three vectors")
        rows.append(source.numbers(row, 3, "Supercell vector"))
    return rows


def _plus_stress(source: _Lines, words: list[str]) -> np.ndarray:
    order = tuple(words[1:]) or VIRIAL_ORDER
    if sorted(order) != sorted(VIRIAL_ORDER):
        raise source.error(f"{words[0]} needs the six components {' '.join(VIRIAL_ORDER)}")
    values = dict(zip(order, source.numbers(source.next() or [], 6, words[0]), strict=True))
    return np.array([values[component] for component in VIRIAL_ORDER])


def _atom_data(source: _Lines, words: list[str], fields: dict) -> dict[str, np.ndarray]:
    if "Size" not in fields:
        raise source.error("AtomData needs Size before it")
    columns, size, first = words[1:], fields["Size"], source.number + 1
    for column in columns:
        if column not in COLUMNS or columns.count(column) > 1:
            raise source.error(f"AtomData column {_shown(column)} is unknown or repeated")
    if "id" not in columns or "type" not in columns:
        raise source.error("AtomData needs the columns id and type")
    rows = source.block(size)
    for line, row in enumerate(rows, first):
        if len(row) != len(columns):
            raise source.error(
                f"atom line has {len(row)} of {len(columns)} columns of AtomData", line
            )
    if len(rows) < size:
        raise source.error(f"the file ends after {len(rows)} of {size} atoms; it is truncated")
    by_column = zip(columns, zip(*rows, strict=True), strict=True)
    return {name: _column(source, name, words, first) for name, words in by_column}


def _column(source: _Lines, name: str, words: tuple[str, ...], first: int) -> np.ndarray:
    if name in {"id", "type"}:
        for line, word in enumerate(words, first):
            low, high = (line - first + 1,) * 2 if name == "id" else (0, LARGEST_TYPE)
            if not (word.isdecimal() and len(word) <= 12 and low <= int(word) <= high):
                raise source.error(
                    f"{name} must be {low}{f'-{high}' * (low < high)}, found {_shown(word)}", line
                )
        return np.array([int(word) for word in words])
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = None
    if values is None or not np.isfinite(values).all() or "_" in "".join(words):
        values = np.array([source.number_of(w, name, line) for line, w in enumerate(words, first)])
    return values


def _section(source: _Lines, key: str, words: list[str], fields: dict) -> object:
    match key:
        case "Size":
            return _size(source, words)
        case "Supercell":
            return _supercell(source)
        case "AtomData":
            return _atom_data(source, words, fields)
        case "Energy":
            return source.number_of(source.value(words, "Energy"), "Energy")
        case "PlusStress" | "Virial":
            return _plus_stress(source, words)
    hint = "; PlusStress: (eV) has the sign this format means" if key == "Stress" else ""
    raise source.error(f"{_shown(words[0])} is not a keyword of this format{hint}")


def _assemble(source: _Lines, begin: int, fields: dict, features: dict) -> Configuration:
    columns, rows = fields["AtomData"], fields.get("Supercell", [])
    cell = np.zeros((3, 3))
    cell[: len(rows)] = rows or 0.0
    del columns["id"]
    cartesian = _triple(source, begin, columns, "cartes_")
    direct = _triple(source, begin, columns, "direct_")
    if (cartesian is None) == (direct is None):
        raise source.error("AtomData needs either cartes_x y z or direct_x y z", begin)
    if direct is not None and len(rows) < 3:
        raise source.error("direct_x y z need three Supercell vectors", begin)
    return Configuration(
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
        columns=columns,
    )


def _triple(source: _Lines, begin: int, columns: dict, prefix: str) -> np.ndarray | None:
    names = [prefix + axis for axis in "xyz"]
    present = [name for name in names if name in columns]
    if present and len(present) < 3:
        raise source.error(
            f"AtomData has {' '.join(present)} but not all of {' '.join(names)}", begin
        )
    return np.column_stack([columns.pop(name) for name in names]) if present else None


def write_cfg(path: str | Path, configurations: Iterable[Configuration]) -> int:
    """Write all configurations, whole or not at all; returns how many. Reads back bit for bit."""
    count = 0
    with atomic_open(path) as stream:
        for configuration in configurations:
            append_cfg(stream, configuration)
            count += 1
    return count


def append_cfg(stream: IO[str], configuration: Configuration) -> None:
    """Write one configuration to an open text stream (shortest digits that read back exactly)."""
    c = configuration
    lines = ["BEGIN_CFG", " Size", f"    {len(c.types)}"]
    if np.any(c.pbc):
        lines.append(" Supercell")
        lines += [_row(vector) for vector in c.cell[np.asarray(c.pbc, bool)]]
    names, values = _atom_columns(c)
    lines.append(" AtomData:  id type " + " ".join(f"{name:>20}" for name in names))
    for index, (kind, row) in enumerate(zip(c.types.tolist(), values.tolist(), strict=True), 1):
        lines.append(f"{index:>14} {kind:>4} " + " ".join(f"{number!r:>20}" for number in row))
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


def _atom_columns(c: Configuration) -> tuple[list[str], np.ndarray]:
    names, parts = ["cartes_x", "cartes_y", "cartes_z"], [c.positions]
    if c.forces is not None:
        names, parts = [*names, "fx", "fy", "fz"], [*parts, c.forces]
    scalars = {"site_en": c.site_energies, **c.columns, "nbh_grades": c.grades}
    for name, values in scalars.items():
        if values is not None:
            names, parts = [*names, name], [*parts, values[:, None]]
    return names, np.hstack(parts).astype(float)
