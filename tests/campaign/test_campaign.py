"""A whole campaign by its real commands: to the verdict, through kills, lost jobs and bad input."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from campaign.actions import ACTIONS
from campaign.folder import Campaign
from campaign.ledger import totals
from tests.campaign.conftest import clean, planner
from tests.test_design import writers


def states(folder: Path) -> list[str]:
    return [p.read_text() for p in sorted(folder.glob("iterations/*/state.yaml"))]


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


def test_every_file_has_the_writer_that_design_names(finished: Path) -> None:
    files = [p for p in finished.rglob("*") if p.is_file() and ".snakemake" not in p.parts]
    names = [str(p.relative_to(finished)) for p in files if p.name != ".snakemake_timestamp"]
    assert {name: writers(name) for name in names if len(writers(name)) != 1} == {}


def test_no_clock_and_no_path_in_what_is_hashed(finished: Path) -> None:
    hashed = [
        p for n in ("plan", "state", "*/result") for p in finished.glob(f"iterations/*/{n}.yaml")
    ]
    assert len(hashed) > 20
    for path in [*hashed, *finished.glob("iterations/*/decision.json")]:
        text = path.read_text()
        assert str(finished) not in text, path
        assert not re.search(r"\b20[0-9]{2}-[01][0-9]-[0-3][0-9]\b|\b1[0-9]{9}\.[0-9]", text), path


def test_finalized_iterations_are_left_alone(finished: Path) -> None:
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
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=clean(),
    )


def test_single_commands_do_what_run_does(campaign: Path, finished: Path) -> None:
    for _ in range(2):
        assert planner("next", cwd=campaign).returncode == 0
        audit = planner("audit", "--json", cwd=campaign)
        assert audit.returncode == 0, audit.stderr
        assert json.loads(audit.stdout)["jobs"]["finalize"] == 1
        done = snakemake(campaign)
        assert done.returncode == 0, done.stderr[-2000:]
    assert states(campaign) == states(finished)[:2]


def files(folder: Path) -> list[Path]:
    """Files of all iterations but Snakemake's, logs, and what tells of the clock alone."""
    paths = []
    for here, folders, names in os.walk(folder / "iterations"):
        # hidden ones are not looked into: Snakemake, as it is killed, still takes some away
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(here, name) for name in names if not name.startswith(".")]
    told = ("audit.json", "progress.json")
    return sorted(path for path in paths if path.suffix != ".log" and path.name not in told)


def timeless(value: Any) -> Any:
    """A record without what a clock has written, or a hash of such a record."""
    if isinstance(value, dict):
        clocks = ["core_seconds", "longest_run", "seconds", "previous_decision_sha256", "hashes"]
        clocks += ["decision.json"]  # its hash, in the ledger of the iteration it began
        clocks += ["sha256"] if "total" in value else []  # a ledger's, of its core-seconds too
        return {key: timeless(each) for key, each in value.items() if key not in clocks}
    return list(map(timeless, value)) if isinstance(value, list) else value


def contents(folder: Path) -> dict[str, Any]:
    """What a campaign has come to, file for file."""
    found: dict[str, Any] = {}
    for path in files(folder):
        name = path.relative_to(folder).as_posix()
        if path.suffix in (".json", ".jsonl"):
            lines = path.read_text().splitlines()
            texts = lines if path.suffix == ".jsonl" else ["".join(lines)]
            found[name] = [timeless(json.loads(text)) for text in texts]
        elif path.name == "report.html":  # its bill tells core-seconds
            found[name] = re.sub(r'(?s)<section id="bill">.*?</section>', "", path.read_text())
        else:
            found[name] = path.read_bytes()
    return found


def victims(process: subprocess.Popen[bytes], whom: str) -> list[psutil.Process]:
    """What of a running `planner run` is to be killed; the driver where there is no such."""
    driver = psutil.Process(process.pid)
    children = driver.children(recursive=True)
    if whom == "everything":
        return [driver, *children]
    found = [p for p in children if whom in " ".join(p.cmdline())]
    return (found[:1] if whom == "snakemake" else found[-1:]) or [driver]


def test_kill_at_ten_moments_changes_no_file(campaign: Path, finished: Path) -> None:
    """kill -9 of the driver, of Snakemake, of a job, of `mlp` or of all at once, and again.

    Moments are counted in files that are there, so that they lie all over the campaign on any host.
    """
    wanted = contents(finished)
    moments = sorted(np.random.default_rng(5).integers(1, len(wanted) - 5, 10))
    targets = ("everything", "/scripts/", "planner run", "snakemake", "everything", "/mlp ")
    process, deadline = start_run(campaign), time.monotonic() + 1800
    for moment, whom in zip(moments, cycle(targets)):
        while len(files(campaign)) < moment and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if process.poll() is not None:
            process = start_run(campaign)
            continue
        with suppress(psutil.NoSuchProcess):
            for victim in victims(process, whom):
                victim.kill()
    process.wait()
    done = planner("run", cwd=campaign)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    found = contents(campaign)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []


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


@pytest.mark.parametrize("name", ['it\'s; $(touch x) {brace} "ü"', "two\nlines"])
def test_a_folder_of_any_name_is_only_a_name(
    source: Path, finished: Path, tmp_path: Path, name: str
) -> None:
    assert planner("init", str(source), name, cwd=tmp_path).returncode == 0
    assert planner("next", cwd=tmp_path / name).returncode == 0
    done = snakemake(tmp_path / name)
    assert done.returncode == 0, done.stderr[-2000:]
    assert states(tmp_path / name) == states(finished)[:1]
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_lost_job_is_written_off_and_the_campaign_goes_on(campaign: Path) -> None:
    config = yaml.safe_load((campaign / "config.yaml").read_text())
    config["runs_per_job"] = 1
    (campaign / "config.yaml").write_text(yaml.safe_dump(config))
    assert planner("next", cwd=campaign).returncode == 0
    # a folder where the item's file should be: this job fails whatever it does, the other works
    (campaign / "iterations/001/reference_calc/chunks/0001.json").mkdir(parents=True)
    blocker = campaign / "iterations/001/reference_calc/chunks/0001.json/x"
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
