"""Doubles of SLURM's commands for more slots than a host has: jobs that only let time pass.

Snakemake, its plugin and our executor are the real ones. `simulated.py sbatch ...` notes the job
and leaves a shell behind that sleeps as long as the job would take and then writes its output;
`squeue` tells of all jobs from those notes. Nothing waits: there are slots enough.
SIMULATED: folder of the notes; SECONDS_OF_A_JOB: what each takes.
"""

import os
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "sinfo", "scancel", "sacctmgr")


def notes() -> Path:
    """The folder all doubles share."""
    return Path(os.environ["SIMULATED"])


def sbatch(words: list[str]) -> str:
    """Note and begin one job; print its id."""
    given = dict(pairwise(words))
    number = f"{len(list(notes().glob('*.job'))) + 1}"
    while True:
        try:
            note = (notes() / f"{number}.job").open("x")
            break
        except FileExistsError:
            number = f"{int(number) + 1}"
    folder, comment = given["-D"], given["--comment"]
    seconds = float(os.environ["SECONDS_OF_A_JOB"])
    note.write(f"{time.time() + seconds}|{folder}|{given['--job-name']}|{comment}")
    note.close()
    chunk = comment.rpartition("_")[2]
    output = f"{folder}/chunks/{chunk}.json"
    line = f"sleep {seconds}; mkdir -p {folder}/chunks; echo done > {output}"
    child = subprocess.Popen(
        ["sh", "-c", line],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (notes() / f"{number}.pid").write_text(str(child.pid))
    return number


def squeue(_: list[str]) -> str:
    """All jobs, in the format that campaign.slurm.queue asks for."""
    rows = []
    for path in notes().glob("*.job"):
        end, folder, name, comment = path.read_text().split("|")
        state = "RUNNING" if time.time() < float(end) else "COMPLETED"
        rows.append(f"{path.stem}|{state}|n1|{folder}|{name}|{comment}|None")
    return "\n".join(rows)


def install(folder: Path) -> None:
    """Put the doubles into a folder that is to come first in PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {__file__} {name} "$@"\n')
        path.chmod(0o755)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    with (notes() / "calls").open("a") as calls:
        calls.write(f"{time.time():.3f} {command}\n")
    answers = {"sbatch": sbatch, "squeue": squeue}
    if command in answers:
        print(answers[command](rest))
    elif command == "scontrol" and re.search("config", " ".join(rest)):
        print("MinJobAge               = 300 sec")
