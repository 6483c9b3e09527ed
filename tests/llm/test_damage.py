"""Records, bills and models damaged or lost: every command says so in one line, none goes on."""

import json
import re
from pathlib import Path

import pytest

from campaign.workflow import jobs
from mtpilot.cli import main
from tests.llm.scene import carried_on, folder
from tests.planner.simulation import World

BAD = ("[1,2", "7", "", '{"format": 1}', '{"format": 1, "exchanges": 7, "spent": 7, "plan": "x"}')
LEDGERS = (
    "",
    "{}",
    "\x00\xff",
    '{"total": {"core_seconds": NaN, "by_action": {}}}',
    "[]",
    '{"total": {"core_seconds": "rm", "by_action": {}}}',
    "[" * 20_000,
)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damage") / "c"
    folder(path)
    carried_on(path, World(seed=3), 3)
    return path


def _said(words: list[str], capsys: pytest.CaptureFixture) -> tuple[int, str]:
    try:
        status = main(words)
    except SystemExit as ended:
        status = int(ended.code or 0)
    return status, capsys.readouterr().err


@pytest.mark.parametrize("text", BAD)
def test_a_damaged_record_is_named(begun: Path, capsys, text: str) -> None:
    path = begun / "iterations/003/decision.json"
    kept = path.read_text()
    path.write_text(text)
    try:
        for words in (["explain", "3"], ["replay"], ["status"], ["next"]):
            status, said = _said([words[0], "--campaign", str(begun), *words[1:]], capsys)
            assert said.count("\n") <= 1, said
            assert status == 1 if words[0] in ("explain", "replay") else status in (0, 1)
        assert said == "" or re.search(r"003/decision\.json", said)
    finally:
        path.write_text(kept)
        (begun / "iterations/004/plan.yaml").unlink(missing_ok=True)


@pytest.mark.parametrize("text", LEDGERS)
def test_a_damaged_ledger_stops_the_planner(begun: Path, capsys, text: str) -> None:
    path = begun / "iterations/003/ledger.jsonl"
    kept = path.read_text()
    path.write_text(text, encoding="latin-1")
    try:
        status, said = _said(["next", "--campaign", str(begun)], capsys)
        assert (status, said.count("\n")) == (1, 1), said
        assert "003/ledger.jsonl: last line: no total" in said
        assert not (begun / "iterations/004/plan.yaml").exists()
    finally:
        path.write_text(kept)


def test_undamaged_it_goes_on(begun: Path, capsys) -> None:
    assert _said(["next", "--campaign", str(begun)], capsys) == (0, "")
    assert json.loads((begun / "iterations/004/decision.json").read_text())["source"] == "rules"


def test_a_model_that_is_gone_is_named(begun: Path, capsys) -> None:
    _said(["next", "--campaign", str(begun)], capsys)
    status, said = _said(["audit", "--campaign", str(begun)], capsys)
    assert (status, said.count("\n")) == (1, 1), said
    assert "iterations/003/train/model.almtp: missing" in said


@pytest.mark.parametrize("name", ["plan", "state"])
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_folder_or_a_dead_link_is_not_nothing(begun: Path, capsys, name: str, kind: str) -> None:
    _said(["next", "--campaign", str(begun)], capsys)
    path = begun / f"iterations/004/{name}.yaml"
    kept = path.read_text() if path.is_file() else None
    path.unlink(missing_ok=True)
    path.mkdir() if kind == "folder" else path.symlink_to("nowhere")
    try:
        for verb in ("audit", "next", "run", "status"):
            status, said = _said([verb, "--campaign", str(begun)], capsys)
            assert (status, said.count("\n")) == (1, 1), (verb, said)
            assert f"iterations/004/{name}.yaml" in said or (verb, name) == ("audit", "state")
        if name == "plan":
            with pytest.raises(SystemExit, match=r"mtpilot: .*004/plan\.yaml"):
                jobs(begun)
    finally:
        path.rmdir() if kind == "folder" else path.unlink()
        if kept:
            path.write_text(kept)


@pytest.mark.parametrize("text", ["7", "[1]", '"x"', '{"a": 1}', '{"states": 7}', "nul", ""])
def test_damaged_progress_does_not_stop_the_status(begun: Path, capsys, text: str) -> None:
    _said(["next", "--campaign", str(begun)], capsys)
    for name in ("progress.json", "queue.json"):
        path = begun / "iterations/004" / name
        path.write_text(text)
        assert _said(["status", "--campaign", str(begun)], capsys) == (0, "")
        path.unlink()
