"""The verb convert: .cfg to and from what VASP, LAMMPS, ASE and others write."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.geometry import minkowski_reduce

from mtp.arguments import Arguments, Option, Verb, unknown
from mtp.atomic import atomic_open
from mtp.configuration import PER_ATOM, Configuration, from_atoms
from mtp.errors import MTPError
from mtp.formats.cfg import iterate_cfg, write_cfg
from mtp.reading.files import READERS, read_calculations
from mtp.reading.frames import Reading, ReadOptions, order_of, pairs_of
from mtp.reading.work import contradiction

# MLIP's own formats; what calculations leave is read by mtp.reading, as `planner import` does
OWN = ("txt", "poscar", "lammps_datafile")
WRITERS = {"txt": "", "poscar": "vasp", "lammps_datafile": "lammps-data", "extxyz": "extxyz"}
FORMATS = {**dict.fromkeys(OWN), **{name: None for name in READERS if name != "cfg"}}
PLACEHOLDERS = chemical_symbols[1:]
VACUUM = 10.0  # Å on either side: more than any cutoff in use between images
KEPT = (*PER_ATOM, "nbh_grades", "energies", "type")


def convert(arguments: Arguments) -> int:
    """Read one format, write another; the output is replaced whole, or extended by --append."""
    source, target = arguments["input"], arguments["output"]
    entry = _format(arguments["input_format"], FORMATS, "input_format")
    result = _format(arguments["output_format"], WRITERS, "output_format")
    species = _species(arguments)
    if entry == "txt":
        configurations: Iterable[Configuration] = iterate_cfg(source)
    else:
        reading = _read(Path(source), entry, _read_options(arguments, species))
        if not reading.frames:
            raise MTPError(f"{source}: no configuration to keep: {reading.line(KEPT)}")
        print(reading.line(KEPT))
        if said := contradiction(reading.frames):
            print(f"warning: {said}")
        by_type = all("type" in atoms.arrays for atoms in reading.frames)
        if arguments["append"] and not species and not by_type:
            raise MTPError("--append needs --species=Li,C,..., or types would not fit the output")
        nameless = by_type and result in ("txt", "lammps_datafile")
        species = species or (
            PLACEHOLDERS if nameless else _elements(reading.frames, by_type, source)
        )
        configurations = [_configuration(atoms, species, by_type) for atoms in reading.frames]
    changed = _changed(configurations, arguments)
    if result == "txt":
        extended = arguments["append"] and Path(target).exists()
        count = write_cfg(target, chain(iterate_cfg(target) if extended else (), changed))
    else:
        count = _write(list(changed), target, result, species)
    if not count:
        raise MTPError(f"{source}: holds no configuration that was to be kept")
    print(f"{count} configurations in {target}")
    return 0


def _read_options(arguments: Arguments, species: list[str]) -> ReadOptions:
    return ReadOptions(
        () if arguments["absolute_types"] else tuple(species),
        pairs_of("keys", arguments["keys"] or ""),
        pairs_of("units", arguments["units"] or ""),
        order_of(arguments["voigt"] or ""),
        arguments["save_nonconverged"],
    )


def _format(word: str, formats: dict[str, str], option: str) -> str:
    name = word.lower().replace("-", "_").removeprefix("vasp_")
    if name not in formats:
        raise unknown(f"--{option}", word, list(formats))
    return name


def _species(arguments: Arguments) -> list[str]:
    """Elements in the order of types: symbols or atomic numbers, empty when not given."""
    if arguments["absolute_types"]:
        return list(chemical_symbols)
    symbols = []
    for word in (arguments["species"] or "").replace(",", " ").split():
        number = int(word) if word.isdecimal() else atomic_numbers.get(word, 0)
        if not 0 < number < len(chemical_symbols) or chemical_symbols[number] in symbols:
            raise MTPError(f"--species: {word!r:.20} is not an element, or is given twice")
        symbols.append(chemical_symbols[number])
    return symbols


# as in mtp.reading, ASE's readers and writers are imported where they are used: `mlp help` does
# without, and they take it a second
def _read(path: Path, entry: str, options: ReadOptions) -> Reading:
    if entry == "poscar":
        from mtp.reading.poscar import read_poscar

        return Reading([read_poscar(path, options)])
    if entry != "lammps_datafile":
        return read_calculations(path, options, entry)
    from ase.io import read

    by_number = {t: t for t in range(1, len(chemical_symbols))}
    try:
        atoms = read(path, format="lammps-data", Z_of_type=by_number)
    except OSError as error:
        raise MTPError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:
        detail = " ".join(f"{type(error).__name__}: {error}".split())
        raise MTPError(f"{path}: is no {entry} file that ASE can read ({detail:.160})") from None
    if "type" in atoms.arrays:  # whose numbers are those of the elements above
        atoms.numbers[:] = 0
    return Reading([atoms])


def _elements(images: list[Atoms], by_type: bool, source: str) -> list[str]:
    """Without --species: those that the file gives each LAMMPS type, or by first appearance."""
    if by_type:
        named = {
            pair
            for atoms in images
            for pair in zip(atoms.arrays["type"].tolist(), atoms.symbols, strict=True)
        }
        of_type = dict(named)
        if len(of_type) < len(named) or "X" in of_type.values():
            raise MTPError(
                f"{source}: does not say which element each type is; give --species=A,B,... in "
                "the order of the types"
            )
        return [of_type.get(kind, "X") for kind in range(1, max(of_type) + 1)]
    elements = list(dict.fromkeys(symbol for atoms in images for symbol in atoms.symbols))
    print("types: " + ", ".join(f"{kind} = {symbol}" for kind, symbol in enumerate(elements)))
    return elements


def _configuration(atoms: Atoms, species: list[str], by_type: bool) -> Configuration:
    """One frame; a LAMMPS type t is type t - 1."""
    kinds = atoms.arrays["type"] - 1 if by_type else None
    configuration = from_atoms(atoms, list(atoms.symbols) if by_type else species)
    changes = {} if kinds is None else {"types": np.asarray(kinds, np.int64)}
    if "energies" in atoms.arrays:
        changes["site_energies"] = np.array(atoms.arrays["energies"], float)
    return replace(configuration, **changes)


def _changed(source: Iterable[Configuration], arguments: Arguments) -> Iterator[Configuration]:
    kept = list(source)[-1:] if arguments["last"] else source
    dropped = {"forces": None, "virial": None} if arguments["no_forces_stresses"] else {}
    for configuration in kept:
        changed = replace(configuration, **dropped)
        yield _reduced(changed) if arguments["fix_lattice"] else changed


def _reduced(configuration: Configuration) -> Configuration:
    """The same crystal in its Minkowski-reduced cell, atoms wrapped into it, nothing rotated."""
    if not np.all(configuration.pbc):
        return configuration
    cell, _ = minkowski_reduce(configuration.cell)
    fractions = np.linalg.solve(cell.T, configuration.positions.T).T % 1.0
    return replace(configuration, cell=np.array(cell), positions=fractions @ cell)


def _write(kept: list[Configuration], target: str, result: str, species: list[str]) -> int:
    """Write in a format of ASE; several POSCAR or LAMMPS files get numbers behind their names."""
    if result == "lammps_datafile":
        species = PLACEHOLDERS
    if not species and kept:
        raise MTPError(f"--output_format={result} names elements: give --species=Li,C,... in order")
    if any(configuration.ghosts is not None for configuration in kept):
        raise MTPError(f"--output_format={result} has no ghost atoms, copies of others; write txt")
    images = [configuration.to_atoms(species) for configuration in kept]
    if result != "extxyz":
        images = [_boxed(atoms) for atoms in images]
    if result == "extxyz":
        from mtp.formats.extxyz import write_extxyz

        with atomic_open(target) as stream:
            write_extxyz(stream, images)
        return len(images)
    from ase.io import write

    for number, atoms in enumerate(images):
        name = target if len(images) == 1 else f"{target}{number}"
        order = {"specorder": species[: int(kept[number].types.max()) + 1]}
        if result == "poscar":  # one block an element, as VASP pairs them with its POTCAR's
            atoms = atoms[np.argsort(kept[number].types, kind="stable")]  # noqa: PLW2901
        with atomic_open(name) as stream:
            options = order if result == "lammps_datafile" else {}
            write(stream, atoms, format=WRITERS[result], **options)
    return len(images)


def _boxed(atoms: Atoms) -> Atoms:
    """The same atoms, with vacuum around them where a direction has no cell vector."""
    open_directions = [d for d in range(3) if not atoms.cell[d].any()]
    if open_directions:
        atoms.center(VACUUM, axis=open_directions)
    return atoms


VERBS = (
    Verb(
        "convert",
        "convert between .cfg, VASP, LAMMPS, extended XYZ and data sets",
        convert,
        (("input", "output"),),
        (
            Option("input_format", f"one of {', '.join(FORMATS)}.", default="txt"),
            Option("output_format", f"one of {', '.join(WRITERS)}.", default="txt"),
            Option("species", "elements in the order of types.", aliases=("type_order",)),
            Option("absolute_types", "types are atomic numbers.", bool, False),
            Option("append", "keep what a txt output holds already.", bool, False),
            Option("last", "only the last configuration.", bool, False),
            Option("fix_lattice", "reduce the cell to an equivalent compact one.", bool, False),
            Option("save_nonconverged", "keep steps without electronic convergence.", bool, False),
            Option("keys", "where a label stands: energy=KEY,forces=COLUMN,stress=none..."),
            Option("units", "units of what is read: energy=Ha,stress=GPa,lammps=real..."),
            Option("voigt", "order of six stress components: xx,yy,zz,xy,yz,zx..."),
            Option("no_forces_stresses", "drop forces and stresses.", bool, False),
        ),
        ("convert_cfg",),
        refused=dict.fromkeys(
            ("input_chgcar", "input_near_neigh"), "potentials with magnetic moments are not here"
        ),
    ),
)
