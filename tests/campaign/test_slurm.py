"""What needs no cluster of `campaign.slurm`: answers read, profiles judged, status from files."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from campaign.create import create
from campaign.doctor.slurm import _minutes
from campaign.lock import locked, marked
from campaign.run import _cause
from campaign.slurm import guard, launch, queue, setup
from campaign.slurm.profile import Profile
from campaign.status import render, status
from campaign.workflow import LONGEST, Jobs, chunked, jobs
from planner.decide import next_plan


def commands(folder: Path, monkeypatch: pytest.MonkeyPatch, **bodies: str) -> None:
    """Doubles of SLURM's commands, each a line of shell."""
    for name, body in bodies.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_queue_is_read_whatever_reasons_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        f"1|RUNNING|n[1-2]|{tmp_path}|a-001-x|rule_fit|None",
        f"2|PENDING||{tmp_path}|a-001-x|rule_label_wildcards_0001|PartitionTimeLimit",
        f"3|PENDING||{tmp_path}|a-001-x|rule_y|Nodes required for job are DOWN, or|DRAINED",
        "4|RUNNING|n1|/elsewhere|a-001-x|rule_fit|None",
        f"5|OUT_OF_MEMORY|n1|{tmp_path}|a-001-x|rule_z|OutOfMemory",
        f"6|PENDING||{tmp_path}|a-001-x|rule_y|QOSMaxCpuPerJobLimit",
        "slurm_load_jobs: a line that is no row",
    ]
    (tmp_path / "rows").write_text("\n".join(rows))
    commands(tmp_path, monkeypatch, squeue=f"cat {tmp_path}/rows")
    found = {entry.id: entry for entry in queue.queue(tmp_path) or []}
    assert found.keys() == {"1", "2", "3", "5", "6"}
    assert [i for i, e in found.items() if e.living] == ["1", "2", "3", "6"]
    assert [i for i, e in found.items() if e.never_starts] == ["2", "6"]
    assert found["3"].reason.endswith("DRAINED")


def test_a_silent_scheduler_is_no_empty_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands(tmp_path, monkeypatch, squeue="echo 'Unable to contact' >&2; exit 1")
    assert queue.queue(tmp_path) is None
    commands(tmp_path, monkeypatch, squeue="exec sleep 60")
    monkeypatch.setattr(queue, "TIMEOUT", 0.5)
    began = time.monotonic()
    assert queue.queue(tmp_path) is None
    assert time.monotonic() - began < 5


def test_accounting_counts_the_last_run_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "7|NODE_FAIL\\n7|COMPLETED\\n8|CANCELLED by 0"
    commands(tmp_path, monkeypatch, sacct=f"printf '{rows}\\n'")
    assert queue.ended(["7", "8"]) == {"7": "COMPLETED", "8": "CANCELLED"}


def test_profile_gives_numbers_of_the_first_attempt(tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    keys = {
        "default-resources": {"mem_mb": "1500 * attempt", "runtime": 120},
        "set-resources": {"fit": {"runtime": "2 * 60 * attempt", "mpi": "srun --mpi=pmi2"}},
    }
    (tmp_path / "slurm/profile.yaml").write_text(yaml.safe_dump(keys))
    profile = Profile.at(tmp_path)
    assert profile.number("label", "mem_mb") == 1500
    assert profile.number("fit", "runtime") == 120
    assert profile.number("fit", "nodes") is None
    assert profile.launcher("fit") == ["srun", "--mpi=pmi2"]
    assert profile.launcher("label") == []


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("infinite", None), ("5:00", 5), ("2:00:00", 120), ("1-12:30:00", 2190), ("n/a", None)],
)
def test_walltime_limits_are_understood(limit: str, minutes: int | None) -> None:
    assert _minutes(limit) == minutes


def test_shipped_profile_is_what_the_rules_ask_for() -> None:
    """Every rule named in the profile exists; no key of it is overridden by profiles/default."""
    root = Path(__file__).parents[2]
    own = yaml.safe_load((root / "profiles/slurm/profile.yaml").read_text())
    default = yaml.safe_load((root / "profiles/default/profile.yaml").read_text())
    rules = "".join(p.read_text() for p in (root / "rules").glob("*.smk"))
    for rule in [*own["set-resources"], *own["set-threads"]]:
        assert f"rule {rule}:" in rules
    assert not own.keys() & default.keys()
    assert own["slurm-no-requeue"] is True


def test_chunks_fit_a_command_line() -> None:
    table = {f"item-{i}": {"text": "x" * 100} for i in range(3000)}
    chunks = chunked(table, 3000)
    assert sum(len(json.loads(chunk)) for chunk in chunks.values()) == 3000
    assert max(map(len, chunks.values())) < 1.1 * LONGEST
    assert len(chunked({"a": {}, "b": {}}, 1)) == 2


@pytest.mark.parametrize(("size", "count"), [(1, 3), (2, 2), (9, 1)])
def test_structures_with_the_reference_share_jobs(tmp_path: Path, size: int, count: int) -> None:
    campaign = create("dry_ice_nitrogen", tmp_path / "c")
    path = tmp_path / "c/config.yaml"
    path.write_text(path.read_text() + f"reference_runs_per_job: {size}\n")
    plan = next_plan(type(campaign).at(campaign.folder))
    chunks = jobs(campaign.folder).chunks["reference_calc"]
    assert len(chunks) == count
    names = [name for chunk in chunks.values() for name in json.loads(chunk)]
    assert sorted(names) == sorted(plan.reference_calc.structures)


def test_names_of_jobs_tell_campaign_iteration_and_plan(tmp_path: Path) -> None:
    campaign = create("dry_ice_nitrogen", tmp_path / "c")
    next_plan(campaign)
    name = jobs(tmp_path / "c").name
    assert name.startswith(f"{campaign.task.name[:10]}")
    assert "-001-" in name
    path = tmp_path / "c/iterations/001/plan.yaml"
    plan = yaml.safe_load(path.read_text())
    plan["reference_calc"]["steps"] -= 2
    path.write_text(yaml.safe_dump(plan))
    assert jobs(tmp_path / "c").name != name


def test_commands_begin_with_the_sites_file_in_jobs_only(tmp_path: Path) -> None:
    folder = tmp_path / "a b's/iterations/001"
    (tmp_path / "a b's/slurm").mkdir(parents=True)
    (tmp_path / "a b's/slurm/setup.sh").write_text("export SEEN=yes\n")
    line = setup(Jobs(folder)) + 'set -u; echo "${SEEN:-no}"'
    for job, seen in (("12", "yes"), ("", "no")):
        known = {**os.environ, "SLURM_JOB_ID": job}
        assert subprocess.check_output(["bash", "-c", line], env=known).decode().strip() == seen
    assert launch(None, SimpleNamespace(mpi="srun --mpi=pmi2", tasks=4)) == "srun --mpi=pmi2 -n 4"
    assert launch(None, SimpleNamespace(mpi="")) == ""


def test_slurm_conf_survives_the_plugins_job_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", "/site/slurm.conf")
    monkeypatch.delenv("MTPILOT_SLURM_CONF", raising=False)
    guard(Jobs(Path()))
    monkeypatch.delenv("SLURM_CONF")
    guard(Jobs(Path()))
    assert os.environ["SLURM_CONF"] == "/site/slurm.conf"
    monkeypatch.delenv("MTPILOT_SLURM_CONF")


def test_jobs_of_slurm_outlive_a_killed_planner(tmp_path: Path) -> None:
    lock = tmp_path / "planner.lock"
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    mark = {**os.environ, **marked(lock)}
    orphan = subprocess.Popen(sleep, env=mark)
    job = subprocess.Popen(sleep, env={**mark, "SLURM_JOB_ID": "17"})
    time.sleep(0.5)
    host = os.uname().nodename
    lock.write_text(json.dumps({"host": host, "pid": 2**22, "started": 0.0, "doing": "x"}))
    try:
        with locked(tmp_path, "planner run"):
            assert orphan.poll() is not None
            assert job.poll() is None
    finally:
        job.kill()
        job.wait()


def test_status_shows_progress_and_queue_from_files(tmp_path: Path) -> None:
    campaign = create("dry_ice_nitrogen", tmp_path / "c")
    next_plan(campaign)
    folder = tmp_path / "c/iterations/001"
    seen = {"at": "12:00", "states": {"RUNNING": 3, "PENDING": 2}, "waiting_for": {"Priority": 2}}
    (folder / "queue.json").write_text(json.dumps(seen))
    left = {"at": "12:00", "jobs": 9, "done": 4, "seconds_left": 300}
    (folder / "progress.json").write_text(json.dumps(left))
    text = render(status(type(campaign).at(campaign.folder)))
    assert "queue: 3 running, 2 pending; waiting for Priority (2) at 12:00" in text
    assert "4/9 jobs done, about 5.0 min left" in text
    (folder / "progress.json").write_text(json.dumps(left | {"seconds_left": None}))
    (folder / "train").mkdir()
    (folder / "train/train.log").write_text("start\nBFGS iter 9: f=0.1  3 s, at most 40 s left\n")
    lines = render(status(type(campaign).at(campaign.folder))).splitlines()
    (at,) = (i for i, line in enumerate(lines) if "4/9 jobs done, the fit runs" in line)
    assert lines[at + 1].strip() == "BFGS iter 9: f=0.1 3 s, at most 40 s left"
    (folder / "queue.json").write_text("{half")
    assert "queue:" not in render(status(type(campaign).at(campaign.folder)))


def test_cause_of_a_failed_job_comes_from_its_log_or_slurms(tmp_path: Path) -> None:
    slurms = tmp_path / "slurm_logs/7.log"
    lines = [
        "Error in rule label:\n",
        "    message: error: SLURM job 7 (rule_label): FAILED (NonZeroExitCode). For further\n",
        f"    log: logs/label.log, {slurms} (check log file(s) for error details)\n",
        "WorkflowError:\n",
        "At least one job did not complete successfully.\n",
    ]
    slurms.parent.mkdir()
    slurms.write_text(
        "/c/slurm/setup.sh: line 2: module: command not found\n"
        "Error in rule label:\n    log: logs/label.log (check log file(s) for error details)\n"
        "    (command exited with non-zero exit code)\n"
        "Exiting because a job execution failed. Look above for error messages\n"
        "Elapsed time: 0:00:27\nWorkflowError:\nAt least one job did not complete.\n"
    )
    assert _cause(tmp_path, lines).endswith("line 2: module: command not found")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/label.log").write_text("select_data: x.h5: No space left on device\n")
    assert _cause(tmp_path, lines) == "logs/label.log: select_data: x.h5: No space left on device"


def test_a_launcher_of_calculations_leaves_the_script_one_process() -> None:
    """`mpi` starts the reference's program: 3 at a time of 4 ranks with 2 threads, in 14 tasks."""
    asked = SimpleNamespace(
        mpi="srun --mpi=pmix", tasks=14, calculation_tasks=4, cpus_per_task=2, mem_mb_per_cpu=2000
    )
    step = "env OMP_NUM_THREADS=2 srun --mpi=pmix -n 4 -c 2 -N {} --exact --kill-on-bad-exit=1"
    step += " --mem-per-cpu=2000"
    assert shlex.split(launch(None, asked)) == [
        f"MTPILOT_LAUNCHER={step.format('1-4')}",
        "MTPILOT_RANKS=4",
        "MTPILOT_THREADS=2",
        "MTPILOT_TOGETHER=3",
    ]
    del asked.tasks
    asked.nodes, asked.tasks_per_node = 5, 2
    assert step.format("2") in launch(None, asked)
    assert launch(None, asked).endswith("MTPILOT_TOGETHER=2")
    local = SimpleNamespace(mpi="mpiexec", tasks=2, calculation_tasks=4)
    assert "MTPILOT_LAUNCHER='env OMP_NUM_THREADS=1 mpiexec -n 4' " in launch(None, local)
    assert launch(None, local).endswith("MTPILOT_TOGETHER=1")
