"""Structures of the shipped examples: made by their script, sound, fit for their reference."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from atomistics import structures
from atomistics.reference.methods import reference_calculator
from atomistics.structure_index import read_index
from campaign.config import Config, Task

EXAMPLES = Path(__file__).parents[2] / "config/examples"
DEFAULTS = EXAMPLES.parent / "default.yaml"
FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/build_structures.py"))


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def example(request):
    return request.param


def test_script_makes_the_shipped_files(example, tmp_path):
    """A copy of the script run as a user would, from another folder."""
    script = tmp_path / "build_structures.py"
    script.write_bytes((example / script.name).read_bytes())
    environment = {"PYTHONPATH": str(EXAMPLES.parents[1])}
    subprocess.run([sys.executable, script], check=True, cwd="/", env=environment, timeout=120)
    made, shipped = tmp_path / "structures", example / "structures"
    assert {p.name for p in made.iterdir()} == {p.name for p in shipped.iterdir()}
    for path in shipped.iterdir():
        assert (made / path.name).read_bytes() == path.read_bytes(), path.name


def test_structures_fit_task_and_cutoff(example):
    task = Task.model_validate(yaml.safe_load((example / "task.yaml").read_text()))
    mlp = yaml.safe_load(DEFAULTS.read_text())["mlp"]
    mlp |= yaml.safe_load((example / "config.yaml").read_text()).get("mlp", {})
    found = read_index(example / "structures")
    for structure in found:
        structures.check(structures.load(structure), task.species, mlp["cutoff"])
    held_out = [structure.subsystem for structure in found if structure.held_out]
    assert sorted(held_out) == sorted(subsystem.name for subsystem in task.subsystems)
    elements = {s for structure in found for s in structures.load(structure).symbols}
    assert elements == set(task.species)


def test_reference_sees_the_same_energy_in_a_cell_twice_as_long(example):
    """Else (Gamma point alone, a crystal with bands) the labels are no function of surroundings."""
    config = yaml.safe_load(DEFAULTS.read_text())
    config["reference"] |= yaml.safe_load((example / "config.yaml").read_text())["reference"]
    calculator = reference_calculator(Config.model_validate(config).reference)
    smallest = sorted(map(structures.load, read_index(example / "structures")), key=len)
    for atoms in smallest[:2]:
        atoms.rattle(0.03, seed=1)
        energies = []
        for image in (atoms, atoms.repeat((1, 1, 2))):
            image.calc = calculator
            energies.append(image.get_potential_energy() / len(image))
            forces = image.get_forces()[: len(atoms)]
        assert energies[0] == pytest.approx(energies[1], abs=1e-3)
        atoms.calc = calculator
        assert abs(atoms.get_forces() - forces).max() < 0.02
