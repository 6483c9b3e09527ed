"""How a program's calculation is started inside a job: by the site's launcher, on some cores.

The profile's `mpi`, `tasks`, `calculation_tasks` and `cpus_per_task` reach a job's processes as the
environment variables below (`campaign.slurm.launch`); no launcher or number of cores is part of a
label's input.
"""

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from ase.config import cfg

from atomistics.errors import UserError
from atomistics.reference.catalog import Recipe

LAUNCHER = "MTPILOT_LAUNCHER"  # words before a program's own: `srun --exact -n 4`
RANKS = "MTPILOT_RANKS"  # of one calculation
THREADS = "MTPILOT_THREADS"  # of a rank
TOGETHER = "MTPILOT_TOGETHER"  # calculations of a job at the same time
LAUNCHERS = {"srun", "mpirun", "mpiexec", "mpiexec.hydra", "orterun", "prun", "aprun", "jsrun"}
ENDING = 10.0  # s that a launcher has to end its ranks on other nodes
VASP_COMMANDS = ("ASE_VASP_COMMAND", "VASP_COMMAND")

_charged: list[float] = []  # core-seconds that no process of ours has spent


def together() -> int:
    """Calculations that this job may have at the same time."""
    return max(1, int(os.environ.get(TOGETHER, "1")))


def cores() -> int:
    """Cores of one launched calculation."""
    return int(os.environ.get(RANKS, "1")) * int(os.environ.get(THREADS, "1"))


def is_launched(recipe: Recipe) -> bool:
    """Whether this job starts the calculator's program by a launcher."""
    return LAUNCHER in os.environ and (recipe.program or "command" in recipe.options)


def launched(recipe: Recipe, options: dict[str, Any]) -> dict[str, Any]:
    """Options with the launcher before the program's command, where the job has one.

    ORCA starts its own ranks and is told how many. Calculators that run in this process, tblite
    or GPAW, stay as they are.

    Parameters
    ----------
    recipe
        The calculator.
    options
        Of its constructor, for one structure.

    Returns
    -------
    dict
        The same, changed.

    Raises
    ------
    UserError
        where the command begins with a launcher of its own, or ORCA is told its ranks twice.
    """
    name = recipe.calculator.rpartition(":")[2]
    if not is_launched(recipe):
        return options
    if name == "ORCA":
        return _orca(recipe, options)
    command = str(options.get("command") or _default_command(name))
    if not command:
        return options  # the calculator says itself what is missing
    first = Path(shlex.split(command)[0]).name
    if first in LAUNCHERS:
        raise UserError(
            f"{recipe.where}: command: begins with {first}, and slurm/profile.yaml has"
            " calculation_tasks; leave one of the two out"
        )
    return options | {"command": f"{os.environ[LAUNCHER]} {command}"}


def _default_command(name: str) -> str:
    """What ASE runs where the options name no command."""
    if name == "Vasp":
        return next((cfg[key] for key in VASP_COMMANDS if key in cfg), "")
    return cfg.get("ASE_CP2K_COMMAND", "cp2k.psmp -s") if name == "CP2K" else ""


def _orca(recipe: Recipe, options: dict[str, Any]) -> dict[str, Any]:
    blocks = str(options.get("orcablocks", ""))
    if "nprocs" in blocks.lower():
        raise UserError(
            f"{recipe.where}: orcablocks: sets nprocs, and slurm/profile.yaml has"
            " calculation_tasks; leave one of the two out"
        )
    return options | {"orcablocks": f"{blocks}\n%pal nprocs {os.environ[RANKS]} end".strip()}


def core_seconds() -> float:
    """CPU seconds of this process and its children, ended or running, and of what was charged."""
    process = psutil.Process()
    total = sum(process.cpu_times()[:4])
    for child in process.children(recursive=True):
        try:
            total += sum(child.cpu_times()[:4])
        except psutil.Error:
            continue
    return total + sum(_charged)


@contextmanager
def charged(recipe: Recipe) -> Iterator[None]:
    """A launched calculation inside costs its cores for as long as it takes.

    Ranks that `srun` starts are no children of ours, so that their CPU time is not seen here.
    """
    began, before = time.monotonic(), core_seconds()
    try:
        yield
    finally:
        if is_launched(recipe):
            paid = cores() * (time.monotonic() - began)
            _charged.append(max(0.0, paid - (core_seconds() - before)))
