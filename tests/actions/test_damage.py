"""Files half-written, emptied, replaced by a folder: one line that names it, nothing believed.

Every file an action has left, and every file of earlier iterations that it reads, in turn.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from campaign.errors import UserError
from tests.actions import test_model_eval as model_eval
from tests.actions import test_reference_calc as reference_calc
from tests.actions import test_sample as sample
from tests.actions import test_select_data as select_data
from tests.actions import test_train as train
from tests.actions.conftest import Bench
from tests.actions.test_select_data import sampled  # noqa: F401

LOGS = (".log", ".png")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 8)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


Damage = Callable[[Path], None]
DAMAGES: tuple[Damage, ...] = (half, empty, noise, folder)


def damaged(path: Path, damages: Iterable[Damage] = DAMAGES) -> Iterator[str]:
    """One damage after another; the file is whole again at the end of each."""
    whole = path.read_bytes()
    for damage in damages:
        damage(path)
        try:
            yield damage.__name__
        finally:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            path.write_bytes(whole)


def said(call: Callable[[], object]) -> str:
    """The line a script ends with; empty when it does not fail."""
    try:
        call()
    except SystemExit as ended:
        line = ended.code
    except UserError as error:  # what the Snakefile would have ended with
        line = str(error)
    else:
        return ""
    assert isinstance(line, str)
    assert "\n" not in line, line
    return line


def hold(bench: Bench, collect: Callable[[Bench], object], files: list[Path]) -> None:
    """Each file damaged in each way is named in the one line of `collect`, or was not needed."""
    first = (collect(bench), bench.result())[1]
    assert files
    for path in files:
        # a folder in the place of a result is a result that is not there: such items are `lost`
        for how in damaged(path, DAMAGES[:3] if path.suffix == ".h5" else DAMAGES):
            if line := said(lambda: collect(bench)):
                assert path.name in line, f"{path} {how}: {line}"
            else:
                assert bench.result() == first, f"{path} {how} changed the result"
    collect(bench)
    assert bench.result() == first


def left_by(bench: Bench) -> list[Path]:
    """One file of each kind the pending action has left but its result."""
    action = bench.here / bench.campaign.pending.action
    kinds = {}
    for path in sorted(p for p in action.rglob("*") if p.is_file()):
        if path.suffix not in LOGS and path.name != "result.yaml":
            kinds["".join(path.suffixes), path.parent.name] = path
    return list(kinds.values())


def test_files_of_reference_calc(new: Bench) -> None:
    new.begin(reference_calc.plan())
    reference_calc.run(new)
    hold(new, reference_calc.collect, left_by(new))


def test_files_of_sample(begun: Bench) -> None:
    begun.begin(sample.plan("reference"))
    sample.run(begun)
    hold(begun, sample.collect, left_by(begun))


def test_files_of_select_data(sampled: Bench) -> None:  # noqa: F811
    sampled.begin(select_data.plan("all", ("copper", {"count": 3})))
    select_data.choose(sampled)
    select_data.buy(sampled)
    hold(sampled, select_data.collect, left_by(sampled))


def test_files_of_train(begun: Bench) -> None:
    train.reuse(begun)
    inputs = [
        begun.folder / "iterations" / name
        for name in (
            "001/reference_calc/runs/cu_held.h5",
            "002/sample/dataset.h5",
            "003/state.yaml",
        )
    ]
    hold(begun, train.collect, [*left_by(begun), begun.here / "config.yaml", *inputs])


def test_files_of_model_eval(begun: Bench) -> None:
    begun.begin(model_eval.plan())
    model_eval.run(begun)
    hold(begun, model_eval.collect, left_by(begun))


@pytest.mark.parametrize(
    "name", ["001/reference_calc/runs/cu_held.h5", "003/train/model.almtp", "003/state.yaml"]
)
def test_what_a_job_reads_is_named_and_nothing_is_written_off(begun: Bench, name: str) -> None:
    begun.begin(model_eval.plan())
    path = begun.folder / "iterations" / name
    for how in damaged(path):
        assert path.name in said(lambda: model_eval.run(begun)), how
        assert not list(begun.here.glob("model_eval/**/*.json"))


def test_the_structures_of_a_job_are_named(new: Bench) -> None:
    new.begin(reference_calc.plan())
    for name in ("index.yaml", "cu_held.extxyz"):
        for how in damaged(new.folder / "structures" / name):
            assert name in said(lambda: reference_calc.run(new)), how
            assert not list(new.here.glob("reference_calc/**/*.json"))
