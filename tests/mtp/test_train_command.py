"""`mlp train` as users run it: files, restarts after a kill, ranks, failures."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtp.engine import Engine
from mtp.formats.almtp import read_potential, write_potential
from mtp.formats.cfg import read_cfg, write_cfg
from tests.mtp.train_samples import labelled, reference

MLP = [sys.executable, "-m", "mtp.cli"]
ROOT = Path(__file__).parents[2]
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def environment():
    names = ("PMI", "OMPI", "MPI", "SLURM")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(names)}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def mlp(folder, *words, launcher=()):
    command = [*launcher, *MLP, *words]
    return subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_cfg(folder / "train.cfg", labelled(reference(), 18, 0))
    write_cfg(folder / "held.cfg", labelled(reference(), 6, 1))
    return folder


NEW = ("--level=6", "--species=2", "--cutoff=4", "--radial_basis=5", "--weighting=structures")


NO_WEIGHT = ("--energy_weight=0", "--force_weight=0", "--stress_weight=0")


def losses(text):
    return [float(word) for word in re.findall(r"BFGS iter \d+: f=(\S+)", text)]


@pytest.mark.parametrize("optimizer", ["gauss-newton", "bfgs"])
def test_training_lowers_the_loss_and_writes_a_usable_potential(data, tmp_path, optimizer):
    done = mlp(
        tmp_path,
        "train",
        str(data / "train.cfg"),
        *NEW,
        "--save_to=out.almtp",
        "--iteration_limit=60",
        f"--optimizer={optimizer}",
        "--validation=" + str(data / "held.cfg"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("training complete")
    assert "18 configurations found in the training set" in done.stdout
    assert "MTPR training ended" in done.stdout
    found = losses(done.stdout)
    assert all(b <= a for a, b in itertools.pairwise(found))
    assert found[-1] < 0.25 * found[0]
    potential = read_potential(tmp_path / "out.almtp")
    assert potential.active_set is not None
    held = read_cfg(data / "held.cfg")
    predicted = Engine(potential).evaluate(held)
    error = np.concatenate([p.forces - c.forces for p, c in zip(predicted, held, strict=True)])
    size = np.concatenate([c.forces for c in held])
    assert np.sqrt(np.mean(error**2)) < 0.4 * np.sqrt(np.mean(size**2))


def test_a_run_killed_in_the_middle_continues_to_the_same_bytes(data, tmp_path):
    words = (
        "train",
        str(data / "train.cfg"),
        *NEW,
        "--iteration_limit=300",
        "--tolerance=0",
        "--save_to=out.mtp",
        "--checkpoint=point",
        "--log=log",
        "--validation=" + str(data / "held.cfg"),
        "--patience=1000",
    )
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    assert mlp(tmp_path / "whole", *words).returncode == 0
    process = subprocess.Popen(
        [*MLP, *words], cwd=tmp_path / "killed", env=environment(), stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed/point").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed/out.mtp").exists()
    done = mlp(tmp_path / "killed", *words)
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "killed/log").read_text()
    assert "Continuing after iteration" in log
    assert len(losses(log)) < len(losses((tmp_path / "whole/log").read_text()))
    assert (tmp_path / "whole/out.mtp").read_bytes() == (tmp_path / "killed/out.mtp").read_bytes()
    assert not (tmp_path / "killed/point").exists()


def test_a_checkpoint_of_other_options_is_refused(data, tmp_path):
    words = ("train", str(data / "train.cfg"), *NEW, "--save_to=o.mtp", "--checkpoint=point")
    process = subprocess.Popen(
        [*MLP, *words, "--tolerance=0"], cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL
    )
    while not (tmp_path / "point").exists():
        time.sleep(0.002)
    process.kill()
    process.wait()
    done = mlp(tmp_path, *words, "--tolerance=0", "--seed=3")
    assert done.returncode == 1
    assert "other data, options or start" in done.stderr
    assert not (tmp_path / "o.mtp").exists()


@pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec")
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_the_work_and_agree_with_one(data, tmp_path, ranks):
    words = ("train", str(data / "train.cfg"), *NEW, "--iteration_limit=5", "--save_to=o.mtp")
    alone = mlp(tmp_path, *words)
    launcher = (MPIEXEC, "-n", str(ranks))
    many = [mlp(tmp_path, *words, launcher=launcher).stdout for _ in range(2)]
    first = (tmp_path / "o.mtp").read_bytes()
    assert f"started on {ranks} core(s)" in many[0]
    assert many[0].count("training complete") == 1
    assert losses(many[0]) == pytest.approx(losses(alone.stdout), rel=1e-5)
    mlp(tmp_path, *words, launcher=launcher)
    assert (tmp_path / "o.mtp").read_bytes() == first


@pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec")
def test_ranks_agree_on_parts_of_the_data(tmp_path):
    write_cfg(tmp_path / "many.cfg", labelled(reference(), 120, 0))
    words = ("train", "many.cfg", *NEW, "--iteration_limit=4", "--save_to=o.mtp", "--weights=mlip")
    alone, many = mlp(tmp_path, *words), mlp(tmp_path, *words, launcher=(MPIEXEC, "-n", "3"))
    assert len(losses(alone.stdout)) > 12, "no pre-training"
    assert losses(many.stdout)[:8] == pytest.approx(losses(alone.stdout)[:8], rel=1e-4)
    assert losses(many.stdout)[-1] == pytest.approx(losses(alone.stdout)[-1], rel=0.5)
    plain = mlp(tmp_path, *words, "--skip_preinit")
    assert len(losses(plain.stdout)) == 4


@pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec")
def test_ranks_find_the_weights_of_one(tmp_path):
    """Several fits, one after the other, on the same ranks."""
    write_cfg(tmp_path / "many.cfg", labelled(reference(), 32, 0))
    words = ("train", "many.cfg", *NEW, "--iteration_limit=4", "--save_to=o.mtp")
    said = [mlp(tmp_path, *words, launcher=w).stdout for w in ((), (MPIEXEC, "-n", "2"))]
    found = [re.findall("Weights chosen.*", text) for text in said]
    assert len(found[0]) == 1
    assert found[1] == found[0]
    assert all("training complete" in text for text in said)


@pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec")
def test_a_rank_that_raises_takes_the_job_down_with_a_message(data, tmp_path):
    code = (
        "import sys; from mtp.training.objective import Share\n"
        "from mtp.parallel import communicator\n"
        "rank = communicator().rank\n"
        "def fail(self, x, chosen): raise RuntimeError('disk on fire')\n"
        "if rank == 1: Share.loss_and_gradient = fail\n"
        "from mtp.cli import main; sys.exit(main(sys.argv[1:]))\n"
    )
    words = ("train", str(data / "train.cfg"), *NEW, "--save_to=o.mtp")
    done = subprocess.run(
        [MPIEXEC, "-n", "2", sys.executable, "-c", code, *words],
        check=False,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "ERROR: rank 1 of 2: RuntimeError: disk on fire" in done.stderr
    assert "in fail" in done.stderr  # a bug of ours shows where it is
    assert not (tmp_path / "o.mtp").exists()


@pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec")
@pytest.mark.parametrize("victim", [0, 2])
def test_a_rank_that_is_killed_takes_the_others_with_it_and_loses_nothing(data, tmp_path, victim):
    (tmp_path / "whole").mkdir()
    launcher = (MPIEXEC, "-n", "3")
    words = ("train", str(data / "train.cfg"), *NEW, "--iteration_limit=300", "--tolerance=0")
    words += ("--save_to=out.mtp", "--checkpoint=point")
    assert mlp(tmp_path / "whole", *words, launcher=launcher).returncode == 0
    job = subprocess.Popen(
        [*launcher, *MLP, *words],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "point").exists():
        time.sleep(0.002)
    os.kill(rank_of(victim, str(data / "train.cfg"), tmp_path), signal.SIGKILL)
    out, error = job.communicate(timeout=30)
    assert job.returncode != 0
    assert "Killed" in out + error
    assert not (tmp_path / "out.mtp").exists()
    done = mlp(tmp_path, *words, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert "Continuing after iteration" in done.stdout
    assert (tmp_path / "out.mtp").read_bytes() == (tmp_path / "whole/out.mtp").read_bytes()


def rank_of(number, word, folder):
    """Process of one rank of the job that runs in a folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if word.encode() not in (process / "cmdline").read_bytes():
                continue
            variables = (process / "environ").read_bytes().split(b"\0")
            if f"PMI_RANK={number}".encode() in variables and (process / "cwd").samefile(folder):
                return int(process.name)
    raise AssertionError("no such rank")


@pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec")
def test_bad_input_under_mpi_ends_all_ranks(data, tmp_path):
    words = ("train", "missing.cfg", *NEW, "--save_to=o.mtp")
    done = mlp(tmp_path, *words, launcher=(MPIEXEC, "-n", "3"))
    assert done.returncode != 0
    assert done.stderr.count("ERROR: missing.cfg") == 1


def test_training_again_with_a_new_species_starts_from_the_old_potential(data, tmp_path):
    first = mlp(
        tmp_path, "train", str(data / "train.cfg"), *NEW, "--save_to=a.mtp", "--iteration_limit=80"
    )
    more = labelled(reference(), 6, 3)
    for c in more:
        c.types[0] = 2
    write_cfg(tmp_path / "more.cfg", [*read_cfg(data / "train.cfg"), *more])
    done = mlp(
        tmp_path,
        "train",
        "a.mtp",
        "more.cfg",
        "--save_to=b.mtp",
        "--iteration_limit=80",
        "--weighting=structures",
    )
    assert done.returncode == 0, done.stderr
    assert "Following atomic numbers will be added to the MTP potential: 2" in done.stdout
    assert read_potential(tmp_path / "b.mtp").species_count == 3
    fresh = mlp(
        tmp_path,
        "train",
        "more.cfg",
        "--level=6",
        "--species=3",
        "--cutoff=4",
        "--radial_basis=5",
        "--weighting=structures",
        "--save_to=c.mtp",
        "--iteration_limit=1",
    )
    assert losses(done.stdout)[0] < losses(fresh.stdout)[0]
    assert first.returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.cfg", "--level=6", "--species=2"], "--save_to"),
        (["train.cfg", "--level=7", "--save_to=o.mtp"], "level"),
        (["train.cfg", "--level=6", "--species=3", "--save_to=o.mtp"], "types up to 1"),
        (["nan.cfg", "--level=6", "--species=2", "--save_to=o.mtp"], "nan.cfg"),
        (["empty.cfg", "--level=6", "--species=2", "--save_to=o.mtp"], "no configuration"),
        (["bare.cfg", "--level=6", "--species=2", "--save_to=o.mtp"], "no energy, forces or"),
        (["pot.mtp", "single.cfg", "--save_to=o.mtp"], "species 1 "),
        (["pot.mtp", "train.cfg", "--save_to=pot.mtp"], "is also the potential; add"),
        (["pot.mtp", "train.cfg", "--save_to=none/o.mtp"], "folder that exists"),
        (["pot.mtp", "train.cfg", "--level=8", "--save_to=o.mtp"], "leave the potential file out"),
        (["pot.mtp", "train.cfg", "--save_to=o.mtp", "--iteration_limi=3"], "did you mean"),
        (["train.cfg", "--level=6", "--species=2", "--save_to=o.mtp", *NO_WEIGHT], "weight zero"),
        (["none.cfg", "--level=6", "--species=2", "--save_to=o.mtp"], "weight zero"),
        (["pot.mtp", "train.cfg", "--validation=none.cfg", "--save_to=o.mtp"], "validation set"),
        (["huge.cfg", "--level=6", "--species=2", "--save_to=o.mtp"], "the training loss"),
    ],
)
def test_failures_are_one_line_and_write_no_potential(data, tmp_path, words, message):
    train = read_cfg(data / "train.cfg")
    write_cfg(tmp_path / "train.cfg", train)
    text = (tmp_path / "train.cfg").read_text()
    (tmp_path / "nan.cfg").write_text(text.replace("Energy\n    -", "Energy\n    nan -", 1))
    (tmp_path / "empty.cfg").write_text("")
    write_cfg(
        tmp_path / "bare.cfg", [replace(c, energy=None, forces=None, virial=None) for c in train]
    )
    write_cfg(tmp_path / "single.cfg", [replace(c, types=np.zeros_like(c.types)) for c in train])
    write_cfg(tmp_path / "none.cfg", [replace(c, features={"weight": "0"}) for c in train])
    write_cfg(tmp_path / "huge.cfg", [replace(c, energy=1e200) for c in train])
    write_potential(tmp_path / "pot.mtp", reference())
    before = (tmp_path / "pot.mtp").read_bytes()
    done = mlp(tmp_path, "train", *words)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o.mtp").exists()
    assert (tmp_path / "pot.mtp").read_bytes() == before


def test_overwrite_replaces_the_input_when_asked(data, tmp_path):
    write_potential(tmp_path / "pot.mtp", reference())
    before = (tmp_path / "pot.mtp").read_bytes()
    done = mlp(
        tmp_path, "train", "pot.mtp", str(data / "train.cfg"), "--overwrite", "--iteration_limit=2"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pot.mtp").read_bytes() != before
