"""One `planner run` or `planner next` in a campaign at a time.

The lock is a file made with O_CREAT|O_EXCL, which holds on NFS and Lustre where flock may not.
It names host, process and start time, so that a lock left by `kill -9` is recognised on the same
host and taken over, and the Snakemake that the dead process left behind is stopped first.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from campaign.errors import UserError

MARK = "MTPILOT_LOCK"


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[Path]:
    """Hold the campaign's lock; UserError names the holder when there is one."""
    path = folder.resolve() / "planner.lock"
    _take_over(path)
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        with os.fdopen(handle, "w") as file:
            json.dump(
                {"host": socket.gethostname(), "doing": doing, **_identity(os.getpid())}, file
            )
    except FileExistsError:
        raise UserError(f"{path}: taken this moment by another planner; try again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def marked(lock: Path) -> dict[str, str]:
    """Environment that marks every process started under this lock, however deep."""
    return {MARK: str(lock)}


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
        text = path.read_text()
    except FileNotFoundError:
        return
    try:
        holder = json.loads(text)
    except ValueError:  # killed between creation and the first byte
        holder = {"host": socket.gethostname(), "pid": 0, "started": 0.0}
    if holder["host"] != socket.gethostname():
        raise UserError(
            f"{path}: held by process {holder['pid']} on {holder['host']} ({holder['doing']});"
            " if that one is gone, delete the file"
        )
    if _alive(holder):
        raise UserError(
            f"{path}: process {holder['pid']} is at work here ({holder['doing']}); wait or stop it"
        )
    _claim(path, text)
    end_marked(path)


def _claim(path: Path, text: str) -> None:
    """Take away the lock that says `text`; of several who found it dead, one succeeds."""
    mine = path.with_name(f".{path.name}-{socket.gethostname()}-{os.getpid()}")
    try:
        path.rename(mine)
        if mine.read_text() == text:
            return
        os.link(mine, path)  # another was faster, and this is its own: given back
    except (FileNotFoundError, FileExistsError):
        pass
    except OSError as error:
        raise UserError(f"{path}: cannot be taken over ({error.strerror})") from None
    finally:
        mine.unlink(missing_ok=True)
    raise UserError(f"{path}: taken this moment by another planner; try again")


def end_marked(lock: Path) -> None:
    """End what was started under this lock: items on disk are kept, the rest starts again.

    SLURM's jobs are not among it: they live on, and the next Snakemake takes them over.
    """
    killed = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            environment = process.environ()
            same_job = environment.get("SLURM_JOB_ID") == os.environ.get("SLURM_JOB_ID")
            if environment.get(MARK) == str(lock) and same_job and process.pid != os.getpid():
                process.kill()
                killed.append(process)
    psutil.wait_procs(killed, timeout=10)
