"""The preparation as a person uses it: the command, its terminal scripted, no server but ours."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mtpilot.cli import main

ANSWERS = Path(__file__).parent / "answers"
TASKS = sorted(path.stem for path in ANSWERS.glob("*.yaml"))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        n for n in os.environ if n.startswith("ANTHROPIC_") or n.lower().endswith("_proxy")
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", "/nonexistent")


@pytest.fixture
def types(monkeypatch: pytest.MonkeyPatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run `planner ...` with these lines typed; exit status, what it printed, its errors."""

    def run(arguments: list[str], *lines: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        capsys.readouterr()
        status = main([str(a) for a in arguments])
        seen = capsys.readouterr()
        return status, seen.out, seen.err

    return run
