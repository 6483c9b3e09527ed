"""The executor in the plugin's place, on doubles of SLURM's commands: no root, no cluster."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from benchmarks.orchestration import simulated
from benchmarks.orchestration.__main__ import snakemake
from campaign.slurm import executor
from campaign.slurm.queue import Entry

BIN = Path(sys.executable).parent


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A cluster on which jobs last until they are ended."""
    (tmp_path / "notes").mkdir()
    simulated.install(tmp_path / "bin")
    path = f"{tmp_path / 'bin'}:{BIN}:{os.environ['PATH']}"
    yield {
        **os.environ,
        "PATH": path,
        "SIMULATED": str(tmp_path / "notes"),
        "SECONDS_OF_A_JOB": "3600",
    }
    end(tmp_path / "notes")


def end(notes: Path) -> None:
    """Let all jobs write their output and be done."""
    for job in notes.glob("*.job"):
        job.write_text("|".join([f"{time.time()}", *job.read_text().split("|")[1:]]))
        with suppress(psutil.NoSuchProcess):
            for sleep in psutil.Process(int(job.with_suffix(".pid").read_text())).children():
                sleep.kill()


def until(done: Callable[[], bool], process: subprocess.Popen[str], said: Path) -> None:
    deadline = time.monotonic() + 300
    while not done():
        assert process.poll() is None, said.read_text()[-3000:]
        assert time.monotonic() < deadline, said.read_text()[-3000:]
        time.sleep(0.2)


def begin(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    said = (folder / "said").open("a")
    return subprocess.Popen(words, cwd=folder, env=environment, stdout=said, stderr=said, text=True)


def test_a_killed_snakemake_takes_its_jobs_over(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    notes, said = tmp_path / "notes", tmp_path / "said"
    words = snakemake(tmp_path, items=4, jobs=2, seconds=0.0, ranks=1)
    first = begin(words, tmp_path, environment)
    until(lambda: said.read_text().count("submitted with SLURM jobid") == 2, first, said)
    first.kill()
    first.wait()
    assert begin([*words, "--unlock"], tmp_path, environment).wait(timeout=120) == 0
    again = begin(words, tmp_path, environment)
    until(lambda: said.read_text().count("taken over") == 2, again, said)
    end(notes)
    assert again.wait(timeout=300) == 0, said.read_text()[-3000:]
    assert len(list(notes.glob("*.job"))) == 2
    calls = [line.split()[1] for line in (notes / "calls").read_text().splitlines()]
    assert "sacct" not in calls


def test_a_job_lost_by_slurm_is_over_whatever_the_accounting_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller killed before it saved: its accounting has the job run for ever."""
    monkeypatch.setattr(executor, "ended", lambda ids: dict.fromkeys(ids, "RUNNING"))
    watch = executor.Guarded.__new__(executor.Guarded)
    watch._forgotten, watch._without_hope = Counter(), Counter()
    output = tmp_path / "chunks/0001.json"
    job = SimpleNamespace(name="label", wildcards=["0001"], output=[output])
    info = SimpleNamespace(job=job, external_jobid="7")
    for seen in [{}] * executor.LOOKS:
        state = watch._states([info], seen)["7"][0]
    assert state == "FORGOTTEN"
    output.parent.mkdir()
    output.touch()
    assert watch._states([info], {})["7"][0] == "COMPLETED"


def test_an_id_given_twice_is_told_apart() -> None:
    job = SimpleNamespace(name="label", wildcards=["0001"])
    info = SimpleNamespace(job=job, external_jobid="7")
    own = Entry("7", "RUNNING", "n1", "/c", "c-003-x", "rule_label_wildcards_0001", "None")
    other = replace(own, comment="rule_label_wildcards_0002")
    assert executor._entry(info, {"7": own}) is own
    assert executor._entry(info, {"7": other}) is None
