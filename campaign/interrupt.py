"""Ctrl-C, TERM and a hang-up end what an iteration has started, within seconds; only items in
flight are lost.

Snakemake waits for its local jobs on Ctrl-C and finishes them on TERM, so that shells, scripts and
programs compute on, beside the run that is started next. SLURM's jobs are cancelled by its
executor; the commands that do so are left alone here.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import psutil

from campaign.lock import MARK

GRACE = 2.0  # seconds between TERM and KILL
CANCELLING = ("sbatch", "scancel", "squeue", "sacct")


class TerminatedError(KeyboardInterrupt):
    """TERM, which ends a command as Ctrl-C does, with a status of its own."""

    status = 128 + signal.SIGTERM


def terminated(_number: int, _frame: FrameType | None) -> None:
    """Handler of TERM for who cleans up on Ctrl-C."""
    raise TerminatedError


@contextmanager
def hang_up_ignored() -> Iterator[None]:
    """TERM ends the block as Ctrl-C does, a dropped connection stops nothing; then as before."""
    handlers = {signal.SIGHUP: signal.SIG_IGN, signal.SIGTERM: terminated}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def end_jobs_on_signals(local: bool) -> None:
    """Called by the Snakefile before the first job, once Snakemake's own handlers stand.

    A hang-up ends `local` jobs, which would compute on with nobody to take their results; those of
    SLURM live on for the next run. Where it is ignored (`planner run`, nohup) it stays so.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if local and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, _interrupted)


def end_with_the_planner() -> None:
    """TERM for this Snakemake once the planner that started it is gone, killed without a word.

    Linux only (prctl(2), PR_SET_PDEATHSIG); elsewhere the next run ends what is left.
    """
    if MARK in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM), 0, 0, 0)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    """End all local jobs, then go the way of Snakemake's Ctrl-C; a second signal kills at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _killed)
    end(_held())
    raise KeyboardInterrupt


def _killed(_number: int, _frame: FrameType | None) -> None:
    end(_held(), grace=0.0)


def _held() -> list[psutil.Process]:
    """All descendants, stopped: what one starts while they are counted would outlive it unseen."""
    held: list[psutil.Process] = []
    while fresh := [process for process in descendants() if process not in held]:
        for process in fresh:
            with suppress(psutil.Error):
                process.suspend()
        held += fresh
    return held


def descendants(process: int | None = None) -> list[psutil.Process]:
    """What a process (default: this one) has started, however deep, but for SLURM's commands."""
    with suppress(psutil.Error):
        children = psutil.Process(process).children(recursive=True)
        return [child for child in children if not _cancels(child)]
    return []


def end(processes: Iterable[psutil.Process], grace: float = GRACE) -> None:
    """TERM, and KILL for what is still there after `grace` seconds.

    Nobody is waited for by the system's `wait`: these are children of somebody who does that.
    """
    left = [process for process in processes if _alive(process)]
    if grace:
        for process in left:
            with suppress(psutil.Error):
                process.terminate()
                process.resume()
    until = time.monotonic() + grace
    while (left := [process for process in left if _alive(process)]) and time.monotonic() < until:
        time.sleep(0.05)
    for process in left:
        with suppress(psutil.Error):
            process.kill()


def _alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _cancels(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        words = " ".join(process.cmdline()[:3]).split()
        return any(word.rpartition("/")[2] in CANCELLING for word in words[:4])
    return False
