"""Which reader a file needs: by what the user says, else by its name and its first lines."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mtp.errors import MTPError
from mtp.formats.cfg import iterate_cfg
from mtp.reading.data_sets import is_mlearn, read_ase, read_deepmd, read_mlearn
from mtp.reading.extxyz import read_extxyz
from mtp.reading.frames import UNCONVERGED, Reading, ReadOptions, plain_suffix, text_of
from mtp.reading.labels import stopped
from mtp.reading.lammps_dump import read_dump
from mtp.reading.programs import read_cp2k, read_gpaw, read_orca, read_pw
from mtp.reading.vasp import read_outcar, read_vasprun

SUFFIXES = {
    **dict.fromkeys((".xyz", ".extxyz"), "extxyz"),
    **dict.fromkeys((".db", ".traj"), "ase"),
    **dict.fromkeys((".dump", ".lammpstrj"), "lammps_dump"),
    ".cfg": "cfg",
}
MARKS = {
    "vasprun": "<modeling>",
    "outcar": " vasp.",
    "pw.x": "Program PWSCF",
    "gpaw": "___ ___ ___ _ _ _",
    "orca": "* O   R   C   A *",
    "cp2k": "CP2K| version string",
    "lammps_dump": "ITEM: TIMESTEP",
    "cfg": "BEGIN_CFG",
    "extxyz": "Properties=",
}
OPEN = ("extxyz", "ase", "deepmd")  # whose units, keys and order of components can be another's
HEAD = 4096  # characters that tell a kind of file


def read_calculations(path: Path, options: ReadOptions, kind: str | None = None) -> Reading:
    """Frames and labels of one file (of a DeePMD system: its folder); MTPError where unreadable."""
    if not path.exists():
        raise MTPError(f"{path}: no such file")
    if kind is not None and kind not in READERS:
        raise MTPError(f"--format={kind!r:.30}: is none of {', '.join(READERS)}")
    kind = kind or kind_of(path)
    if kind not in OPEN and (given := _ignored(options, kind)):
        raise MTPError(f"{path}: --{given}: a file of kind {kind} says it by itself; leave it out")
    return READERS[kind](path, options)


def _ignored(options: ReadOptions, kind: str) -> str:
    """A flag that the reader of this kind would not look at."""
    units = options.units.keys() - ({"lammps"} if kind == "lammps_dump" else set())
    given = {"keys": options.keys, "units": units, "voigt": options.voigt}
    return next((flag for flag, value in given.items() if value), "")


def expanded(path: Path) -> list[Path]:
    """The calculations of a folder: DeePMD systems, and vasprun.xml or else OUTCAR of each run."""
    if not path.is_dir() or any(path.glob("set.*")) or (path / "coord.raw").exists():
        return [path]
    systems = {file.parent.parent for file in path.rglob("set.*/coord.npy")}
    systems |= {file.parent for file in path.rglob("coord.raw")}
    runs: dict[Path, Path] = {}
    for pattern in ("OUTCAR*", "vasprun.xml*"):  # the latter has more digits
        for file in sorted(path.rglob(pattern)):
            runs[file.parent if plain_suffix(file) in {"", ".xml"} else file] = file
    if not systems and not runs:
        raise MTPError(f"{path}: holds no DeePMD system, no vasprun.xml and no OUTCAR; name files")
    return sorted([*systems, *runs.values()])


def kind_of(path: Path) -> str:
    """The name in READERS for this file; MTPError where nothing tells."""
    if path.is_dir():
        return "deepmd"
    name, suffix = path.name.upper(), plain_suffix(path)
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    if suffix == ".json":
        return "mlearn" if is_mlearn(path) else "ase"
    with text_of(path) as stream:
        head = stream.read(HEAD)
    for kind, mark in MARKS.items():
        if mark in head or (kind == "outcar" and "OUTCAR" in name):
            return kind
    raise MTPError(
        f"{path}: neither its name nor its text says what it is; give --format=KIND of "
        f"{', '.join(READERS)}, or write converged steps to extended XYZ"
    )


def _read_cfg(path: Path, options: ReadOptions) -> Reading:
    """MLIP's .cfg; `species` names its types."""
    if not options.species:
        raise MTPError(f"{path}: a .cfg numbers its types; give --species=A,B,... in their order")
    reading = Reading()
    for configuration in iterate_cfg(path):
        if configuration.ghosts is not None:
            reading.left_out["with ghost atoms, which are copies of others"] += 1
            continue
        if stopped(configuration.features) and not options.nonconverged:
            reading.left_out[UNCONVERGED] += 1
            continue
        atoms = configuration.to_atoms(options.species)
        reading.unknown["site_en"] += configuration.site_energies is not None
        results = {} if atoms.calc is None else atoms.calc.results
        reading.add(atoms, *(results.get(name) for name in ("energy", "forces", "stress")))
        if configuration.virial is not None and "stress" not in results:
            reading.unknown["PlusStress of a cell that is not periodic in all directions"] += 1
    reading.unknown += Counter()  # drops the zeros
    return reading


READERS: dict[str, Callable[[Path, ReadOptions], Reading]] = {
    "outcar": read_outcar,
    "vasprun": read_vasprun,
    "extxyz": read_extxyz,
    "ase": read_ase,
    "cfg": _read_cfg,
    "deepmd": read_deepmd,
    "mlearn": read_mlearn,
    "lammps_dump": read_dump,
    "pw.x": read_pw,
    "gpaw": read_gpaw,
    "orca": read_orca,
    "cp2k": read_cp2k,
}
