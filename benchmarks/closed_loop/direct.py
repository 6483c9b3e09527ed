"""An iteration without Snakemake: the functions of its scripts as its rules call them, in order.

A start of Snakemake and of Python for each job takes ten times as long as the work of these small
campaigns. Results do not depend on who starts a job; `tests/llm/test_policies.py` holds it to that.
"""

import json
import multiprocessing
import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr
from pathlib import Path
from typing import Any

from campaign import TOOLKIT
from campaign.errors import UserError
from campaign.finalize import finalize, publish
from campaign.folder import Campaign
from campaign.plan import SECTIONS
from campaign.script import parameters
from campaign.workflow import Jobs, jobs

FORK = multiprocessing.get_context("fork")
COMMANDS = {
    "select_data": ("choose", "label", "collect"),
    "train": ("inputs", "fit", "collect"),
    "prune": ("prune",),
    "end": ("end",),
}
RUN_AND_COLLECT = ("run", "collect")
FILES = {
    "chosen": "chosen.h5",
    "gate": "gate.json",
    "dataset_file": "dataset.h5",
    "data": "train.cfg",
    "frames": "frames.json",
    "estimate": "estimate.json",
    "report": "fit.json",
    "plots": "plots",
    "papers": "result",
    "output": "result.yaml",
}
ON_ITEMS = ("run", "label")


def carry_out(campaign: Campaign) -> None:
    """Run and finalize the pending iteration."""
    table = jobs(campaign.folder)
    if table.action == "none":
        return
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.environ |= {"OMP_NUM_THREADS": "1", "PATH": binaries}
    (table.folder / table.action).mkdir(exist_ok=True)
    with chdir(table.folder):
        for command, given in steps(table):
            # a process of its own bills its own core-seconds
            job = FORK.Process(target=_run, args=(table.action, command, given))
            job.start()
            job.join()
            if job.exitcode:
                raise UserError(f"{table.folder}: {table.action} {command}: status {job.exitcode}")
        finalize(Path(table.action, "result.yaml"), Path("ledger.jsonl"), Path("state.yaml"))
    if table.action == "end":
        publish(Campaign.at(campaign.folder))


def steps(table: Jobs) -> Iterator[tuple[str, dict[str, Any]]]:
    """Commands of the action's script in order, each with all that a rule could hand to it."""
    given = arguments(table)
    for command in COMMANDS.get(table.action, RUN_AND_COLLECT):
        if command not in ON_ITEMS:
            yield command, given
            continue
        for items, output in zip(table.chunks[table.action].values(), given["chunks"], strict=True):
            yield command, {**given, "items": json.loads(items), "output": output}


def arguments(table: Jobs) -> dict[str, Any]:
    """What the rules hand to scripts, by the names and with the paths they have there."""
    action, model = table.action, Path(table.model[0]) if table.model else None
    given: dict[str, Any] = {name: Path(action, file) for name, file in FILES.items()}
    if action == "sample" and not table.datasets[action]:
        given["dataset_file"] = None
    return given | {
        "plan": SECTIONS[action].model_validate_json(table.sections[action]),
        "iteration": table.iteration,
        "state": Path(table.previous[0]) if table.previous else None,
        "model": Path("train/model.almtp") if action == "train" else model,
        "parent": model,
        "launcher": "",
        "chunks": [Path(file) for file in table.chunk_files(action)],
    }


def _run(action: str, command: str, given: dict[str, Any]) -> None:
    script = runpy.run_path(str(TOOLKIT / "scripts" / f"{action}.py"))
    with Path(f"{action}.log").open("a", encoding="utf-8") as log, redirect_stderr(log):
        script[command](**{name: given[name] for name in parameters(script[command])})
