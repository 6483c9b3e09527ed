"""What a hand has changed is named before anything runs; a plan may be edited, and says so."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from atomistics.yaml_files import read_yaml
from campaign import status as standing
from campaign.approval import ApprovalError, require_approved
from campaign.folder import Campaign
from campaign.integrity import CLOSING, file_sha256, kept, products
from campaign.ledger import gather, totals
from campaign.workflow import jobs
from mtpilot.cli import main
from tests.llm.scene import carried_on, folder
from tests.planner.simulation import World


@pytest.fixture
def waiting(tmp_path: Path) -> Campaign:
    """Three iterations finalized, the ledger of the last with its hash, a plan that waits."""
    folder(tmp_path / "c")
    here = carried_on(tmp_path / "c", World(seed=3), 3)
    last = here.iteration(3)
    lines = gather(last, "train", totals(here.iteration(2) / "ledger.jsonl"))
    (last / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["next", "--campaign", str(here.folder)]) == 0
    return Campaign.at(here.folder)


def said(words: list[str], capsys: pytest.CaptureFixture) -> tuple[int, str]:
    status = main(words)
    streams = capsys.readouterr()
    return status, streams.out + streams.err


EDITS = {
    "iterations/003/ledger.jsonl": (r'"core_seconds": [\d.]+', '"core_seconds": 0.5'),
    "iterations/003/decision.json": ('"reason": "', '"reason": "not '),
    "iterations/004/decision.json": ('"action": "', '"action": "x'),
    "iterations/004/config.yaml": (r"labels: \d+", "labels: 99999"),
    "iterations/003/plan.yaml": ("reason: ", "reason: not "),
    "iterations/002/state.yaml": ("spent:", "spent: # less"),
    "task.yaml": (r"force_mae: [\d.]+", "force_mae: 9.9"),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_was_changed_is_named_before_anything_runs(
    waiting: Campaign, capsys: pytest.CaptureFixture, name: str
) -> None:
    path = waiting.folder / name
    text = path.read_text()
    edited = re.sub(*EDITS[name], text)
    assert edited != text
    path.write_text(edited)
    for verb in ("next", "audit", "approve", "run"):
        status, told = said([verb, "--campaign", str(waiting.folder)], capsys)
        assert status != 0
        assert str(path) in told
    _, told = said(["status", "--campaign", str(waiting.folder)], capsys)
    assert f"CHANGED  {path}" in told
    with pytest.raises(SystemExit, match=re.escape(str(path))):
        jobs(waiting.folder, begins=True)
    path.write_text(text)
    assert main(["next", "--campaign", str(waiting.folder)]) == 0


def test_the_name_of_a_rule_gives_no_leave_to_a_plan_that_was_edited(
    waiting: Campaign, capsys: pytest.CaptureFixture
) -> None:
    path = waiting.iteration(4) / "plan.yaml"
    plan = read_yaml(path)
    assert plan["rule"]
    section = {"outcome": "failed", "model": None, "recommendation": "Give up."}
    plan = {key: plan[key] for key in plan if key != plan["action"]} | {"end": section}
    path.write_text(yaml.safe_dump({**plan, "action": "end"}))
    _, told = said(["audit", "--campaign", str(waiting.folder)], capsys)
    assert "failed, yet budget is left" in told
    with pytest.raises(SystemExit, match="failed, yet budget is left"):
        jobs(waiting.folder, begins=True)


def test_an_edited_plan_says_so_in_every_first_line(
    waiting: Campaign, capsys: pytest.CaptureFixture
) -> None:
    path = waiting.iteration(4) / "plan.yaml"
    path.write_text(path.read_text() + "# mine\n")
    for verb in ("next", "status"):
        status, told = said([verb, "--campaign", str(waiting.folder)], capsys)
        assert status == 0
        assert re.search(r"\(source: rules, rule \S+, EDITED by hand since\)", told.split("\n")[0])
    assert main(["next", "--again", "--campaign", str(waiting.folder)]) == 0
    _, told = said(["explain", "4", "--campaign", str(waiting.folder)], capsys)
    assert re.search(r"\(source: rules, rule [^,]+\)", told.split("\n")[0])
    record = json.loads((waiting.iteration(4) / "decision.json").read_text())
    assert record["overrules"]["source"] == "rules"


@pytest.mark.parametrize("text", ["iteration: 4\naction: fly\n", "[", ""])
def test_a_plan_that_is_none_is_decided_again(
    waiting: Campaign, capsys: pytest.CaptureFixture, text: str
) -> None:
    path = waiting.iteration(4) / "plan.yaml"
    before = path.read_text()
    path.write_text(text)
    status, told = said(["next", "--campaign", str(waiting.folder)], capsys)
    assert (status, told.count("\n")) == (1, 1)
    assert main(["next", "--again", "--campaign", str(waiting.folder)]) == 0
    assert path.read_text() == before


def test_a_plan_that_has_begun_is_not_decided_again(
    waiting: Campaign, capsys: pytest.CaptureFixture
) -> None:
    (waiting.iteration(4) / waiting.pending.action).mkdir()
    status, told = said(["next", "--again", "--campaign", str(waiting.folder)], capsys)
    assert status == 1
    assert "has begun" in told


def test_products_are_known_by_their_bytes(tmp_path: Path) -> None:
    for name in ("train/model.almtp", "sample/runs/a.h5", "sample/runs/a.cost.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    known = products(tmp_path)
    assert set(known) == {"train/model.almtp", "sample/runs/a.h5"}
    (tmp_path / "sample/runs/a.h5").write_text("other")
    assert file_sha256(tmp_path / "sample/runs/a.h5") != known["sample/runs/a.h5"]


def test_status_names_a_model_or_data_set_that_is_not_what_was_made(
    waiting: Campaign, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = waiting.state()
    model, data = (f"{state.models[-1].id[1:]}/train/model.almtp", f"{state.datasets[-1].id[1:]}")
    names = (model, f"{data}/{waiting.plan(int(data)).action}/dataset.h5")
    for name in names:
        path = waiting.folder / "iterations" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
        state.files[name] = file_sha256(path)
    monkeypatch.setattr(Campaign, "state", lambda *_: state)
    monkeypatch.setattr("planner.audit.dry_run", lambda _: {})
    assert list(kept(waiting)) == []
    for name in names:
        path = waiting.folder / "iterations" / name
        path.write_text("another")
        _, told = said(["status", "--campaign", str(waiting.folder)], capsys)
        assert f"CHANGED  {path}: is not what iteration {int(name[:3])} has made" in told
        _, told = said(["audit", "--campaign", str(waiting.folder)], capsys)  # used now or later
        assert f"{path}: is not what iteration {int(name[:3])} has made" in told
        path.unlink()
        assert list(kept(waiting))[-1].startswith(f"{path}: missing")
        path.write_text(name)
    monkeypatch.setattr("campaign.integrity.QUICKLY", 0)
    path.write_text("another")
    assert list(kept(waiting)) == []
    _, told = said(["status", "--campaign", str(waiting.folder)], capsys)
    assert "not read here: 2 files in use, 0 MB; a plan that uses them checks them" in told


def test_targets_changed_before_anything_was_done_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """No state holds them yet; the first record does."""
    here = folder(tmp_path / "c").folder
    assert said(["next", "--campaign", str(here)], capsys)[0] == 0
    path = here / "task.yaml"
    path.write_text(re.sub(r"force_mae: [\d.]+", "force_mae: 9.9", path.read_text()))
    for verb in ("next", "audit", "approve", "run"):
        status, told = said([verb, "--campaign", str(here)], capsys)
        assert (status, told.count("\n")) == (1, 1)
        assert f"{path}: changed since the first plan was decided" in told
    with pytest.raises(SystemExit, match="changed since the first plan"):
        jobs(here, begins=True)
    assert main(["next", "--again", "--campaign", str(here)]) == 0
    assert main(["next", "--campaign", str(here)]) == 0


def test_species_in_another_order_are_named(
    waiting: Campaign, capsys: pytest.CaptureFixture
) -> None:
    """Potentials know types: silver would be moved as copper, and nothing else would tell."""
    path = waiting.folder / "task.yaml"
    task = yaml.safe_load(path.read_text())
    assert waiting.state().species == task["species"]
    path.write_text(yaml.safe_dump(task | {"species": [*task["species"], "Xe"][::-1]}))
    status, told = said(["next", "--campaign", str(waiting.folder)], capsys)
    assert status == 1
    assert f"{path}: species: changed since the campaign began" in told


@pytest.fixture
def sealed(waiting: Campaign) -> Campaign:
    """As `waiting`, ledgers with the hashes of what closed their iterations, as `finalize` does."""
    for number in (1, 2, 3):
        folder = waiting.iteration(number)
        result = folder / "train/result.yaml"
        result.parent.mkdir(exist_ok=True)
        result.write_text("status: ok\n")
        names = ("state.yaml", *CLOSING, "train/result.yaml")
        closes = {n: file_sha256(folder / n) for n in names if (folder / n).is_file()}
        before = totals(waiting.iteration(number - 1) / "ledger.jsonl")
        lines = gather(folder, waiting.plan(number).action, before, closes)
        (folder / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return waiting


def another(name: str, number: int) -> Callable[[Path], None]:
    """That file of another iteration in its place."""
    return lambda path: shutil.copy(path.parents[1] / f"{number:03d}" / name, path)


def edit(pattern: str, new: str) -> Callable[[Path], None]:
    return lambda path: _edit(path, pattern, new)


BY_HAND: dict[str, Callable[[Path], object]] = {
    "iterations/001/state.yaml": edit("spent:", "spent: "),
    "iterations/001/decision.json": Path.unlink,
    "iterations/002/config.yaml": edit("seed:", "seed: 1"),
    "iterations/002/ledger.jsonl": another("ledger.jsonl", 1),
    "iterations/003/ledger.jsonl": edit("{", "{oops\n{"),
    "iterations/003/state.yaml": edit("rounds: 0", "rounds: 3"),
    "iterations/002/train/result.yaml": edit("ok", "refused"),
    "iterations/001": shutil.rmtree,
    "iterations/004/decision.json": another("decision.json", 3),
    "structures/index.yaml": edit("held_out: true", "held_out: false"),
    "task.yaml": edit(r"max_temperature: \d+", "max_temperature: 4000"),
}


def _edit(path: Path, pattern: str, new: str) -> None:
    text = path.read_text()
    edited = re.sub(pattern, new, text, count=1)
    assert edited != text
    path.write_text(edited)


@pytest.mark.parametrize("name", BY_HAND)
def test_an_edit_of_any_iteration_is_named(
    sealed: Campaign, capsys: pytest.CaptureFixture, name: str
) -> None:
    assert said(["approve", "--campaign", str(sealed.folder)], capsys)[0] == 0
    BY_HAND[name](sealed.folder / name)
    for verb in ("next", "audit", "approve"):
        status, told = said([verb, "--campaign", str(sealed.folder)], capsys)
        assert (status, told.count("\n")) == (1, 1)
        assert str(sealed.folder / name) in told


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ({"method": "gfn2-xtb"}, "reference.method: gfn2-xtb, was gfn1-xtb"),
        (
            {"options": {"kpts": [2, 2, 2], "command": "pw"}},
            "reference.options.kpts: [2, 2, 2], was",
        ),
        ({"options": {"input_data": {"system": {"ecutwfc": 30}}}}, "input_data.system.ecutwfc"),
        ({"options": {"command": "other", "ncore": 4}, "timeout": 9.0}, None),
    ],
)
def test_labels_of_two_methods_do_not_mix(
    sealed: Campaign, tmp_path: Path, capsys: pytest.CaptureFixture, reference: dict, named: str
) -> None:
    (sealed.folder / "config.yaml").write_text(yaml.safe_dump({"reference": reference}))
    status, told = said(["next", "--again", "--campaign", str(sealed.folder)], capsys)
    assert (status, told.count("\n")) == ((1, 1) if named else (0, 2))
    assert (named or "plan.yaml") in told
    (sealed.folder / "config.yaml").unlink()
    new = tmp_path / "new"
    assert main(["fork", "--at", "3", str(new), "--campaign", str(sealed.folder)]) == 0
    (new / "config.yaml").write_text(yaml.safe_dump({"reference": reference}))
    assert said(["next", "--campaign", str(new)], capsys)[0] == int("method" in reference)


def test_a_record_that_is_no_file_is_named(sealed: Campaign, capsys) -> None:
    path = sealed.iteration(4) / "decision.json"
    path.unlink()
    os.mkfifo(path)
    for verb in ("next", "audit", "approve"):
        status, told = said([verb, "--campaign", str(sealed.folder)], capsys)
        assert (status, told.count("\n")) == (1, 1)
        assert f"{path}: is no regular file" in told


def test_structure_files_are_looked_at_before_the_jobs_that_read_them(
    sealed: Campaign, capsys: pytest.CaptureFixture
) -> None:
    assert sealed.pending.parameters.named_structures()
    index = sealed.folder / "structures/index.yaml"
    entries = read_yaml(index)
    file = index.parent / entries[0]["file"]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    index.write_text(yaml.safe_dump([entries[0] | {"sha256": digest}, *entries[1:]]))
    assert said(["next", "--campaign", str(sealed.folder)], capsys)[0] == 0
    for damage in (lambda: file.write_text("moved"), file.unlink):
        damage()
        for verb in ("next", "audit", "approve"):
            status, told = said([verb, "--campaign", str(sealed.folder)], capsys)
            assert (status, told.count("\n")) == (1, 1)
            assert file.name in told
        with pytest.raises(SystemExit, match=re.escape(file.name)):
            jobs(sealed.folder, begins=True)


def test_a_structure_that_was_used_may_not_move_whatever_the_index_says(
    sealed: Campaign, capsys: pytest.CaptureFixture
) -> None:
    """Frames of the old one are in the fits; the index may have no sha256, or the new one's."""
    used = sealed.state().structures
    assert used
    path = sealed.folder / "structures" / f"{next(iter(used))}.extxyz"
    for damage in (lambda: path.write_text("moved"), path.unlink):
        damage()
        for verb in ("next", "audit", "approve"):
            status, told = said([verb, "--campaign", str(sealed.folder)], capsys)
            assert (status, told.count("\n")) == (1, 1)
            assert str(path) in told
        _, told = said(["status", "--campaign", str(sealed.folder)], capsys)
        assert f"CHANGED  {path}" in told
    unused = next(s for s in sealed.structures if s.id not in used).id
    (sealed.folder / "structures" / f"{unused}.extxyz").write_text("another")
    path.touch()
    assert said(["next", "--campaign", str(sealed.folder)], capsys)[0] == 0


@pytest.mark.parametrize("kind", ["fifo", "loop", "device"])
def test_what_is_no_file_is_never_written_to(
    sealed: Campaign, capsys: pytest.CaptureFixture, kind: str
) -> None:
    path = sealed.iteration(4) / "approval.json"
    os.mkfifo(path) if kind == "fifo" else path.symlink_to({"device": "/dev/null"}.get(kind, path))
    status, told = said(["approve", "--campaign", str(sealed.folder)], capsys)
    assert (status, told.count("\n")) == (1, 1)
    assert str(path) in told


def test_a_link_to_itself_is_no_place_for_a_fork(sealed: Campaign, tmp_path: Path, capsys) -> None:
    (tmp_path / "loop").symlink_to("loop")
    words = ["fork", "--at", "3", str(tmp_path / "loop"), "--campaign", str(sealed.folder)]
    status, told = said(words, capsys)
    assert (status, told.count("\n")) == (1, 1)
    assert "choose another name" in told


def test_a_link_to_nowhere_is_no_default(sealed: Campaign, capsys: pytest.CaptureFixture) -> None:
    path = sealed.folder / "config.yaml"
    path.unlink()
    path.symlink_to(path.name)
    status, told = said(["next", "--again", "--campaign", str(sealed.folder)], capsys)
    assert (status, told.count("\n")) == (1, 1)
    assert str(path) in told


def test_an_approval_of_something_else_is_named_in_every_mode(sealed: Campaign) -> None:
    (sealed.iteration(4) / "approval.json").write_text('{"plan_sha256": "0"}')
    with pytest.raises(ApprovalError, match="approved was another plan"):
        require_approved(sealed, sealed.pending)
    assert "approved was another plan" in standing.render(standing.status(sealed))
    assert main(["next", "--again", "--campaign", str(sealed.folder)]) == 0
    require_approved(sealed, sealed.pending)
