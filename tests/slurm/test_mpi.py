"""Ranks on two nodes by both PMI flavours: one communicator of the size asked for, or a message."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtp.formats.cfg import write_cfg
from tests.mtp.train_samples import labelled, reference
from tests.slurm.lab import Lab

# Open MPI of the distribution under the same mpi4py, by mpi4py's own switch; several nodes on one
# host collide in its shared memory, so TCP
OPEN_MPI = {
    "MPI4PY_MPIABI": "openmpi",
    "MPI4PY_LIBMPI": "libmpi.so.40",
    "OMPI_MCA_btl": "self,tcp",
    "OMPI_MCA_btl_tcp_if_include": "lo",
}
FLAVOURS = {"pmi2": {}, "pmix": OPEN_MPI}
ITEMS = {f"run-{i}": {"size": 1} for i in range(8)}
SPREAD = """
import os, signal, sys, time
from pathlib import Path
from campaign.spread import ItemCost, spread
from mtp.parallel import communicator
ranks = communicator()
def work(name, target):
    if name == "run-5":
        {fault}
    target.write_text(f"{{ranks.rank}} of {{ranks.size}} on {{os.environ['SLURMD_NODENAME']}}")
    return ItemCost()
spread({{f"run-{{i}}": {{}} for i in range(8)}}, work, Path("runs"), ".txt", Path("pack.json"))
"""


def srun(
    lab: Lab, folder: Path, flavour: str, *words: str, ranks: int = 4
) -> subprocess.CompletedProcess[str]:
    launcher = ["srun", f"--mpi={flavour}", "--kill-on-bad-exit=1", "-N2", f"-n{ranks}"]
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [*launcher, sys.executable, *words],
        cwd=folder,
        env={**lab.environment, **own},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_fit_runs_on_two_nodes(
    lab: Lab, tmp_path: Path, flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in FLAVOURS[flavour].items():
        monkeypatch.setenv(name, value)
    write_cfg(tmp_path / "train.cfg", labelled(reference(), 12, 1))
    words = [
        "-m",
        "mtp.cli",
        "train",
        "train.cfg",
        "--level=6",
        "--species=2",
        "--cutoff=4",
        "--radial_basis=5",
    ]
    words += ["--iteration_limit=5", "--save_to=o.mtp"]
    done = srun(lab, tmp_path, flavour, *words)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "started on 4 core(s)" in done.stdout
    assert done.stdout.count("training complete") == 1
    assert (tmp_path / "o.mtp").stat().st_size > 500


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_items_are_spread_over_the_nodes_of_one_allocation(
    lab: Lab, tmp_path: Path, flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in FLAVOURS[flavour].items():
        monkeypatch.setenv(name, value)
    done = srun(lab, tmp_path, flavour, "-c", SPREAD.format(fault="pass"))
    assert done.returncode == 0, done.stderr[-2000:]
    said = [(tmp_path / f"runs/{name}.txt").read_text() for name in ITEMS]
    assert {line.partition(" on ")[0] for line in said} == {f"{i} of 4" for i in range(4)}
    assert {line.partition(" on ")[2] for line in said} == set(lab.nodes[:2])


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", r"Killed|SIGKILL|[Tt]erminated|CANCELLED"),
        ("raise OSError(28, 'No space left on device', 'x.h5')", "No space left on device"),
    ],
)
def test_a_dying_rank_takes_the_job_down_with_a_message(
    lab: Lab,
    tmp_path: Path,
    flavour: str,
    fault: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in FLAVOURS[flavour].items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    done = srun(lab, tmp_path, flavour, "-c", SPREAD.format(fault=fault))
    assert done.returncode != 0
    assert time.monotonic() - began < 300
    assert re.search(message, done.stderr), done.stderr[-2000:]
    assert not (tmp_path / "pack.json").exists()
    assert not lab.tell("squeue", "-h", "-t", "RUNNING", "-n", Path(sys.executable).name).strip()


@pytest.mark.parametrize(("flavour", "library"), [("pmi2", OPEN_MPI), ("none", {}), ("pmix", {})])
@pytest.mark.parametrize(
    "words", [("-c", SPREAD.format(fault="pass")), ("-m", "mtp.cli", "train", "x.cfg")]
)
def test_ranks_that_do_not_see_each_other_are_an_error(
    lab: Lab,
    tmp_path: Path,
    flavour: str,
    library: dict[str, str],
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A launcher and a library of different make: never N times the same work, never a hang."""
    for name, value in library.items():
        monkeypatch.setenv(name, value)
    done = srun(lab, tmp_path, flavour, *words)
    assert done.returncode != 0
    assert not (tmp_path / "pack.json").exists()
    assert done.stderr.strip()


def test_steps_inside_a_job_find_the_cluster(lab: Lab, tmp_path: Path) -> None:
    """The plugin's job step takes SLURM_CONF away; the guard gives it back."""
    code = (
        "import os\nos.environ.pop('SLURM_CONF', None)\n"
        "from campaign.slurm import guard\nfrom campaign.workflow import Jobs\n"
        "from pathlib import Path\nguard(Jobs(Path()))\nprint(os.environ['SLURM_CONF'])\n"
    )
    conf = lab.environment["SLURM_CONF"]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MTPILOT_SLURM_CONF": conf},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == conf
