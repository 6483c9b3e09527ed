"""One bounded question to SLURM at a time, and its answer as records."""

import getpass
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from campaign.slurm import answers

TIMEOUT = 60.0  # seconds that one command may take
LIVING = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "REQUEUED"}
LIVING |= {"REQUEUE_HOLD", "REQUEUE_FED", "RESIZING", "SIGNALING", "STAGE_OUT", "SPECIAL_EXIT"}
WAITING = {"PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT"}
FIELDS = ("%i", "%T", "%N", "%Z", "%j", "%k", "%r")


@dataclass(frozen=True)
class Entry:
    """One job as SLURM sees it."""

    id: str
    state: str
    nodes: str
    folder: str
    name: str
    comment: str
    reason: str

    @property
    def living(self) -> bool:
        """Whether it runs, waits, or will be run again by SLURM itself."""
        return self.state in LIVING

    @property
    def never_starts(self) -> bool:
        """Whether it waits for what will not come, whatever else happens on the cluster."""
        return self.state in WAITING and answers.never_starts(self.reason)

    @property
    def held(self) -> bool:
        """Whether a person holds it."""
        return self.state in WAITING and answers.held(self.reason)


def queue(folder: Path) -> list[Entry] | None:
    """This user's jobs from `folder`, ended ones too while SLURM remembers; None: no answer."""
    mine = ("--user", getpass.getuser(), "--states=all", "--noheader")
    answer = ask("squeue", *mine, "--format", "|".join(FIELDS))
    if answer is None:
        return None
    rows = [line.strip().split("|", len(FIELDS) - 1) for line in answer.splitlines()]
    entries = [Entry(*row) for row in rows if len(row) == len(FIELDS)]
    return [e for e in entries if os.path.realpath(e.folder) == os.path.realpath(folder)]


def ended(ids: list[str]) -> dict[str, str]:
    """State by job of those the accounting knows; empty when it does not answer."""
    answer = ask("sacct", "-X", "-n", "-P", "-D", "-j", ",".join(ids), "-o", "JobIDRaw,State")
    rows = [line.split("|") for line in (answer or "").splitlines()]
    return {row[0]: row[1].partition(" ")[0] for row in rows if len(row) == 2}  # last one counts


def cancel(ids: list[str]) -> None:
    """Cancel jobs; those that are gone already are no fault."""
    if ids:
        ask("scancel", "--quiet", *ids)


def ask(*words: str) -> str | None:
    """Output of one SLURM command, None when it fails or does not answer in time."""
    status, output, _ = answered(*words)
    return output if status == 0 else None


def answered(*words: str, seconds: float | None = None) -> tuple[int, str, str]:
    """Exit status, output and errors of one SLURM command; 127 and why where it gave none."""
    limit = TIMEOUT if seconds is None else seconds
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=limit,
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        return 127, "", f"{words[0]}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return 127, "", f"{words[0]}: no answer in {limit:g} s"
    return done.returncode, done.stdout, done.stderr
