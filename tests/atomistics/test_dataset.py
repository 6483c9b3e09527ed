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

from atomistics import dataset
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
    for name in draw(st.sets(st.sampled_from(["initial_magmoms", "initial_charges"]))):
        atoms.set_array(name, array(n))
    kept = draw(st.sets(st.sampled_from(sorted(results))))
    if kept:
        atoms.calc = SinglePointCalculator(atoms, **{name: results[name] for name in kept})
    return atoms


def labels(atoms):
    return atoms.calc.results if atoms.calc else {}


def assert_same(left, right):
    for name in ("numbers", "positions"):
        assert np.array_equal(left.arrays[name], right.arrays[name])
    assert np.array_equal(left.get_initial_magnetic_moments(), right.get_initial_magnetic_moments())
    assert np.array_equal(left.get_initial_charges(), right.get_initial_charges())
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
@given(st.lists(frames(), max_size=9), st.data())
def test_round_trip_in_any_order(tmp_path_factory, written, data):
    path = tmp_path_factory.mktemp("set") / "train.h5"
    dataset.write(path, written)
    assert dataset.count(path) == len(written)
    for left, right in zip(written, dataset.read(path), strict=True):
        assert_same(left, right)
    if written:
        order = data.draw(st.lists(st.integers(0, len(written) - 1), max_size=8))
        for index, atoms in zip(order, dataset.read(path, order), strict=True):
            assert_same(written[index], atoms)


def test_scattered_reading_across_chunks_and_gaps(tmp_path):
    path, written = tmp_path / "train.h5", sample(700)
    dataset.write(path, written)
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
    dataset.write(path, [bare, labelled])
    left, right = dataset.read(path)
    assert left.calc is None
    assert set(right.calc.results) == {"energy", "forces"}
    with h5py.File(path) as file:
        assert np.isfinite(file["energy"][:]).all()


def test_label_of_other_positions_is_not_kept(tmp_path):
    path, (atoms,) = tmp_path / "pool.h5", sample(1)
    atoms.positions[0, 0] += 0.1
    dataset.write(path, [atoms])
    assert dataset.read(path)[0].calc is None


def test_same_frames_same_bytes(tmp_path):
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    for path in (one, two):
        dataset.write(path, sample(30))
    assert digest(one) == digest(two)
    dataset.write(one, [])
    assert dataset.count(one) == 0
    assert dataset.read(one) == []


def test_initial_moments_and_charges_are_kept(tmp_path):
    """What a reference starts from; a frame without them beside one with them stays without."""
    path, (plain, magnetic) = tmp_path / "train.h5", sample(2)
    magnetic.set_initial_magnetic_moments([2.0, -2.0] * (len(magnetic) // 2))
    magnetic.set_initial_charges([1.0, -1.0] * (len(magnetic) // 2))
    magnetic.calc = None
    dataset.write(path, [plain, magnetic])
    left, right = dataset.read(path)
    assert_same(magnetic, right)
    assert not left.has("initial_magmoms")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_a_number_is_refused_and_nothing_written(tmp_path, bad):
    path, good = tmp_path / "train.h5", sample(3)
    dataset.write(path, good)
    before = digest(path)
    worse = sample(2)
    worse[1].calc.results["forces"][0, 0] = bad
    with pytest.raises(UserError, match=r"train\.h5: frame 1 .*NaN"):
        dataset.write(path, worse)
    worse = sample(1)
    worse[0].info["odd"] = object()
    with pytest.raises(UserError, match=r"frame 0 .*not plain data"):
        dataset.write(path, worse)
    assert digest(path) == before


def test_bad_files_are_one_line_errors(tmp_path):
    path = tmp_path / "x.h5"
    with pytest.raises(UserError, match="no such data set"):
        dataset.read(path)
    path.write_text("not HDF5 at all")
    for call in (dataset.read, dataset.count):
        with pytest.raises(UserError, match=r"x\.h5: not readable as HDF5"):
            call(path)
    path.unlink()
    h5py.File(path, "w").close()
    with pytest.raises(UserError, match="not a 'mtpilot data set"):
        dataset.count(path)
    path.unlink()
    dataset.write(path, sample(300))
    path.write_bytes(path.read_bytes()[:-20000])
    with pytest.raises(UserError, match=r"x\.h5"):
        dataset.read(path)
    path.unlink()
    dataset.write(path, sample(4))
    with pytest.raises(UserError, match="frame 4 asked for, it holds 4"):
        dataset.read(path, [0, 4])
    with h5py.File(path, "r+") as file:
        del file["energy"]
        file["energy"] = np.zeros(3)
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
    "create": (h5py.Group, "create_dataset"),
    "fsync": (os, "fsync"),
    "rename": (Path, "replace"),
}


@pytest.mark.parametrize("step", STEPS)
def test_death_at_any_step_leaves_the_old_or_the_new(tmp_path, monkeypatch, step):
    path, other = tmp_path / "runs" / "a.h5", tmp_path / "b.h5"
    dataset.write(path, sample(40))
    start = digest(path)
    dataset.write(other, sample(65, seed=1))
    owner, name = STEPS[step]
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(owner, name, dies_at(getattr(owner, name), 0))
        dataset.write(path, sample(65, seed=1))
    assert (dataset.count(path), digest(path)) == (40, start)
    dataset.write(path, sample(65, seed=1))
    assert digest(path) == digest(other)
    assert [p.name for p in path.parent.iterdir()] == ["a.h5"]


WRITER = """
import sys
from pathlib import Path
from tests.atomistics.test_dataset import dataset, sample
path, count = Path(sys.argv[1]), 0
print("ready", flush=True)
while True:
    count += 7
    dataset.write(path, sample(count, seed=count))
"""


def test_kill_9_at_random_moments(tmp_path):
    path, rng = tmp_path / "train.h5", np.random.default_rng(0)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([".", *sys.path])}
    for _ in range(6):
        command = [sys.executable, "-c", WRITER, str(path)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(float(rng.uniform(0.05, 0.25)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        held = dataset.read(path) if path.exists() else []
        for left, right in zip(sample(len(held), seed=len(held)), held, strict=True):
            assert_same(left, right)
    assert path.exists()


def test_full_disk_loses_nothing(tmp_path):
    path = tmp_path / "train.h5"
    dataset.write(path, sample(200))
    before = digest(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        with pytest.raises(UserError, match=r"train\.h5: not written, make room and try again"):
            dataset.write(path, sample(500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert digest(path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["train.h5"]
