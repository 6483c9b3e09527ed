import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomistics.reference.convergence import LabelFailedError
from atomistics.reference.launching import core_seconds
from campaign.errors import UserError
from campaign.spread import ItemCost, shares, spread

ROOT = Path(__file__).parents[2]
ITEMS = {f"run-{k}": {"size": k + 1, "text": f"item {k}"} for k in range(6)}


def write(name, target):
    target.write_text(ITEMS[name]["text"])
    return ItemCost(reference_calls=2, md_steps=10)


def names(folder, pattern="*"):
    return sorted(path.name for path in folder.glob(pattern))


def test_one_file_and_one_cost_per_item(tmp_path):
    spread(ITEMS, write, tmp_path / "runs", ".txt", tmp_path / "pack.json")
    for name, item in ITEMS.items():
        assert (tmp_path / "runs" / f"{name}.txt").read_text() == item["text"]
        cost = json.loads((tmp_path / "runs" / f"{name}.cost.json").read_text())
        assert cost.keys() == {"core_seconds", "reference_calls", "md_steps"}
        assert (cost["reference_calls"], cost["md_steps"]) == (2, 10)
    assert len(names(tmp_path / "runs")) == 12
    assert json.loads((tmp_path / "pack.json").read_text()) == {"items": sorted(ITEMS)}


def test_what_is_done_is_not_done_again(tmp_path):
    spread(ITEMS, write, tmp_path, ".txt")
    (tmp_path / "run-3.cost.json").unlink()  # killed between the result and its cost
    (tmp_path / ".run-4.partial.txt").write_text("half")
    (tmp_path / "run-4.txt").unlink()
    (tmp_path / "run-4.cost.json").unlink()
    done = []

    def count(name, target):
        done.append(name)
        return write(name, target)

    spread(ITEMS, count, tmp_path, ".txt")
    assert done == ["run-4", "run-3"]
    assert (tmp_path / "run-4.txt").read_text() == "item 4"
    assert len(list(tmp_path.iterdir())) == 12


def test_a_copy_on_a_lost_node_cannot_spoil_an_item(tmp_path):
    """Each process writes under a name of its own; the one that comes later ends the other."""
    begun = []

    def lose(name, target):
        target.write_text("half of the first")
        begun.append(target)
        spread({"run-0": ITEMS["run-0"]}, write, tmp_path, ".txt")  # SLURM's replacement
        assert not target.exists()
        return ItemCost()

    with pytest.raises(FileNotFoundError):
        spread({"run-0": ITEMS["run-0"]}, lose, tmp_path, ".txt")
    assert (tmp_path / "run-0.txt").read_text() == ITEMS["run-0"]["text"]
    assert str(os.getpid()) in begun[0].name


def test_a_failing_item_is_a_record_and_the_rest_goes_on(tmp_path):
    def fail(name, target):
        if name == "run-1":
            target.write_text("half")
            raise LabelFailedError("unconverged", "SCF not converged in 250 cycles")
        if name == "run-2":
            error = UserError("pressure: too high")
            error.reference_calls = 7
            raise error
        return write(name, target)

    spread(ITEMS, fail, tmp_path, ".txt")
    assert names(tmp_path, "*.txt") == ["run-0.txt", "run-3.txt", "run-4.txt", "run-5.txt"]
    record = json.loads((tmp_path / "run-1.failed.json").read_text())
    assert record == {"class": "unconverged", "detail": "SCF not converged in 250 cycles"}
    record = json.loads((tmp_path / "run-2.failed.json").read_text())
    assert record == {"class": "input", "detail": "pressure: too high"}
    assert json.loads((tmp_path / "run-2.cost.json").read_text())["reference_calls"] == 7
    assert len(names(tmp_path, "*.cost.json")) == 6


def test_a_full_disk_is_no_failed_item(tmp_path):
    def full(name, target):
        raise OSError(28, "No space left on device", str(target))

    with pytest.raises(OSError, match="No space left"):
        spread(ITEMS, full, tmp_path, ".txt")
    assert not names(tmp_path)


def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_core_seconds_count_children_running_or_ended():
    code = "from tests.atomistics.test_spread import burn; burn(0.3); print(flush=True); input()"
    before = core_seconds()
    burn(0.2)
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    child.stdout.readline()
    running = core_seconds() - before
    child.communicate(b"\n")
    ended = core_seconds() - before
    assert 0.45 < running <= ended + 0.02
    assert ended < running + 1


@given(st.dictionaries(st.text("abc", min_size=1), st.floats(0, 1e6)), st.integers(1, 9))
def test_shares_are_fair_and_whole(sizes, ranks):
    found = shares(sizes, ranks)
    assert len(found) == ranks
    assert sorted(name for share in found for name in share) == sorted(sizes)
    loads = [sum(sizes[n] for n in share) for share in found]
    assert max(loads) - min(loads) <= max(sizes.values(), default=0) + 1e-6
    assert found == shares(dict(reversed(sizes.items())), ranks)


JOB = """
import os, signal, sys, time
from pathlib import Path
from mpi4py import MPI
from campaign.spread import ItemCost, spread
from campaign.errors import UserError
folder, mode = Path(sys.argv[1]), sys.argv[2]
rank = MPI.COMM_WORLD.rank
def work(name, target):
    if name == "run-2" and mode == "fails":
        raise UserError("no")
    if name == "run-2" and mode == "dies":
        raise ZeroDivisionError("a defect")
    if name == "run-2" and mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode != "works" and name != "run-2":
        time.sleep(0.1)
    target.write_text(f"{name} by {rank}")
    return ItemCost(reference_calls=1)
spread({f"run-{k}": {} for k in range(6)}, work, folder, ".txt", folder / "pack.json")
"""


def mpiexec(tmp_path, mode, runner=("-m", "mpi4py")):
    launcher = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if launcher is None:
        pytest.skip("no mpiexec")
    script = tmp_path / "job.py"
    script.write_text(JOB)
    command = [
        launcher,
        "-n",
        "2",
        sys.executable,
        *runner,
        str(script),
        str(tmp_path / "out"),
        mode,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("runner", [("-m", "mpi4py"), ()])
def test_two_ranks_share_the_work(tmp_path, runner):
    done = mpiexec(tmp_path, "works", runner)
    assert done.returncode == 0, done.stderr
    texts = [path.read_text() for path in sorted((tmp_path / "out").glob("*.txt"))]
    assert [text.split()[0] for text in texts] == [f"run-{k}" for k in range(6)]
    assert sorted(text[-1] for text in texts) == list("000111")
    assert (tmp_path / "out" / "pack.json").exists()


def test_a_failing_item_does_not_stop_two_ranks(tmp_path):
    assert mpiexec(tmp_path, "fails").returncode == 0
    assert names(tmp_path / "out", "*.failed.json") == ["run-2.failed.json"]
    assert len(names(tmp_path / "out", "*.txt")) == 5


@pytest.mark.parametrize("mode", ["dies", "killed"])
def test_a_dying_rank_takes_the_job_down(tmp_path, mode):
    before = time.monotonic()
    done = mpiexec(tmp_path, mode, ())
    assert done.returncode != 0
    assert time.monotonic() - before < 50
    if mode == "dies":
        assert "ZeroDivisionError: a defect" in done.stderr
        assert "rank " in done.stderr
    assert not (tmp_path / "out" / "pack.json").exists()
    assert mpiexec(tmp_path, "works").returncode == 0
    assert len(names(tmp_path / "out", "*.txt")) == 6


def test_ranks_that_mpi_does_not_know_of_are_refused(tmp_path):
    code = (
        "from mtp.parallel import communicator\n"
        "from mtp.errors import MTPError\n"
        "try:\n    communicator()\nexcept MTPError as error:\n    print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SLURM_STEP_NUM_TASKS": "4"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("MPI: 4 ranks were launched but mpi4py sees 1"), done.stderr


@pytest.fixture
def three_at_a_time(monkeypatch):
    monkeypatch.setenv("MTPILOT_TOGETHER", "3")


def test_items_that_wait_for_launched_programs_do_so_together(tmp_path, three_at_a_time):
    """As many at a time as the job has calculations; one that fails is a record as ever."""

    def wait(name, target):
        if name == "run-2":
            raise LabelFailedError("timeout", "no answer")
        began = time.monotonic()
        time.sleep(0.5)
        target.write_text(json.dumps([os.getpid(), began, time.monotonic()]))
        return ItemCost(reference_calls=1)

    spread(ITEMS, wait, tmp_path / "runs", ".txt", tmp_path / "pack.json")
    rows = [json.loads(path.read_text()) for path in sorted((tmp_path / "runs").glob("*.txt"))]
    assert len(rows) == 5
    assert len({pid for pid, _, _ in rows} - {os.getpid()}) == 3
    at_once = [sum(b <= t < e for _, b, e in rows) for _, t, _ in rows]
    assert max(at_once) == 3
    assert json.loads((tmp_path / "runs/run-2.failed.json").read_text())["class"] == "timeout"
    assert len(names(tmp_path / "runs", "*.cost.json")) == 6
    assert (tmp_path / "pack.json").exists()


def test_a_full_disk_ends_all_that_run_together(tmp_path, three_at_a_time):
    def full(name, target):
        raise OSError(28, "No space left on device", str(target))

    with pytest.raises(OSError, match="No space left"):
        spread(ITEMS, full, tmp_path, ".txt", tmp_path / "pack.json")
    assert not names(tmp_path)
