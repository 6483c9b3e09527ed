"""`planner converge` on aluminium by Quantum ESPRESSO: what is chosen holds."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.io import write

from atomistics.deformation import rattle
from atomistics.reference.catalog import Method
from atomistics.reference.methods import label, reference_calculator
from campaign.converge import AMPLITUDES, stored
from campaign.folder import Campaign
from campaign.report.document import write_now
from mtpilot.cli import main
from tests.dft.hydrogen import CONFIG, PSEUDOPOTENTIALS, TASK

OPTIONS: dict[str, Any] = {
    "command": "pw.x",
    "pseudo_dir": str(PSEUDOPOTENTIALS),
    "pseudopotentials": {"Al": "Al.pz-vbc.UPF"},
    "kspacing": 0.1,
    "input_data": {
        "control": {"tstress": True, "tprnfor": True},
        "system": {
            "ecutwfc": 12,
            "occupations": "smearing",
            "smearing": "gaussian",
            "degauss": 0.1,
            "nosym": True,
            "noinv": True,
        },
        "electrons": {"conv_thr": 1e-8},
    },
}
VARIED = ["cutoff=8,12,16,20", "kpoints=0.3,0.1,0.07", "smearing=0.3,0.03,0.02"]


@pytest.fixture
def aluminium(here: Path) -> Campaign:
    source = here / "source"
    (source / "structures").mkdir(parents=True)
    index = []
    for name in ("al", "al_held"):
        path = source / f"structures/{name}.extxyz"
        write(path, bulk("Al", a=4.05) * (2, 2, 2))
        entry = {"id": name, "file": path.name, "subsystem": "crystal", "family": "solid"}
        entry |= {"held_out": name == "al_held", "description": "fcc aluminium"}
        index.append(entry | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    (source / "structures/index.yaml").write_text(yaml.safe_dump(index))
    task = TASK | {"name": "aluminium", "species": ["Al"]}
    task["subsystems"] = [{**TASK["subsystems"][0], "name": "crystal"}]
    (source / "task.yaml").write_text(yaml.safe_dump(task))
    reference = {"method": "espresso", "options": OPTIONS, "seconds_per_call": 2.0}
    config = {key: value for key, value in CONFIG.items() if key != "explorer"}
    (source / "config.yaml").write_text(yaml.safe_dump(config | {"reference": reference}))
    assert main(["init", str(source), str(here / "c")]) == 0
    return Campaign.at(here / "c")


def test_the_chosen_settings_hold(aluminium: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table, plot, config.yaml, report; the error of the chosen cutoff is found again by hand."""
    monkeypatch.chdir(aluminium.folder)
    vary = [word for one in VARIED for word in ("--vary", one)]
    loose = ["--stress", "0.6"]  # GPa; few plane waves
    assert main(["converge", *vary, "--structures", "al", *loose, "--write"]) == 0
    result = stored(aluminium)
    cutoff, kpoints, smearing = result.series
    assert [one.chosen is not None for one in result.series] == [True] * 3
    assert (cutoff.chosen, kpoints.chosen, smearing.chosen) == (16, 0.1, 0.03)
    for one in result.series:
        forces = [point.forces for point in one.points]
        assert forces[0] > 3 * forces[-2], f"{one.name}: coarse is worse than fine"
    assert cutoff.points[-1].core_seconds > cutoff.points[0].core_seconds
    options = yaml.safe_load((aluminium.folder / "config.yaml").read_text())["reference"]["options"]
    assert options["kspacing"] == kpoints.chosen
    assert options["input_data"]["system"]["degauss"] == smearing.chosen
    assert options["input_data"]["system"]["ecutwfc"] == cutoff.chosen
    page = write_now(aluminium, None).read_text()
    assert "Numerical settings of the reference" in page
    assert (aluminium.folder / "converge/convergence.svg").read_text().startswith("<svg")

    forces = []
    for value in (cutoff.chosen, cutoff.points[-1].value):
        changed = {**OPTIONS, "input_data": {**OPTIONS["input_data"]}}
        changed["input_data"]["system"] = OPTIONS["input_data"]["system"] | {"ecutwfc": value}
        calculator = reference_calculator(Method("espresso", options=changed))
        atoms = bulk("Al", a=4.05) * (2, 2, 2)
        frames = [
            rattle(atoms, width, aluminium.config.seed, n) for n, width in enumerate(AMPLITUDES)
        ]
        forces.append([label(frame, calculator).get_forces() for frame in frames])
    apart = np.abs(np.array(forces[0]) - np.array(forces[1])).mean()
    (point,) = (p for p in cutoff.points if p.value == cutoff.chosen)
    assert apart == pytest.approx(point.forces, rel=0.02, abs=1e-5)
