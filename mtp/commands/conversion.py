"""The verb convert: .cfg to and from OUTCAR, POSCAR, LAMMPS and extended XYZ, by ASE's readers."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.geometry import minkowski_reduce
from ase.io import read, write

from mtp.arguments import Arguments, Option, Verb, unknown
from mtp.atomic import atomic_open
from mtp.configuration import Configuration, from_atoms
from mtp.errors import MTPError
from mtp.formats.cfg import iterate_cfg, write_cfg

READERS = {
    "txt": "",
    "outcar": "vasp-out",
    "poscar": "vasp",
    "lammps_dump": "lammps-dump-text",
    "lammps_datafile": "lammps-data",
    "extxyz": "extxyz",
}
WRITERS = {"txt": "", "poscar": "vasp", "lammps_datafile": "lammps-data", "extxyz": "extxyz"}
BY_TYPE = ("lammps_dump", "lammps_datafile")
PLACEHOLDERS = chemical_symbols[1:]
VACUUM = 10.0  # Å on either side: more than any cutoff in use between images
CONVERGED = "aborting loop because EDIFF is reached"


def convert(arguments: Arguments) -> int:
    """Read one format, write another; the output is replaced whole, or extended by --append."""
    source, target = arguments["input"], arguments["output"]
    entry = _format(arguments["input_format"], READERS, "input_format")
    result = _format(arguments["output_format"], WRITERS, "output_format")
    species = _species(arguments)
    if entry == "txt":
        configurations: Iterable[Configuration] = iterate_cfg(source)
    else:
        images = _read(source, entry, arguments["save_nonconverged"])
        if arguments["append"] and not species and entry not in BY_TYPE:
            raise MTPError("--append needs --species=Li,C,..., or types would not fit the output")
        species = _species_of(images, entry, species)
        configurations = [_labelled(atoms, species, entry) for atoms in images]
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


def _read(path: str, entry: str, nonconverged: bool) -> list[Atoms]:
    by_number = {"Z_of_type": {t: t for t in range(1, len(chemical_symbols))}}
    options = {"lammps_datafile": by_number, "lammps_dump": {"specorder": PLACEHOLDERS}}
    try:
        images = read(path, index=":", format=READERS[entry], **options.get(entry, {}))
    except OSError as error:
        raise MTPError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:
        detail = " ".join(str(error).split())
        raise MTPError(
            f"{path}: is no {entry} file that ASE can read ({type(error).__name__}: {detail:.120})"
        ) from None
    if entry == "outcar" and not nonconverged:
        lines = Path(path).read_text("utf-8", "replace").splitlines()
        flags = [CONVERGED in line for line in lines if "aborting loop" in line]
        images = [atoms for atoms, converged in zip(images, flags, strict=False) if converged]
    return images


def _species_of(images: list[Atoms], entry: str, given: list[str]) -> list[str]:
    """The given species; else LAMMPS types as they are, or elements by first appearance."""
    if entry in BY_TYPE:
        return PLACEHOLDERS
    if given:
        return given
    elements = list(dict.fromkeys(symbol for atoms in images for symbol in atoms.symbols))
    print("types: " + ", ".join(f"{kind} = {symbol}" for kind, symbol in enumerate(elements)))
    return elements


def _labelled(atoms: Atoms, species: list[str], entry: str) -> Configuration:
    """One image; OUTCAR energies are the free energy, with which its forces are consistent."""
    configuration = from_atoms(atoms, species)
    if entry == "outcar" and "free_energy" in atoms.calc.results:
        return replace(configuration, energy=float(atoms.calc.results["free_energy"]))
    return configuration


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
    images = [configuration.to_atoms(species) for configuration in kept]
    if result != "extxyz":
        images = [_boxed(atoms) for atoms in images]
    if result == "extxyz":
        with atomic_open(target) as stream:
            write(stream, images, format="extxyz")
        return len(images)
    for number, atoms in enumerate(images):
        name = target if len(images) == 1 else f"{target}{number}"
        order = {"specorder": species[: int(kept[number].types.max()) + 1]}
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
        "convert between .cfg, OUTCAR, POSCAR, LAMMPS and extended XYZ",
        convert,
        (("input", "output"),),
        (
            Option("input_format", f"one of {', '.join(READERS)}.", default="txt"),
            Option("output_format", f"one of {', '.join(WRITERS)}.", default="txt"),
            Option("species", "elements in the order of types.", aliases=("type_order",)),
            Option("absolute_types", "types are atomic numbers.", bool, False),
            Option("append", "keep what a txt output holds already.", bool, False),
            Option("last", "only the last configuration.", bool, False),
            Option("fix_lattice", "reduce the cell to an equivalent compact one.", bool, False),
            Option("save_nonconverged", "keep steps without electronic convergence.", bool, False),
            Option("no_forces_stresses", "drop forces and stresses.", bool, False),
        ),
        ("convert_cfg",),
    ),
)
