"""One `planner run` or `planner next` in a campaign at a time.

The lock is a file made with O_CREAT|O_EXCL, which holds on NFS and Lustre where flock may not.
It names host, process and start time, so that a lock left by `kill -9` is recognised on the same
host and taken over, and the Snakemake that the dead process left behind is stopped first.
"""

import fcntl
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from atomistics.yaml_files import read_text
from campaign.errors import UserError

MARK = "MTPILOT_LOCK"


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[Path]:
    """Hold the campaign's lock; UserError names the holder when there is one."""
    path = folder.resolve() / "planner.lock"
    with _one_at_a_time(path):
        dead = _dead(path)
        if dead:
            path.unlink(missing_ok=True)
        _create(path, doing)
    if dead:
        end_marked(path)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Of several on this host who find a dead lock, one looks at a time.

    A dead lock is recognised on its own host only, so a lock of that host's file system will do.
    """
    name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    try:
        guard = Path(tempfile.gettempdir()) / f"mtpilot-{os.getuid()}-{name}.lock"
    except FileNotFoundError:  # what Python says when no folder takes a file
        why = "no folder for temporary files takes any; make room, or set TMPDIR"
        raise UserError(f"{path}: cannot be written ({why})") from None
    try:
        handle = os.open(guard, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise UserError(f"{guard}: cannot be written ({error.strerror})") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _create(path: Path, doing: str) -> None:
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


def _dead(path: Path) -> bool:
    """Whether a lock is left here whose holder is gone; UserError when it is at work."""
    try:
        text = read_text(path)
    except UserError:
        if os.path.lexists(path):
            raise
        return False
    try:
        holder = json.loads(text)
    except (ValueError, RecursionError):  # killed between creation and the first byte
        return True
    kinds = {"host": str, "doing": str, "pid": int, "started": float}
    if not isinstance(holder, dict) or not all(
        isinstance(holder.get(key), kind) for key, kind in kinds.items()
    ):
        raise UserError(f"{path}: says nobody's name; if no planner is at work, delete the file")
    if holder["host"] != socket.gethostname():
        raise UserError(
            f"{path}: held by process {holder['pid']} on {holder['host']} ({holder['doing']});"
            " if that one is gone, delete the file"
        )
    if _alive(holder):
        raise UserError(
            f"{path}: process {holder['pid']} is at work here ({holder['doing']}); wait or stop it"
        )
    return True


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
