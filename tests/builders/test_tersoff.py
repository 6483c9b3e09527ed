"""The potential of quenched carbon against ASE's, its paper's figures, and carbon's own bonds."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.tersoff import Tersoff as OfASE
from ase.calculators.tersoff import TersoffParameters

from atomistics.builders.amorphous.tersoff import Tersoff
from atomistics.errors import UserError
from campaign.material import Phase
from preparation.propose import network
from tests.builders.recipes import made

QUENCH = {"melt": 5000, "picoseconds": 0.3, "rate": 5000, "final": 300, "settle": 0.2}
QUENCH |= {"timestep": 1.0, "potential": "tersoff"}


def test_carbon_is_as_in_ase() -> None:
    """Another program with the same paper's numbers: energy, forces and stress of hot diamond."""
    numbers = (3, 1, 0, 38049.0, 4.3484, -0.57058, 0.72751, 1.5724e-7, 2.2119, 346.74)
    parameters = TersoffParameters(*numbers, 1.95, 0.15, 3.4879, 1393.6)
    atoms = bulk("C", "diamond", 3.567, cubic=True).repeat((2, 1, 1))
    atoms.rattle(0.15, seed=3)
    other = atoms.copy()
    atoms.calc, other.calc = Tersoff(), OfASE({("C", "C", "C"): parameters})
    assert atoms.get_potential_energy() == pytest.approx(other.get_potential_energy(), abs=1e-8)
    assert np.abs(atoms.get_forces() - other.get_forces()).max() < 1e-8
    assert np.abs(atoms.get_stress() - other.get_stress()).max() < 1e-10


@pytest.mark.parametrize(
    ("crystal", "a", "energy"),
    [("diamond", 3.566, -7.37), ("silicon", 5.432, -4.63), ("SiC", 4.32, -6.16)],
)
def test_crystals_have_the_energy_of_the_paper_and_no_pressure(crystal, a, energy) -> None:
    """Tersoff, Phys. Rev. B 39, 5566 (1989), tables I to III, in eV an atom."""
    of = {"diamond": ("C", "diamond"), "silicon": ("Si", "diamond"), "SiC": ("SiC", "zincblende")}
    atoms = bulk(*of[crystal], a=a, cubic=True)
    atoms.calc = Tersoff()
    assert atoms.get_potential_energy() / 8 == pytest.approx(energy, abs=0.02)
    assert np.abs(atoms.get_stress()).max() < 6e-3  # 1 GPa, 0.1 % of the lattice


def test_forces_of_silicon_carbide_are_derivatives() -> None:
    atoms = bulk("SiC", "zincblende", 4.36, cubic=True)
    atoms.rattle(0.15, seed=3)
    atoms.calc = Tersoff()
    forces = atoms.get_forces()
    for n, axis in ((0, 0), (5, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[n, axis] += sign * 1e-4
            moved.calc = Tersoff()
            energies.append(moved.get_potential_energy())
        assert forces[n, axis] == pytest.approx(-(energies[0] - energies[1]) / 2e-4, abs=1e-5)


def test_quenched_carbon_has_carbons_bonds() -> None:
    """Packed at random it had none. Of 2.44 g/cm3: 3.3 neighbours, 1.46 Å (Li and Lannin, Phys.
    Rev. Lett. 65, 1905 (1990)); of 3.0: 3.9 and 1.52 Å (Gilkes, Gaskell and Robertson, Phys. Rev.
    B 51, 12303 (1995))."""
    parts = [{"formula": "C", "mole_ratio": 1}]
    atoms = made("amorphous", components=parts, density_g_cm3=2.7, atoms=32, melt_quench=QUENCH)
    distance = atoms.get_all_distances(mic=True)
    near = (distance > 0.1) & (distance < 1.9)
    assert 3.0 < near.sum(axis=1).mean() < 4.0
    assert set(near.sum(axis=1)) <= {2, 3, 4}
    assert 1.42 < distance[near].mean() < 1.56
    assert distance[distance > 0.1].min() > 1.2


def test_it_is_proposed_for_what_it_covers_and_refused_elsewhere() -> None:
    for formula, name in (("C", "tersoff"), ("SiC", "tersoff"), ("GeC", None)):
        part = {"name": "x", "formula": formula}
        phase = Phase.model_validate({"name": "g", "kind": "amorphous", "substances": [part]})
        assert network(phase) == name
    parts = [{"formula": "GeC", "mole_ratio": 1}]
    with pytest.raises(UserError, match="tersoff covers C, Si and Ge"):
        made("amorphous", components=parts, density_g_cm3=4.0, atoms=16, melt_quench=QUENCH)
