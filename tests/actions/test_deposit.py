"""The deposit read back: hashes, potential, data in both formats, and a campaign made from it."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase import io

from atomistics import dataset
from campaign.create import create
from campaign.deposit import deposit
from campaign.errors import UserError
from mtp.calculator import MTP
from mtp.formats.almtp import read_potential
from mtp.formats.cfg import read_cfg
from tests.actions.conftest import SPECIES, Bench


def test_a_deposit_stands_by_itself(begun: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    assert "m003" in deposit(begun.campaign, folder)
    checked = subprocess.run(
        ["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    named = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert named == {
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and p.name != "SHA256SUMS"
    }
    labels = dataset.read(begun.campaign.iteration(2) / "sample/dataset.h5")
    text, cfg = io.read(folder / "data.extxyz", ":"), read_cfg(folder / "data.cfg")
    assert len(labels) == len(text) == len(cfg)
    for label, one, other in zip(labels, text, cfg, strict=True):
        assert one.get_potential_energy() == pytest.approx(label.get_potential_energy())
        assert np.allclose(one.get_forces(), label.get_forces(), atol=1e-7)
        assert other.energy == pytest.approx(label.get_potential_energy())
    # the potential predicts what the campaign's own does
    own = begun.campaign.iteration(3) / "train/model.almtp"
    energies = []
    for path in (own, folder / "potential.almtp"):
        atoms = labels[0].copy()
        atoms.calc = MTP(read_potential(path), species=SPECIES)
        energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[1]
    assert (folder / "campaign/decisions/003/plan.yaml").is_file()
    assert "phonopy==" in (folder / "versions.txt").read_text()
    assert "potential.almtp" in (folder / "model_card.md").read_text()
    create(str(folder / "campaign"), tmp_path / "again")
    assert (tmp_path / "again/task.yaml").read_text() == (begun.folder / "task.yaml").read_text()


def test_nothing_is_overwritten(begun: Bench, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="exists already"):
        deposit(begun.campaign, tmp_path / "there")


def test_a_campaign_without_a_potential_has_nothing_to_keep(new: Bench, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no potential yet"):
        deposit(new.campaign, tmp_path / "kept")
    assert not list(tmp_path.glob("*kept*"))
