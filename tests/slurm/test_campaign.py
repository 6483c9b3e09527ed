"""The campaign on SLURM is the campaign on one machine: the same files, few questions asked."""

import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from campaign.folder import Campaign
from tests.slurm.conftest import BIN, Site, bill

MPI = {"mpi": "srun --mpi=pmi2 --kill-on-bad-exit=1", "tasks": 2, "nodes": 2}
SEEDED = ("plan.yaml", "config.yaml", "state.yaml", "*/result.yaml", "train/train.cfg")
SEEDED += ("train/model.almtp", "train/fit.json", "*/*.h5", "*/runs/*.h5", "*/labels/*.h5")


def seeded(folder: Path) -> dict[str, bytes]:
    """Every file that the same seeds must make the same, by its place in the campaign."""
    paths = [p for name in SEEDED for p in folder.glob(f"iterations/*/{name}")]
    paths += [folder / "result/potential.almtp"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def test_verdict_and_files_are_those_of_the_local_executor(
    site: Callable[..., Site], local: Path
) -> None:
    """Fits, labels and MD on ranks over two nodes; SLURM is asked a handful of times a minute.

    The connection to the login node drops meanwhile."""
    spread = {"label": {**MPI, "mem_mb_per_cpu": 600}, "sample_md": {**MPI, "mem_mb_per_cpu": 600}}
    here = site(**{"set-resources": spread, "slurm-init-seconds-before-status-checks": 10})
    calls = here.bin / "calls"
    calls.unlink(missing_ok=True)
    running = here.begin("planner", "run", "--profile", "slurm")
    here.wait_for(1, "RUNNING")
    running.send_signal(signal.SIGHUP)
    assert running.wait(timeout=1800) == 0, here.said[-3000:]
    state = Campaign.at(here.folder).state()
    assert state.verdict is not None
    assert state.verdict.outcome == "converged", state.verdict.reasons
    ours, theirs = seeded(here.folder), seeded(local)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert bill(here.folder, state.iteration) == bill(local, state.iteration)
    assert set(here.jobs().values()) == {"COMPLETED"}
    asked = [line.split() for line in calls.read_text().splitlines()]
    times = [float(at) for at, name in asked if name in ("squeue", "sacct", "sacctmgr", "sinfo")]
    busiest = max(sum(t <= u < t + 60 for u in times) for t in times)
    assert busiest <= 20, busiest  # short actions: each one starts with a look of its own
    iterations = len(list(here.folder.glob("iterations/*")))
    assert sum(name == "sacct" for _, name in asked) == 0
    assert len(times) <= 12 * iterations


def test_snakemake_alone_works_and_status_reads_files(
    site: Callable[..., Site], local: Path
) -> None:
    """Typed exactly as the README has it; meanwhile the status is seen without SLURM."""
    here = site(setup="sleep 8")
    assert here.run("planner", "next") == 0
    running = here.begin("snakemake", "--profile", "slurm")
    here.wait_for(1, "RUNNING")
    deadline = time.monotonic() + 60
    while not (here.folder / "iterations/001/queue.json").exists():
        assert time.monotonic() < deadline, here.said[-2000:]
        time.sleep(0.3)
    outside = {"SLURM_CONF": "/nonexistent", "PATH": "/bin"}
    done = subprocess.run(
        [str(BIN / "planner"), "status"],
        cwd=here.folder,
        env=outside,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"queue: .*(running|pending)", done.stdout), done.stdout
    assert running.wait(timeout=120) == 0, here.said[-2000:]
    assert here.state(1) == (local / "iterations/001/state.yaml").read_text()
