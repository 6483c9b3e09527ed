"""The executor in the plugin's place, on doubles of SLURM's commands: no root, no cluster."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.orchestration import simulated
from benchmarks.orchestration.__main__ import snakemake

BIN = Path(sys.executable).parent


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Two jobs that take ten seconds each, on a cluster that only lets time pass."""
    (tmp_path / "notes").mkdir()
    simulated.install(tmp_path / "bin")
    path = f"{tmp_path / 'bin'}:{BIN}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "SIMULATED": str(tmp_path / "notes"),
            "SECONDS_OF_A_JOB": "10"}  # fmt: skip


def begin(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    said = (folder / "said").open("a")
    return subprocess.Popen(words, cwd=folder, env=environment, stdout=said, stderr=said, text=True)


def test_a_killed_snakemake_takes_its_jobs_over(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    notes, said = tmp_path / "notes", tmp_path / "said"
    words = snakemake(tmp_path, items=4, jobs=2, seconds=0.0, ranks=1)
    first = begin(words, tmp_path, environment)
    deadline = time.monotonic() + 120
    while len(list(notes.glob("*.job"))) < 2 or "SLURM jobid 2" not in said.read_text():
        assert first.poll() is None, said.read_text()
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.2)
    first.kill()
    first.wait()
    assert begin([*words, "--unlock"], tmp_path, environment).wait(timeout=120) == 0
    assert begin(words, tmp_path, environment).wait(timeout=200) == 0, said.read_text()[-3000:]
    assert said.read_text().count("taken over") == 2
    assert len(list(notes.glob("*.job"))) == 2
    calls = [line.split()[1] for line in (notes / "calls").read_text().splitlines()]
    assert "sacct" not in calls
    assert calls.count("squeue") < 12
