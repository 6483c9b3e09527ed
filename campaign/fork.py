"""`planner fork --at N NEW`: another campaign that goes on from a finalized iteration of this one.

Models, data sets and trajectories are hard links to the same bytes, which are never rewritten; all
that a person may edit is copied. Where links cannot reach (another file system), data are copied.
"""

import json
import os
import shutil
from pathlib import Path

from campaign.errors import UserError
from campaign.files import sha256, write_text
from campaign.folder import Campaign
from campaign.integrity import FORK, require_unchanged
from mtp.atomic import atomic_folder, real_path

DATA = {".h5", ".cfg", ".almtp"}
LEFT_BEHIND = {"iterations", "result", "report", "planner.lock", "draft.yaml", ".snakemake", FORK}
TRACES = {".snakemake", "queue.json", "progress.json", "halts.jsonl", "approval.json"}


def fork(campaign: Campaign, at: int, new: Path) -> Campaign:
    """The campaign in `new`: the user's files as they are now, iterations as far as `at`.

    It decides iteration at + 1 anew, with a config.yaml of its own to change; its clock on the wall
    begins now, its budget counts what its iterations have cost.

    Raises
    ------
    UserError
        `new` holds something or lies within the campaign; iteration `at` is not finalized, or
        ended the campaign; a hand has changed what the iterations rest on.
    """
    target = real_path(new)
    if (target.exists() or target.is_symlink()) and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{new}: exists and is not an empty folder; choose another name")
    if target.is_relative_to(campaign.folder):
        raise UserError(f"{new}: lies within {campaign.folder}; choose a folder beside it")
    finalized = campaign.finalized
    if not 0 <= at <= finalized:
        place = campaign.folder
        raise UserError(f"--at: {at}: iterations 0 to {finalized} of {place} are finalized")
    if campaign.state(at).verdict:
        last = f"the campaign ended in iteration {at}"
        raise UserError(f"--at: {at}: {last}; fork at {at - 1} or before")
    require_unchanged(campaign)
    with atomic_folder(target) as made:
        _copy(campaign.folder, made, LEFT_BEHIND, link=False)
        for number in range(at + 1):
            folder = campaign.iteration(number)
            if folder.is_dir():
                _copy(folder, made / "iterations" / folder.name, TRACES, link=True)
        begun = made / "iterations" / "001" / "decision.json"
        if begun.is_file():
            os.utime(begun)  # hours on the wall count from here
        record = {"campaign": campaign.task.name, "at": at, "as": target.name}
        record["state_sha256"] = campaign.state_sha256(at)
        # another folder, another name in the queue
        record["place_sha256"] = sha256(str(target))
        write_text(made / FORK, json.dumps(record, indent=1) + "\n")
    return Campaign.at(target)


def _copy(source: Path, target: Path, without: set[str], link: bool) -> None:
    """A folder's files; data as links where `link` says so and the file system can."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.name in without or path.name.startswith(".nfs"):
            continue
        place = target / path.name
        if path.is_dir() and not path.is_symlink():
            _copy(path, place, TRACES, link)
        elif link and path.suffix in DATA and not path.is_symlink():
            try:
                os.link(path, place)
            except OSError:
                shutil.copy2(path, place)
        else:
            shutil.copy2(path, place, follow_symlinks=False)
