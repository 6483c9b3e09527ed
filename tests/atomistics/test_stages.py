"""Stages of a protocol against what is known without them: targets, elastic constants, argon."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from atomistics.md import stages
from atomistics.md.integrators import Straining
from atomistics.md.protocol import ReverseMd, StagedProtocol, Strain
from atomistics.md.rnemd import VelocitySwaps
from atomistics.md.strain import stress_strain
from atomistics.md.watchdog import Limits, Watchdog, temperature
from atomistics.reference.counting import CountingCalculator
from campaign.errors import UserError
from campaign.files import parse
from tests.atomistics.argon import LennardJones, liquid
from tests.atomistics.springs import BULK_MODULUS, Springs, crystal

HOLD = {"stage": "hold", "temperature": 300, "picoseconds": 0.1}


def protocol(timestep: float, *given: dict) -> StagedProtocol:
    return parse(StagedProtocol, {"timestep": timestep, "stages": list(given)}, "test")


@pytest.mark.parametrize(
    "ensemble", [{}, {"ensemble": "npt"}, {"ensemble": "npt", "barostat": "axes"}]
)
def test_temperature_follows_the_ramps(ensemble: dict) -> None:
    hold = {"stage": "hold", "temperature": 200, "picoseconds": 0.6, **ensemble}
    stage = {"stage": "anneal", "low": 200, "high": 500, "rate": 150, "picoseconds": 0.4}
    given = protocol(4.0, hold, {**stage, **ensemble})
    atoms = crystal(2)
    seen = stages.run(atoms, Springs(atoms), given, interval=5, seed=1)
    assert seen.stop is None
    assert seen.steps == given.steps == 150 + 500 + 100 + 500
    target = np.array([a.info["temperature"] for a in seen.frames])
    found = np.array([temperature(a) for a in seen.frames])
    steps = np.array([a.info["step"] for a in seen.frames])
    ramp = np.interp(steps * 0.004, [0, 0.6, 2.6, 3, 5], [200, 200, 500, 500, 200])
    assert target == pytest.approx(ramp)
    up, down = (steps > 150) & (steps < 650), steps > 750
    for part in (up, down):
        assert np.polyfit(target[part], found[part], 1)[0] == pytest.approx(1, abs=0.35)
    # springs store half the heat, so both lag by twice the thermostat's 0.1 ps; the mean does not
    both = np.mean([found[up].mean(), found[down].mean()])
    assert both == pytest.approx(350, rel=0.06)


def test_melt_and_quench_forgets_the_crystal_and_ends_cold() -> None:
    stage = {"stage": "melt-quench", "melt": 600, "picoseconds": 2, "rate": 400, "final": 60}
    given = protocol(8.0, {**stage, "settle": 2})
    atoms = liquid((3, 3, 3), 0.8)
    seen = stages.run(atoms, LennardJones(), given, interval=10, seed=2)
    assert seen.stop is None
    last = [a for a in seen.frames if a.info["step"] > given.steps - 125]
    assert np.mean([temperature(a) for a in last]) == pytest.approx(60, rel=0.08)
    melt = [temperature(a) for a in seen.frames if 100 < a.info["step"] <= 250]
    assert np.mean(melt) == pytest.approx(600, rel=0.08)
    way = np.linalg.norm(seen.frames[-1].positions - atoms.positions, axis=1)
    assert np.median(way) > 2.0, "most atoms have left their places"


@pytest.mark.parametrize(
    ("direction", "others", "modulus"),
    [("y", "fixed", 1.5), ("y", "free", 1.0), ("xz", "fixed", 0.75)],
)
def test_elastic_constants_of_a_crystal_of_springs(
    direction: str, others: str, modulus: float
) -> None:
    """Central forces to nearest neighbours in fcc: C11 = 2 C12 = 2 C44 = 3/2 B, E = B."""
    stage = {"stage": "strain", "direction": direction, "others": others, "temperature": 5}
    given = protocol(2.0, {**stage, "strain": 0.02, "rate": 0.02})
    atoms = crystal(2)
    seen = stages.run(atoms, Springs(atoms), given, interval=50, seed=3)
    (found,) = seen.properties
    exact = modulus * BULK_MODULUS / units.GPa
    assert found["value"] == pytest.approx(exact, rel=0.03)
    assert abs(found["value"] - exact) < 6 * found["error"] + 0.02 * exact
    gradient = np.linalg.solve(atoms.cell.array, seen.frames[-1].cell.array).T
    reached = gradient["xyz".index(direction[0]), "xyz".index(direction[-1])]
    assert reached - (len(direction) == 1) == pytest.approx(0.02)
    narrowed = gradient[0, 0] if direction == "y" else 1.0
    assert (narrowed < 0.995) == (others == "free"), "Poisson's ratio is 1/3"


def test_c11_of_emt_copper() -> None:
    atoms = bulk("Cu", a=3.59, cubic=True) * 2
    static = []
    for strain in (-1e-3, 1e-3):
        copy = atoms.copy()
        copy.set_cell(copy.cell.array @ np.diag([1 + strain, 1, 1]), scale_atoms=True)
        copy.calc = EMT()
        static.append(copy.get_stress()[0] / units.GPa)
    stage = {"stage": "strain", "direction": "x", "others": "fixed", "temperature": 5}
    given = protocol(5.0, {**stage, "strain": 0.03, "rate": 0.1})
    seen = stages.run(atoms, EMT(), given, interval=50, seed=1)
    (found,) = seen.properties
    assert seen.reference_calls == given.steps + 1, "straining costs no second call"
    assert found["name"] == "tensile_modulus_x"
    assert found["value"] == pytest.approx((static[1] - static[0]) / 2e-3, rel=0.05)
    assert found["curve"]["stress_GPa"][-1] == pytest.approx(0.03 * found["value"], rel=0.15)


def test_the_resting_centre_of_mass_carries_no_heat_while_straining() -> None:
    """A thermostat that counts 3N or more degrees of freedom is too hot by as much."""
    atoms = crystal()[:4]
    atoms.set_momenta(np.eye(4, 3))
    straining = Straining(atoms, 1.0, 300, rng=np.random.default_rng(0))
    assert straining.target_kinetic_energy == pytest.approx(0.5 * 9 * units.kB * 300)


@pytest.mark.parametrize("direction", ["xy", "xz", "yz"])
def test_a_strain_in_a_plane_is_shear_with_its_curve_and_its_beginning(direction: str) -> None:
    stage = Strain(
        stage="strain", direction=direction, strain=0.06, rate=0.1, others="free", temperature=1
    )
    strain = np.linspace(0, 0.06, 160)
    found = stress_strain(stage, strain, 70 * strain + 2000 * strain**3)
    assert found["name"] == f"shear_modulus_{direction}"
    assert found["value"] == pytest.approx(70, abs=2), "what comes after 3 % is not its beginning"
    assert found["curve"]["strain"] == pytest.approx(strain.reshape(16, 10).mean(axis=1), rel=1e-5)


def test_modulus_of_a_known_curve_and_of_one_too_short() -> None:
    stage = Strain(
        stage="strain", direction="x", strain=0.06, rate=0.1, others="free", temperature=1
    )
    strain = np.linspace(0, 0.06, 200)
    noise = np.random.default_rng(1).normal(0, 0.05, 200)
    found = stress_strain(stage, strain, 70 * strain - 400 * strain**2 + 0.3 + noise)
    assert found["name"] == "young_modulus_x"
    assert abs(found["value"] - 70) < 4 * found["error"]
    assert 0 < found["error"] < 10
    within = []
    for seed in range(200):
        loud = np.random.default_rng(seed).normal(0, 0.5, 200)
        one = stress_strain(stage, strain, 70 * strain - 400 * strain**2 + loud)
        within.append(abs(one["value"] - 70) < 2 * one["error"])
    assert 0.88 < np.mean(within) < 0.99, "two standard errors, noise ten times louder"
    assert stress_strain(stage, strain[:4], strain[:4])["value"] is None


HEAT = {
    "stage": "rnemd",
    "exchange": "heat",
    "axis": "c",
    "slabs": 12,
    "every": 80,
    "temperature": 87,
    "picoseconds": 16,
    "settle": 4,
}
EQUILIBRATED = (
    {"stage": "hold", "temperature": 180, "picoseconds": 2},
    {"stage": "hold", "temperature": 87, "picoseconds": 4},
)


def test_thermal_conductivity_of_liquid_argon() -> None:
    """0.13 W/m/K: Müller-Plathe (1997) found 7.1 reduced units, 1 of which is 0.0188 W/m/K."""
    seen = stages.run(
        liquid((3, 3, 6)), LennardJones(), protocol(8.0, *EQUILIBRATED, HEAT), 10, seed=1
    )
    assert seen.stop is None
    (found,) = seen.properties
    assert found["unit"] == "W/m/K"
    assert found["value"] == pytest.approx(0.13, rel=0.25)
    assert 0 < found["error"] < 0.04
    profile, distance = (np.array(found["curve"][k]) for k in ("temperature_K", "distance_A"))
    inner = slice(1, -1)
    assert np.corrcoef(distance[inner], profile[inner])[0, 1] > 0.98, "linear between the slabs"
    assert profile[-1] > profile[0] + 20
    swapped = [a for a in seen.frames if a.info["stage"] == 3]
    for atoms in swapped:
        assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-9
    total = np.array([a.get_potential_energy() + a.get_kinetic_energy() for a in swapped])
    assert np.ptp(total) < 0.1, "eV; the swaps carried several"


def test_momentum_exchange_shears_liquid_argon() -> None:
    """0.25-0.30 mPa s at this state: 2.8-3.3 reduced units (Müller-Plathe 1999, and cut-off)."""
    stage = {**HEAT, "exchange": "momentum", "picoseconds": 10}
    seen = stages.run(
        liquid((3, 3, 6)), LennardJones(), protocol(8.0, *EQUILIBRATED, stage), 200, seed=2
    )
    (found,) = seen.properties
    assert found["name"] == "shear_viscosity"
    assert found["value"] == pytest.approx(0.27, rel=0.35)
    profile = np.array(found["curve"]["velocity_A_per_fs"])
    assert (np.diff(profile) > 0).all()
    assert np.abs(seen.frames[-1].get_momenta().sum(axis=0)).max() < 1e-9


@pytest.mark.parametrize("exchange", ["heat", "momentum"])
def test_a_swap_carries_what_it_counts_and_nothing_else(exchange: str) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((2, 2, 6))
    atoms.set_momenta(np.random.default_rng(5).normal(0, 3, (len(atoms), 3)))
    stage = ReverseMd(**{**HEAT, "exchange": exchange})
    given = VelocitySwaps(atoms, stage)
    kinetic, momentum = atoms.get_kinetic_energy(), atoms.get_momenta().sum(axis=0)
    before = atoms.get_momenta()
    given.swap(atoms)
    after = atoms.get_momenta()
    assert atoms.get_kinetic_energy() == pytest.approx(kinetic)
    assert after.sum(axis=0) == pytest.approx(momentum)
    (one, other) = np.flatnonzero(np.abs(after - before).max(axis=1) > 1e-12)
    assert atoms.numbers[one] == atoms.numbers[other]
    slab = (atoms.get_scaled_positions()[:, 2] * 12).astype(int)
    assert {slab[one], slab[other]} == {0, 6}
    gain = other if slab[other] == 6 else one
    if exchange == "heat":
        moved = (after[gain] ** 2 - before[gain] ** 2).sum() / 2 / atoms.get_masses()[gain]
    else:
        moved = (after - before)[gain, 1]
    assert given.moved == pytest.approx(moved)
    assert given.moved > 0


def test_stages_follow_each_other_and_frames_say_which() -> None:
    atoms = crystal(2)
    given = protocol(2.0, HOLD, {**HOLD, "ensemble": "nve"}, {**HOLD, "temperature": 100})
    seen = stages.run(atoms, Springs(atoms), given, interval=10, seed=1)
    assert [a.info["step"] for a in seen.frames] == list(range(10, 151, 10))
    assert [a.info["stage"] for a in seen.frames] == [1] * 5 + [2] * 5 + [3] * 5
    assert seen.reference_calls == 151, "no stage pays its first geometry twice"
    energy = [a.get_total_energy() for a in seen.frames if a.info["stage"] == 2]
    assert np.ptp(energy) < 2e-3 * len(atoms)
    for frame in seen.frames[::4]:
        bare = frame.copy()
        bare.calc = Springs(atoms)
        assert frame.get_forces() == pytest.approx(bare.get_forces())


def test_the_seed_decides_and_later_stages_do_not_reach_back() -> None:
    atoms = crystal(2)

    def positions(seed: int, *given: dict) -> np.ndarray:
        seen = stages.run(atoms, Springs(atoms), protocol(2.0, *given), interval=25, seed=seed)
        return np.array([a.positions for a in seen.frames])

    anneal = {"stage": "anneal", "low": 200, "high": 400, "rate": 4000, "picoseconds": 0.05}
    first = positions(7, HOLD, anneal)
    assert (positions(7, HOLD, anneal) == first).all()
    assert not np.allclose(positions(8, HOLD, anneal), first)
    assert (positions(7, HOLD)[:2] == first[:2]).all()


def test_an_early_stop_keeps_sound_frames_and_gives_no_property() -> None:
    atoms = crystal(2)
    strain = {
        "stage": "strain",
        "direction": "x",
        "strain": 0.2,
        "rate": 0.5,
        "others": "fixed",
        "temperature": 300,
    }
    given = protocol(2.0, HOLD, strain)
    volume = atoms.get_volume() / len(atoms)
    watchdog = Watchdog(Limits(volume=(0, 1.1 * volume)))
    seen = stages.run(atoms, Springs(atoms), given, 25, 1, watchdog)
    assert seen.stop == "density"
    assert 50 + 90 < seen.steps < 50 + 115, "ten percent after 100 of 200 steps"
    assert seen.frames[-1].get_volume() < 1.1 * atoms.get_volume()
    assert seen.properties == []
    assert [s.stage for s in seen.stages] == ["hold", "strain"]

    def broken(results: dict) -> None:
        raise RuntimeError("engine fell off")

    seen = stages.run(atoms, Springs(atoms, 80, broken), given, 25, 1)
    assert seen.stop == "calculator"
    assert "engine fell off" in seen.detail
    assert max(a.info["step"] for a in seen.frames) <= 80


@pytest.mark.parametrize(
    ("atoms", "stage", "line"),
    [
        (crystal(2), {**HEAT, "slabs": 20}, "fewer slabs"),
        (molecule("H2O"), {**HOLD, "ensemble": "npt"}, "periodic"),
        (molecule("H2O"), HEAT, "periodic"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_call_is_paid(
    atoms: Atoms, stage: dict, line: str
) -> None:
    counting = CountingCalculator(EMT())
    with pytest.raises(UserError, match=line):
        stages.run(atoms, counting, protocol(1.0, HOLD, stage), 10, 1)
    assert counting.calls == 0


def swaps(exchange: str, slabs: int = 20) -> VelocitySwaps:
    stage = ReverseMd(**{**HEAT, "exchange": exchange, "slabs": slabs, "temperature": 100})
    return VelocitySwaps(liquid((3, 3, 8)), stage)


def test_a_flux_beyond_linear_response_is_told() -> None:
    """A gradient of a tenth may be linear; a steep one, or one that bends, is not."""
    heat = swaps("heat")
    assert heat.beyond_linear(np.linspace(95, 105, 11)) is None
    steep = heat.beyond_linear(np.linspace(60, 140, 11))
    assert "temperatures span 64% of their mean" in steep
    assert "every: 160" in steep
    bent = heat.beyond_linear(95 + 10 * np.linspace(0, 1, 11) ** 2)
    assert "halves differ by" in bent
    flow = swaps("momentum")
    thermal = np.sqrt(units.kB * 100 / 39.948)  # of argon
    assert flow.beyond_linear(np.linspace(-0.1, 0.1, 11) * thermal) is None
    assert "80% of the thermal velocity" in flow.beyond_linear(np.linspace(-0.5, 0.5, 11) * thermal)


def test_unloading_is_no_second_modulus() -> None:
    stretch = {"stage": "strain", "direction": "x", "rate": 0.01, "others": "fixed"}
    stretch |= {"temperature": 100}
    there, back, other = (
        Strain(**stretch, strain=0.04),
        Strain(**stretch, strain=-0.04),
        Strain(**{**stretch, "direction": "xy"}, strain=0.04),
    )
    assert stages.strained([], there) == 0
    assert stages.strained([there], back) == pytest.approx(0.04)
    assert stages.strained([there, back], there) == pytest.approx(0)
    assert stages.strained([there], other) == 0
    strain = np.linspace(0, -0.04, 400)
    unloaded = stress_strain(back, strain, 70 * (strain + 0.04), before=0.04)
    assert (unloaded["name"], unloaded["value"]) == ("unloading_x", None)
    assert unloaded["curve"]["strain"][0] == pytest.approx(0.04, abs=2e-3)
    assert stress_strain(there, -strain, -70 * strain)["value"] == pytest.approx(70)
