"""Extended XYZ by ASE's reader, its header and columns checked before: what ASE would drop is an
error (more columns than Properties names), what others spell in lower case is understood."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms

from mtp.errors import MTPError
from mtp.reading.frames import Reading, ReadOptions, text_of
from mtp.reading.labels import OF_EACH, PER_ATOM, check_stresses, interpret, is_label

# "stress_" keeps ASE's reader from taking six of the nine numbers unseen, "virial_" from refusing
# six
HEADER = {"lattice": "Lattice", "properties": "Properties", "pbc": "pbc"}
HEADER |= {"stress": "stress_", "virial": "virial_"}
COMPONENT = re.compile(r"(?i)(?<![a-z])f(orces?)?_?x$")
COLUMNS = {"element": "species", "elements": "species", "symbols": "species", "position": "pos"}
COLUMNS |= {"positions": "pos", "coords": "pos", "species": "species", "pos": "pos", "z": "Z"}


def read_extxyz(path: Path, options: ReadOptions) -> Reading:
    """All frames of a file; MTPError names the frame, the key and what would settle it."""
    reading = Reading()
    for number, (line, block) in enumerate(_blocks(path)):
        where = f"{path}: frame {number} (line {line})"
        atoms = _frame(block, where)
        results = dict(atoms.calc.results) if atoms.calc is not None else {}
        columns = {k: v for k, v in atoms.arrays.items() if is_label(k, options)}
        columns |= {OF_EACH.format(k): results[k] for k in PER_ATOM if k in results}
        atoms.arrays |= {k: results.pop(k) for k in PER_ATOM if k in results}
        odd = [k for k in results if not is_label(k, options)]
        others = {k: results.pop(k) for k in odd}
        for name, value in others.items():  # per atom where it can be: charges, magmoms
            per_atom = np.ndim(value) and len(value) == len(atoms)
            (atoms.arrays if per_atom else atoms.info)[name] = value
        interpret(atoms, {**atoms.info, **results, **columns}, options, where, reading)
    check_stresses(reading, path)
    return reading


def _blocks(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and lines of every frame; blank lines between frames are passed over."""
    with text_of(path) as stream:
        line = 0
        for count in stream:
            line += 1
            if not count.strip():
                continue
            if not count.strip().isdecimal() or len(count.strip()) > 9:
                raise MTPError(f"{path}:{line}: expected a number of atoms, found {count[:40]!r}")
            first, block = line, [count]
            for row in stream:
                block.append(row)
                line += 1
                if len(block) == int(count) + 2:
                    break
            else:
                raise MTPError(
                    f"{path}:{first}: {int(count)} atoms announced, the file ends after "
                    f"{max(len(block) - 2, 0)}; it is truncated"
                )
            yield first, block


def _frame(block: list[str], where: str) -> Atoms:
    keys = re.findall(r"(?<![^\s,])([A-Za-z][\w-]*)\s*=", re.sub(r"\"[^\"]*\"", "", block[1]))
    if twice := next((k for k in keys if keys.count(k) > 1), None):
        raise MTPError(f"{where}: {twice} stands twice in its line; leave one")
    header = re.sub(
        r"(?i)(?<![\w-])(lattice|properties|pbc|stress|virial)(\s*)=",
        lambda m: HEADER[m[1].lower()] + "=",
        block[1],
    )
    header = re.sub(r"Properties=\"?([^\s\"]+)\"?", _properties, header)
    match = re.search(r"Properties=(\S+)", header)
    names = match[1].split(":")[::3] if match else ["species", "pos"]
    widths = match[1].split(":")[2::3] if match else ["1", "3"]
    if not all(width.isdecimal() and len(width) < 5 for width in widths):
        raise MTPError(f"{where}: Properties={match[1]:.60} is no list of NAME:TYPE:COLUMNS")
    if "pos" not in names:
        raise MTPError(f"{where}: Properties names no pos:R:3 (positions in Å)")
    for row in block[2:]:
        if len(row.split()) != sum(map(int, widths)):
            raise MTPError(
                f"{where}: {len(row.split())} columns in {row.strip()[:40]!r}, Properties names "
                f"{sum(map(int, widths))}; name every column there"
            )
    from ase.io.extxyz import read_xyz

    try:
        atoms = next(iter(read_xyz(io.StringIO("".join([block[0], header, *block[2:]])), 0)))
    except Exception as error:  # ASE's reader raises whatever the malformed line led to
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise MTPError(f"{where}: is no extended XYZ that ASE can read ({detail})") from None
    for name in ("stress", "virial"):
        if f"{name}_" in atoms.info:
            atoms.info[name] = atoms.info.pop(f"{name}_")
    _join_components(atoms)
    if not atoms.numbers.all():
        raise MTPError(f"{where}: an atom has no element; Properties needs species:S:1")
    if {"species", "Z"} <= set(names) and _species(block[2:], names, widths) != [*atoms.symbols]:
        raise MTPError(f"{where}: species and Z name different elements; leave one of them out")
    return atoms


def _species(rows: list[str], names: list[str], widths: list[str]) -> list[str]:
    at = sum(map(int, widths[: names.index("species")]))
    return [row.split()[at].capitalize() for row in rows]


def _join_components(atoms: Atoms) -> None:
    """Columns fx, fy, fz (REF_fx, force_x, ...) as one array of forces."""
    for first in [name for name in atoms.arrays if COMPONENT.search(name)]:
        three = [first, *(first[:-1] + axis for axis in ("yz" if first[-1] == "x" else "YZ"))]
        if all(np.ndim(atoms.arrays.get(name)) == 1 for name in three):
            columns = [atoms.arrays.pop(name) for name in three]
            atoms.arrays[COMPONENT.sub("", first) + "forces"] = np.column_stack(columns)


def _properties(match: re.Match[str]) -> str:
    fields = match[1].split(":")
    fields[::3] = [COLUMNS.get(name.lower(), name) for name in fields[::3]]
    return "Properties=" + ":".join(fields)
