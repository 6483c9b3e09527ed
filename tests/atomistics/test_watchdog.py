import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from atomistics.md.plain import start_velocities
from atomistics.md.plain_protocol import Protocol
from atomistics.md.watchdog import CLASSES, JudgedWatchdog, Limits, Watchdog, temperature


def sound(energy=-1.0, forces=0.0, grades=None):
    """Diamond at 300 K: density 3.53 g/cm3, bond 1.54 Å."""
    atoms = bulk("C", "diamond", a=3.56, cubic=True) * (2, 2, 1)
    start_velocities(atoms, Protocol("nve", 300, 1, seed=4))
    atoms.calc = SinglePointCalculator(
        atoms, energy=energy * len(atoms), forces=np.full((len(atoms), 3), forces)
    )
    if grades is not None:
        atoms.calc.results["grades"] = np.array(grades)
    return atoms


ALL = Limits(
    temperature=900, energy=(-2, 0), density=(3.0, 4.0), volume=(5, 6), min_distance=1.0, grade=10
)


def scaled(atoms, factor):
    calculator = atoms.calc
    atoms.set_cell(atoms.cell * factor, scale_atoms=True)
    atoms.calc = calculator
    calculator.atoms = atoms.copy()
    return atoms


def moved(atoms, index, to):
    atoms.positions[index] = to
    atoms.calc.atoms = atoms.copy()
    return atoms


def hot(atoms):
    atoms.set_momenta(atoms.get_momenta() * 2)
    return atoms


@pytest.mark.parametrize(
    ("atoms", "kind", "words"),
    [
        (sound(energy=np.nan), "nan", "energy is not finite"),
        (sound(forces=np.inf), "nan", "forces is not finite"),
        (sound(grades=[0.1, 12.0, 3.0]), "grade", "grade 12 reaches 10"),
        (sound(grades=12.0), "grade", "grade 12"),
        (moved(sound(), 1, [0.0, 0.0, -0.7]), "distance", "C-C .* at 0.700 Å, below 1.000 Å"),
        (moved(sound(), 1, [0.0, 0.0, 0.0]), "distance", "at 0.000 Å, below 1.000 Å"),
        (hot(sound()), "temperature", "above 900 K"),
        (sound(energy=0.5), "energy", "0.5 eV/atom is outside"),
        (sound(energy=-2.5), "energy", "-2.5 eV/atom is outside"),
        (scaled(sound(), 1.1), "density", "g/cm3 is outside"),
        (scaled(sound(), 0.95), "density", "g/cm3 is outside"),
    ],
)
def test_every_breach_has_its_class(atoms, kind, words):
    found = Watchdog(ALL).check(atoms)
    assert found is not None
    assert found[0] == kind
    assert found[0] in CLASSES
    assert re.search(words, found[1])


def test_sound_md_passes_and_none_switches_off():
    assert Watchdog(ALL).check(sound(grades=[0.5])) is None
    off = Watchdog(Limits(covalent_factor=None, lost_distance=None))
    broken = hot(hot(scaled(sound(energy=9, grades=[99]), 0.3)))
    assert off.check(broken) is None


def test_a_lost_atom_is_found():
    atoms = sound()
    atoms.set_cell(atoms.cell * [[1.0], [1.0], [6.0]], scale_atoms=False)
    atoms = moved(atoms, 0, [1.0, 1.0, 12.0])
    limits = Limits(lost_distance=6.0)
    assert Watchdog(limits).check(atoms) == ("lost_atoms", "atom 0 has no other within 6 Å")
    assert Watchdog(limits).check(moved(atoms, 0, [1.0, 1.0, 8.0])) is None


def test_a_grade_of_the_whole_structure():
    atoms = sound()
    atoms.calc.results["max_grade"] = 11.0
    assert Watchdog(ALL).check(atoms) == ("grade", "grade 11 reaches 10")


@pytest.mark.parametrize("agree", [True, False])
def test_a_label_that_agrees_widens_the_limit_it_was_bought_for(agree):
    asked = []
    watchdog = JudgedWatchdog(ALL, lambda atoms: bool(asked.append(atoms)) or agree, most=10)
    wide = scaled(sound(), 1.1)
    assert (watchdog.check(wide) is None) == agree
    assert watchdog.widened == ({"density": len(asked)} if agree else {})
    assert watchdog.labels == len(asked) >= 1
    assert watchdog.check(wide) is None if agree else watchdog.check(wide)[0] == "density"
    assert ALL.density == Watchdog(ALL).limits.density, "of this run alone"


def test_labels_that_judge_limits_are_few_and_grades_are_no_matter_of_them():
    watchdog = JudgedWatchdog(ALL, lambda atoms: True, most=2)
    assert watchdog.check(scaled(sound(), 1.6))[0] == "density"
    assert watchdog.labels == 2
    atoms = sound()
    atoms.calc.results["max_grade"] = 11.0
    assert JudgedWatchdog(ALL, lambda atoms: True, most=2).check(atoms)[0] == "grade"


def test_volume_band():
    found = Watchdog(Limits(volume=(1, 5))).check(sound())
    assert found == ("density", "5.63975 Å^3/atom is outside [1, 5]")


def test_covalent_radii_are_the_default_distance():
    """H-H at 0.74 Å is a molecule, C-C at 0.74 Å is not (0.5 x 1.52 Å)."""
    for symbol, kind in (("H", None), ("C", "distance")):
        atoms = Atoms(f"{symbol}2", [[0, 0, 0.1], [0, 0, 9.36]], cell=[10, 10, 10], pbc=True)
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((2, 3)))
        found = Watchdog(Limits()).check(atoms)
        assert (found and found[0]) == kind


def test_temperature_leaves_the_drift_out():
    atoms = sound()
    before = temperature(atoms)
    assert before == pytest.approx(300, rel=0.4)
    atoms.set_velocities(atoms.get_velocities() + np.array([0.1, 0, 0]))
    assert temperature(atoms) == pytest.approx(before, rel=1e-9)
