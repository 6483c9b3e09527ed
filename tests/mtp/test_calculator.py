"""The ASE calculator: right in every cell, with a list that moves along, and one-line errors."""

import numpy as np
import pytest
from ase import Atoms
from ase.md.verlet import VelocityVerlet
from ase.units import fs

from mtp.calculator import MTP
from mtp.configuration import from_atoms
from mtp.engine import Engine
from mtp.errors import MTPError
from mtp.formats.almtp import write_potential
from mtp.selection.selector import RowWeights, Selector
from tests.mtp.samples import SPECIES, configuration, potential

MODEL = potential()


def atoms_of(seed=0, atoms=8, pbc=(True, True, True)):
    return configuration(seed, atoms, pbc=pbc).to_atoms(SPECIES)


def fresh(atoms):
    """The same from a calculator without memory."""
    found = Engine(MODEL).evaluate([from_atoms(atoms, SPECIES)])[0]
    return found.energy, found.forces


@pytest.mark.parametrize(
    "pbc", [(True,) * 3, (True, False, True), (False, False, True), (False,) * 3]
)
def test_energy_forces_and_stress_against_differences(pbc):
    atoms = atoms_of(3, pbc=pbc)
    atoms.calc = MTP(MODEL, SPECIES)
    forces = atoms.get_forces()
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy())
    step = 1e-4
    for atom, axis in ((0, 0), (3, 1), (7, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            moved.calc = atoms.calc
            energies.append(moved.get_potential_energy())
        assert forces[atom, axis] == pytest.approx(
            -np.diff(energies[::-1])[0] / (2 * step), abs=1e-5
        )
    if not all(pbc):
        assert "stress" not in atoms.calc.results
        return
    atoms.get_potential_energy()
    stress = atoms.get_stress()
    for voigt, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            moved.calc = atoms.calc
            energies.append(moved.get_potential_energy())
        expected = -np.diff(energies)[0] / (2 * step) / atoms.get_volume()
        assert stress[voigt] == pytest.approx(expected, abs=1e-5)


def test_size_species_cell_and_boundaries_may_change():
    calculator = MTP(MODEL, SPECIES)
    for seed, size, pbc in ((0, 8, (True,) * 3), (1, 5, (True,) * 3), (2, 9, (False,) * 3)):
        atoms = atoms_of(seed, size, pbc)
        atoms.calc = calculator
        energy, forces = fresh(atoms)
        assert atoms.get_potential_energy() == pytest.approx(energy)
        assert atoms.get_forces() == pytest.approx(forces)
    atoms.symbols[0] = "C" if atoms.symbols[0] != "C" else "O"
    assert atoms.get_potential_energy() == pytest.approx(fresh(atoms)[0])
    atoms.pbc = True
    atoms.cell = [9.0, 9.0, 9.0]
    assert atoms.get_potential_energy() == pytest.approx(fresh(atoms)[0])


@pytest.mark.parametrize("cell_moves", [False, True])
def test_the_list_follows_a_random_walk(cell_moves):
    rng = np.random.default_rng(0)
    atoms = atoms_of(1)
    atoms.calc = MTP(MODEL, SPECIES, skin=0.8)
    for step in range(60):
        atoms.positions += rng.normal(0, 0.01, atoms.positions.shape)
        if cell_moves:
            strain = np.eye(3) + rng.normal(0, 0.001, (3, 3))
            atoms.set_cell(atoms.cell.array @ strain, scale_atoms=bool(step % 2))
        if step == 30:
            atoms.positions[2] += atoms.cell.array[0]
        energy, forces = fresh(atoms)
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-10)
        assert atoms.get_forces() == pytest.approx(forces, abs=1e-10)
    assert 2 <= atoms.calc.list.rebuilt < 20


def test_a_jump_beyond_the_skin_rebuilds():
    atoms = atoms_of(1)
    atoms.calc = MTP(MODEL, SPECIES, skin=0.5)
    atoms.get_potential_energy()
    atoms.positions[0] += 0.3
    assert atoms.get_potential_energy() == pytest.approx(fresh(atoms)[0])
    assert atoms.calc.list.rebuilt == 2


def test_md_conserves_energy():
    atoms = atoms_of(5)
    atoms.calc = MTP(MODEL, SPECIES)
    atoms.set_momenta(np.random.default_rng(0).normal(size=(len(atoms), 3)))
    dynamics = VelocityVerlet(atoms, 0.5 * fs)
    totals = [atoms.get_total_energy() for _ in dynamics.irun(100)]
    assert np.ptp(totals) < 5e-3 * max(1.0, np.ptp(atoms.get_forces()))
    assert atoms.calc.list.rebuilt < 60


def test_grades_per_atom_and_largest(tmp_path):
    structures = [configuration(seed) for seed in range(20)]
    selector = Selector(MODEL, RowWeights.of_mode("nbh"))
    selector.add(structures)
    write_potential(tmp_path / "pot.almtp", selector.with_active_set())
    calculator = MTP(tmp_path / "pot.almtp", SPECIES, grades=True)
    atoms = structures[0].to_atoms(SPECIES)
    atoms.calc = calculator
    atoms.get_potential_energy()
    assert "grades" not in calculator.results, "they cost as much as an MD step: found when asked"
    known = calculator.get_property("max_grade", atoms)
    assert known == pytest.approx(calculator.get_property("grades", atoms).max())
    assert known <= 1.01
    atoms.positions[0] += 0.7
    atoms.get_forces()
    assert calculator.get_property("max_grade", atoms) > 1.5
    expected = next(selector.grade([from_atoms(atoms, SPECIES)]))
    assert calculator.get_property("grades", atoms) == pytest.approx(expected.grades, rel=1e-5)
    calculator.calculate(atoms_of(3))
    expected = next(selector.grade([from_atoms(atoms_of(3), SPECIES)]))
    assert calculator.results["grades"] == pytest.approx(expected.grades, rel=1e-5)
    assert "grades" not in MTP(MODEL, SPECIES).implemented_properties


def test_what_was_evaluated_stays_when_the_atoms_move_on():
    atoms = atoms_of(4)
    calculator = MTP(MODEL, SPECIES)
    assert calculator.atoms is None
    energy = calculator.get_potential_energy(atoms)
    before = atoms.copy()
    atoms.positions[0] += 0.1
    atoms.cell[0, 0] *= 1.1
    assert calculator.atoms == before
    assert calculator.get_potential_energy() == energy
    assert set(calculator.check_state(atoms)) == {"positions", "cell"}
    assert calculator.get_potential_energy(atoms) == pytest.approx(fresh(atoms)[0])


def test_errors_are_one_line():
    atoms = Atoms("LiAu", positions=[[0, 0, 0], [0, 0, 2]])
    atoms.calc = MTP(MODEL, SPECIES)
    with pytest.raises(MTPError, match=r"element Au is not among .*Li, C, O") as caught:
        atoms.get_potential_energy()
    assert "\n" not in str(caught.value)
    with pytest.raises(MTPError, match="3 species but 2 elements"):
        MTP(MODEL, ["Li", "C"])
    with pytest.raises(MTPError, match="no active set"):
        MTP(MODEL, SPECIES, grades=True)
    atoms = atoms_of()
    atoms.calc = MTP(MODEL, SPECIES)
    atoms.get_potential_energy()
    atoms.positions[0, 0] = np.nan
    with pytest.raises(MTPError, match="not finite"):
        atoms.get_potential_energy()
