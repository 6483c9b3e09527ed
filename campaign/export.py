"""`planner export`: data sets of a campaign in the formats of other programs."""

from pathlib import Path

from ase import Atoms, io

from atomistics import dataset
from atomistics.structures import KEPT
from campaign.errors import UserError
from campaign.folder import Campaign
from mtp.atomic import atomic_path
from mtp.configuration import from_atoms
from mtp.formats.cfg import write_cfg
from mtp.reading.frames import Reading

FORMATS = {".extxyz": "extxyz", ".xyz": "extxyz", ".cfg": "cfg"}
FORMATS |= {".db": "db", ".json": "json", ".traj": "traj"}


def export(campaign: Campaign, target: Path, names: list[str]) -> str:
    """Write the frames of these data sets (none: all active ones) without those pruned.

    Energy eV, forces eV/Å, stress eV/Å^3 (ASE's sign); in a .cfg PlusStress and types in the order
    of task.yaml's species. Returns the line that says what was written.
    """
    if target.suffix not in FORMATS:
        raise UserError(f"{target}: must end in one of {', '.join(FORMATS)}")
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
    else:
        with atomic_path(target) as temporary:
            temporary.unlink()  # ASE's databases add to a file that is there
            io.write(temporary, frames, format=FORMATS[target.suffix])
    return f"{target}: {', '.join(chosen)}: {Reading(frames).line(KEPT)}"


def _file(campaign: Campaign, name: str) -> Path:
    folder = campaign.iteration(int(name[1:]))
    for made_by in ("sample", "select_data", "import"):
        if (path := folder / made_by / "dataset.h5").is_file():
            return path
    raise UserError(f"{folder}: data set {name}: no dataset.h5; restore it")
