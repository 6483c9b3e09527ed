"""Records: whole, chained, replayed byte for byte, explained from themselves alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from campaign.folder import Campaign
from campaign.integrity import hashes
from campaign.provenance import source_of
from mtpilot.cli import main
from planner.decide import next_plan
from planner.explain import explain
from planner.llm import requests
from planner.record import load
from planner.replay import replay
from tests.llm.scene import carried_on, finalized, folder
from tests.llm.server import changed, says, serve
from tests.planner.simulation import World


@pytest.fixture
def recorded(tmp_path: Path) -> Campaign:
    """Eight decisions by a model, one of them repaired, one refused."""
    path = tmp_path / "c"
    with serve() as double:
        folder(path, {"planner": "anthropic", "llm": {"base_url": double.url}}, "An oxide. <b>")
        world = World(seed=3, unstable=0.6)
        for number in range(8):
            here = Campaign.at(path)
            double.situation = here.situation()
            if number == 3:
                double.will(says("{}"))
            if number == 5:
                double.will(changed(stop_reason="refusal", content=[]))
            next_plan(here)
            finalized(Campaign.at(path), world)
    return Campaign.at(path)


def test_every_plan_is_rebuilt_without_a_server(recorded: Campaign) -> None:
    found = replay(recorded)
    assert [(f.faults, f.notes) for f in found] == [([], [])] * 8
    sources = [load(recorded.iteration(n))["source"] for n in range(1, 9)]
    assert sources == ["model"] * 5 + ["rules:refusal"] + ["model"] * 2


def test_record_is_whole(recorded: Campaign) -> None:
    data = load(recorded.iteration(4))
    assert len(data["exchanges"]) == 3
    assert data["exchanges"][0]["faults"]
    assert data["model_served"] == ["rules-as-a-model"]
    assert data["used"]["tokens"] == 3 * 5700
    assert data["rules"]["agrees"]
    assert data["untrusted"]["task.yaml: description"] == "An oxide. <b>"
    assert data["used"]["money"] == pytest.approx(3 * (5000 * 4 + 700 * 20) / 1e6)
    text = (recorded.iteration(4) / "decision.json").read_text()
    assert "latency" not in text
    assert "seconds" in (recorded.iteration(4) / "timing.json").read_text()


def test_a_changed_prompt_is_named_and_the_plan_still_the_same(recorded, monkeypatch) -> None:
    real = requests.system
    monkeypatch.setattr(requests, "system", lambda sit, role: real(sit, role) + "\nMore.")
    found = replay(recorded)
    assert not any(f.faults for f in found)
    assert found[0].notes[0] == "decision_maker: system prompt differs from the recorded request"


@pytest.mark.parametrize("harm", ["response", "chain", "plan", "request"])
def test_a_record_that_was_tampered_with_is_found(recorded: Campaign, harm: str) -> None:
    path = recorded.iteration(4) / "decision.json"
    data = json.loads(path.read_text())
    if harm == "response":
        block = data["exchanges"][-1]["response"]["content"][1]
        block["text"] = block["text"].replace("npt", "nvt").replace("2", "3")
    elif harm == "plan":
        data["plan"]["reason"] = "otherwise"
    elif harm == "request":
        data["exchanges"][0]["request"]["system"] += "!"
    data["used"]["tokens"] += 1
    data["hashes"] = hashes(data)  # even by one who knows how records are made
    path.write_text(json.dumps(data, indent=1) + "\n")
    faults = {f.iteration: f.faults for f in replay(recorded) if f.faults}
    assert any("chain" in text for text in faults[5])
    assert (4 in faults) == (harm != "chain")


def test_an_edited_plan_and_task_are_named(recorded: Campaign) -> None:
    path = recorded.iteration(8) / "plan.yaml"
    path.write_text(path.read_text().replace("reason: ", "reason: Edited. "))
    task = recorded.folder / "task.yaml"
    task.write_text(task.read_text().replace("An oxide", "A hydride"))
    last = replay(Campaign.at(recorded.folder))[-1]
    assert "plan.yaml was edited by hand after the decision" in last.notes
    assert "task.yaml: differs from what was decided on" in last.notes
    assert "decision_maker: digest differs from the recorded request" in last.notes


def test_explain_needs_the_record_alone(recorded: Campaign, capsys) -> None:
    data = load(recorded.iteration(6))
    text = explain(data, source_of(data))
    assert "rules, because the model gave no plan: refusal" in text
    assert "call 1" in text
    assert main(["explain", "4", "--campaign", str(recorded.folder)]) == 0
    assert "fault:" in capsys.readouterr().out


def test_the_backend_replay_takes_recorded_answers(recorded: Campaign, tmp_path: Path) -> None:
    llm = {"records": str(recorded.folder), "on_failure": "halt"}
    text = (recorded.folder / "config.yaml").read_text()
    path = tmp_path / "again"
    again = folder(path, {"planner": "replay", "llm": llm}, "An oxide. <b>")
    assert "anthropic" in text
    for number in range(1, 6):
        here = Campaign.at(path)
        plan = next_plan(here)
        assert plan.model_dump(exclude={"state_sha256"}) == recorded.plan(number).model_dump(
            exclude={"state_sha256"}
        )
        _same_result(recorded, again, number)


def _same_result(source: Campaign, target: Campaign, number: int) -> None:
    for name in ("state.yaml", "ledger.jsonl"):
        text = (source.iteration(number) / name).read_text()
        (target.iteration(number) / name).write_text(text)


def test_rules_are_replayed_too_and_faster_than_a_second_each(tmp_path: Path) -> None:
    folder(tmp_path / "c")
    here = carried_on(tmp_path / "c", World(seed=5, unstable=0.4), 30)
    assert not any(f.faults or f.notes for f in replay(here))


def test_rules_need_neither_sdk_nor_jinja(tmp_path: Path) -> None:
    folder(tmp_path / "c")
    code = (
        "import sys; from mtpilot.cli import main; "
        f"main(['next', '--campaign', {str(tmp_path / 'c')!r}]); "
        "bad = {'anthropic', 'jinja2', 'httpx2', 'numpy', 'ase'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("missing", [False, True])
def test_every_part_of_a_record_that_was_changed_is_named(recorded: Campaign, missing) -> None:
    path = recorded.iteration(8) / "decision.json"
    kept = path.read_text()
    for key in json.loads(kept):
        data = json.loads(kept)
        data[key] = {"none": "of it"}
        if missing:
            del data[key]
        path.write_text(json.dumps(data, indent=1) + "\n")
        faults = replay(recorded)[-1].faults
        assert any(key in text.split(":")[0] for text in faults) or key in ("format", "hashes")
        assert faults, key


@pytest.mark.parametrize(("name", "number"), [("plan", 4), ("state", 5)])
def test_what_was_changed_later_is_named(recorded: Campaign, name: str, number: int) -> None:
    path = recorded.iteration(4) / f"{name}.yaml"
    path.write_text(path.read_text() + "# more\n")
    found = {f.iteration: f.faults for f in replay(Campaign.at(recorded.folder)) if f.faults}
    assert f"iterations/004/{name}.yaml: changed since it was used" in found[number]


@pytest.mark.parametrize("data", [b"reason: \xe9\xff", b"\0\n", b""])
def test_a_plan_that_is_no_text_is_a_fault_of_its_iteration(recorded: Campaign, data) -> None:
    (recorded.iteration(4) / "plan.yaml").write_bytes(data)
    assert [f.iteration for f in replay(Campaign.at(recorded.folder)) if f.faults] == [4]


def test_a_plan_that_is_gone_is_a_fault_of_its_iteration(recorded: Campaign) -> None:
    (recorded.iteration(4) / "plan.yaml").unlink()
    found = {f.iteration: f.faults for f in replay(Campaign.at(recorded.folder)) if f.faults}
    assert [*found] == [4]
    assert "004/plan.yaml: no such file" in found[4][0]
