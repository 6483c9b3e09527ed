"""One `planner run` or `planner next` in a campaign at a time.

The lock is a file made with O_CREAT|O_EXCL, which holds on NFS and Lustre where flock may not.
It names host, process and start time, so that a lock left by `kill -9` is recognised on the same
host and taken over, and the Snakemake that the dead process left behind is stopped first.
"""

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from planner.errors import UserError


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[Path]:
    """Hold the campaign's lock; UserError names the holder when there is one."""
    path = folder / "planner.lock"
    _take_over(path)
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        raise UserError(f"{path}: taken this moment by another planner; try again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    with os.fdopen(handle, "w") as file:
        json.dump({"host": socket.gethostname(), "doing": doing, **_identity(os.getpid())}, file)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        child_file(path).unlink(missing_ok=True)


def child_file(lock: Path) -> Path:
    """Where the process group of the running Snakemake is noted."""
    return lock.with_suffix(".child")


def note_child(lock: Path, pid: int) -> None:
    """Remember the Snakemake started under this lock, so that it never outlives it unseen."""
    child_file(lock).write_text(json.dumps(_identity(pid)))


def _identity(pid: int) -> dict[str, float]:
    with suppress(psutil.NoSuchProcess):
        return {"pid": pid, "started": psutil.Process(pid).create_time()}
    return {"pid": pid, "started": 0.0}


def _alive(who: dict[str, float]) -> bool:
    try:
        return abs(psutil.Process(int(who["pid"])).create_time() - who["started"]) < 1.0
    except psutil.NoSuchProcess:
        return False


def _take_over(path: Path) -> None:
    try:
        holder = json.loads(path.read_text())
    except FileNotFoundError:
        return
    except ValueError:  # killed between creation and the first byte
        path.unlink(missing_ok=True)
        return
    if holder["host"] != socket.gethostname():
        raise UserError(
            f"{path}: held by process {holder['pid']} on {holder['host']} ({holder['doing']});"
            " if that one is gone, delete the file"
        )
    if _alive(holder):
        raise UserError(
            f"{path}: process {holder['pid']} is at work here ({holder['doing']}); wait or stop it"
        )
    _stop_orphan(child_file(path))
    path.unlink(missing_ok=True)


def _stop_orphan(path: Path) -> None:
    """End what a killed planner left running: items on disk are kept, the rest starts again."""
    with suppress(FileNotFoundError, ValueError):
        child = json.loads(path.read_text())
        if _alive(child):
            processes = psutil.Process(int(child["pid"])).children(recursive=True)
            with suppress(ProcessLookupError):
                os.killpg(int(child["pid"]), signal.SIGKILL)
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=10)
    path.unlink(missing_ok=True)
