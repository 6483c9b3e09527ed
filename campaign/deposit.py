"""`planner deposit`: a campaign as a folder for a data repository, checked by its hashes."""

import shutil
from importlib import metadata
from pathlib import Path

from campaign import __version__
from campaign.errors import UserError
from campaign.export import export
from campaign.files import write_text
from campaign.folder import Campaign
from campaign.integrity import file_sha256
from campaign.report import document as report
from campaign.report.story import standing
from mtp.atomic import atomic_folder
from mtp.potential_files import copy_potential

SUMS = "SHA256SUMS"
README = """# {name}

A moment tensor potential and everything it was made from, by mtpilot {version}.

| file | holds |
|---|---|
| `potential.almtp` | the potential (MTP 1.1.0) with its active set; types: {species} |
| `model_card.md`, `report.html` | what it is good for, how it was tested, what it has cost |
| `data.extxyz`, `data.cfg` | every label it may be trained on: energy eV, forces eV/Å, stress |
| `campaign/task.yaml`, `config.yaml`, `structures/` | what was asked for: enough to run it again |
| `campaign/decisions/NNN/` | plan, decision, configuration, result and state of every iteration |
| `versions.txt` | every Python package that was installed |
| `SHA256SUMS` | hashes of all files: `sha256sum -c SHA256SUMS` |

To use it: `model_card.md`. To run the campaign again:

    pip install mtpilot=={version}
    planner init campaign again && cd again && planner run

To train on the data alone: `mlp train START.almtp data.cfg`.
"""
KEPT = ("plan.yaml", "decision.json", "config.yaml", "approval.json", "ledger.jsonl", "state.yaml")


def deposit(campaign: Campaign, folder: Path) -> str:
    """Write everything a reader needs into `folder`, which must not exist yet.

    It is made whole under another name and renamed. Returns the line that says what it holds.
    """
    if folder.exists():
        raise UserError(f"{folder}: exists already; name a new folder")
    state = campaign.state()
    outcome = standing(state)
    if outcome.model is None:
        raise UserError(f"{campaign.folder}: no potential yet; nothing to deposit")
    folder = folder.absolute()
    with atomic_folder(folder) as partial:
        model = campaign.iteration(int(outcome.model[1:])) / "train/model.almtp"
        copy_potential(model, partial / "potential.almtp")
        exported = export(campaign, partial / "data.extxyz", [])
        export(campaign, partial / "data.cfg", [])
        _campaign(campaign, partial / "campaign")
        # as the campaign's folder is not part of it, paths in the report are those of names alone
        report.write(campaign, state, outcome, partial)
        write_text(partial / "versions.txt", _versions())
        write_text(
            partial / "README.md",
            README.format(
                name=campaign.task.name,
                version=__version__,
                species=", ".join(campaign.task.species),
            ),
        )
        write_text(partial / SUMS, sums(partial))
    return f"{folder}: {outcome.model} ({outcome.outcome}); {exported.partition(': ')[2]}"


def _campaign(campaign: Campaign, target: Path) -> None:
    target.mkdir()
    for name in ("task.yaml", "config.yaml"):
        shutil.copy(campaign.folder / name, target / name)
    shutil.copytree(campaign.folder / "structures", target / "structures")
    for path in (*campaign.folder.glob("*.py"), *campaign.folder.glob("protocols/*")):
        place = target / path.relative_to(campaign.folder)
        place.parent.mkdir(exist_ok=True)
        shutil.copy(path, place)
    for number in range(campaign.last + 1):
        source = campaign.iteration(number)
        for path in (*(source / name for name in KEPT), *source.glob("*/result.yaml")):
            if path.is_file():
                place = target / "decisions" / source.name / path.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)


def sums(folder: Path) -> str:
    """Lines as `sha256sum` writes and checks them, of every file below `folder`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    return "".join(f"{file_sha256(p)}  {p.relative_to(folder).as_posix()}\n" for p in files)


def _versions() -> str:
    versions = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    return "".join(f"{n}=={v}\n" for n, v in sorted(versions.items(), key=lambda p: p[0].lower()))
