"""One planner a campaign; a lock left by kill -9 is taken over and its Snakemake ended."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from campaign.errors import UserError
from campaign.lock import locked, marked


def test_second_holder_is_refused_with_the_first_one_named(tmp_path: Path) -> None:
    refused = pytest.raises(UserError, match=str(os.getpid()))
    with locked(tmp_path, "planner run"), refused, locked(tmp_path, "planner next"):
        pass
    with locked(tmp_path, "planner next"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_lock_of_a_dead_process_is_taken_over_and_its_children_stopped(tmp_path: Path) -> None:
    path = tmp_path / "planner.lock"
    code = "import subprocess; subprocess.Popen(['setsid', 'sleep', '100']).wait()"
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **marked(path)})
    time.sleep(1)
    family = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
    assert len(family) > 1
    dead = {"host": socket.gethostname(), "doing": "x", "pid": 2**22, "started": 1.0}
    path.write_text(json.dumps(dead))
    with locked(tmp_path, "planner run"):
        child.wait(timeout=10)
        assert not any(p.is_running() and p.status() != "zombie" for p in family)


def test_reused_process_id_is_not_mistaken_for_the_holder(tmp_path: Path) -> None:
    holder = {"host": socket.gethostname(), "doing": "x", "pid": os.getpid(), "started": 1.0}
    (tmp_path / "planner.lock").write_text(json.dumps(holder))
    with locked(tmp_path, "planner run"):
        pass


def test_lock_of_another_host_is_never_broken(tmp_path: Path) -> None:
    holder = {"host": "login2.example", "doing": "planner run", "pid": 1, "started": 1.0}
    (tmp_path / "planner.lock").write_text(json.dumps(holder))
    with pytest.raises(UserError, match="login2"), locked(tmp_path, "planner run"):
        pass


def test_half_written_lock_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "planner.lock").write_text("")
    with locked(tmp_path, "planner run"):
        pass


@pytest.mark.parametrize("text", ["7", "{}", '{"host": "here", "doing": "run", "pid": "x"}', None])
def test_what_is_no_lock_is_named_and_not_taken_over(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "planner.lock"
    os.mkfifo(path) if text is None else path.write_text(text)
    with pytest.raises(UserError, match=re.escape(str(path))), locked(tmp_path, "run"):
        pass


def test_of_many_who_find_a_dead_lock_one_gets_it(tmp_path: Path) -> None:
    """All start at once, and hold on for longer than any of them takes to try."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from campaign.lock import locked; from campaign.errors import UserError\n"
        "time.sleep(max(0.0, float(sys.argv[2]) - time.time()))\n"
        "try:\n"
        "    with locked(Path(sys.argv[1]), 'x'):\n"
        "        print('won', flush=True); sys.stdin.read()\n"
        "except UserError: print('refused', flush=True)\n"
    )
    for _ in range(3):
        (tmp_path / "planner.lock").write_text(
            json.dumps({"host": socket.gethostname(), "doing": "x", "pid": 2**22, "started": 1.0})
        )
        words = [sys.executable, "-c", code, str(tmp_path), str(time.time() + 4)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        several = [subprocess.Popen(words, **pipes) for _ in range(8)]
        said = [process.stdout.readline().strip() for process in several]
        for process in several:
            process.communicate()
        assert sorted(said) == ["refused"] * 7 + ["won"]
        assert list(tmp_path.iterdir()) == []
