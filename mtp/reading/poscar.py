"""POSCAR and CONTCAR by ASE's reader, with one rule for the elements of VASP 4's.

A file of VASP 5 and later names its elements. One of VASP 4 does not; they are taken from the first
of: what the user says, a comment line that is a formula of as many elements (with the same counts,
where it has any), elements behind the positions, the POTCAR in the same folder. Otherwise it is
refused. Moments are those of an INCAR in the same folder.
"""

import io
import re
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io.vasp import read_vasp

from mtp.errors import MTPError
from mtp.reading.frames import ReadOptions, text_of


def read_poscar(path: Path, options: ReadOptions) -> Atoms:
    """Read one structure of VASP's POSCAR format; selective dynamics become ASE constraints.

    Parameters
    ----------
    path : the file; its neighbour POTCAR names the elements of a file of VASP 4, its INCAR sets
        initial moments (µB)
    options : whose `species` do so where there is none

    Returns
    -------
    the structure, Å, periodic in three directions

    Raises
    ------
    MTPError
        The file cannot be read, is none of this format, or nothing names its elements.
    """
    with text_of(path) as stream:
        lines = stream.read().splitlines()
    counts = lines[5].split("!")[0].split() if len(lines) > 5 else []
    if counts and all(word.isdecimal() for word in counts):
        lines.insert(5, " ".join(_elements(path, lines, [int(w) for w in counts], options)))
    _check_rows(path, lines)
    try:
        atoms = read_vasp(io.StringIO("\n".join(lines) + "\n"))
    except Exception as error:  # ASE's reader raises whatever the malformed line led to
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise MTPError(f"{path}: is no POSCAR that ASE can read ({detail})") from None
    moments = _moments(path, len(atoms))
    if moments:
        atoms.set_initial_magnetic_moments(moments)
    return atoms


def _moments(path: Path, count: int) -> list[float] | list[list[float]]:
    """MAGMOM (µB) of the INCAR in the same folder, in the order of the atoms; empty: none there.

    One or three numbers an atom. It must be the INCAR of this structure: one that counts other
    atoms, or that stands beside several structures, is refused.
    """
    incar = path.with_name("INCAR")
    if not incar.is_file():
        return []
    text = re.sub(r"[#!].*", "", incar.read_text("utf-8", "replace")).replace("\\\n", " ")
    match = re.search(r"(?im)(?:^|;)\s*MAGMOM\s*=([^;\n]*)", text)
    if match is None or re.search(r"(?im)(?:^|;)\s*ISPIN\s*=\s*1\b", text):
        return []
    try:
        words = [word.rpartition("*") for word in match[1].replace('"', " ").split()]
        numbers = [float(one) for number, _, one in words for _ in range(int(number or 1))]
    except ValueError:
        raise MTPError(
            f"{incar}: MAGMOM = {match[1].strip():.40} is not a list of moments"
        ) from None
    beside = [one for one in path.parent.iterdir() if one.suffix.lower() in (".vasp", ".poscar")]
    if len(numbers) not in (count, 3 * count) or len(beside) > 1:
        raise MTPError(
            f"{path}: MAGMOM of the INCAR beside it is for {len(numbers)} atoms, {count} are here"
            if len(beside) < 2
            else f"{path}: the INCAR beside it sets MAGMOM, and {len(beside)} structures are there;"
            " give each a folder with its INCAR, or write moments as initial_magmoms to an extxyz"
        )
    return numbers if len(numbers) == count else np.reshape(numbers, (count, 3)).tolist()


def _rows(lines: list[str], at: int) -> tuple[list[str], list[str]]:
    """Lines of the atoms that line `at` counts, and those after them."""
    count = sum(int(word) for word in lines[at].split("!")[0].split() if word.isdecimal())
    begin = at + 2 + (lines[at + 1 : at + 2] or [""])[0].strip().lower().startswith("s")
    return lines[begin : begin + count], lines[begin + count :]


def _named(row: str) -> str | None:
    """The element that stands behind the position of an atom, as many programs write it."""
    words = [word for word in row.split()[3:] if word not in ("T", "F", ".TRUE.", ".FALSE.")]
    return words[0] if len(words) == 1 and words[0] in atomic_numbers else None


def _check_rows(path: Path, lines: list[str]) -> None:
    """MTPError where ASE would read less than is there, or the file contradicts itself."""
    if len(lines) < 8 or not all(w.isdecimal() for w in lines[6].split("!")[0].split()):
        return  # ASE says what is wrong
    rows, rest = _rows(lines, 6)
    if rest and (re.match(r"\s*(-?[\d.]+\s+){2}-?[\d.]+", rest[0]) or "configuration=" in rest[0]):
        raise MTPError(
            f"{path}: goes on after the {len(rows)} atoms that it counts ({rest[0].strip():.40}); "
            "mend the counts, or leave one structure"
        )
    words = [re.split(r"[_/]", word)[0] for word in lines[5].split("!")[0].split()]
    counts = [int(word) for word in lines[6].split("!")[0].split() if word.isdecimal()]
    kinds = [word for word, count in zip(words, counts, strict=False) for _ in range(count)]
    for number, (row, kind) in enumerate(zip(rows, kinds, strict=False), 1):
        if (name := _named(row)) and name != kind:
            raise MTPError(f"{path}: atom {number} is {kind} by line 6 and {name} by its own line")


def _elements(path: Path, lines: list[str], counts: list[int], options: ReadOptions) -> list[str]:
    comment = lines[0]
    commented = _formula(comment, counts) or _listed(_rows(lines, 5)[0], counts)
    if options.species and len(options.species) == len(counts):
        if commented and commented != list(options.species):
            raise MTPError(
                f"{path}: names no elements in line 6; its comment or its atoms say "
                f"{' '.join(commented)}, "
                f"--species {' '.join(options.species)}; write the line"
            )
        return list(options.species)
    potcar = path.with_name("POTCAR")
    if commented:
        return commented
    if potcar.is_file():
        text = potcar.read_text("utf-8", "replace")
        elements = re.findall(r"VRHFIN\s*=\s*([A-Za-z]+)", text)
        if len(elements) == len(counts):
            return elements
    raise MTPError(
        f"{path}: names no elements (VASP 4); write them in a line before the counts "
        f"{' '.join(map(str, counts))}, or give --species=A,B,... with {len(counts)} of them"
    )


def _listed(rows: list[str], counts: list[int]) -> list[str]:
    """Elements behind the positions, one a group; empty where they are not that."""
    names = [_named(row) for row in rows]
    ends = [sum(counts[: k + 1]) for k in range(len(counts))]
    groups = [set(names[end - count : end]) for end, count in zip(ends, counts, strict=True)]
    whole = len(names) == sum(counts) and all(len(g) == 1 and None not in g for g in groups)
    return [str(next(iter(group))) for group in groups] if whole else []


def _formula(comment: str, counts: list[int]) -> list[str]:
    """Elements of a comment such as `Na Cl`, `Na4 Cl4`, `NaCl`; empty where it is another text."""
    words = comment.split()
    pairs = [pair for word in words for pair in re.findall(r"([A-Z][a-z]?)(\d*)", word)]
    whole = "".join(words) == "".join(a + b for a, b in pairs)
    names = [name for name, _ in pairs]
    if not whole or len(pairs) != len(counts) or any(n not in atomic_numbers for n in names):
        return []
    numbers = [int(number or 1) for _, number in pairs]
    fits = all(t * sum(counts) == c * sum(numbers) for t, c in zip(numbers, counts, strict=True))
    return names if fits or not any(number for _, number in pairs) else []
