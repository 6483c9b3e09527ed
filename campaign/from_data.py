"""A campaign made of labelled frames alone: `planner import --new`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms, io

from atomistics.structure_index import Structure, write_index
from atomistics.structures import check
from campaign.config import Targets, Task
from campaign.create import take_over
from campaign.errors import UserError
from campaign.files import write_record, write_text
from campaign.folder import Campaign, configuration
from mtp.configuration import from_atoms
from mtp.training.starting_point import LABELS_PER_COEFFICIENT, level_for

CONFIG = """\
# Written by planner import. The labels are in the campaign, the method they are of is not: without
# it nothing new can be labelled or tried, and the campaign ends with the fit. To go on from the
# imported labels, set reference to their method and delete these limits.
limits:
  reference_calls: 0
mlp:
  level: {level}               # as the labels are many: {labels} a coefficient at least
  energy_weight: auto     # found by short fits: energies contribute as forces do
"""
TARGETS = Targets(
    force_mae=0.1, energy_mae=0.005, density_deviation=0.03, rdf_overlap=0.8, stable_ps=10.0
)


def campaign_of(
    folder: Path, subsystem: str, frames: Sequence[Atoms], tests: Sequence[Atoms], temperature: int
) -> Campaign:
    """The folder with task, config and two structures: the first frame and the last, held out.

    Species come in the order of first appearance; `tests` are no part of what the potential's level
    is chosen by. UserError where no two frames are sound.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"{folder}: exists and is not empty; choose another name, or leave --new out"
        )
    name = "".join(c if c.isalnum() else "-" for c in folder.resolve().name.lower()).strip("-")
    everything = [*frames, *tests]
    species = list(dict.fromkeys(str(s) for atoms in everything for s in atoms.symbols))
    place = {"name": subsystem, "stage": 1, "role": "target", "max_temperature": temperature}
    task = Task(
        name=name or "imported",
        description=f"From {len(everything)} imported frames.",
        species=species,
        temperature=temperature,
        subsystems=[place],
        targets=TARGETS,
    )
    folder.mkdir(parents=True, exist_ok=True)
    mlp = configuration(folder).mlp
    chosen = _sound(everything, species, mlp.cutoff)
    (folder / "structures").mkdir()
    entries = []
    for held_out, atoms in zip((False, True), (chosen[0], chosen[-1]), strict=True):
        entry = Structure(
            id=f"{subsystem[:50]}-{'held-out' if held_out else 'first'}",
            file=f"{subsystem[:50]}-{'held-out' if held_out else 'first'}.extxyz",
            subsystem=subsystem,
            family="other",
            held_out=held_out,
            description="a frame of the imported data",
        )
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        io.write(folder / "structures" / entry.file, bare, format="extxyz")
        entries.append(entry)
    write_index(folder / "structures", entries)
    write_record(folder / "task.yaml", task)
    level = level_for([from_atoms(a, species) for a in frames], len(species), mlp.radial_basis)
    values = {"level": level, "labels": LABELS_PER_COEFFICIENT}
    write_text(folder / "config.yaml", CONFIG.format(**values))
    return take_over(folder)


def _sound(frames: Sequence[Atoms], species: list[str], cutoff: float) -> list[Atoms]:
    """The first and the last frame that MD could start from."""
    sound, faults = [], Counter()
    for order in (frames, frames[::-1]):
        for atoms in order:
            try:
                check(atoms, species, cutoff)
            except UserError as error:
                faults[str(error)] += 1
                continue
            sound.append(atoms)
            break
    if len(sound) < 2 or sound[0] is sound[1]:
        why = next(iter(faults), "there is one only")
        raise UserError(f"no two frames that MD could start from, of {len(frames)}: {why}")
    return sound
