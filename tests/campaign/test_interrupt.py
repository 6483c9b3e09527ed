"""Ctrl-C, TERM and hang-up during a job of ten minutes: what is left running, and what is kept."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from campaign.create import create
from campaign.interrupt import TerminatedError, hang_up_ignored
from tests.campaign.conftest import clean, make_source

BIN = Path(sys.executable).parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A campaign whose reference program takes ten minutes for its first label."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntrap '' TERM HUP\necho $$ >> {tmp_path}/started\nsleep 600\n")
    program.chmod(0o755)
    folder = create(str(make_source(tmp_path / "source")), tmp_path / "c").folder
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["reference"] = {"method": "orca", "options": {"command": str(program)}, "timeout": 900}
    config["limits"] |= {"core_hours": 1e6, "wall_hours": None}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def begin(folder: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a command in the folder and wait for its program; nothing outlives the test."""
    begun: list[subprocess.Popen] = []

    def start(*words: str) -> subprocess.Popen:
        said = (folder / "said").open("a")
        environment = {**clean(), "PATH": f"{BIN}:{os.environ['PATH']}"}
        process = subprocess.Popen(
            words, cwd=folder, env=environment, stdout=said, stderr=said, start_new_session=True
        )
        begun.append(process)
        wait((folder.parent / "started").exists, process, folder)
        return process

    yield start
    for process in [p for first in begun for p in running(folder, first)]:
        process.kill()


def wait(done: Callable[[], bool], process: subprocess.Popen, folder: Path) -> None:
    until = time.monotonic() + 120
    while not done():
        assert process.poll() is None, said(folder)
        assert time.monotonic() < until, said(folder)
        time.sleep(0.1)


def said(folder: Path) -> str:
    logs = [folder / "said", *folder.glob("iterations/*/snakemake.log")]
    return "".join(path.read_text()[-3000:] for path in logs if path.exists())


def running(folder: Path, first: subprocess.Popen) -> list[psutil.Process]:
    """The process and all that works in the folder or below, wherever its parent went."""
    found = []
    for process in psutil.process_iter():
        try:
            inside = Path(process.cwd()).is_relative_to(folder)
            named = str(folder.parent / "program") in " ".join(process.cmdline())
            if (inside or named or process.pid == first.pid) and process.status() != "zombie":
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def left_after(seconds: float, folder: Path, first: subprocess.Popen) -> list[list[str]]:
    """Command lines of what still runs so many seconds later."""
    until = time.monotonic() + seconds
    while (left := running(folder, first)) and time.monotonic() < until:
        first.poll()
        time.sleep(0.2)
    return [process.cmdline() for process in left]


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (("planner", "run"), signal.SIGINT),
        (("planner", "run"), signal.SIGTERM),
        (("snakemake",), signal.SIGINT),
        (("snakemake",), signal.SIGTERM),
        (("snakemake",), signal.SIGHUP),  # to it alone: nobody would take the results
    ],
)
def test_a_signal_ends_everything_within_seconds(
    folder: Path, begin: Callable[..., subprocess.Popen], words: tuple[str, ...], number: int
) -> None:
    if words == ("snakemake",):
        subprocess.run(
            [str(BIN / "planner"), "next"], cwd=folder, env=clean(), check=True, capture_output=True
        )
    process = begin(*words)
    assert len(running(folder, process)) >= 4
    process.send_signal(number)
    assert left_after(12, folder, process) == []
    assert process.wait() != 0
    assert "Traceback" not in (folder / "said").read_text()
    assert not (folder / "planner.lock").exists()
    assert not list(folder.glob("iterations/001/*/chunks/*"))


def test_a_second_signal_kills_at_once(
    folder: Path, begin: Callable[..., subprocess.Popen]
) -> None:
    process = begin("planner", "run")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert left_after(5, folder, process) == []
    assert process.wait() == 130


def test_a_terminal_that_is_closed_stops_nothing(
    folder: Path, begin: Callable[..., subprocess.Popen]
) -> None:
    """Under `script`, whose end closes the terminal of the planner that writes to it."""
    process = begin("script", "-qec", "planner run", "/dev/null")
    planner = next(p for p in running(folder, process) if "planner" in " ".join(p.cmdline()[1:2]))
    process.kill()
    process.wait()
    time.sleep(4)  # its line is drawn every half second
    assert planner.is_running()
    assert planner.status() != psutil.STATUS_ZOMBIE
    assert len(running(folder, process)) >= 4
    planner.send_signal(signal.SIGTERM)
    assert left_after(12, folder, process) == []


def test_a_killed_planner_leaves_no_second_writer(
    folder: Path, begin: Callable[..., subprocess.Popen]
) -> None:
    first = begin("planner", "run")
    before = {p.pid for p in running(folder, first)}
    first.kill()
    first.wait()
    second = begin("planner", "run")

    def alone() -> bool:
        now = {p.pid for p in running(folder, second)}
        return not now & before and len(now) >= 4

    wait(alone, second, folder)
    second.send_signal(signal.SIGTERM)
    assert left_after(12, folder, second) == []
    assert second.wait() == 143


def test_what_a_killed_planner_has_started_ends_with_it(
    folder: Path, begin: Callable[..., subprocess.Popen]
) -> None:
    first = begin("planner", "run")
    assert len(running(folder, first)) >= 4
    first.kill()
    first.wait()
    assert left_after(15, folder, first) == []


def test_a_hang_up_stops_nothing(folder: Path, begin: Callable[..., subprocess.Popen]) -> None:
    process = begin("planner", "run")
    before = {p.pid for p in running(folder, process)}
    os.killpg(process.pid, signal.SIGHUP)
    time.sleep(3)
    assert process.poll() is None
    assert before <= {p.pid for p in running(folder, process)}
    process.send_signal(signal.SIGTERM)
    assert left_after(12, folder, process) == []


def test_who_calls_a_run_from_python_has_its_own_signals_again() -> None:
    """What it starts later would be deaf to a hang-up for good."""
    numbers = (signal.SIGHUP, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with hang_up_ignored():
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(TerminatedError):
            os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in numbers] == before
