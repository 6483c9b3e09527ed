"""A SLURM of four nodes a worker, and campaigns small enough to fail in many ways on it.

Only `make test-slurm` collects these tests; there they never skip.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from campaign.folder import Campaign
from campaign.ledger import totals
from tests.campaign.conftest import clean, make_source, one_worker, planner
from tests.slurm.lab import Lab, start

collect_ignore_glob = [] if "MTPILOT_SLURM" in os.environ else ["test_*.py"]

BIN = Path(sys.executable).parent
# MD begins with the structures as they are: what is tested is the first job of the queue
AS_BUILT = dict.fromkeys(("crystal", "packing", "warm", "warm_packing"), 0)
QUICK = {  # the shipped profile but for times and sizes that suit four nodes on one host
    "latency-wait": 10,
    "slurm-init-seconds-before-status-checks": 3,
    "default-resources": {"slurm_partition": "main", "mem_mb": "800 * attempt", "runtime": 10},
    "set-resources": {
        "fit": {"tasks": 2, "nodes": 2, "mem_mb_per_cpu": "600 * attempt", "runtime": 10},
        **{rule: {"runtime": 10} for rule in ("label", "reference_md", "sample_md", "evaluate")},
    },
}


@dataclass(frozen=True)
class Site:
    """A campaign on the lab's cluster, and what can be asked of both."""

    folder: Path
    lab: Lab
    bin: Path
    begun: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """A login node's: the cluster's commands, counted."""
        path = f"{self.bin}:{BIN}:{self.lab.environment['PATH']}"
        return {**clean(), "SLURM_CONF": self.lab.environment["SLURM_CONF"], "PATH": path}

    def profile(self, **changes: Any) -> None:
        """Lay changes over slurm/profile.yaml; dictionaries are merged, deeply."""
        path = self.folder / "slurm/profile.yaml"
        path.write_text(yaml.safe_dump(merged(yaml.safe_load(path.read_text()), changes)))

    def setup(self, line: str) -> None:
        """What every job begins with."""
        (self.folder / "slurm/setup.sh").write_text(line + "\n")

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start a command in the campaign folder, its words kept in `said`."""
        with (self.folder / "said").open("a") as said:
            process = subprocess.Popen(
                words, cwd=self.folder, env=self.environment, stdout=said, stderr=said, text=True
            )
        self.begun.append(process)
        return process

    def end(self) -> None:
        """Leave nothing behind that a failed test has begun: neither driver nor job."""
        for driver in self.begun:
            if driver.poll() is None:
                kill(driver)
        if left := self.queue("PENDING", "RUNNING"):
            self.lab.tell("scancel", "--quiet", *left)

    def run(self, *words: str, seconds: float = 900) -> int:
        """Exit status of a command in the campaign folder."""
        return self.begin(*words).wait(timeout=seconds)

    @property
    def said(self) -> str:
        """Everything that commands have said so far, and what they had Snakemake say."""
        logs = [self.folder / "said", *self.folder.glob("iterations/*/snakemake.log")]
        return "".join(p.read_text() for p in logs if p.exists())

    def accounted(self, field: str) -> list[tuple[str, str]]:
        """The given field and the state of every job of this campaign, requeued ones once more.

        Without a start `sacct` tells of jobs since midnight, and a test may run over it."""
        asked = ("-X", "-n", "-P", "-D", "-S", "now-1day", "-o", f"{field},State,WorkDir")
        rows = [row.split("|") for row in self.lab.tell("sacct", *asked).splitlines()]
        return [(value, state) for value, state, folder in rows if folder == str(self.folder)]

    def jobs(self) -> dict[str, str]:
        """State by id of all jobs of this campaign that the accounting knows."""
        return dict(self.accounted("JobID"))

    def submitted(self, number: str) -> int:
        """How many jobs of this iteration were ever submitted."""
        return sum(f"-{number}-" in name for name, _ in self.accounted("JobName"))

    def queue(self, *states: str) -> list[str]:
        """Ids of this campaign's jobs in the given states."""
        rows = self.lab.tell("squeue", "-h", "-t", ",".join(states), "-o", "%i %Z").split("\n")
        return [row.split()[0] for row in rows if row.endswith(f" {self.folder}")]

    def wait_for(self, count: int, *states: str, seconds: float = 300) -> list[str]:
        """Wait until so many jobs are in one of the states; their ids."""
        deadline = time.monotonic() + seconds
        while len(found := self.queue(*states)) < count:
            assert time.monotonic() < deadline, self.said[-2000:]
            time.sleep(0.3)
        return found

    def state(self, number: int) -> str:
        """The state as it stands on disk."""
        return (self.folder / f"iterations/{number:03d}/state.yaml").read_text()


def kill(driver: subprocess.Popen[str], alone: bool = False) -> None:
    """kill -9 of the planner, and of all it has started unless `alone`."""
    children = [] if alone else psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    for process in children:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    driver.wait()


def merged(base: Any, changes: Any) -> Any:
    """`changes` laid over `base`."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return {**base, **{k: merged(base.get(k), v) for k, v in changes.items()}}


def bill(folder: Path, number: int) -> dict[str, float]:
    """Reference calls and MD steps: the ledger's total, held against the state's count."""
    campaign = Campaign.at(folder)
    spent, total = campaign.state(number).spent, totals(campaign.iteration(number) / "ledger.jsonl")
    assert total["reference_calls"] == spent.reference_calls
    assert total["md_steps"] == spent.reference_md_steps + spent.model_md_steps
    return {"calls": spent.reference_calls, "labels": spent.labels, "steps": total["md_steps"]}


def like_local(here: Site, local: Path, number: int = 1) -> None:
    """The iteration is finalized, with the state and the bill of an undisturbed run."""
    assert here.state(number) == (local / f"iterations/{number:03d}/state.yaml").read_text()
    assert bill(here.folder, number) == bill(local, number)
    ledger = here.folder / f"iterations/{number:03d}/ledger.jsonl"
    items = [json.loads(line).get("item") for line in ledger.read_text().splitlines()]
    assert len(items) == len(set(items))


def restored(here: Site, local: Path, finalized: int) -> None:
    """Put the first iterations of the local campaign here, as if this one had run them."""
    for number in range(1, finalized + 1):
        name = f"iterations/{number:03d}"
        ignored = shutil.ignore_patterns(".snakemake")
        shutil.copytree(local / name, here.folder / name, ignore=ignored)


def iteration_of(local: Path, action: str) -> int:
    """Number of the first iteration of the local campaign with this action."""
    for path in sorted(local.glob("iterations/*/plan.yaml")):
        if yaml.safe_load(path.read_text())["action"] == action:
            return int(path.parent.name)
    raise AssertionError(f"no {action} in {local}")


def until(done: Callable[[], bool], seconds: float = 300) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    for ending in (signal.SIGTERM, signal.SIGINT):  # the daemons go, whatever ends the tests
        signal.signal(ending, signal.default_int_handler)
    with one_worker(tmp_path_factory, "starting"):  # each looks for free ports
        lab = start(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.stop()


@pytest.fixture(autouse=True)
def _nodes_work(lab: Lab) -> None:
    lab.resume()


@pytest.fixture(scope="session")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SLURM's commands, each writing a line into `calls` before it does its work."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("squeue", "sacct", "scontrol", "sinfo", "sacctmgr", "sbatch", "scancel"):
        real = shutil.which(name)
        line = f'echo "$(date +%s.%N) {name}" >> "{folder}/calls"'
        (folder / name).write_text(f'#!/bin/sh\n{line}\nexec {real} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copper alone: the whole way to a verdict, in as few iterations as that takes."""
    folder = make_source(tmp_path_factory.mktemp("source") / "copper")
    task = yaml.safe_load((folder / "task.yaml").read_text())
    task |= {"name": "copper", "species": ["Cu"]}
    task["subsystems"] = [{**task["subsystems"][0], "role": "target", "max_temperature": 400}]
    index = yaml.safe_load((folder / "structures/index.yaml").read_text())
    index = [entry for entry in index if entry["subsystem"] == "copper"]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config |= {"runs_per_job": 4, "label_jobs": 2, "settle": AS_BUILT}
    for name, data in (("task", task), ("structures/index", index), ("config", config)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder


@pytest.fixture(scope="session")
def local(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The campaign as the local executor carries it to its verdict; one for all workers."""
    with one_worker(tmp_path_factory, "local") as shared:
        folder = shared / "campaign"
        if not shared.exists():
            shared.mkdir()
            assert planner("init", str(source), str(folder), cwd=shared).returncode == 0
            done = planner("run", cwd=folder)
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return folder


@pytest.fixture
def site(lab: Lab, counted: Path, source: Path, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Make a campaign on the cluster, with changes of its profile."""
    sites: list[Site] = []

    def make(name: str = "campaign", setup: str = "", **changes: Any) -> Site:
        made = Site(tmp_path / name, lab, counted)
        sites.append(made)
        done = subprocess.run(
            [str(BIN / "planner"), "init", str(source), str(made.folder)],
            env=made.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        made.profile(**merged(QUICK, changes))
        made.setup(setup)
        return made

    yield make
    for made in sites:
        made.end()
