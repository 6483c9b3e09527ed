"""`planner doctor` without a cluster: each fault of the place itself is named with its remedy."""

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import yaml

from campaign.create import create
from campaign.doctor.this_machine import workplace
from campaign.folder import Campaign
from mtpilot.doctor import doctor
from tests.campaign.conftest import make_source

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return create(str(make_source(tmp_path / "source")), tmp_path / "c").folder


def found(folder: Path, **changes: Any) -> dict[str, str]:
    """Findings by what they are about."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    return {f.what: str(f) for f in workplace(Campaign.at(folder))}


def test_a_sound_place_passes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    said: list[str] = []
    assert doctor(Campaign.at(folder), False, said.append)
    assert not [line for line in said if line.startswith("FAIL")]
    assert any("no SLURM on this machine" in line for line in said)
    assert not [path for path in folder.iterdir() if "doctor" in path.name]


@pytest.mark.parametrize(
    ("changes", "what", "said"),
    [
        ({"mlp": {"command": "no-such-mlp"}}, "mlp", "set mlp.command and mlp.flavour"),
        ({"mlp": {"command": "true"}}, "mlp", "set mlp.command and mlp.flavour"),
        ({"reference": {"method": "vasp"}}, "reference", "options.command or ASE_VASP_COMMAND"),
        (
            {"reference": {"method": "vasp", "options": {"command": "mpirun-x vasp_std"}}},
            "reference",
            "mpirun-x is not found; correct reference.options.command",
        ),
    ],
)
def test_what_could_not_run_is_named(
    folder: Path, changes: dict[str, Any], what: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASE_VASP_COMMAND", raising=False)
    line = found(folder, **changes)[what]
    assert line.startswith("FAIL")
    assert said in line


def test_a_full_disk_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40, 2**20))
    lines = found(folder)
    for what in ("folder", "scratch"):
        assert lines[what].startswith("FAIL")
        assert "1 MB free; make room" in lines[what]


def test_a_file_system_that_makes_a_lock_twice_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    real = os.open
    monkeypatch.setattr(os, "open", lambda p, flags, *m, **k: real(p, flags & ~os.O_EXCL, *m, **k))
    assert "made twice; use another file system" in found(folder)["locks"]
