"""Structures that a barostat cannot hold, or that have no dynamics: told by `planner init`."""

from pathlib import Path

import pytest
import yaml
from ase import Atoms, io

from campaign.job import Job

TASK = {
    "name": "t",
    "description": "t",
    "species": ["Cu"],
    "temperature": 300,
    "subsystems": [{"name": "a", "stage": 1, "role": "target", "max_temperature": 600}],
    "targets": {
        "force_mae": 0.1,
        "energy_mae": 0.01,
        "density_deviation": 0.05,
        "rdf_overlap": 0.8,
        "stable_ps": 1.0,
    },
}


def source(folder: Path, atoms: Atoms) -> Path:
    (folder / "structures").mkdir(parents=True)
    (folder / "task.yaml").write_text(yaml.safe_dump(TASK))
    (folder / "config.yaml").write_text("mlp: {cutoff: 3.0}\n")
    index = []
    for name, held_out in (("one", False), ("two", True)):
        io.write(folder / f"structures/{name}.extxyz", atoms)
        entry = {"id": name, "file": f"{name}.extxyz", "subsystem": "a", "family": "cluster"}
        index.append({**entry, "held_out": held_out, "description": "x"})
    (folder / "structures/index.yaml").write_text(yaml.safe_dump(index))
    return folder


def test_a_molecule_in_vacuum_keeps_its_volume_and_one_atom_is_refused(tmp_path, types) -> None:
    dimer = source(tmp_path / "dimer", Atoms("Cu2", [(0, 0, 0), (0, 0, 2.2)]))
    status, out, err = types(["init", dimer, tmp_path / "d"])
    assert (status, err) == (0, "")
    assert "at constant volume whatever a plan says: one, two" in out
    (tmp_path / "d/iterations/001").mkdir(parents=True)
    job = Job(tmp_path / "d/iterations/001")
    assert [job.ensemble("one", asked) for asked in ("npt", "nvt", "nve")] == ["nvt", "nvt", "nve"]
    atom = source(tmp_path / "atom", Atoms("Cu"))
    status, _, err = types(["init", atom, tmp_path / "a"])
    assert (status, err.count("\n")) == (1, 1)
    assert "structure one: one atom alone has no dynamics" in err


@pytest.mark.parametrize("vacuum", [True, False])
def test_a_cell_has_a_volume_to_control(tmp_path, types, vacuum: bool) -> None:
    cell = Atoms("Cu2", [(0, 0, 0), (2, 2, 2)], cell=[4, 4, 4], pbc=(True, True, not vacuum))
    folder = source(tmp_path / "cell", cell)
    assert types(["init", folder, tmp_path / "c"])[0] == 0
    (tmp_path / "c/iterations/001").mkdir(parents=True)
    job = Job(tmp_path / "c/iterations/001")
    assert job.ensemble("one", "npt") == ("nvt" if vacuum else "npt")
