"""A whole campaign by its real commands: to the verdict, through kills, lost jobs and bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from planner.campaign import Campaign
from planner.ledger import totals
from planner.plan import ACTIONS
from tests.campaign.conftest import clean, planner


def states(folder: Path) -> list[str]:
    return [p.read_text() for p in sorted(folder.glob("iterations/*/state.yaml"))]


def plans(folder: Path) -> list[str]:
    return [p.read_text() for p in sorted(folder.glob("iterations/*/plan.yaml"))]


def test_reaches_a_verdict_with_potential_and_report(finished: Path) -> None:
    state = Campaign.at(finished).state()
    assert state.verdict is not None
    assert state.verdict.outcome == "converged", state.verdict.reasons
    assert (
        {"reference_calc", "sample", "select_data", "train", "model_eval", "end"}
        <= {entry.action for entry in state.history}
        <= set(ACTIONS)
    )
    assert (finished / "result/potential.almtp").stat().st_size > 1000
    assert state.campaign in (finished / "result/report.html").read_text()


def test_ledger_counts_what_the_state_counts_and_no_item_twice(finished: Path) -> None:
    campaign = Campaign.at(finished)
    state = campaign.state()
    total = totals(campaign.iteration(state.iteration) / "ledger.jsonl")
    assert total["reference_calls"] == state.spent.reference_calls
    steps = state.spent.reference_md_steps + state.spent.model_md_steps
    assert total["md_steps"] == steps
    for path in finished.glob("iterations/*/ledger.jsonl"):
        items = [json.loads(line).get("item") for line in path.read_text().splitlines()]
        assert len(items) == len(set(items))


def test_sealed_iterations_are_left_alone(finished: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if ".snakemake" not in p.parts}
    done = snakemake(finished)
    assert done.returncode == 0, done.stderr
    after = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if ".snakemake" not in p.parts}
    assert {p for p in before if before[p] != after[p] and p.is_file()} == set()
    again = planner("next", cwd=finished)
    assert again.returncode == 1
    assert "has ended" in again.stderr


def snakemake(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("snakemake")), *words],
        cwd=folder, capture_output=True, text=True, check=False, timeout=300, env=clean(),
    )  # fmt: skip


def test_single_commands_do_what_run_does(campaign: Path, finished: Path) -> None:
    for _ in range(2):
        assert planner("next", cwd=campaign).returncode == 0
        audit = planner("audit", "--json", cwd=campaign)
        assert audit.returncode == 0, audit.stderr
        assert json.loads(audit.stdout)["jobs"]["seal"] == 1
        done = snakemake(campaign)
        assert done.returncode == 0, done.stderr[-2000:]
    assert states(campaign) == states(finished)[:2]


def test_kill_at_random_moments_changes_nothing(campaign: Path, finished: Path) -> None:
    """kill -9 of the driver (its children live on), and the same command again."""
    for delay in (2.0, 5.5, 3.1, 7.3, 4.2):
        process = start_run(campaign)
        time.sleep(delay)
        process.kill()
        process.wait()
    done = planner("run", cwd=campaign)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert plans(campaign) == plans(finished)
    assert states(campaign) == states(finished)
    mine, theirs = (Campaign.at(f).state().spent for f in (campaign, finished))
    assert mine == theirs


def start_run(folder: Path) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("planner")), "run"]
    return subprocess.Popen(
        command, cwd=folder, env=clean(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def test_second_run_is_refused_and_harmless(campaign: Path) -> None:
    first = start_run(campaign)
    try:
        deadline = time.monotonic() + 20
        while not (campaign / "planner.lock").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        second = planner("run", cwd=campaign)
        assert second.returncode == 1
        assert second.stderr.count("\n") == 1
        assert "planner.lock" in second.stderr
    finally:
        for child in psutil.Process(first.pid).children(recursive=True):
            child.kill()
        first.kill()
        first.wait()


def test_lost_job_is_written_off_and_the_campaign_goes_on(campaign: Path) -> None:
    config = yaml.safe_load((campaign / "config.yaml").read_text())
    config["runs_per_job"] = 1
    (campaign / "config.yaml").write_text(yaml.safe_dump(config))
    assert planner("next", cwd=campaign).returncode == 0
    # a folder where the item's file should be: this job fails whatever it does, the other works
    (campaign / "iterations/001/reference_calc/packs/0001.json").mkdir(parents=True)
    blocker = campaign / "iterations/001/reference_calc/packs/0001.json/x"
    blocker.write_text("")
    done = snakemake(campaign)
    assert done.returncode != 0
    shutil.rmtree(blocker.parent)
    assert snakemake(campaign).returncode == 0
    assert Campaign.at(campaign).state(1).history[0].outcome == "ok"


def test_interrupt_leaves_no_process_behind(campaign: Path) -> None:
    process = start_run(campaign)
    time.sleep(4)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=90) == 130
    assert not (campaign / "planner.lock").exists()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


@pytest.mark.parametrize("example", ["dry_ice_nitrogen"])
def test_shipped_example_makes_a_campaign_whose_first_plan_passes(
    example: str, tmp_path: Path
) -> None:
    folder = tmp_path / example
    assert planner("init", example, str(folder), cwd=tmp_path).returncode == 0
    assert planner("next", cwd=folder).returncode == 0
    audit = planner("audit", cwd=folder)
    assert audit.returncode == 0, audit.stderr
    assert "reference_md" in audit.stdout
