"""One planner a campaign; a lock left by kill -9 is taken over and its Snakemake ended."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from planner.errors import UserError
from planner.lock import locked, marked


def test_second_holder_is_refused_with_the_first_one_named(tmp_path: Path) -> None:
    import os

    refused = pytest.raises(UserError, match=str(os.getpid()))
    with locked(tmp_path, "planner run"), refused, locked(tmp_path, "planner next"):
        pass
    with locked(tmp_path, "planner next"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_lock_of_a_dead_process_is_taken_over_and_its_children_stopped(tmp_path: Path) -> None:
    import os

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
    import os

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
