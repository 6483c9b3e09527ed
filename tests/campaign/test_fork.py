"""planner fork: another campaign from a finalized iteration, cheap on disk, replayable, apart."""

from pathlib import Path

import pytest

from campaign.folder import Campaign
from campaign.workflow import jobs
from mtpilot.cli import main
from planner.decide import next_plan
from planner.replay import replay
from tests.llm.scene import carried_on, folder
from tests.planner.simulation import World


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    folder(tmp_path / "old", {"limits": {"labels": 900}})
    here = carried_on(tmp_path / "old", World(seed=3), 6)
    big = here.iteration(2) / "sample"
    (big / "runs").mkdir(parents=True)
    (big / "runs/a.h5").write_bytes(b"trajectory" * 1000)
    (here.iteration(3) / "train").mkdir()
    (here.iteration(3) / "train/train.log").write_text("a log\n")
    (here.iteration(3) / ".snakemake").mkdir()
    return here


def forked(campaign: Campaign, at: int, *more: str) -> int:
    new = str(campaign.folder.with_name("new"))
    return main(["fork", "--campaign", str(campaign.folder), "--at", str(at), new, *more])


def test_a_fork_goes_on_as_the_campaign_did(campaign: Campaign) -> None:
    assert forked(campaign, 4) == 0
    new = Campaign.at(campaign.folder.with_name("new"))
    assert new.finalized == new.last == 4
    assert new.state() == campaign.state(4)
    assert new.core_seconds() == campaign.core_seconds(4)
    plan = next_plan(new)
    assert plan == campaign.plan(5)
    assert [f.faults for f in replay(Campaign.at(new.folder))] == [[]] * 5
    assert campaign.finalized == 6


def test_data_are_shared_and_what_people_edit_is_not(campaign: Campaign) -> None:
    forked(campaign, 4)
    new = campaign.folder.with_name("new")
    old, same = (f / "iterations/002/sample/runs/a.h5" for f in (campaign.folder, new))
    assert old.samefile(same)
    for name in ("iterations/004/state.yaml", "config.yaml", "task.yaml"):
        assert not (campaign.folder / name).samefile(new / name)
    assert not list(new.glob("iterations/*/.snakemake"))
    before = (campaign.folder / "config.yaml").read_text()
    (new / "config.yaml").write_text("limits: {labels: 2000}\n")
    assert (campaign.folder / "config.yaml").read_text() == before
    assert next_plan(Campaign.at(new)).iteration == 5


def test_jobs_of_a_fork_have_names_of_their_own(campaign: Campaign) -> None:
    forked(campaign, 6)
    new = campaign.folder.with_name("new")
    for path in (campaign.folder, new):
        next_plan(Campaign.at(path))
    ours, theirs = jobs(campaign.folder), jobs(new)
    assert ours.sections == theirs.sections
    assert ours.name != theirs.name


@pytest.mark.parametrize("at", [-1, 7, 99])
def test_only_finalized_iterations_are_forked(campaign: Campaign, at: int, capsys) -> None:
    assert forked(campaign, at) == 1
    assert "iterations 0 to 6" in capsys.readouterr().err
    assert not campaign.folder.with_name("new").exists()


def test_no_fork_after_the_end_or_onto_something(campaign: Campaign, capsys) -> None:
    (campaign.folder.with_name("new")).mkdir()
    (campaign.folder.with_name("new") / "mine").write_text("mine")
    assert forked(campaign, 3) == 1
    assert "not an empty folder" in capsys.readouterr().err
    assert (campaign.folder.with_name("new") / "mine").read_text() == "mine"
    inside = str(campaign.folder / "within")
    assert main(["fork", "--campaign", str(campaign.folder), "--at", "3", inside]) == 1
    assert "lies within" in capsys.readouterr().err
    done = carried_on(campaign.folder, World(seed=3), 40)
    assert done.state().verdict
    end = str(campaign.folder.with_name("late"))
    assert main(["fork", "--campaign", str(done.folder), "--at", str(done.finalized), end]) == 1
    assert "the campaign ended" in capsys.readouterr().err


def test_what_a_hand_has_changed_is_not_forked(campaign: Campaign, capsys) -> None:
    state = campaign.state_file(6)
    state.write_text(state.read_text().replace("iteration: 6", "iteration: 6 "))
    ledger = campaign.iteration(6) / "ledger.jsonl"
    ledger.unlink()
    assert forked(campaign, 4) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not campaign.folder.with_name("new").exists()
