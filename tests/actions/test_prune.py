"""prune: left out, not deleted; restored, the state is as before."""

import shutil

import pytest

from atomistics import dataset
from campaign.actions.prune import Prune, PruneResult
from campaign.actions.train import Train, TrainResult
from campaign.errors import UserError
from campaign.files import read
from campaign.gates import require
from campaign.results import FrameSet
from campaign.state import EvaluationRecord, State
from tests.actions.conftest import Bench


@pytest.fixture
def begun(begun: Bench) -> Bench:
    """With a model m004 besides, a copy: the last one is never pruned."""
    first = begun.campaign.iteration(3) / "train"
    begun.begin(Train(start="scratch", effort="quick", datasets=["d002"], seed=4))
    shutil.copytree(first, begun.here / "train")
    result = read(TrainResult, first / "result.yaml")
    begun.finalize(result.model_copy(update={"model": "m004"}))
    return begun


def prune(bench: Bench, **parts: object) -> State:
    """The state after one prune, by its script and its reduction."""
    section = Prune(**parts)
    plan = bench.begin(section)
    require(plan, bench.campaign.situation())
    bench.call("prune")
    result = bench.result()
    assert (result.models, result.datasets, result.frames) == (
        section.models,
        section.datasets,
        section.frames,
    )
    assert result.restored == section.restore
    bench.finalize()
    return bench.campaign.state()


@pytest.mark.parametrize(
    "parts",
    [
        {"models": ["m003"]},
        {"frames": [FrameSet(dataset="d002", frames=[1, 5])]},
        {"models": ["m003"], "frames": [FrameSet(dataset="d002", frames=[0])]},
    ],
)
def test_restore_is_the_inverse_and_no_file_changes(begun: Bench, parts: dict) -> None:
    before = begun.campaign.state()
    files = {p: p.read_bytes() for p in begun.folder.rglob("*") if p.is_file()}
    left_out = prune(begun, **parts)
    changed = left_out.models != before.models or left_out.datasets != before.datasets
    assert changed
    back = prune(begun, **parts, restore=True)
    assert back.models == before.models
    assert back.datasets == before.datasets
    assert back.subsystems == before.subsystems
    assert back.spent == before.spent == left_out.spent, "it costs nothing"
    assert {p: p.read_bytes() for p in files} == files


def test_what_is_pruned_is_out_of_use(begun: Bench) -> None:
    frames = [FrameSet(dataset="d002", frames=[7, 3])]
    state = prune(begun, models=["m003"], frames=frames)
    assert [m.id for m in state.usable_models] == ["m004"]
    assert state.models[0].status == "rolled_back"
    assert state.datasets[0].excluded == [3, 7]
    assert len(dataset.read(begun.campaign.iteration(2) / "sample/dataset.h5")) == 24
    again = prune(begun, frames=[FrameSet(dataset="d002", frames=[3, 4])])
    assert again.datasets[0].excluded == [3, 4, 7]


def test_what_was_shown_by_a_model_goes_back_with_it(begun: Bench) -> None:
    before = begun.campaign.state()
    name = before.subsystems[0].name
    m003, m004 = before.models
    worse = [e.model_copy(update={"force_mae": 9.0}) for e in m003.errors]
    runs = [
        EvaluationRecord(iteration=5, model="m003", structures=[], passed=[name], failed=[]),
        EvaluationRecord(iteration=6, model="m004", structures=[], passed=[], failed=[name]),
    ]
    changes = {"evaluation": "failed", "evaluated_model": "m004", "train_force_mae": 9.0}
    shown = before.model_copy(
        update={
            "models": [m003, m004.model_copy(update={"errors": worse})],
            "evaluations": runs,
            "subsystems": before.subsystems_with({name: changes}),
        }
    )

    def after(state: State, model: str, back: bool) -> State:
        result = PruneResult(models=[model], datasets=[], frames=[], restored=back)
        return Prune(models=[model]).reduce(state, 7, result).state

    left = after(shown, "m004", False)
    own = [e.force_mae for e in m003.errors if (e.subsystem, e.split) == (name, "train")]
    assert left.subsystem(name).train_force_mae == own[0] != 9.0
    assert left.subsystem(name).evaluation == "passed"
    assert left.subsystem(name).evaluated_model == "m003"
    assert after(left, "m004", True).subsystem(name).evaluation == "failed"
    assert after(shown, "m003", False).subsystem(name) == shown.subsystem(name), "an older one"


def test_nothing_unknown_is_pruned_and_nothing_that_is_all_there_is(begun: Bench) -> None:
    for parts, said in (
        ({"models": ["m009"]}, "no model m009"),
        ({"frames": [FrameSet(dataset="d002", frames=[24])]}, "no frame 24"),
        ({"datasets": ["d002"]}, "nothing would be left"),
        ({"models": ["m003"], "restore": True}, "is ok"),
    ):
        plan = begun.begin(Prune(**parts))
        with pytest.raises(UserError, match=said):
            require(plan, begun.campaign.situation())
