"""Leave to run is bound to plan, state and config; plain snakemake asks for it too."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from campaign import approval
from campaign.approval import ApprovalError, approve, refusal, require_approved
from campaign.errors import GateError, UserError
from campaign.files import write_record
from campaign.folder import Campaign
from campaign.workflow import jobs
from mtpilot.cli import main
from planner.decide import next_plan
from tests.llm.scene import carried_on, finalized, folder
from tests.planner.simulation import World

MANUAL = {"approval": {"mode": "manual"}}


def waiting(path: Path, config: dict) -> Campaign:
    folder(path, config)
    next_plan(Campaign.at(path))
    return Campaign.at(path)


def test_rules_ask_nobody_and_a_model_asks_for_what_is_dear(tmp_path: Path) -> None:
    assert approval.mode(folder(tmp_path / "r")) == "auto"
    assert approval.mode(folder(tmp_path / "m", {"planner": "anthropic"})) == "auto-cheap"


def test_unapproved_plan_does_not_run(tmp_path: Path) -> None:
    here = waiting(tmp_path / "c", MANUAL)
    with pytest.raises(ApprovalError, match="not approved"):
        require_approved(here, here.pending)
    approve(here)
    require_approved(here, here.pending)


@pytest.mark.parametrize("what", ["plan", "config", "state"])
def test_approval_does_not_outlive_a_change(tmp_path: Path, what: str) -> None:
    folder(tmp_path / "c", MANUAL)
    carried_on(tmp_path / "c", World(seed=1), 2)
    here = Campaign.at(tmp_path / "c")
    next_plan(here)
    here = Campaign.at(tmp_path / "c")
    approve(here)
    path = {
        "plan": here.iteration(3) / "plan.yaml",
        "config": here.iteration(3) / "config.yaml",
        "state": here.iteration(2) / "state.yaml",
    }[what]
    path.write_text(path.read_text() + "# a comment is a change\n")
    with pytest.raises(ApprovalError, match=f"{what}_sha256: approved was another {what}"):
        require_approved(Campaign.at(here.folder), here.pending)


def test_a_plan_for_another_state_is_denied_even_when_approved(tmp_path: Path) -> None:
    folder(tmp_path / "c", MANUAL)
    world = World(seed=1)
    carried_on(tmp_path / "c", world, 2)
    next_plan(Campaign.at(tmp_path / "c"))
    old = Campaign.at(tmp_path / "c").pending
    finalized(Campaign.at(tmp_path / "c"), world)
    next_plan(Campaign.at(tmp_path / "c"))
    here = Campaign.at(tmp_path / "c")
    stale = old.model_copy(update={"iteration": 4})
    write_record(here.iteration(4) / "plan.yaml", stale)
    with pytest.raises(GateError, match="decided from another state"):
        approve(Campaign.at(here.folder))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"labels": 10**6, "core_hours": 1e6}, None),
        ({"labels": 0, "core_hours": 1e6}, "labels"),
        ({"labels": 10**6, "core_hours": 0.0}, "core-hours"),
    ],
)
def test_auto_cheap_asks_for_what_is_dear(tmp_path: Path, limits: dict, reason) -> None:
    folder(tmp_path / "c", {"approval": {"mode": "auto-cheap", **limits}})
    carried_on(tmp_path / "c", World(seed=3, unstable=0.6), 4)
    next_plan(Campaign.at(tmp_path / "c"))
    here = Campaign.at(tmp_path / "c")
    assert here.pending.action == "select_data"
    _measured(here)
    found = refusal(here, here.pending)
    assert found is None if reason is None else reason in found


def test_auto_cheap_asks_for_an_edited_plan_and_for_the_end(tmp_path: Path) -> None:
    free = {"mode": "auto-cheap", "labels": 10**6, "core_hours": 1e6}
    here = waiting(tmp_path / "c", {"approval": free})
    assert refusal(here, here.pending) is None
    path = here.iteration(1) / "plan.yaml"
    path.write_text(path.read_text().replace("seed: ", "seed: 1"))
    assert "edited" in refusal(here, Campaign.at(here.folder).pending)
    done = carried_on_to_end(tmp_path / "d", {"approval": free})
    assert "never cheap" in refusal(done, done.pending)


def carried_on_to_end(path: Path, config: dict) -> Campaign:
    folder(path, config)
    world = World(seed=1, selection=0.0)
    while next_plan(Campaign.at(path)).action != "end":
        finalized(Campaign.at(path), world)
    return Campaign.at(path)


def _measured(here: Campaign) -> None:
    seen = {"select_data": {"reference_calls": 10, "md_steps": 0, "core_seconds": 30.0}}
    line = {"total": {"core_seconds": 40.0, "by_action": seen}}
    (here.iteration(here.finalized) / "ledger.jsonl").write_text(json.dumps(line) + "\n")


def test_plain_snakemake_refuses_and_a_dry_run_does_not(tmp_path: Path) -> None:
    here = waiting(tmp_path / "c", MANUAL)
    dry = _snakemake(here, "-n")
    assert dry.returncode == 0, dry.stderr
    for words in ((), ("--no-hooks",)):
        done = _snakemake(here, *words)
        assert done.returncode != 0
        assert not list(here.iteration(1).glob("reference_calc/chunks/*"))
    assert "is not approved (approval.mode is manual)" in _snakemake(here).stderr


def test_plain_snakemake_begins_nothing_after_the_wall_hours(tmp_path: Path) -> None:
    here = waiting(tmp_path / "c", {"limits": {"wall_hours": 1.0}})
    first, old = here.iteration(1) / "decision.json", time.time() - 7200
    os.utime(first, (old, old))
    assert _snakemake(here, "-n").returncode == 0
    for words in ((), ("--no-hooks",)):
        assert _snakemake(here, *words).returncode != 0
        assert not list(here.iteration(1).glob("reference_calc/chunks/*"))
    assert re.search(r"limits.wall_hours: 2\S* of 1 have passed", _snakemake(here).stderr)
    assert jobs(here.folder, begins=True).refusal
    assert not jobs(here.folder).refusal, "what has begun in time may end"


def _snakemake(here: Campaign, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("snakemake")), "-c1", *words]
    return subprocess.run(
        command, cwd=here.folder, capture_output=True, text=True, check=False, timeout=120
    )


def test_planner_run_stops_with_status_two(tmp_path: Path, capsys) -> None:
    folder(tmp_path / "c", MANUAL)
    assert main(["run", "--campaign", str(tmp_path / "c")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "planner approve" in error
    assert main(["approve", "--campaign", str(tmp_path / "c")]) == 0


def test_a_denied_plan_starts_nothing(tmp_path: Path, monkeypatch, capsys) -> None:
    here = waiting(tmp_path / "c", {})
    path = here.iteration(1) / "plan.yaml"
    path.write_text(path.read_text().replace("oxide-v0", "oxide-t0"))
    monkeypatch.setattr("campaign.run.subprocess.Popen", lambda *_, **__: pytest.fail("started"))
    assert main(["run", "--campaign", str(here.folder)]) == 3
    assert "oxide-t0 is not held out" in capsys.readouterr().err


def test_a_person_writes_the_plan(tmp_path: Path, capsys) -> None:
    folder(tmp_path / "c", {"planner": "manual"})
    words = ["--campaign", str(tmp_path / "c")]
    assert main(["next", *words]) == 4
    draft = tmp_path / "c" / "draft.yaml"
    assert str(draft) in capsys.readouterr().err
    data = yaml.safe_load(draft.read_text())
    data["reference_calc"]["steps"] = 200
    data["reason"] = "Shorter will do."
    draft.write_text(yaml.safe_dump(data))
    assert main(["next", "--plan", str(draft), *words]) == 0
    here = Campaign.at(tmp_path / "c")
    assert here.pending.reference_calc.steps == 200
    data["reference_calc"]["structures"] = ["../../etc"]
    draft.write_text(yaml.safe_dump(data))
    assert main(["next", "--plan", str(draft), *words]) == 1
    data["reference_calc"]["structures"] = ["oxide-t0"]
    draft.write_text(yaml.safe_dump(data))
    assert main(["next", "--plan", str(draft), *words]) == 3
    assert here.pending.reference_calc.steps == 200


def test_overruling_keeps_what_was_overruled(tmp_path: Path) -> None:
    here = waiting(tmp_path / "c", {})
    own = here.pending
    mine = tmp_path / "mine.yaml"
    data = own.model_dump(mode="json", exclude_none=True)
    data["reference_calc"]["steps"] = 300
    mine.write_text(yaml.safe_dump(data))
    next_plan(Campaign.at(here.folder), mine)
    record = json.loads((here.iteration(1) / "decision.json").read_text())
    assert record["source"] == "manual"
    assert record["overrules"]["source"] == "rules"
    assert not record["rules"]["same_parameters"]
    (here.iteration(1) / "reference_calc").mkdir()
    with pytest.raises(UserError, match="has begun"):
        next_plan(Campaign.at(here.folder), mine)
