"""The commands as a user types them: doctor, a model's decision, halts, the look ahead."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from campaign.cost import cost
from campaign.folder import Campaign
from mtpilot.cli import main
from planner.lookahead import lookahead
from tests.llm.scene import carried_on, folder
from tests.llm.server import drip, fails, hang_up, raw, says, serve, stall
from tests.planner.simulation import World


def words(path: Path, *more: str) -> list[str]:
    return [more[0], "--campaign", str(path), *more[1:]]


def test_doctor_tells_what_a_server_can_do(tmp_path: Path, capsys) -> None:
    with serve() as double:
        folder(tmp_path / "c", {"llm": {"base_url": double.url, "effort": None}})
        double.will(says("ready"), says('{"colour":"red"}'))
        assert main(words(tmp_path / "c", "doctor", "--llm")) == 0
        assert "held to by the server" in capsys.readouterr().out
        double.will(says("ready"), says("The sky is blue."))
        assert main(words(tmp_path / "c", "doctor", "--llm")) == 0
        assert "set llm.structured: false" in capsys.readouterr().out
        double.will(fails(404))
        assert main(words(tmp_path / "c", "doctor", "--llm")) == 1
        assert "not_found" in capsys.readouterr().out


@pytest.mark.parametrize("fault", [drip, stall(600.0), raw(b"<html>"), raw(b"[]"), hang_up])
def test_doctor_survives_a_bad_list_of_models(tmp_path: Path, monkeypatch, capsys, fault) -> None:
    monkeypatch.setattr("planner.llm.server_check.LOOK_UP", 1.0)
    with serve() as double:
        folder(tmp_path / "c", {"llm": {"base_url": double.url, "effort": None}})
        double.lookups = iter([fault])
        double.will(says("ready"), says('{"colour":"red"}'))
        began = time.monotonic()
        assert main(words(tmp_path / "c", "doctor", "--llm")) == 0
        assert time.monotonic() - began < 120
    assert "held to by the server" in capsys.readouterr().out


def test_no_key_is_one_line(tmp_path: Path, capsys) -> None:
    folder(tmp_path / "c", {"planner": "anthropic"})
    assert main(words(tmp_path / "c", "next")) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "ANTHROPIC_API_KEY: not set" in error


def test_a_halt_is_one_line_and_status_four(tmp_path: Path, capsys) -> None:
    with serve() as double:
        folder(tmp_path / "c", {"planner": "anthropic", "llm": {"base_url": double.url}})
        double.will(fails(402))
        assert main(words(tmp_path / "c", "next")) == 4
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "billing" in error


def test_mistyped_words_have_a_status_of_their_own(capsys) -> None:
    for mistyped in (["reprot"], ["explain", "one"], ["audit", "--jsn"], []):
        with pytest.raises(SystemExit) as ended:
            main(mistyped)
        assert ended.value.code == 64
        assert capsys.readouterr().err.count("\n") == 1


def test_audit_shows_where_model_and_rules_part(tmp_path: Path, capsys) -> None:
    plan = {
        "structures": ["oxide-v0"],
        "temperature": 300,
        "ensemble": "nvt",
        "steps": 100,
        "interval": 10,
    }
    with serve() as double:
        here = folder(tmp_path / "c", {"planner": "anthropic", "llm": {"base_url": double.url}})
        double.situation = here.situation()
        double.will(None, says(json.dumps({"parameters": plan, "objection": None})))
        assert main(words(tmp_path / "c", "next")) == 0
    capsys.readouterr()
    assert main(words(tmp_path / "c", "audit", "--json", "--lookahead", "3")) == 0
    seen = json.loads(capsys.readouterr().out)
    assert len(seen["lookahead"]["optimistic"]) == 3
    assert seen["source"] == "model"
    assert not seen["rules"]["same"]
    assert seen["rules"]["core_hours_more"] > 0
    assert seen["command"]
    assert main(words(tmp_path / "c", "audit")) == 0
    assert "core-hours against this plan" in capsys.readouterr().out


@pytest.mark.parametrize("world", [World(seed=1), World(seed=3, unstable=0.6)])
def test_looking_ahead_ends_and_the_dark_outlook_is_no_shorter(tmp_path: Path, world) -> None:
    folder(tmp_path / "c")
    carried_on(tmp_path / "c", world, 3)
    assert main(words(tmp_path / "c", "next")) == 0
    here = Campaign.at(tmp_path / "c")
    seen = lookahead(here, here.pending, 60)
    assert seen["optimistic"][-1].action == "end"
    assert seen["pessimistic"][-1].action == "end"
    assert len(seen["pessimistic"]) >= len(seen["optimistic"])
    assert sum(s.labels for s in seen["optimistic"]) > 0


def test_next_with_rules_loads_nothing_slow(tmp_path: Path) -> None:
    """A decision is a fraction of a second where neither ASE nor Snakemake is imported for it."""
    folder(tmp_path / "c")
    carried_on(tmp_path / "c", World(seed=5, unstable=0.4), 12)
    command = [str(Path(sys.executable).with_name("planner")), "next"]
    loud = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(
        command, cwd=tmp_path / "c", capture_output=True, check=False, env=loud, text=True
    )
    assert done.returncode == 0
    loaded = {
        line.rsplit("|")[-1].strip().split(".")[0]
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    assert "pydantic" in loaded
    assert not loaded & {"ase", "scipy", "snakemake", "anthropic", "matplotlib", "pymatgen"}


def test_wall_time_is_a_limit(tmp_path: Path, capsys) -> None:
    folder(tmp_path / "c", {"limits": {"wall_hours": 1.0}})
    carried_on(tmp_path / "c", World(seed=1), 2)
    first = Campaign.at(tmp_path / "c").iteration(1) / "decision.json"
    old = time.time() - 7200
    os.utime(first, (old, old))
    assert main(words(tmp_path / "c", "next")) == 3
    assert "limits.wall_hours" in capsys.readouterr().err


def test_audit_tells_state_bill_limits_and_what_to_type(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr("planner.audit.dry_run", lambda _: {"sample": 3})
    with serve() as double:
        path = tmp_path / "a campaign"
        here = folder(path, {"planner": "anthropic", "llm": {"base_url": double.url}})
        carried_on_by_rules(path, 3)
        double.situation = Campaign.at(path).situation()
        assert main(words(path, "next")) == 0
    capsys.readouterr()
    assert main(words(path, "audit", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["state"]["model"] == "m003"
    assert told["state"]["open_targets"] == ["joint: m003 was never evaluated on it"]
    assert told["state"]["subsystems"]["oxide"]["labels"] == 20
    assert (told["spent"]["labels"], told["limits"]["labels"]) == (40, 5000)
    assert (told["spent"]["tokens"], told["limits"]["tokens"]) == (2 * 5700, 4_000_000)
    assert told["command"] == f"cd '{here.folder}' && planner approve && snakemake"
    assert main(words(path, "audit")) == 0
    page = capsys.readouterr().out
    assert re.search(r"oxide +1 +20 +0  never sampled +none\n", page)
    assert re.search(r"tokens +- +11400 +4000000\n", page)
    labels = list(dict.fromkeys(re.findall(r"^  ([a-z]+) ", page, re.MULTILINE)))
    before = ["reason", "plan", "jobs", "cost", "gates", "rules", "untrusted"]
    assert labels == [*before, "evidence", "state", "waiting", "run"]
    monkeypatch.chdir(path)
    assert main(["audit"]) == 0
    assert "run it    planner approve && snakemake\n" in capsys.readouterr().out


def carried_on_by_rules(path: Path, most: int) -> None:
    """Iterations of a model's campaign that it was not asked about."""
    text = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text("planner: rules\n")
    carried_on(path, World(seed=3), most)
    (path / "config.yaml").write_text(text)


def test_estimates_tell_md_with_a_model_from_sampling_by_the_reference(tmp_path: Path) -> None:
    folder(tmp_path / "c")
    here = carried_on(tmp_path / "c", World(seed=3), 6)
    assert [e.action for e in here.state().history][1:4] == ["sample", "train", "sample"]
    referenced = {"reference_calls": 100, "md_steps": 100, "core_seconds": 40.0}
    first = {"reference_calls": 50, "md_steps": 50, "core_seconds": 50.0}
    both = {"reference_calls": 100, "md_steps": 10_100, "core_seconds": 60.0}
    for number, sample in ((3, referenced), (4, both), (6, both)):
        seen = {"reference_calc": first, "sample": sample}
        line = {"total": {"core_seconds": 90.0, "by_action": seen}}
        (here.iteration(number) / "ledger.jsonl").write_text(json.dumps(line) + "\n")
    rates = here.situation().rates
    assert rates.model_step["sample"] == pytest.approx(20.0 / 10_000)
    assert rates.reference_call == pytest.approx(1.0)
    plan, sit = here.plan(4), here.situation()
    assert cost(plan, sit).core_seconds == pytest.approx(
        cost(plan, sit).md_steps * 0.002 + cost(plan, sit).reference_calls
    )
