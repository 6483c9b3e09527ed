"""Every failure of the list, on the real cluster: the campaign goes on and the ledger is right."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import yaml

from campaign.folder import Campaign
from tests.slurm.conftest import Site, bill, iteration_of, kill, like_local, restored, until

FIRST = "reference_md"


def test_out_of_memory_gets_more_memory(site: Callable[..., Site], local: Path) -> None:
    here = site(**{"set-resources": {FIRST: {"mem_mb": "150 * attempt ** 2"}}})
    assert here.run("planner", "next") == 0
    assert here.run("snakemake", "--profile", "slurm") == 0, here.said[-3000:]
    killed = "OUT_OF_MEMORY" if here.lab.settings["limit"] == "cgroup" else "FAILED"
    assert sorted(here.jobs().values()).count(killed) >= 1, here.jobs()
    like_local(here, local)


def test_past_its_walltime_gets_more_time_and_a_lost_answer_is_no_loss(
    site: Callable[..., Site], local: Path
) -> None:
    """The first attempt hangs; SLURM ends it a minute late at worst, the second has two minutes."""
    once = "test -e hung || (touch hung; sleep 600)"
    here = site(setup=once, **{"set-resources": {FIRST: {"runtime": "1 * attempt"}}})
    assert here.run("planner", "next") == 0
    assert here.run("snakemake", "--profile", "slurm", seconds=900) == 0, here.said[-3000:]
    assert "TIMEOUT" in here.jobs().values()
    like_local(here, local)


def test_cancelled_job_comes_back(site: Callable[..., Site], local: Path) -> None:
    here = site(setup="sleep 6")
    assert here.run("planner", "next") == 0
    running = here.begin("snakemake", "--profile", "slurm")
    first = here.wait_for(1, "RUNNING")[0]
    here.lab.tell("scancel", first)
    assert running.wait(timeout=900) == 0, here.said[-3000:]
    assert here.jobs()[first].startswith("CANCELLED")
    like_local(here, local)


def test_failing_node_whose_job_lives_on_spoils_nothing(
    site: Callable[..., Site], local: Path
) -> None:
    """The worst case: the node is given up, its job works on beside the one that replaces it."""
    fragile = {"slurm_partition": "fragile"}
    here = site(setup="sleep 35", **{"set-resources": {FIRST: fragile}})
    assert here.run("planner", "next") == 0
    running = here.begin("snakemake", "--profile", "slurm")
    here.wait_for(1, "RUNNING")
    row = here.lab.tell("squeue", "-h", "-t", "RUNNING", "-o", "%N %Z").split("\n")
    node = next(r.split()[0] for r in row if r.endswith(str(here.folder)))
    here.lab.node(node, up=False, jobs=True)
    try:
        assert running.wait(timeout=900) == 0, here.said[-3000:]
    finally:
        here.lab.node(node)
    assert "NODE_FAIL" in here.jobs().values()
    like_local(here, local)


def test_controller_and_accounting_down(site: Callable[..., Site], local: Path) -> None:
    """The controller goes before anything can be submitted, the accounting while jobs run."""
    number = iteration_of(local, "train")
    here = site(setup="sleep 2")
    restored(here, local, number - 1)
    assert here.run("planner", "next") == 0
    running = here.begin("snakemake", "--profile", "slurm")
    until(lambda: "Using shell" in here.said, 300)
    here.lab.controller(up=False)
    time.sleep(60)
    here.lab.controller()
    here.lab.accounting(up=False)
    here.wait_for(1, "RUNNING", seconds=600)
    time.sleep(20)
    here.lab.accounting()
    assert running.wait(timeout=900) == 0, here.said[-3000:]
    like_local(here, local, number)


def test_killed_driver_takes_over_what_runs(site: Callable[..., Site], local: Path) -> None:
    """kill -9 of planner and Snakemake, the same command again: no job is submitted twice."""
    here = site(setup="sleep 20")
    driver = here.begin("planner", "run", "--profile", "slurm")
    before = here.wait_for(1, "RUNNING")
    kill(driver)
    again = here.begin("planner", "run", "--profile", "slurm")
    until((here.folder / "iterations/001/state.yaml").exists, 900)
    again.send_signal(2)
    again.wait(timeout=200)
    assert "taken over" in here.said
    first = [i for i, state in here.jobs().items() if state == "COMPLETED"]
    assert set(before) <= set(first)
    assert here.submitted("001") == 1, here.said[-3000:]
    like_local(here, local)


def test_failing_and_hanging_labels_are_quarantined(site: Callable[..., Site], local: Path) -> None:
    number = iteration_of(local, "end")
    record = Campaign.at(local).state(number - 1)
    doubles = Path(__file__).parent / "doubles"
    here = site(setup=f"export PYTHONPATH={doubles}")
    restored(here, local, number - 1)
    config = yaml.safe_load((here.folder / "config.yaml").read_text())
    config["reference"]["timeout"] = 30.0
    (here.folder / "config.yaml").write_text(yaml.safe_dump(config))
    selection = {
        "method": "error",
        "model": record.models[-1].id,
        "samples": [record.samples[-1].id],
        "groups": [{"subsystem": "copper", "fraction": 0.5}],
        "max_labels": 30,
    }
    plan = {"iteration": number, "action": "select_data", "reason": "More.", "rule": "manual"}
    (here.folder / "mine.yaml").write_text(yaml.safe_dump({**plan, "select_data": selection}))
    assert here.run("planner", "next", "--plan", "mine.yaml") == 0, here.said[-3000:]
    assert here.run("snakemake", "--profile", "slurm") == 0, here.said[-3000:]
    failed = here.folder.glob(f"iterations/{number:03d}/select_data/labels/*.failed.json")
    classes = Counter(json.loads(path.read_text())["class"] for path in failed)
    assert classes.keys() == {"unconverged", "timeout"}
    assert classes["timeout"] == 1
    done = here.folder.glob(f"iterations/{number:03d}/select_data/labels/*.h5")
    ledger = (here.folder / f"iterations/{number:03d}/ledger.jsonl").read_text().splitlines()
    items = [item for line in ledger if "/labels/" in (item := json.loads(line).get("item", ""))]
    assert len(items) == len(set(items)) == len(list(done)) + classes.total()
    assert bill(here.folder, number)["labels"] > bill(local, number - 1)["labels"]


def test_full_scratch_is_named_and_mended(site: Callable[..., Site], local: Path) -> None:
    here = site()
    assert here.run("planner", "next") == 0
    runs = here.folder / "iterations/001/reference_calc/runs"
    runs.mkdir(parents=True)
    small = ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=4", "tmpfs", str(runs)]
    mounted = subprocess.run(small, capture_output=True, check=False).returncode == 0
    if not mounted:  # no right to mount: a limit on the size of files is the same OSError
        here.setup("ulimit -f 1")
    try:
        assert here.run("planner", "run", "--profile", "slurm", seconds=900) == 1
        last = (here.folder / "said").read_text().strip().splitlines()[-1]
        assert "No space left" in last or "File too large" in last, here.said[-2000:]
        assert "Traceback" not in here.said
    finally:
        if mounted:
            subprocess.run(["umount", str(runs)], check=True)
    here.setup("")
    assert here.run("snakemake", "--profile", "slurm") == 0, here.said[-3000:]
    like_local(here, local)


def test_job_that_can_never_start_is_named(site: Callable[..., Site]) -> None:
    never = {"slurm_partition": "short", "runtime": 480}
    here = site(retries=0, **{"set-resources": {FIRST: never}})
    assert here.run("planner", "run", "--profile", "slurm") == 1
    last = (here.folder / "said").read_text().strip().splitlines()[-1]
    assert "could never start" in last, here.said[-2000:]
    assert "PartitionTimeLimit" in last
    assert here.queue("PENDING") == []


def test_array_jobs_of_the_plugin_are_refused(site: Callable[..., Site]) -> None:
    here = site(**{"slurm-array-jobs": "all"})
    assert here.run("planner", "next") == 0
    assert here.run("snakemake", "--profile", "slurm") == 1
    assert "slurm-array-jobs: loses results" in here.said
    assert here.jobs() == {}
