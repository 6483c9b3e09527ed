"""The potential of quenched silicon against its paper's figures and finite differences."""

import numpy as np
import pytest
from ase.build import bulk

from atomistics.builders.amorphous.stillinger_weber import StillingerWeber
from tests.builders.recipes import made


@pytest.mark.parametrize(("element", "a", "energy"), [("Si", 5.431, 2.1682), ("Ge", 5.654, 1.93)])
def test_diamond_has_two_epsilon_an_atom_and_no_pressure(element, a, energy) -> None:
    """Four bonds at the minimum of the pair term, all angles tetrahedral: -2 epsilon, exactly."""
    crystal = bulk(element, a=a, cubic=True)
    crystal.calc = StillingerWeber()
    assert crystal.get_potential_energy() / 8 == pytest.approx(-2 * energy, rel=1e-4)
    assert np.abs(crystal.get_stress()).max() < 2e-3


def test_forces_and_stress_are_derivatives() -> None:
    atoms = bulk("Si", cubic=True).repeat((2, 1, 1))
    atoms.rattle(0.15, seed=3)
    atoms.calc = StillingerWeber()
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    step = 1e-4
    for n, axis in ((0, 0), (7, 2), (11, 1)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[n, axis] += sign * step
            moved.calc = StillingerWeber()
            energies.append(moved.get_potential_energy())
        assert forces[n, axis] == pytest.approx(-(energies[0] - energies[1]) / 2 / step, abs=1e-5)
    for a, b in ((0, 0), (2, 2), (0, 1)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step / (1 if a == b else 2)
            strain[b, a] = strain[a, b] if a != b else strain[b, a]
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            moved.calc = StillingerWeber()
            energies.append(moved.get_potential_energy())
        slope = (energies[0] - energies[1]) / 2 / step / atoms.get_volume()
        assert stress[a, b] == pytest.approx(slope, abs=1e-6)


def test_quenched_silicon_is_a_tetrahedral_network() -> None:
    """Four neighbours on average (4.0 to 4.6 in fast quenches), bonds near 2.35 Å."""
    quench = {"melt": 2200, "picoseconds": 1.0, "rate": 500, "final": 300, "settle": 0.5}
    atoms = made(
        "amorphous",
        components=[{"formula": "Si", "mole_ratio": 1}],
        density_g_cm3=2.28,
        atoms=64,
        melt_quench={**quench, "timestep": 2.0, "potential": "stillinger-weber"},
    )
    distance = atoms.get_all_distances(mic=True)
    near = (distance > 0.1) & (distance < 2.9)
    assert 3.8 < near.sum(axis=1).mean() < 4.8
    assert distance[distance > 0.1].min() > 2.0
    four = np.sort(distance, axis=1)[:, 1:5]
    assert 2.35 < four.mean() < 2.52  # of the melt 2.56
