"""pw.x on several ranks, several calculations at a time, in one job over two nodes."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import yaml
from ase import Atoms

from atomistics import dataset
from atomistics.reference.catalog import Method
from atomistics.reference.methods import label, reference_calculator
from campaign.folder import Campaign
from campaign.slurm import launch
from campaign.spread import ItemCost, spread
from tests.dft.hydrogen import OPTIONS, make_source, packed
from tests.slurm.conftest import AS_BUILT, BIN, QUICK, Site, merged
from tests.slurm.lab import Lab
from tests.slurm.test_mpi import OPEN_MPI

ROOT = Path(__file__).parents[2]
METHOD = Method("espresso", options=OPTIONS, keep="all")
ITEMS = {f"h2-{seed}": {"size": 1} for seed in range(4)}
JOB = f"""#!/bin/sh
{{launch}} {sys.executable} -c 'from tests.slurm.test_parallel_dft import labels; labels()'
"""


def structure(name: str) -> Atoms:
    return packed(4.9, int(name[-1]))


def labels() -> None:
    """What rule `label` does, here with structures of its own."""

    def one(name: str, target: Path) -> ItemCost:
        frame = label(structure(name), reference_calculator(METHOD))
        dataset.write(target, [frame])
        return ItemCost(reference_calls=1)

    spread(ITEMS, one, Path("labels"), ".h5", Path("chunk.json"))


def test_calculations_share_the_nodes_of_one_job(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at a time of two ranks; labels are those of one process, the bill counts all cores."""
    asked = SimpleNamespace(
        mpi="srun --mpi=pmix", tasks=4, nodes=2, calculation_tasks=2, mem_mb_per_cpu=400
    )
    (tmp_path / "job.sh").write_text(JOB.format(launch=launch(None, asked)))
    known = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **OPEN_MPI}
    done = subprocess.run(
        ["sbatch", "--wait", "-N2", "-n4", "--mem-per-cpu=400", "-o", "job.out", "job.sh"],
        cwd=tmp_path,
        env={**lab.environment, **known},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr + (tmp_path / "job.out").read_text()[-3000:]
    number = done.stdout.split()[-1]
    rows = lab.tell("sacct", "-n", "-P", "-j", number, "-o", "JobID,NTasks,Start,End,NodeList")
    steps = [row.split("|") for row in rows.splitlines() if row.partition(".")[2][:1].isdecimal()]
    assert [tasks for _, tasks, *_ in steps] == ["2"] * len(ITEMS)
    assert sum(first[2] <= steps[0][3] for first in steps) >= 2, "two began before one had ended"
    for name in ITEMS:
        (frame,) = dataset.read(tmp_path / f"labels/{name}.h5")
        cost = json.loads((tmp_path / f"labels/{name}.cost.json").read_text())
        assert cost["core_seconds"] > 1, "the ranks' time, though srun's are no children of ours"
    monkeypatch.chdir(tmp_path)
    alone = label(structure("h2-3"), reference_calculator(METHOD))
    assert frame.get_potential_energy() == pytest.approx(alone.get_potential_energy(), abs=1e-5)
    assert np.abs(frame.get_forces() - alone.get_forces()).max() < 1e-3
    assert len(list(tmp_path.glob("outputs/*.tar.gz"))) >= len(ITEMS)


def plan(folder: Path, action: str, **parameters: object) -> None:
    """A person's plan of the next iteration, through all gates."""
    written = {"action": action, "reason": "a test", action: parameters}
    (folder / "draft.yaml").write_text(yaml.safe_dump(written))


def strike(folder: Path) -> None:
    """SIGKILL for one rank of the first pw.x that computes in this campaign."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for process in psutil.process_iter(["name", "cwd"]):
            inside = (process.info["cwd"] or "").startswith(str(folder))
            if process.info["name"] == "pw.x" and inside:
                process.kill()
                return
        time.sleep(0.05)
    raise AssertionError("no pw.x began")


def test_a_campaign_whose_label_jobs_start_pw(lab: Lab, counted: Path, tmp_path: Path) -> None:
    """`snakemake --profile slurm`: xTB explores, pw.x labels on two ranks, two at a time; a rank is
    killed under way, and its label alone fails, at once, with what the code said last."""
    here = Site(tmp_path / "campaign", lab, counted)
    source = make_source(tmp_path / "source")
    config = yaml.safe_load((source / "config.yaml").read_text()) | {"settle": AS_BUILT}
    (source / "config.yaml").write_text(yaml.safe_dump(config | {"label_jobs": 1}))
    init = [str(BIN / "planner"), "init", str(source), str(here.folder)]
    subprocess.run(init, env=here.environment, check=True, capture_output=True)
    launched = {"mpi": "srun --mpi=pmix", "tasks": 4, "nodes": 2, "calculation_tasks": 2}
    here.profile(**merged(QUICK, {"set-resources": {"label": {**launched, "mem_mb_per_cpu": 400}}}))
    here.setup("\n".join(f"export {k}={v}" for k, v in OPEN_MPI.items()))
    group = {"subsystem": "fluid", "structures": ["h2_a", "h2_b"], "temperatures": [300]}
    plan(
        here.folder,
        "sample",
        method="explorer",
        groups=[{**group, "ensembles": ["nvt"]}],
        steps=20,
        interval=10,
        compression=[0.97],
        rattle=1,
        seed=1,
    )
    assert here.run("planner", "next", "--plan", "draft.yaml") == 0, here.said[-2000:]
    assert here.run("snakemake", "--profile", "slurm") == 0, here.said[-3000:]
    groups = [{"subsystem": "fluid", "count": 6}]
    plan(here.folder, "select_data", method="maxvol", samples=["s001"], groups=groups, max_labels=6)
    assert here.run("planner", "next", "--plan", "draft.yaml") == 0, here.said[-2000:]
    running = here.begin("snakemake", "--profile", "slurm")
    strike(here.folder)
    struck = time.monotonic()
    assert running.wait(timeout=300) == 0, here.said[-3000:]
    assert time.monotonic() - struck < 200, "no waiting for reference.timeout"
    labels = here.folder / "iterations/002/select_data/labels"
    (failed,) = (json.loads(p.read_text()) for p in labels.glob("*.failed.json"))
    assert failed["class"] == "crashed"
    assert " ends: " in failed["detail"]  # the code, or srun where that had said nothing yet
    assert Campaign.at(here.folder).state().datasets[0].labels == 5
