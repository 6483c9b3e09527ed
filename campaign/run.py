"""One iteration carried out by Snakemake: started, watched, lost jobs written off, told."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from campaign.errors import UserError
from campaign.files import read_json, write_text
from campaign.folder import Campaign
from campaign.interrupt import descendants, end
from campaign.lock import end_marked, marked
from campaign.plan import Plan
from campaign.terminal import Redraw, progress_line
from campaign.workflow import Jobs, jobs

ATTEMPTS = 3
CANCEL_TIMEOUT = 20.0  # seconds for Snakemake to end its jobs, SLURM's too
NAMED = re.compile(r"error|mtpilot:|No space|not found|denied", re.IGNORECASE)
HOLLOW = re.compile(  # what Snakemake says of every failure
    r"^WorkflowError:$|^Error in rule|for error details|Exiting because a job|non-zero exit code"
)
BY_SLURM = re.compile(  # why SLURM ended a job or did not take it, in the executor's words
    r"error: (SLURM (?:job \d+ \(.*?\): (?!FAILED)|refuses ).*?)\. ?For further"
)
NEWS = ("mtpilot: SLURM",)  # lines of Snakemake's that a person should see at once
STEP = re.compile(r"^(\d+) of (\d+) steps")
TOTAL = re.compile(r"^total\s+(\d+)$")


def dry_run(folder: Path) -> dict[str, int]:
    """Jobs by rule as `snakemake -n` counts them."""
    done = subprocess.run(
        [*snakemake(), "-n", "--nolock"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        if gone := re.search(r"affected files:\s+\.\./(\S+)", done.stdout + done.stderr):
            raise UserError(f"{folder}/iterations/{gone[1]}: missing; put it back to go on")
        raise UserError(last_line(done.stdout + done.stderr))
    table = re.search(r"Job stats:\n.*\n-+.*\n((?:.+\n)+)", done.stdout + done.stderr)
    rows = [line.split() for line in table.group(1).splitlines()] if table else []
    skipped = ("total", "all", "campaign")
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[0] not in skipped}


def snakemake() -> list[str]:
    """The Snakemake of this installation."""
    return [str(Path(sys.executable).with_name("snakemake"))]


def last_line(text: str) -> str:
    """The line of a job's output that says what was wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not HOLLOW.search(line)]
    named = [line for line in telling if NAMED.search(line)]
    return (named or lines or ["no output"])[-1][:500]


@dataclass(frozen=True)
class Iteration:
    """The plan to be carried out, and with what."""

    campaign: Campaign
    plan: Plan
    lock: Path
    profile: str | None

    @property
    def folder(self) -> Path:
        """The iteration's folder."""
        return self.campaign.iteration(self.plan.iteration)


def carry_out(it: Iteration, say: Callable[[str], None]) -> None:
    """Run the pending iteration until it is finalized; lost jobs are written off, not waited for.

    A Snakemake that was killed is started again; items on disk are never computed twice.
    """
    reason = ""
    for _ in range(ATTEMPTS):
        status, reason = _snakemake(it, say)
        if it.campaign.state_file(it.plan.iteration).is_file():
            return
        if status >= 0 and not _write_off(it, say):
            break
    log = it.folder / "snakemake.log"
    raise UserError(f"{log}: iteration {it.plan.iteration} ({it.plan.action}) failed: {reason}")


def _snakemake(it: Iteration, say: Callable[[str], None]) -> tuple[int, str]:
    """Exit status, and the line that says why when it is not 0."""
    _unlock(it)
    command = [*snakemake(), "--rerun-incomplete", "--keep-going"]
    command += ["--profile", it.profile] if it.profile else []
    lines = []
    with (
        (it.folder / "snakemake.log").open("a", 1, encoding="utf-8") as log,
        progress_line(f"{it.plan.iteration:>3} {it.plan.action}") as redraw,
    ):
        meter = Meter(it, say, redraw)
        child = subprocess.Popen(
            command,
            cwd=it.campaign.folder,
            env={**os.environ, **marked(it.lock)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            for line in child.stdout or ():
                log.write(line)
                lines.append(line)
                if step := STEP.match(line):
                    meter.show(int(step[1]), int(step[2]))
                elif total := TOTAL.match(line):
                    meter.begin(int(total[1]))
                elif line.startswith(NEWS):
                    say(f"  {line.rstrip()}")
            child.wait()
        except BaseException:
            _interrupt(child, it.lock)
            raise
    return child.returncode, _cause(it.folder, lines) if child.returncode else ""


def _unlock(it: Iteration) -> None:
    """Take away the Snakemake lock that a killed run left; a living Snakemake here is an error."""
    locks = it.folder / ".snakemake" / "locks"
    if not locks.is_dir() or not any(locks.iterdir()):
        return
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            here = Path(process.cwd()).is_relative_to(it.campaign.folder)
            if here and any("snakemake" in word for word in process.cmdline()[:2]):
                raise UserError(
                    f"{locks}: snakemake {process.pid} is at work here; wait or stop it"
                )
    shutil.rmtree(locks)


def _interrupt(child: subprocess.Popen[str], lock: Path) -> None:
    """Let Snakemake end its jobs; what is left after some seconds is killed, or after Ctrl-C again.

    With a SLURM that does not answer its jobs live on; the next run takes them over.
    """
    try:
        child.send_signal(signal.SIGINT)
        child.wait(timeout=CANCEL_TIMEOUT)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        processes = descendants(child.pid)
        child.kill()
        end(processes, grace=0.0)
        child.wait()
    finally:
        end_marked(lock)


def _cause(folder: Path, lines: list[str]) -> str:
    """Why a job failed: as SLURM has it where SLURM ended or refused it, else as its log ends."""
    if by_slurm := BY_SLURM.findall("".join(lines)):
        return by_slurm[-1]
    logs = re.findall(r"Error in rule (?:.*\n)*?\s+log: (.+)", "".join(lines))
    names = [name.partition(" (check")[0] for log in logs for name in log.split(", ")]
    for name in sorted(names, key=os.path.isabs):  # SLURM's own only where the rule's is empty
        path = folder / name
        if path.is_file() and (text := path.read_text(errors="replace")).strip():
            return f"{name}: {last_line(text)}"
    if names:
        return f"{names[0]}: a job was killed without a word; the same command goes on from here"
    return last_line("".join(lines))


def _write_off(it: Iteration, say: Callable[[str], None]) -> bool:
    """Close the chunks whose job was lost, if any chunk came through; True if there were some.

    The items a lost job had finished stand on disk and count; the rest is reported as `lost`.
    """
    table = jobs(it.campaign.folder)
    return any(_write_off_of(kind, table, say) for kind in ("settle", it.plan.action))


def _write_off_of(kind: str, table: Jobs, say: Callable[[str], None]) -> bool:
    paths = map(Path, table.chunk_files(kind))
    chunks = dict(zip(paths, map(json.loads, table.chunks[kind].values()), strict=True))
    missing = {path: items for path, items in chunks.items() if not (table.folder / path).is_file()}
    if not missing or len(missing) == len(chunks):
        return False
    for path, items in missing.items():
        record = {"items": sorted(items), "lost": True}
        write_text(table.folder / path, json.dumps(record) + "\n")
    say(f"  {len(missing)} of {len(chunks)} jobs were lost; what they had finished is kept")
    return True


class Meter:
    """One line of progress: jobs, labels, core-minutes, time left for this action.

    In a terminal `redraw` keeps it up to date, in a log it is said anew. It also goes to
    progress.json, for `planner status` from anywhere. Thousands of items are not counted again for
    each job that ends: at most a twentieth of the time goes into counting.
    """

    def __init__(self, it: Iteration, say: Callable[[str], None], redraw: Redraw | None) -> None:
        self.plan, self.folder, self.say, self.began = it.plan, it.folder, say, time.monotonic()
        self.redraw = redraw
        self.labels = it.campaign.state().spent.labels
        self.core_seconds = it.campaign.core_seconds()
        self.rest = 0.0

    def begin(self, total: int) -> None:
        """The first job may take an hour: a terminal shows from now on that something runs."""
        if self.redraw:
            self.redraw(0, total, "")

    def show(self, done: int, total: int) -> None:
        """Say how far the action is."""
        now = time.monotonic()
        if now < self.rest and done < total:
            return
        elapsed = now - self.began
        left = elapsed * (total - done) / max(done, 1)
        costs = [
            read_json(p, "core_seconds")
            for p in self.folder.glob(f"{self.plan.action}/**/*.cost.json")
        ]
        minutes = (self.core_seconds + sum(c["core_seconds"] for c in costs)) / 60
        labels = len(list(self.folder.glob("select_data/labels/*.cost.json")))
        more = f", {self.labels + labels} labels, {minutes:.1f} core-min,"
        fit = self._fit()
        more += f" {fit}" if fit else f" about {left / 60:.1f} min left in this action"
        if self.redraw:
            self.redraw(done, total, more)
        else:
            title = f"[{self.plan.iteration:>3} {self.plan.action}]"
            self.say(f"  {title} {done}/{total} jobs{more}")
        progress = {"at": datetime.now().astimezone().isoformat(timespec="seconds")}
        progress |= {"jobs": total, "done": done, "seconds_left": None if fit else round(left)}
        write_text(self.folder / "progress.json", json.dumps(progress) + "\n")
        self.rest = time.monotonic() + 20 * (time.monotonic() - now)

    def _fit(self) -> str:
        """What a fit will take at most, while one runs: jobs before it say nothing of it."""
        expected = self.folder / "train/estimate.json"
        if not expected.is_file() or (self.folder / "train/fit.json").is_file():
            return ""
        most = read_json(expected, "iterations", "core_seconds")
        minutes = most["core_seconds"] / 60
        return f"a fit of at most {most['iterations']} iterations, about {minutes:.1f} core-min"
