"""A site's program run to its end, and the signal that ended it."""

import re
import subprocess
from pathlib import Path

# MPICH's launcher ends with the signal as its exit status, Open MPI's with 128 more
SIGNALLED = re.compile(r"EXIT STRING: .*\(signal (\d+)\)|exited on signal (\d+)")
GRACE_SECONDS = 10.0


def signal_of(status: int, text: str) -> int:
    """The signal that ended a program or one of its ranks, 0 if none did."""
    told = SIGNALLED.search(text) if status else None
    if told:
        return int(told[1] or told[2])
    return -status if status < 0 else status - 128 if 128 < status < 160 else 0


def wait_for(argv: list[str], log: object, folder: Path | None, timeout: float | None) -> int:
    """Exit status; the child never outlives this call."""
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=folder
    )
    try:
        return process.wait(timeout)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def program(words: tuple[str, ...]) -> list[str]:
    """The words with a relative path made absolute, since the program runs in another folder."""
    if words and "/" in words[0]:
        return [str(Path(words[0]).absolute()), *words[1:]]
    return list(words)
