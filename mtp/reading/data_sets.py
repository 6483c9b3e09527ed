"""Data sets of others: ASE databases and trajectories, DeePMD's npy, the JSON of mlearn."""

import gzip
import json
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms

from mtp.errors import MTPError
from mtp.reading.frames import OPENERS, Reading, ReadOptions, text_of
from mtp.reading.labels import PER_ATOM, check_stresses, interpret, is_label, require_volume
from mtp.reading.vasp import KBAR, ORDER

EXTRAPOLATED = ("vasp", "vasp2", "gpaw", "castep")  # ASE's names of codes with two energies
DEEPMD = {"box", "coord", "energy", "force", "virial", "real_atom_types"}


def read_ase(path: Path, options: ReadOptions) -> Reading:
    """An ASE database (.db, .json) or trajectory (.traj): results, key-value pairs and data."""
    try:
        images = list(_images(path))
    except Exception as error:  # ASE's readers raise whatever the malformed file led to
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise MTPError(f"{path}: is nothing that ASE can read ({detail})") from None
    if not images:
        raise MTPError(f"{path}: holds no structure")
    reading = Reading()
    for number, atoms in enumerate(images):
        results = {} if atoms.calc is None else dict(atoms.calc.results)
        labels = {k: v for k, v in results.items() if is_label(k, options) and k not in PER_ATOM}
        name = getattr(atoms.calc, "name", "")
        if name in EXTRAPOLATED and "free_energy" not in labels and "energy" not in options.keys:
            raise MTPError(
                f"{path}: row {number}: the energy of {name} is the one without smearing, of which"
                " forces are no derivative, and there is no free_energy; say that there was no"
                " smearing with --keys=energy=energy"
            )
        if "magmoms" in results and "magmoms" not in atoms.arrays:
            atoms.set_array("magmoms", np.asarray(results["magmoms"], float))
        interpret(atoms, {**atoms.info, **labels}, options, f"{path}: row {number}", reading)
    check_stresses(reading, path)
    return reading


def _images(path: Path) -> Iterator[Atoms]:
    """Rows of a database with their key-value pairs and data in `info`; frames of a trajectory."""
    from ase.db import connect
    from ase.io import read

    if path.suffix.lower() == ".traj":
        yield from read(path, index=":", format="traj")
        return
    for row in connect(path).select():
        atoms = row.toatoms()
        atoms.info.update({**row.key_value_pairs, **row.data})
        yield atoms


def read_deepmd(path: Path, options: ReadOptions) -> Reading:
    """A system folder of DeePMD-kit (set.*/*.npy or *.raw, type.raw) by dpdata.

    stress = -virial / volume. Where sets are there, the .raw files beside them are what those were
    made of.
    """
    import dpdata

    held = _deepmd_arrays(path)
    mixed = "real_atom_types" in held
    kind = (
        "deepmd/npy/mixed" if mixed else "deepmd/npy" if any(path.glob("set.*")) else "deepmd/raw"
    )
    names = None if (path / "type_map.raw").exists() else list(options.species) or None
    if names is None and not (path / "type_map.raw").exists():
        raise MTPError(f"{path}: has no type_map.raw; give --species=A,B,... in the order of types")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loader = dpdata.MultiSystems if mixed else dpdata.LabeledSystem
            if mixed:
                systems = list(loader().load_systems_from_file(str(path), fmt=kind, type_map=names))
            else:
                systems = [loader(str(path), fmt=kind, type_map=names)]
    except Exception as error:  # dpdata raises whatever the malformed arrays led to
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise MTPError(f"{path}: is nothing that dpdata can read ({detail})") from None
    reading = Reading()
    for system in systems:
        _deepmd_frames(system.data, options, f"{path}", reading)
    check_stresses(reading, path)
    suffix = "raw" if kind == "deepmd/raw" else "npy"
    reading.unknown.update({f"{k}.{suffix}": len(reading.frames) for k in held - DEEPMD})
    return reading


def _deepmd_arrays(path: Path) -> frozenset[str]:
    """What a system folder holds, by name.

    dpdata joins what the sets hold one array at a time, so a set without forces would shift those
    of the next one: sets that hold different arrays are refused.
    """
    sets = sorted(path.glob("set.*"))
    if not sets and (path / "coord.raw").exists():
        return frozenset(file.stem for file in path.glob("*.raw")) - {"type", "type_map"}
    held = [frozenset(file.stem for file in folder.glob("*.npy")) for folder in sets]
    if not sets or not held[0] >= {"coord"}:
        raise MTPError(
            f"{path}: holds no set.*/coord.npy and no coord.raw; name a system folder of DeePMD-kit"
        )
    if len(set(held)) > 1:
        odd = sorted(frozenset.union(*held) - frozenset.intersection(*held))
        raise MTPError(f"{path}: not every set has {', '.join(odd)}.npy; read each set alone")
    return held[0]


def _deepmd_frames(data: dict, options: ReadOptions, where: str, reading: Reading) -> None:
    symbols = [data["atom_names"][kind] for kind in data["atom_types"]]
    names = {"energies": "energy", "forces": "forces", "virials": "virial"}
    if not options.units:
        options = replace(options, units={"virial": "eV"})
    for frame in range(len(data["coords"])):
        values = {name: data[key][frame] for key, name in names.items() if key in data}
        cell, periodic = data["cells"][frame], not data.get("nopbc", False)
        atoms = Atoms(symbols, data["coords"][frame], cell=cell, pbc=periodic)
        interpret(atoms, values, options, f"{where}: frame {frame}", reading)


def is_mlearn(path: Path) -> bool:
    """Whether a JSON file is a list of structures with outputs, mlearn's and maml's form."""
    with text_of(path) as stream:
        return stream.read(1).strip() == "["


def read_mlearn(path: Path, _options: ReadOptions) -> Reading:
    """The JSON of mlearn and maml (Zuo 2020): pymatgen structures with `outputs`.

    energy eV, forces eV/Å, virial_stress as VASP's OUTCAR prints it (kbar, xx yy zz xy yz zx,
    positive under compression), which the strained cells of the published sets bear out.
    """
    from pymatgen.core import Structure

    opener = OPENERS.get(path.suffix.lower(), open)
    try:
        with opener(path, "rt", encoding="utf-8") as stream:
            rows = json.load(stream)
        rows = [(row, Structure.from_dict(row["structure"]), row["outputs"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, gzip.BadGzipFile) as error:
        raise MTPError(f"{path}: is no list of structures with outputs ({error!r:.120})") from None
    reading, unknown = Reading(), Counter()
    for number, (row, structure, outputs) in enumerate(rows):
        if not structure.is_ordered:
            raise MTPError(f"{path}: structure {number} has shared sites; write an ordered cell")
        atoms = Atoms(
            [site.specie.symbol for site in structure],
            structure.cart_coords,
            cell=structure.lattice.matrix,
            pbc=True,
        )
        require_volume(atoms, f"{path}: structure {number}")
        for name in ("group", "description"):
            if isinstance(row.get(name), str):
                atoms.info[name] = row[name]
        unknown.update(outputs.keys() - {"energy", "forces", "virial_stress"})
        values = {k: outputs.get(k) for k in ("energy", "forces", "virial_stress")}
        stress = values["virial_stress"]
        reading.add(
            atoms,
            values["energy"],
            None if values["forces"] is None else np.asarray(values["forces"], float),
            None if stress is None else -np.asarray(stress, float)[ORDER] * KBAR,
        )
    reading.unknown = unknown
    return reading
