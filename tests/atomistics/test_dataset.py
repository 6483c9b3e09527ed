import contextlib
import hashlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from atomistics import dataset, journal
from campaign.errors import UserError

FINITE = st.floats(allow_nan=False, allow_infinity=False)
INFO = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | st.integers() | FINITE | st.text(max_size=12)
)


@st.composite
def frames(draw):
    n = draw(st.integers(0, 5))
    array = lambda *shape: draw(hnp.arrays(float, shape, elements=FINITE))  # noqa: E731
    atoms = Atoms(
        draw(st.lists(st.integers(1, 118), min_size=n, max_size=n)),
        array(n, 3),
        cell=array(3, 3),
        pbc=draw(st.tuples(*[st.booleans()] * 3)),
        info=draw(INFO),
    )
    results = {"energy": draw(FINITE), "forces": array(n, 3), "stress": array(6)}
    kept = draw(st.sets(st.sampled_from(sorted(results))))
    if kept:
        atoms.calc = SinglePointCalculator(atoms, **{name: results[name] for name in kept})
    return atoms


def labels(atoms):
    return atoms.calc.results if atoms.calc else {}


def assert_same(left, right):
    for name in ("numbers", "positions"):
        assert np.array_equal(left.arrays[name], right.arrays[name])
    assert np.array_equal(left.cell.array, right.cell.array)
    assert np.array_equal(left.pbc, right.pbc)
    assert left.info == right.info
    assert labels(left).keys() == labels(right).keys()
    for name, value in labels(left).items():
        assert np.array_equal(value, labels(right)[name])


def sample(count, seed=0):
    rng = np.random.default_rng(seed)
    out = []
    for step in range(count):
        atoms = bulk("NaCl", "rocksalt", 5.6).repeat((1, 1, 1 + step % 3))
        atoms.info = {"structure": "nacl", "step": step, "temperature": 300.0}
        forces = rng.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=rng.normal(), forces=forces)
        out.append(atoms)
    return out


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(frames(), max_size=4), min_size=1, max_size=3), st.data())
def test_round_trip_in_any_order(tmp_path_factory, appends, data):
    path = tmp_path_factory.mktemp("set") / "train.h5"
    for part in appends:
        dataset.append(path, part)
    written = [atoms for part in appends for atoms in part]
    assert dataset.count(path) == len(written)
    for left, right in zip(written, dataset.read(path), strict=True):
        assert_same(left, right)
    if written:
        order = data.draw(st.lists(st.integers(0, len(written) - 1), max_size=8))
        for index, atoms in zip(order, dataset.read(path, order), strict=True):
            assert_same(written[index], atoms)
    for left, right in zip(written, dataset.iterate(path, block=2), strict=True):
        assert_same(left, right)


def test_scattered_reading_across_chunks_and_gaps(tmp_path):
    path, written = tmp_path / "train.h5", sample(700)
    dataset.append(path, written[:650])
    dataset.append(path, written[650:])
    order = np.random.default_rng(1).permutation(700)[:90]
    for index, atoms in zip(order, dataset.read(path, order), strict=True):
        assert_same(written[index], atoms)
    first, again = dataset.read(path, [5, 5])
    first.positions += 1.0
    assert_same(again, written[5])


def test_absent_label_is_masked_not_nan(tmp_path):
    path = tmp_path / "pool.h5"
    bare, labelled = sample(2)
    bare.calc = None
    dataset.append(path, [bare, labelled])
    left, right = dataset.read(path)
    assert left.calc is None
    assert set(right.calc.results) == {"energy", "forces"}
    with h5py.File(path) as file:
        assert np.isfinite(file["energy"][:]).all()


def test_label_of_other_positions_is_not_kept(tmp_path):
    path, (atoms,) = tmp_path / "pool.h5", sample(1)
    atoms.positions[0, 0] += 0.1
    dataset.append(path, [atoms])
    assert dataset.read(path)[0].calc is None


def test_same_appends_same_bytes_and_old_frames_stay(tmp_path):
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    for path in (one, two):
        dataset.append(path, sample(30))
        dataset.append(path, sample(20, seed=1))
    assert digest(one) == digest(two)
    dataset.append(one, [])
    assert dataset.count(one) == 50


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_a_number_is_refused_and_nothing_written(tmp_path, bad):
    path, good = tmp_path / "train.h5", sample(3)
    dataset.append(path, good)
    before = digest(path)
    worse = sample(2)
    worse[1].calc.results["forces"][0, 0] = bad
    with pytest.raises(UserError, match=r"train\.h5: frame 1 .*NaN"):
        dataset.append(path, worse)
    worse = sample(1)
    worse[0].info["odd"] = object()
    with pytest.raises(UserError, match=r"frame 0 .*not plain data"):
        dataset.append(path, worse)
    assert digest(path) == before


def test_bad_files_are_one_line_errors(tmp_path):
    path = tmp_path / "x.h5"
    with pytest.raises(UserError, match="no such data set"):
        dataset.read(path)
    path.write_text("not HDF5 at all")
    for call in (dataset.read, dataset.count, lambda p: dataset.append(p, sample(1))):
        with pytest.raises(UserError, match=r"x\.h5: not readable as HDF5"):
            call(path)
    path.unlink()
    h5py.File(path, "w").close()
    with pytest.raises(UserError, match="not a 'mtpilot data set"):
        dataset.count(path)
    path.unlink()
    dataset.append(path, sample(300))
    path.write_bytes(path.read_bytes()[:-20000])
    with pytest.raises(UserError, match=r"x\.h5"):
        dataset.read(path)
    path.unlink()
    dataset.append(path, sample(4))
    with pytest.raises(UserError, match="frame 4 asked for, it holds 4"):
        dataset.read(path, [0, 4])
    with h5py.File(path, "r+") as file:
        file["energy"].resize(3, axis=0)
    with pytest.raises(UserError, match="disagree"):
        dataset.read(path)


class Killed(BaseException):
    """Stands for the end of the process: nothing in the package catches it."""


def dies_at(function, nth):
    calls = iter(range(99))

    def dying(*args, **kwargs):
        if next(calls) == nth:
            raise Killed
        return function(*args, **kwargs)

    return dying


STEPS = {
    "write": (journal.np, "savez"),
    "fsync": (journal.os, "fsync"),
    "rename": (Path, "replace"),
    "apply": (journal, "_apply"),
    "unlink": (Path, "unlink"),
}


@pytest.mark.parametrize("nth", [0, 1])
@pytest.mark.parametrize("step", STEPS)
def test_death_at_any_step_of_an_append_leaves_all_or_nothing(tmp_path, monkeypatch, step, nth):
    path, reference = tmp_path / "train.h5", tmp_path / "reference.h5"
    dataset.append(path, sample(40))
    start = digest(path)
    dataset.append(reference, sample(40))
    dataset.append(reference, sample(25, seed=1))
    owner, name = STEPS[step]
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(owner, name, dies_at(getattr(owner, name), nth))
        dataset.append(path, sample(25, seed=1))
    held = dataset.count(path)
    assert (held, digest(path)) in {(40, start), (65, digest(reference))}
    if held == 40:
        dataset.append(path, sample(25, seed=1))
    assert digest(path) == digest(reference)


def test_half_applied_change_is_finished_on_opening(tmp_path, monkeypatch):
    path = tmp_path / "train.h5"
    dataset.append(path, sample(40))
    monkeypatch.setattr(journal, "recover", lambda path: None)
    dataset.append(path, sample(25, seed=1))
    monkeypatch.undo()
    with np.load(tmp_path / "train.h5.journal") as change, path.open("r+b") as file:
        for offset, page in list(zip(change["offsets"], change["pages"], strict=True))[::2]:
            file.seek(int(offset))
            file.write(page.tobytes())
    assert dataset.count(path) == 65
    assert_same(dataset.read(path)[64], sample(25, seed=1)[24])
    assert [p.name for p in tmp_path.iterdir()] == ["train.h5"]


def test_journal_without_its_file_is_a_leftover(tmp_path, monkeypatch):
    path = tmp_path / "train.h5"
    monkeypatch.setattr(journal, "recover", lambda path: None)
    dataset.append(path, sample(5))
    monkeypatch.undo()
    path.unlink()
    assert dataset.append(path, sample(2)) == 2
    assert dataset.count(path) == 2


APPENDER = """
import sys
from pathlib import Path
from test_dataset import dataset, sample
path = Path(sys.argv[1])
print("ready", flush=True)
while True:
    dataset.append(path, sample(7, seed=dataset.count(path) if path.exists() else 0))
"""


def test_kill_9_at_random_moments(tmp_path):
    path, rng, held = tmp_path / "train.h5", np.random.default_rng(0), 0
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])
    }
    for _ in range(6):
        command = [sys.executable, "-c", APPENDER, str(path)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(float(rng.uniform(0.05, 0.25)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        total = dataset.count(path) if path.exists() else 0
        assert total >= held
        assert total % 7 == 0
        held = total
    assert held > 0
    for begin in range(0, held, 7):
        for left, right in zip(
            sample(7, seed=begin), dataset.read(path, range(begin, begin + 7)), strict=True
        ):
            assert_same(left, right)


def test_full_disk_loses_nothing(tmp_path):
    path = tmp_path / "train.h5"
    dataset.append(path, sample(200))
    before = digest(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        with pytest.raises(UserError, match=r"train\.h5: append failed, nothing added"):
            dataset.append(path, sample(500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert digest(path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["train.h5"]
    assert dataset.append(path, sample(1)) == 201


def test_write_replaces_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "runs" / "a.h5"
    dataset.write(path, sample(5))
    dataset.write(path, sample(3, seed=1))
    assert dataset.count(path) == 3
    before = digest(path)
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(journal, "_apply", dies_at(journal._apply, 0))
        dataset.write(path, sample(4))
    assert digest(path) == before
    dataset.write(path, sample(4))
    assert dataset.count(path) == 4
    assert [p.name for p in path.parent.iterdir()] == ["a.h5"]
