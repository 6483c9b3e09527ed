"""A site whose SLURM answers as it is told to: jobs run here, refusals and holds are scripted.

`answers.json` in the folder SITE holds what is said: `refusal` and how many `times`, `forbidden`
options with what a submit filter says to them, `test_only` for `sbatch --test-only`, the reason for
which the first job stays `pending`, and the listing of `accounts`.
"""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "sinfo", "scancel", "sacctmgr", "srun")


def install(site: Path, **answers: object) -> Path:
    """Make the commands and say what they answer; the folder for PATH."""
    (site / "bin").mkdir(parents=True)
    (site / "answers.json").write_text(json.dumps(answers))
    for name in COMMANDS:
        path = site / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {__file__} {name} "$@"\n')
        path.chmod(0o755)
    return site / "bin"


def submissions(site: Path) -> list[str]:
    """Every call of sbatch, its options in one line."""
    calls = (site / "calls").read_text().splitlines() if (site / "calls").exists() else []
    return [line for line in calls if line.startswith("sbatch") and "--test-only" not in line]


def refuse(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.exit(1)


def sbatch(site: Path, answers: dict, words: list[str]) -> str:
    if "--test-only" in words:
        if text := answers.get("test_only"):
            refuse(text)
        return ""
    for option, text in answers.get("forbidden", {}).items():
        if any(word == option or word.startswith(f"{option}=") for word in words):
            refuse(text)
    refused = len(submissions(site)) - 1
    if answers.get("refusal") and refused < answers.get("times", 1):
        refuse(answers["refusal"])
    given = dict(pairwise(words))
    wrapped = [word.partition("=")[2] for word in words if word.startswith("--wrap=")]
    script = wrapped[0] if wrapped else given.get("--wrap") or sys.stdin.read()
    number = str(len(list(site.glob("*.job"))) + 1)
    job = {"id": number, "folder": given["-D"], "name": given["--job-name"]}
    job |= {"comment": given["--comment"], "pending": answers.get("pending", "")}
    if number != "1":
        job["pending"] = ""
    (site / f"{number}.job").write_text(json.dumps(job))
    if not job["pending"]:
        log = Path(given["--output"].replace("%j", number))
        log.parent.mkdir(parents=True, exist_ok=True)
        (site / f"{number}.sh").write_text(script)
        line = f'cd "{job["folder"]}"; sh {site}/{number}.sh; echo $? > {site}/{number}.status'
        environment = {**os.environ, "SLURM_JOB_ID": number, "SLURM_JOBID": number}
        with log.open("w") as file:
            child = subprocess.Popen(
                ["sh", "-c", line],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                env=environment | {"SLURM_NTASKS": "1", "SLURM_CPUS_PER_TASK": "1"},
            )
        (site / f"{number}.pid").write_text(str(child.pid))
    return number


def state(site: Path, job: dict) -> tuple[str, str]:
    """State and reason of a job."""
    status = site / f"{job['id']}.status"
    if (site / f"{job['id']}.cancelled").exists():
        return "CANCELLED", "None"
    if job["pending"]:
        return "PENDING", job["pending"]
    if not status.exists():
        return "RUNNING", "None"
    return ("COMPLETED" if status.read_text().strip() == "0" else "FAILED"), "None"


def squeue(site: Path) -> str:
    rows = []
    for path in sorted(site.glob("*.job")):
        job = json.loads(path.read_text())
        name, reason = state(site, job)
        rows.append(
            f"{job['id']}|{name}|n1|{job['folder']}|{job['name']}|{job['comment']}|{reason}"
        )
    return "\n".join(rows)


def scancel(site: Path, words: list[str]) -> None:
    for number in (word for word in words if word.isdigit()):
        (site / f"{number}.cancelled").touch()
        if (site / f"{number}.pid").exists():
            os.killpg(int((site / f"{number}.pid").read_text()), 15)


def main(name: str, words: list[str]) -> str:
    """What one command prints."""
    site = Path(__file__).parent if "SITE" not in os.environ else Path(os.environ["SITE"])
    answers = json.loads((site / "answers.json").read_text())
    with (site / "calls").open("a") as calls:
        calls.write(" ".join([name, *words]).replace("\n", " ")[:1000] + "\n")
    if name == "sbatch":
        return sbatch(site, answers, words)
    if name == "squeue":
        return squeue(site)
    if name == "scancel":
        scancel(site, words)
    if name == "srun" and "--mpi=list" in words:
        return "MPI plugin types are...\n\tnone\n\tpmi2"
    if name == "srun":
        refuse(answers.get("srun", "srun: error: Unable to create step"))
    fixed = {
        "sinfo": "std*|up|1-00:00:00|64000",
        "sacctmgr": answers.get("accounts", "acc"),
        "scontrol": "MinJobAge               = 300 sec",
    }
    return fixed.get(name, "")


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1], sys.argv[2:]) + "\n")
