"""Any `mlp` is believed only when its files and closing lines say so."""

import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtp.error_report import parse_report
from mtp.errors import RUN_FAILURES, MlpRunError, MTPError
from mtp.formats.almtp import read_potential, write_potential
from mtp.formats.cfg import read_cfg, write_cfg
from mtp.repulsion import RepulsiveCore
from mtp.runner import dialects
from mtp.runner.mlp_program import MlpProgram
from mtp.runner.training_log import parse_training_log
from tests.mtp.samples import needs_shared, potential, shared, training_set

ROOT = Path(__file__).resolve().parents[2]
FAKE = (sys.executable, str(Path(__file__).with_name("fake_mlp.py")))
EMBEDDED = (sys.executable, "-m", "mtp.cli")
OLD = ("mlip3", "mlip2")
# of the MPI that mpi4py loads, before another one of the system
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_potential("pot.almtp", potential())
    write_cfg("set.cfg", training_set(5))
    return tmp_path


def program(flavour="mlip3", **more):
    return MlpProgram(flavour, EMBEDDED if flavour == "embedded" else FAKE, **more)


def train(flavour="mlip3", options=None, **more):
    names = (Path("pot.almtp"), Path("set.cfg"), Path("out.almtp"))
    return program(flavour, **more).train(names, options or {}, Path("train.log"))


def efs(flavour="mlip3"):
    return program(flavour).calculate_efs(
        Path("pot.almtp"), Path("set.cfg"), Path("efs.cfg"), Path("efs.log")
    )


def left_over(folder):
    known = {"pot.almtp", "set.cfg", "train.log", "efs.log", "out.almtp", "efs.cfg"}
    return sorted({p.name for p in folder.iterdir()} - known)


@pytest.mark.parametrize("flavour", OLD)
def test_training_gives_losses_errors_and_the_potential(files, flavour):
    options = {"energy_weight": 1.0, "iteration_limit": 3, "weight_scaling": 2}
    found = train(flavour, options | {"weight_scaling_forces": 1})
    assert found.losses == ((0, 1.5), (1, 0.75), (2, 0.5))
    assert found.complete
    assert found.ending == "step limit reached"
    assert found.errors["forces"].count == sum(map(len, read_cfg("set.cfg")))
    assert found.errors["stress"].count == 5
    assert read_potential("out.almtp").trained
    assert left_over(files) == []


@pytest.mark.parametrize("flavour", OLD)
def test_programs_that_know_no_cores_get_no_potential_with_one(files, flavour):
    core = RepulsiveCore.of_elements(["Li", "C", "O"][: potential().species_count])
    write_potential("pot.almtp", replace(read_potential("pot.almtp"), core=core))
    with pytest.raises(MTPError, match="stands on a repulsive core"):
        train(flavour, {"iteration_limit": 3})
    assert left_over(files) == ["pot.almtp.core"]


@pytest.mark.parametrize(
    ("options", "ending"),
    [({"iteration_limit": 2}, "step limit reached"), ({"time_limit": 1e-6}, "time limit reached")],
)
def test_how_a_fit_of_our_own_ended(files, options, ending):
    found = train("embedded", options)
    assert found.complete
    assert found.ending == ending


@pytest.mark.parametrize("flavour", OLD)
@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("usage", "silent"),
        ("species", "species"),
        ("nan", "diverged"),
        ("nan file", "diverged"),
        ("killed", "killed"),
        ("truncated", "truncated"),
        ("silent", "silent"),
        ("unfinished", "silent"),
        ("fewer species", "species"),
    ],
)
def test_failed_training_is_named_and_loses_nothing(files, monkeypatch, flavour, mode, kind):
    if (flavour, mode) == ("mlip2", "unfinished"):
        pytest.skip("MLIP-2 has no closing line beyond its report")
    monkeypatch.setenv("FAKE_MLP", mode)
    before = (files / "pot.almtp").read_bytes(), (files / "set.cfg").read_bytes()
    (files / "out.almtp").write_text("old")
    with pytest.raises(MlpRunError) as caught:
        train(flavour)
    assert caught.value.kind == kind
    assert kind in RUN_FAILURES
    assert str(caught.value).startswith(f"{kind}: ")
    assert "\n" not in str(caught.value)
    assert (files / "out.almtp").read_text() == "old"
    assert ((files / "pot.almtp").read_bytes(), (files / "set.cfg").read_bytes()) == before
    assert left_over(files) == []
    assert (files / "train.log").read_text()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (9, "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)"),
        (
            137,
            "mpirun noticed that process rank 1 with PID 7 on node n exited on signal 9 (Killed).",
        ),
        (137, "srun: error: n1: task 1: Killed"),
    ],
)
def test_a_rank_that_was_killed_is_no_failure_of_the_fit(files, status, said):
    launcher = ("bash", "-c", f"echo 'BFGS iter 0: f=nan'; echo '{said}'; echo FAQ; exit {status}")
    killed = MlpProgram("mlip3", (sys.executable, "-c", ""), launcher)
    with pytest.raises(MlpRunError, match=r"killed: signal 9 ended it; see .*train\.log") as caught:
        killed.train(
            (files / "pot.almtp", files / "set.cfg", files / "out.almtp"), {}, files / "train.log"
        )
    assert (caught.value.kind, str(caught.value).count("\n")) == ("killed", 0)


def test_inputs_an_mlp_overwrites_stay_whole(files, monkeypatch):
    before = (files / "set.cfg").read_bytes()
    monkeypatch.setenv("FAKE_MLP", "overwrite")
    train()
    assert (files / "set.cfg").read_bytes() == before
    assert read_potential("pot.almtp").trained


def test_a_call_that_hangs_is_ended(files, monkeypatch):
    monkeypatch.setenv("FAKE_MLP", "hang")
    start = time.monotonic()
    with pytest.raises(MlpRunError, match="timeout: "):
        train(timeout=2.0)
    assert time.monotonic() - start < 15


def test_commands_and_files_that_do_not_exist(files):
    with pytest.raises(MlpRunError, match="missing: '/no/mlp'"):
        MlpProgram("mlip3", ("/no/mlp",)).check_errors(
            Path("pot.almtp"), Path("set.cfg"), Path("x.log")
        )
    with pytest.raises(MTPError, match=r"no\.cfg: does not exist"):
        program().check_errors(Path("pot.almtp"), Path("no.cfg"), Path("x.log"))
    with pytest.raises(MTPError, match="did you mean mlip3"):
        MlpProgram("mlip-3")


@pytest.mark.parametrize("ranks", ["0", "1", "2", "3"])
@pytest.mark.parametrize("flavour", ["mlip3", "embedded"])
def test_pieces_are_joined_in_order_at_full_precision(files, monkeypatch, ranks, flavour):
    monkeypatch.setenv("FAKE_RANKS", ranks)
    assert efs(flavour) == 5
    given, found = read_cfg("set.cfg"), read_cfg("efs.cfg")
    for before, after in zip(given, found, strict=True):
        assert np.array_equal(before.positions, after.positions)
        assert after.energy is not None
    own = [c.energy for c in found]
    monkeypatch.setenv("FAKE_RANKS", "0")
    efs()
    assert own == pytest.approx([c.energy for c in read_cfg("efs.cfg")], abs=1e-4)


@pytest.mark.parametrize(
    ("mode", "ranks", "kind"),
    [
        ("silent", "0", "silent"),
        ("nan", "0", "diverged"),
        ("truncated", "0", "truncated"),
        ("empty", "0", "truncated"),
        ("no energy", "0", "silent"),
        ("short piece", "2", "truncated"),
        ("lost piece", "2", "truncated"),
    ],
)
def test_failed_evaluations_are_named(files, monkeypatch, mode, ranks, kind):
    monkeypatch.setenv("FAKE_MLP", mode)
    monkeypatch.setenv("FAKE_RANKS", ranks)
    with pytest.raises(MlpRunError) as caught:
        efs()
    assert caught.value.kind == kind
    assert not (files / "efs.cfg").exists()


@pytest.mark.parametrize("flavour", OLD)
def test_grades_and_selection(files, monkeypatch, flavour):
    names = (Path("pot.almtp"), Path("set.cfg"), Path("g.cfg"))
    monkeypatch.setenv("FAKE_RANKS", "2")
    extra = {"train_set": Path("set.cfg")} if flavour == "mlip2" else {}
    assert program(flavour).calculate_grade(names, Path("g.log"), **extra) == 5
    assert [c.features["MV_grade"] for c in read_cfg("g.cfg")] == ["1", "2", "3", "4", "5"]
    four = (Path("pot.almtp"), Path("set.cfg"), Path("set.cfg"), Path("n.cfg"))
    assert program(flavour).select_add(four, Path("s.log"), swap_limit=7) == 2
    assert len(read_cfg("n.cfg")) == 2
    limit = "--selection-limit=7" if flavour == "mlip2" else "--swap_limit=7"
    assert limit in Path("s.log").read_text()
    for mode, kind in (("truncated", "truncated"), ("silent", "silent")):
        monkeypatch.setenv("FAKE_MLP", mode)
        with pytest.raises(MlpRunError, match=f"^{kind}"):
            program(flavour).select_add(four, Path("s.log"))


@pytest.mark.parametrize("flavour", [*OLD, "embedded"])
def test_error_reports_are_read(files, monkeypatch, flavour):
    found = program(flavour).check_errors(Path("pot.almtp"), Path("set.cfg"), Path("e.log"))
    assert found["energy"].count == 5
    assert found["forces"].rms > 0
    if flavour != "embedded":
        monkeypatch.setenv("FAKE_MLP", "silent")
        with pytest.raises(MlpRunError, match=r"^silent.*no error report"):
            program(flavour).check_errors(Path("pot.almtp"), Path("set.cfg"), Path("e.log"))


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_embedded_mlp_trains_on_any_ranks(files, ranks):
    if ranks > 1 and not MPIEXEC:
        pytest.skip("no mpiexec")
    launcher = (MPIEXEC, "-n", str(ranks)) if ranks > 1 else ()
    options = {"iteration_limit": 5, "al_mode": "nbh", "skip_preinit": True}
    found = train("embedded", options, launcher=launcher)
    assert found.losses[-1][1] < found.losses[0][1]
    assert found.errors["forces"].count > 0
    assert read_potential("out.almtp").active_set is not None
    assert left_over(files) == []
    with pytest.raises(MlpRunError, match=r"^failed.*--energy_wieght.*did you mean"):
        train("embedded", {"energy_wieght": 1.0})
    names = (Path("out.almtp"), Path("set.cfg"), Path("g.cfg"))
    assert program("embedded").calculate_grade(names, Path("g.log")) == 5
    grades = [float(c.features["MV_grade"]) for c in read_cfg("g.cfg")]
    assert max(grades) < 1.01
    four = (*names[:2], Path("set.cfg"), Path("n.cfg"))
    assert program("embedded").select_add(four, Path("n.log")) == 0


def test_embedded_failures_carry_their_line(files):
    (files / "pot.almtp").write_text("MTP\nrubbish\n")
    with pytest.raises(MlpRunError, match=r"^failed.*ERROR: .*pot\.almtp"):
        efs("embedded")


def test_argument_lists_of_the_dialects():
    names = (Path("p"), Path("s"), Path("o"))
    options = {"energy_weight": 2, "force_weight": 0.1, "iteration_limit": 5, "skip_preinit": True}
    assert dialects.train("mlip3", *names, options) == [
        *("train", "p", "s", "--save_to=o", "--energy_weight=2", "--force_weight=0.1"),
        *("--iteration_limit=5", "--skip_preinit=true"),
    ]
    assert dialects.train("mlip2", *names, options) == [
        *("train", "p", "s", "--trained-pot-name=o", "--weighting=vibrations", "--update-mindist"),
        *("--energy-weight=2", "--force-weight=0.1", "--max-iter=5", "--skip-preinit"),
    ]
    with pytest.raises(MTPError, match="did you mean energy_weight"):
        dialects.train("mlip3", *names, {"energy_wieght": 1})
    with pytest.raises(MTPError, match="weight_scaling=2 with weight_scaling_forces=0"):
        dialects.train("mlip2", *names, {"weight_scaling": 2})
    with pytest.raises(MTPError, match="al_mode"):
        dialects.train("mlip2", *names, {"al_mode": "nbh"})
    with pytest.raises(MTPError, match="training set"):
        dialects.calculate_grade("mlip2", *names, None)


@pytest.mark.skipif(not MPIEXEC, reason="no mpiexec")
def test_launcher_words_come_first(files):
    launched = program(launcher=(MPIEXEC, "-n", "1"))
    found = launched.check_errors(Path("pot.almtp"), Path("set.cfg"), Path("e.log"))
    assert found["energy"].count == 5


def test_damaged_logs_parse_as_far_as_they_go():
    log = parse_training_log("BFGS iter 0: f=1.5\nBFGS iter 1: f=xyz\nBFGS it", "mlip3")
    assert log.losses[0] == (0, 1.5)
    assert log.diverged
    assert not log.complete
    assert parse_training_log("", "mlip2").losses == ()
    assert parse_report("Energy:\n\tErrors checked for x configurations")["energy"].count == 0


@needs_shared
@pytest.mark.parametrize(
    ("name", "steps", "last"),
    [("train-L08-nbh.log", 5, 0.646283), ("parity-train-L12.log", 40, 0.011564036)],
)
def test_logs_of_mlip_are_read(tmp_path, name, steps, last):
    log = parse_training_log(shared(name, tmp_path).read_text(), "mlip3")
    assert (len(log.losses), log.losses[-1][1]) == (steps, last)
    assert log.complete
    assert not log.diverged
    assert log.errors["energy"].count > 0
