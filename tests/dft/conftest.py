"""Real DFT codes; `make test-dft` collects these tests, and there they never skip."""

import os
from pathlib import Path

import pytest

collect_ignore_glob = [] if "MTPILOT_DFT" in os.environ else ["test_*.py"]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CP2K_DATA_DIR", "/usr/share/cp2k")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty: what a calculation leaves is seen."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
