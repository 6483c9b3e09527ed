"""`planner export`: data sets of a campaign in the formats of other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, io
from ase.calculators.singlepoint import SinglePointCalculator

from atomistics import dataset
from atomistics.structures import KEPT
from campaign.errors import UserError
from campaign.folder import Campaign
from mtp.atomic import atomic_folder, atomic_open, atomic_path
from mtp.configuration import from_atoms
from mtp.formats.cfg import write_cfg
from mtp.formats.extxyz import write_extxyz
from mtp.reading.frames import Reading

FORMATS = {".extxyz": "extxyz", ".xyz": "extxyz", ".cfg": "cfg"}
FORMATS |= {".db": "db", ".json": "json", ".traj": "traj"}


def export(campaign: Campaign, target: Path, names: list[str]) -> str:
    """Write the frames of these data sets (none: all active ones) without those pruned.

    Energy eV, forces eV/Å, stress eV/Å^3 (ASE's sign); in a .cfg PlusStress and types in the order
    of task.yaml's species; a name without suffix is a folder of DeePMD-kit's systems. Returns the
    line that says what was written.
    """
    if target.suffix not in FORMATS and target.suffix:
        raise UserError(
            f"{target}: must end in one of {', '.join(FORMATS)}, or in nothing: a DeePMD folder"
        )
    records = {d.id: d for d in campaign.state().datasets}
    if missing := [name for name in names if name not in records]:
        raise UserError(
            f"--datasets: {missing[0]}: the campaign has {', '.join(records) or 'none'}"
        )
    chosen = names or [d.id for d in records.values() if d.active]
    frames: list[Atoms] = []
    for name in chosen:
        for number, atoms in enumerate(dataset.read(_file(campaign, name))):
            if number not in records[name].excluded:
                atoms.info["dataset"] = name
                frames.append(atoms)
    if not frames:
        raise UserError(f"{campaign.folder}: no label to export")
    if target.suffix == ".cfg":
        write_cfg(target, [from_atoms(atoms, campaign.task.species) for atoms in frames])
    elif FORMATS.get(target.suffix) == "extxyz":
        with atomic_open(target) as stream:
            write_extxyz(stream, frames)
    elif not target.suffix:
        frames = _write_deepmd(target, frames, campaign.task.species)
    else:
        with atomic_path(target) as temporary:
            temporary.unlink()  # ASE's databases add to a file that is there
            io.write(temporary, frames, format=FORMATS[target.suffix])
    return f"{target}: {', '.join(chosen)}: {Reading(frames).line(KEPT)}"


def _write_deepmd(target: Path, frames: list[Atoms], species: Sequence[str]) -> list[Atoms]:
    """A system of DeePMD-kit (by dpdata) for each composition: energy eV, force eV/Å, virial eV.

    One array holds all frames of a system, so that those with and without a stress are systems
    apart. Atoms are sorted by type. Returns the frames in the order in which they were written.

    Raises
    ------
    UserError
        where `target` holds something, for frames periodic in some directions only, which the
        format has no word for, and for frames without forces.
    """
    import dpdata  # a second, which the other formats do not take

    systems: dict[str, list[Atoms]] = {}
    for atoms in frames:
        if atoms.pbc.any() and not atoms.pbc.all():
            raise UserError(
                f"{target}: {atoms.symbols} is periodic in some directions, which DeePMD's arrays"
                " cannot say; export to extxyz, or name other data sets with --datasets"
            )
        if "forces" not in atoms.calc.results or "energy" not in atoms.calc.results:
            raise UserError(f"{target}: a frame of {atoms.symbols} has not both energy and forces")
        kinds = [species.index(symbol) for symbol in atoms.symbols]
        order = np.argsort(kinds, kind="stable")
        stress = "stress" in atoms.calc.results
        apart = "" if stress else "-cluster" if not atoms.pbc.any() else "-without-virial"
        counts = ((one, kinds.count(number)) for number, one in enumerate(species))
        name = "".join(f"{one}{count}" for one, count in counts if count)
        systems.setdefault(f"{name}{apart}", []).append(_sorted(atoms, order))
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target}: holds something; name a new folder")
    with atomic_folder(target) as partial:
        for name, own in systems.items():
            system = dpdata.LabeledSystem(data=_arrays(own, species))
            system.to("deepmd/npy", str(partial / name), set_size=len(own))
    return [atoms for own in systems.values() for atoms in own]


def _sorted(atoms: Atoms, order: np.ndarray) -> Atoms:
    frame = atoms[order]
    results = dict(atoms.calc.results)
    results["forces"] = results["forces"][order]
    frame.calc = SinglePointCalculator(frame, **results)
    return frame


def _arrays(frames: list[Atoms], species: Sequence[str]) -> dict[str, Any]:
    """dpdata's arrays of frames of one composition; virial = -volume * stress (ASE's sign)."""
    symbols = list(frames[0].symbols)
    arrays: dict[str, Any] = {
        "atom_names": list(species),
        "atom_numbs": [symbols.count(element) for element in species],
        "atom_types": np.array([species.index(symbol) for symbol in symbols]),
        "orig": np.zeros(3),
        "cells": np.array([atoms.cell.array for atoms in frames]),
        "coords": np.array([atoms.positions for atoms in frames]),
        "energies": np.array([atoms.calc.results["energy"] for atoms in frames]),
        "forces": np.array([atoms.calc.results["forces"] for atoms in frames]),
    }
    if not frames[0].pbc.any():
        arrays["nopbc"] = True
    elif "stress" in frames[0].calc.results:
        stresses = [atoms.get_stress(voigt=False) for atoms in frames]
        volumes = [atoms.get_volume() for atoms in frames]
        arrays["virials"] = np.array([-v * s for v, s in zip(volumes, stresses, strict=True)])
    return arrays


def _file(campaign: Campaign, name: str) -> Path:
    folder = campaign.iteration(int(name[1:]))
    for made_by in ("sample", "select_data", "import"):
        if (path := folder / made_by / "dataset.h5").is_file():
            return path
    raise UserError(f"{folder}: data set {name}: no dataset.h5; restore it")
