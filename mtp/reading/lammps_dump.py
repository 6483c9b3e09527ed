"""LAMMPS text dumps by ASE's reader, without the energy of 0.0 that it adds: a dump holds none."""

import io
import re
from collections import Counter
from pathlib import Path

from ase import Atoms
from ase.data import chemical_symbols

from mtp.errors import MTPError
from mtp.reading.frames import Reading, ReadOptions, text_of

PLACES = [a + end for a in "xyz" for end in ("", "s", "u", "su")]
HARMLESS = {"id", "element", "q", "vx", "vy", "vz", "mass", "ix", "iy", "iz"}
STYLES = ("metal", "real")  # lj has no lengths in Å; the others differ from ASE's in every number


def read_dump(path: Path, options: ReadOptions) -> Reading:
    """Frames with the array `type` where the file has it; elements by the file, else `species`.

    Forces are those of the units style that the file names (`dump_modify units yes`), the user
    tells (`--units=lammps=real`), or metal.
    """
    with text_of(path) as stream:
        text = stream.read()
    lines = text.splitlines()
    style = next((lines[i + 1].strip() for i, s in enumerate(lines) if s == "ITEM: UNITS"), None)
    given = options.units.get("lammps")
    if style and given and style != given:
        raise MTPError(f"{path}: its units style is {style}, not {given:.20}")
    style = style or given or "metal"
    columns = [line.split()[2:] for line in lines if line.startswith("ITEM: ATOMS")]
    if style not in STYLES:
        raise MTPError(f"{path}: units style {style!r:.20}; only {', '.join(STYLES)} can be read")
    if any("type" not in names and "element" not in names for names in columns):
        raise MTPError(f"{path}: has neither type nor element; dump one of them")
    _check_frames(lines, path)
    from ase.io.lammpsrun import read_lammps_dump_text

    try:
        images = read_lammps_dump_text(io.StringIO(text), index=slice(None), units=style)
    except Exception as error:  # ASE's reader raises whatever the malformed line led to
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise MTPError(f"{path}: is no LAMMPS dump that ASE can read ({detail})") from None
    if not images:
        raise MTPError(f"{path}: holds no ITEM: TIMESTEP; it is no LAMMPS dump")
    reading = Reading()
    for atoms, names in zip(images, columns, strict=True):
        _elements(atoms, names, options, path)
        forces = atoms.calc.results.get("forces") if atoms.calc is not None else None
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        for name in atoms.arrays.keys() - bare.arrays.keys():
            bare.set_array(name, atoms.arrays[name])
        bare.info = {k: v for k, v in atoms.info.items() if isinstance(v, int | float | str)}
        reading.add(bare, forces=forces)
        taken = {*PLACES, *bare.arrays, *(("fx", "fy", "fz") * (forces is not None))}
        reading.unknown.update(set(names) - taken - HARMLESS)
    return reading


def _check_frames(lines: list[str], path: Path) -> None:
    """MTPError for what ASE's reader would take for something else.

    That is a frame cut short, a cell by general vectors or without boundaries (read as not
    periodic), a name that is no element.
    """
    announced = 0
    for number, line in enumerate(lines):
        where, item = f"{path}:{number + 1}", line.partition("ITEM: ")[2]
        if item.startswith("NUMBER OF ATOMS"):
            word = "".join(lines[number + 1 : number + 2]).strip()
            announced = int(word) if word.isdecimal() else 0
        elif item.startswith("BOX BOUNDS"):
            flags = [word for word in item.split()[2:] if word not in ("xy", "xz", "yz")]
            if len(flags) != 3 or not all(re.fullmatch("[pfsm]{1,2}", flag) for flag in flags):
                raise MTPError(
                    f"{where}: {line!r:.60} does not say where the box is periodic; write ITEM:"
                    " BOX BOUNDS pp pp pp (of a general triclinic box dump the restricted one)"
                )
        elif item.startswith("ATOMS"):
            rows = [row.split() for row in lines[number + 1 : number + 1 + announced]]
            _check_rows(rows, announced, item.split()[1:], where)


def _check_rows(rows: list[list[str]], announced: int, names: list[str], where: str) -> None:
    whole = [row for row in rows if len(row) == len(names)]
    if len(whole) != announced:
        raise MTPError(
            f"{where}: {announced} atoms of {len(names)} columns announced, {len(whole)} are there;"
            " it is cut short"
        )
    if "id" in names:
        ids = Counter(row[names.index("id")] for row in rows)
        if twice := next((one for one, number in ids.items() if number > 1), None):
            raise MTPError(f"{where}: atom {twice:.20} stands twice")
    if "element" in names:
        at = names.index("element")
        if odd := {row[at] for row in rows} - set(chemical_symbols):
            raise MTPError(
                f"{where}: element {min(odd):.20} is none; name them by `dump_modify ID element Cu"
                " O`, or dump without them and give --species=Cu,O"
            )


def _elements(atoms: Atoms, names: list[str], options: ReadOptions, path: Path) -> None:
    """Type t is `species[t - 1]`; elements of the file that say otherwise are an error.

    Carbon everywhere says nothing: LAMMPS writes it where it was not given the elements. Those that
    nothing says are X.
    """
    kinds = atoms.arrays.get("type")
    default = "element" in names and kinds is not None and set(atoms.symbols) == {"C"}
    if kinds is None:
        return
    if not options.species:
        if not {"element", "mass"} & set(names) or (default and kinds.min() < kinds.max()):
            atoms.numbers[:] = 0
        return
    if kinds.max() > len(options.species) or kinds.min() < 1:
        odd = kinds.min() if kinds.min() < 1 else kinds.max()
        raise MTPError(
            f"{path}: type {odd} has no element in --species={','.join(options.species)}; "
            "list one per LAMMPS type"
        )
    symbols = [options.species[kind - 1] for kind in kinds]
    wrong = [k for k, (a, b) in enumerate(zip(symbols, atoms.symbols, strict=True)) if a != b]
    if "element" in names and wrong and not default:
        k = wrong[0]
        raise MTPError(
            f"{path}: type {kinds[k]} is {atoms.symbols[k]} in the file and {symbols[k]} in "
            f"--species={','.join(options.species)}; give them in the order of the types"
        )
    atoms.symbols = symbols
