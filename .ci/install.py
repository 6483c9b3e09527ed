"""What `make` installs with: pip into .venv, a line of progress now and then, the rest in a log.

The toolkit in place (editable), with what its tests need. Nothing but Python's own library here.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / "build/install.log"
PAUSE = 10.0  # seconds between two lines about the same step


def main() -> int:
    """Make .venv and install; 1 and a line with the remedy when that fails."""
    if fault := missing():
        sys.stderr.write(f"make: {fault}\n")
        return 1
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("w", encoding="utf-8") as log:
        tell("an environment in .venv")
        python = str(ROOT / ".venv/bin/python")
        for words in (
            [sys.executable, "-m", "venv", str(ROOT / ".venv")],
            [python, "-m", "pip", "install", "--progress-bar", "off", "--editable", ".[test]"],
        ):
            if followed(words, log):
                sys.stderr.write(f"make: {last_error()} ({LOG.relative_to(ROOT)} has the rest)\n")
                return 1
    tell("installed")
    return 0


def missing() -> str:
    """What this machine lacks, and how to get it; empty when nothing."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whatever python3 is here runs this
        return f"Python {sys.version.split()[0]} is too old; make PYTHON=python3.11 (or newer)"
    if not shutil.which("c++") and not shutil.which("g++"):
        return "no C++ compiler; install g++ (Debian, Ubuntu: apt-get install g++)"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return f"no Python.h; install Python's headers (Debian, Ubuntu: {version}-dev)"
    if importlib.util.find_spec("ensurepip") is None:  # Debian splits it off
        return f"no ensurepip; install venv (Debian, Ubuntu: {version}-venv)"
    return ""


def followed(words: list[str], log: TextIO) -> int:
    """Run a command, its lines in the log, one in many told."""
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    collected, last_line = 0, time.monotonic()
    for line in process.stdout or ():
        log.write(line)
        if line.startswith("Collecting "):
            collected += 1
            if time.monotonic() - last_line > PAUSE:
                tell(f"{collected} packages so far")
                last_line = time.monotonic()
        elif re.match(r"\s+Installing build dependencies.*started", line):
            tell("what compiles the MTP kernel")
        elif re.match(r"\s+Building editable.*started", line):
            tell("the MTP kernel is compiled: half a minute")
        elif line.startswith("Installing collected packages"):
            tell(f"{line.count(',') + 1} packages are installed: a minute or two")
    return process.wait()


def tell(what: str) -> None:
    """A line with the seconds since the start."""
    sys.stdout.write(f"  [{time.monotonic() - BEGAN:4.0f} s] {what}\n")
    sys.stdout.flush()


def last_error() -> str:
    """The line of the log that says what was wrong."""
    lines = [line.strip() for line in LOG.read_text(encoding="utf-8").splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"ERROR|error:|fatal", line)]
    return (named or lines or ["no output"])[-1]


BEGAN = time.monotonic()
if __name__ == "__main__":
    sys.exit(main())
