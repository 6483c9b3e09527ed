import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from atomistics.deformation import compression, rattle_and_relax, warm_copies
from atomistics.reference.convergence import LabelFailedError
from atomistics.reference.counting import CountingCalculator
from campaign.errors import UserError
from tests.atomistics.springs import Springs, crystal


def test_compression_scales_lengths():
    atoms = bulk("BN", "zincblende", a=3.6)
    atoms.info["structure"] = "bn"
    small, same, large = compression(atoms, [0.9, 1.0, 1.1])
    assert small.get_volume() == pytest.approx(0.729 * atoms.get_volume())
    assert np.allclose(small.get_scaled_positions(), atoms.get_scaled_positions())
    assert np.allclose(same.positions, atoms.positions)
    assert large.get_distance(0, 1) == pytest.approx(1.1 * atoms.get_distance(0, 1))
    assert large.info == {"structure": "bn"}
    with pytest.raises(UserError, match="factor -1 must be above 0"):
        compression(atoms, [1.0, -1])


def test_compression_brings_molecules_together_and_leaves_their_bonds():
    atoms = molecule("CO2", cell=[5.0, 6.0, 7.0], pbc=True) + molecule("N2")
    atoms.translate([0.3, 5.9, 6.9])  # across the boundaries
    atoms.positions[3:] += [2.5, 3.0, 0.5]
    atoms += Atoms("Ar", [[1.0, 3.0, 3.0]])
    (small,) = compression(atoms, [0.8])
    assert small.get_volume() == pytest.approx(0.512 * atoms.get_volume())
    for i, j in ((0, 1), (0, 2), (3, 4)):
        length = atoms.get_distance(i, j, mic=True)
        assert small.get_distance(i, j, mic=True) == pytest.approx(length)
    fractions = small.get_scaled_positions(wrap=False) - atoms.get_scaled_positions(wrap=False)
    assert np.allclose(fractions[5], np.round(fractions[5]))
    apart = [
        frame.get_positions()[3:5].mean(axis=0) - frame.get_positions()[0]
        for frame in (atoms, small)
    ]
    image = np.round((apart[1] / 0.8 - apart[0]) / atoms.cell.lengths())
    assert np.allclose(apart[1] / 0.8, apart[0] + image * atoms.cell.lengths())
    assert set(small.arrays) == set(atoms.arrays)


def test_rattled_frames_and_what_relaxing_makes_of_them():
    atoms = crystal()
    counting = CountingCalculator(Springs(atoms))
    frames = rattle_and_relax(atoms, counting, 3, 0.1, 4, seed=5)
    assert len(frames) == 6
    assert counting.calls == counting.calculator.calls == 3 * (1 + 4)
    for rattled, relaxed in zip(frames[::2], frames[1::2], strict=True):
        assert np.std(rattled.positions - atoms.positions) == pytest.approx(0.1, rel=0.25)
        assert relaxed.get_potential_energy() < 0.5 * rattled.get_potential_energy()
        check = relaxed.copy()
        check.calc = Springs(atoms)
        assert np.array_equal(check.get_forces(), relaxed.get_forces())
    again = rattle_and_relax(atoms, Springs(atoms), 3, 0.1, 4, seed=5)
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(frames, again, strict=True))
    more = rattle_and_relax(atoms, Springs(atoms), 4, 0.1, 0, seed=5)
    assert len(more) == 4
    assert np.array_equal(more[2].positions, frames[4].positions)
    assert not np.allclose(more[2].positions, more[3].positions)


def test_a_failing_copy_leaves_the_others():
    atoms = crystal()

    def fault(results):
        if calculator.calls == 8:  # the third call of the second copy
            results["forces"][0, 0] = np.nan

    calculator = Springs(atoms, 1, fault)
    failures = []
    frames = rattle_and_relax(atoms, calculator, 3, 0.1, 4, seed=5, failures=failures)
    assert len(frames) == 5
    assert failures == [(1, "nan", "forces is not finite")]
    calculator.calls = 0
    with pytest.raises(LabelFailedError, match="nan: forces is not finite"):
        rattle_and_relax(atoms, calculator, 3, 0.1, 4, seed=5)


def test_warm_copies_expand_and_bring_no_two_atoms_nearer_than_heat_does():
    atoms = crystal()
    failures: list[tuple[int, str, str]] = []
    frames = warm_copies(atoms, Springs(atoms), 12, 0.4, 9000, 5, failures)
    assert not failures
    widened, moved = [], []
    for frame in frames[1:]:
        cell = frame.cell.array
        at_rest = atoms.copy()
        at_rest.set_cell(cell, scale_atoms=True)
        strained = at_rest.get_all_distances(mic=True) + 9 * np.eye(len(atoms))
        distances = frame.get_all_distances(mic=True) + 9 * np.eye(len(atoms))
        assert (distances >= 0.75 * strained).all()
        widened.append(frame.get_volume() / atoms.get_volume())
        moved.append(np.std(frame.positions - at_rest.positions))
    assert np.mean(widened[1::2]) / np.mean(widened[::2]) == pytest.approx(1.03**3, abs=0.04)
    assert moved[-1] > 0.15  # far enough that some would have come nearer
