"""The same failures at other moments: before a job is known, while it waits, just as it ended."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.slurm.conftest import Site, kill, like_local, until
from tests.slurm.lab import Lab

FIRST = "reference_md"


@contextmanager
def closed(lab: Lab) -> Iterator[None]:
    """Jobs wait: the partition is down."""
    lab.tell("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        yield
    finally:
        lab.tell("scontrol", "update", "PartitionName=main", "State=UP")


def with_sbatch(here: Site, line: str) -> Site:
    """The same site, whose sbatch does something after the real one has answered."""
    folder = here.folder.parent / "own-bin"
    folder.mkdir()
    script = f'#!/bin/sh\nsaid=$("{here.bin}/sbatch" "$@") || exit 1\n{line}\necho "$said"\n'
    (folder / "sbatch").write_text(script)
    (folder / "sbatch").chmod(0o755)
    return replace(here, bin=folder)


def carried_on(here: Site, local: Path, waited: Callable[[], None] = lambda: None) -> None:
    """The same command again goes on to the end of the first iteration."""
    again = here.begin("planner", "run", "--profile", "slurm")
    waited()
    until((here.folder / "iterations/001/state.yaml").exists, 600)
    again.send_signal(signal.SIGINT)
    again.wait(timeout=200)
    like_local(here, local)


@pytest.mark.parametrize("alone", [False, True])
def test_killed_while_a_job_is_submitted(
    site: Callable[..., Site], local: Path, alone: bool
) -> None:
    """SLURM has the job, nobody was told its id."""
    here = with_sbatch(site(setup="sleep 20"), "test -e told || sleep 600")
    driver = here.begin("planner", "run", "--profile", "slurm")
    before = here.wait_for(1, "PENDING", "RUNNING")
    kill(driver, alone)
    (here.folder / "told").touch()
    carried_on(here, local)
    assert f"SLURM job {before[0]} still does" in here.said
    assert here.submitted("001") == 1


def test_killed_while_its_jobs_wait(site: Callable[..., Site], local: Path) -> None:
    here = site()
    with closed(here.lab):
        driver = here.begin("planner", "run", "--profile", "slurm")
        until(lambda: "has been submitted with SLURM jobid" in here.said)
        kill(driver)
    carried_on(here, local)
    assert here.submitted("001") == 1


def test_killed_and_started_again_after_its_jobs_ended(
    site: Callable[..., Site], local: Path
) -> None:
    """What is on disk is not computed again, whatever Snakemake thinks of the pack."""
    here = site(setup="sleep 8")
    driver = here.begin("planner", "run", "--profile", "slurm")
    here.wait_for(1, "RUNNING")
    kill(driver)
    here.wait_for(1, "COMPLETED")
    items = here.folder.glob("iterations/001/reference_calc/runs/*.cost.json")
    paid = {path: path.read_text() for path in items}
    assert paid
    carried_on(here, local)
    assert {path: path.read_text() for path in paid} == paid


def test_cancelled_while_it_waits(site: Callable[..., Site], local: Path) -> None:
    here = site()
    assert here.run("planner", "next") == 0
    with closed(here.lab):
        running = here.begin("snakemake", "--profile", "slurm")
        first = here.wait_for(1, "PENDING")[0]
        until(lambda: f"SLURM jobid {first}" in here.said)
        here.lab.tell("scancel", first)
        until(lambda: f"error: SLURM job {first}" in here.said)
    assert running.wait(timeout=600) == 0, here.said[-3000:]
    assert here.jobs()[first].startswith("CANCELLED")
    like_local(here, local)


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [("planner", "run"), ("snakemake",)])
def test_ctrl_c_leaves_no_job(
    site: Callable[..., Site], words: tuple[str, ...], waiting: bool, number: int
) -> None:
    """Not even one that is being submitted at that moment; jobs of ten minutes go in seconds."""
    here = with_sbatch(site(setup="sleep 600"), "test -e told || sleep 5")
    if words == ("snakemake",):
        assert here.run("planner", "next") == 0
    driver = here.begin(*words, "--profile", "slurm")
    here.wait_for(1, "PENDING", "RUNNING")
    if waiting:
        until(lambda: "has been submitted with SLURM jobid" in here.said)
    elif number == signal.SIGTERM:
        time.sleep(2)
    driver.send_signal(number)
    assert driver.wait(timeout=25) != 0
    until(lambda: not here.queue("PENDING", "RUNNING"), 10)
    assert "Traceback" not in here.said


def test_a_hang_up_leaves_the_jobs_to_the_next_run(site: Callable[..., Site]) -> None:
    """Of a plain snakemake, which ends; nothing is submitted again."""
    here = site(setup="sleep 600")
    assert here.run("planner", "next") == 0
    driver = here.begin("snakemake", "--profile", "slurm")
    until(lambda: "has been submitted with SLURM jobid" in here.said)
    running = here.wait_for(1, "RUNNING")
    driver.send_signal(signal.SIGHUP)
    assert driver.wait(timeout=25) != 0
    assert here.queue("PENDING", "RUNNING") == running
    again = here.begin("planner", "run", "--profile", "slurm")
    until(lambda: f"SLURM job {running[0]} still does" in here.said)
    again.send_signal(signal.SIGTERM)
    again.wait(timeout=25)
    assert here.submitted("001") == 1


def test_controller_killed_as_it_takes_a_job(site: Callable[..., Site], local: Path) -> None:
    """It may have forgotten the job it gave an id to; it is submitted again, or it was saved."""
    here = site()
    assert here.run("planner", "next") == 0
    running = here.begin("snakemake", "--profile", "slurm")
    here.wait_for(1, "PENDING", "RUNNING", "COMPLETED")
    here.lab.controller(up=False, how=signal.SIGKILL)
    here.lab.controller()
    assert running.wait(timeout=600) == 0, here.said[-3000:]
    like_local(here, local)


def test_a_full_queue_is_waited_for(site: Callable[..., Site], local: Path) -> None:
    """A limit on submitted jobs, as clusters have it: no attempt is lost to it."""
    here = site()
    limit = ("sacctmgr", "-i", "modify", "user", here.lab.settings["user"], "set")
    assert here.run("planner", "next") == 0
    here.lab.tell(*limit, "MaxSubmitJobs=0")
    try:
        running = here.begin("snakemake", "--profile", "slurm")
        until(lambda: "queue is full for you" in here.said)
    finally:
        here.lab.tell(*limit, "MaxSubmitJobs=-1")
    assert running.wait(timeout=600) == 0, here.said[-3000:]
    assert set(here.jobs().values()) == {"COMPLETED"}
    like_local(here, local)


def test_power_cut_of_a_node_with_requeue(site: Callable[..., Site], local: Path) -> None:
    """SLURM runs the job again itself; Snakemake neither fails nor submits another."""
    requeue = {"slurm-requeue": True, "slurm-no-requeue": False}
    fragile = {"set-resources": {FIRST: {"slurm_partition": "fragile"}}}
    here = site(setup="sleep 10", **requeue, **fragile)
    assert here.run("planner", "next") == 0
    running = here.begin("snakemake", "--profile", "slurm")
    job = here.wait_for(1, "RUNNING")[0]
    node = here.lab.tell("squeue", "-h", "-j", job, "-o", "%N").strip()
    here.lab.node(node, up=False)
    try:
        assert running.wait(timeout=600) == 0, here.said[-3000:]
    finally:
        here.lab.node(node)
    assert set(here.jobs()) == {job}
    assert here.submitted("001") == 2  # the accounting has both runs of it
    like_local(here, local)


def test_no_room_in_tmpdir_of_a_node(site: Callable[..., Site], local: Path) -> None:
    """TMPDIR of the jobs is full: what needs a little room finds it elsewhere."""
    here = site()
    scratch = here.folder.parent / "scratch"
    scratch.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "tmpfs", str(scratch)]
    mounted = subprocess.run(small, capture_output=True, check=False).returncode == 0
    full = scratch if mounted else "/dev/full"
    here.setup(f"export TMPDIR={full}")
    try:
        carried_on(here, local)
    finally:
        if mounted:
            subprocess.run(["umount", str(scratch)], check=True)
