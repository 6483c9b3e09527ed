"""Properties against closed forms, published values and ASE's own: EMT, Lennard-Jones, silicon."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.tersoff import Tersoff, TersoffParameters
from ase.io import write
from ase.optimize import FIRE

from atomistics.properties.asked import CALLS, CRYSTAL, PropertiesAsked, kind_of, unit_of
from atomistics.properties.measure import MD, Measured, measure
from atomistics.properties.teaching import taught
from atomistics.reference.methods import label
from atomistics.structure_index import Structure
from atomistics.structures import load

SIGMA, EPSILON = 3.4, 0.0104


def numbers(found: Measured) -> dict[str, float]:
    return {v.name: v.value for v in found.values}


@pytest.fixture(scope="module")
def copper() -> Measured:
    built = bulk("Cu", cubic=True, a=3.7) * 2
    return measure(built, PropertiesAsked(kinds=sorted(CRYSTAL)), EMT())


def test_copper_by_emt_is_what_its_authors_and_ase_publish(copper: Measured) -> None:
    """ASE's documentation: a 3.59 Å, B 134.4 GPa, C11 172, C12 116, C44 90 GPa (Jacobsen,
    Stoltze and Norskov, Surf. Sci. 366, 394 (1996); their E0 is -3.51 eV)."""
    assert not copper.failed
    value = numbers(copper)
    assert value["a"] == pytest.approx(3.590, abs=0.002)
    assert "b" not in value  # cubic: one axis, no angle
    assert value["bulk_modulus"] == pytest.approx(134.4, abs=0.5)
    assert value["c11"] == pytest.approx(172.6, abs=1.5)
    assert value["c12"] == pytest.approx(115.5, abs=1.5)
    assert value["c44"] == pytest.approx(90.0, abs=1.0)
    assert value["cohesive_energy"] == pytest.approx(3.51, abs=0.01)


def test_ways_to_the_same_number_agree(copper: Measured) -> None:
    value = numbers(copper)
    assert value["bulk_modulus"] == pytest.approx((value["c11"] + 2 * value["c12"]) / 3, rel=0.005)
    assert value["eos_volume"] == pytest.approx(value["volume"], rel=1e-4)
    assert value["volume"] == pytest.approx(value["a"] ** 3 / 4, rel=1e-6)
    assert value["vacancy"] <= value["vacancy_unrelaxed"]
    assert value["surface_111"] < value["surface_100"] < value["surface_110"]
    # by hand, ASE's own slab: 1.0444 J/m2 as cut
    slab = fcc111("Cu", (1, 1, 5), a=value["a"], vacuum=6.0, periodic=True)
    slab.calc = EMT()
    area = np.linalg.norm(np.cross(slab.cell[0], slab.cell[1]))
    excess = (slab.get_potential_energy() - len(slab) * value["energy"]) / (2 * area)
    assert value["surface_111_unrelaxed"] == pytest.approx(excess * units.m**2 / units.J, rel=1e-4)


def test_sound_velocity_ties_phonons_to_elastic_constants(copper: Measured) -> None:
    """The lowest branch towards X near q = 0: rho v^2 = C44."""
    value, bands = numbers(copper), copper.curves["phonons"]
    assert "no imaginary mode" in copper.how["phonons"]
    assert bands["labels"][:2] == ["Γ", "X"]
    q = bands["distance"][2]
    slope = bands["frequencies"][0][2] * 1e12 / (q * 1e10)  # Hz m, over 1/m without or with 2 pi
    density = 4 * 63.546 * 1.66053907e-27 / (value["a"] * 1e-10) ** 3
    speed = np.sqrt(value["c44"] * 1e9 / density)
    assert min(abs(slope / speed - 1), abs(slope * 2 * np.pi / speed - 1)) < 0.06


def test_lennard_jones_solid_is_the_lattice_sum() -> None:
    """Static fcc, lattice sums 14.4539 and 12.1319: a = 1.5418 sigma, E = -8.6102 epsilon,
    B V = 8 |E|; a pair potential at zero pressure obeys Cauchy: C12 = C44."""
    built = bulk("Ar", "fcc", a=1.57 * SIGMA, cubic=True) * 2
    calculator = LennardJones(sigma=SIGMA, epsilon=EPSILON, rc=6 * SIGMA)
    found = numbers(measure(built, PropertiesAsked(kinds=["eos", "elastic"]), calculator))
    a = (2 * 12.13188 / 14.45392) ** (1 / 6) * np.sqrt(2) * SIGMA
    assert a / SIGMA == pytest.approx(1.5418, abs=1e-4)
    assert found["a"] == pytest.approx(a, rel=6e-4)
    assert found["c12"] == pytest.approx(found["c44"], rel=0.01)
    # B V = 8 |E| for any n-m potential: n m / 9 with 12 and 6
    modulus = 8 * 8.6102 * EPSILON / (a**3 / 4) / units.GPa
    assert found["bulk_modulus"] == pytest.approx(modulus, rel=0.01)


class FarFromItsData(Calculator):
    """A crystal that stiffens beyond 3 % of its volume, as a fit may that never saw such cells."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]
    volume, modulus, wall = 11.0, 100.0, 4.0  # Å3/atom, GPa, eV/atom

    def calculate(self, atoms: Atoms, *arguments: object) -> None:
        super().calculate(atoms, *arguments)
        size, here = len(atoms), atoms.get_volume() / len(atoms)
        strain = here / self.volume - 1
        beyond = max(abs(strain) - 0.03, 0) * np.sign(strain)
        stiffness = self.modulus * units.GPa * self.volume
        energy = stiffness * (strain**2 / 2 - strain**3) + self.wall * beyond**2 - 3
        slope = (stiffness * (strain - 3 * strain**2) + 2 * self.wall * beyond) / self.volume
        pull = [slope] * 3 + [0.0] * 3
        self.results = {"energy": size * energy, "forces": 0 * atoms.positions}
        self.results["stress"] = np.array(pull)


def test_a_curve_that_no_equation_of_state_follows_has_a_bound_that_says_so() -> None:
    found = measure(
        bulk("Cu", cubic=True, a=3.53), PropertiesAsked(kinds=["eos"]), FarFromItsData()
    )
    (modulus,) = (v for v in found.values if v.name == "bulk_modulus")
    assert modulus.value > 1.1 * FarFromItsData.modulus
    assert abs(modulus.value - FarFromItsData.modulus) < 1.02 * modulus.error


def test_tersoff_silicon_is_as_published() -> None:
    """Tersoff 1988 (T3): a 5.432 Å, 4.63 eV, C11 143, C12 75, C44 69 GPa relaxed, 119 not
    (Balamane, Halicioglu and Tiller, Phys. Rev. B 46, 2250 (1992))."""
    asked = PropertiesAsked(kinds=["elastic", "cohesion", "phonons"], length=10)
    found = measure(bulk("Si", cubic=True, a=5.5), asked, silicon())
    value = numbers(found)
    assert not found.failed
    assert value["a"] == pytest.approx(5.432, abs=0.002)
    assert value["cohesive_energy"] == pytest.approx(4.63, abs=0.01)
    assert value["c11"] == pytest.approx(143, abs=2)
    assert value["c12"] == pytest.approx(75, abs=2)
    assert value["c44"] == pytest.approx(69, abs=2)
    assert value["stability"] > 0


def silicon() -> Calculator:
    """Si(C) of J. Tersoff, Phys. Rev. B 38, 9902 (1988)."""
    t3 = TersoffParameters(
        m=3.0,
        lambda3=0.0,
        c=1.0039e5,
        d=16.217,
        h=-0.59825,
        n=0.78734,
        beta=1.1e-6,
        lambda2=1.7322,
        B=471.18,
        R=2.85,
        D=0.15,
        lambda1=2.4799,
        A=1830.8,
        gamma=1.0,
    )
    return Tersoff({("Si", "Si", "Si"): t3})


def test_an_unstable_crystal_is_named() -> None:
    """Bcc copper by EMT is no minimum: soft shear or imaginary modes, told with where."""
    found = measure(
        bulk("Cu", "bcc", a=2.86, cubic=True) * 3,
        PropertiesAsked(kinds=["elastic", "phonons"]),
        EMT(),
    )
    told = found.how["elastic"] + found.how["phonons"]
    assert "UNSTABLE" in told or "imaginary modes at" in told, told
    assert numbers(found)["phonon_lowest"] < -0.1


def test_schottky_needs_no_chemical_potential() -> None:
    """Adding a constant to the energy of an element changes no defect energy."""

    class Shifted(EMT):
        def calculate(self, *given: object, **named: object) -> None:
            super().calculate(*given, **named)
            self.results["energy"] += 3.0 * self.atoms.get_chemical_symbols().count("Ag")

    built = bulk("CuAg", "cesiumchloride", a=3.2)
    asked = PropertiesAsked(kinds=["vacancy"], length=6)
    one, other = (numbers(measure(built, asked, c())) for c in (EMT, Shifted))
    assert one["schottky"] == pytest.approx(other["schottky"], abs=1e-3)
    assert one["schottky"] > 0.5
    assert "vacancy" not in one


def test_calls_are_bounded_and_failures_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Atoms("Cu4", positions=np.eye(4, 3) * 2.5)
    found = measure(cluster, PropertiesAsked(kinds=["lattice", "elastic"]), EMT())
    assert "not periodic" in found.failed["lattice"]
    assert found.failed["elastic"]
    mixed = bulk("Cu", cubic=True).repeat((2, 2, 1))  # no symmetry: too many displacements
    mixed.symbols[[0, 1, 3, 6, 7, 12]] = "Ag"
    allowed = dict(CALLS)
    monkeypatch.setitem(CALLS, "phonons", 7)
    found = measure(mixed, PropertiesAsked(kinds=["phonons"], length=4), EMT())
    assert found.calls <= allowed["lattice"] + 7
    assert "too-many-calls" in found.failed["phonons"]


def test_heat_of_vaporisation_of_an_ideal_gas_of_molecules_is_rt() -> None:
    """Molecules that feel nothing of each other, at rest: <E(gas)> - <E(liquid)> is what the
    harmonic vibrations hold, here none in the frames, so RT + vibrations of one bond (kT/2)."""
    pair = molecule("N2")
    box = Atoms(cell=np.eye(3) * 60, pbc=True)
    for x in (10, 30, 50):
        copy = pair.copy()
        copy.translate((x, 0.3 * x, x / 2))
        box += copy
    from ase.optimize import BFGS

    box.calc = EMT()
    BFGS(box, logfile=None).run(fmax=0.001)
    frames = [label(box, EMT())] * 30
    found = measure(box, PropertiesAsked(kinds=["vaporisation"]), EMT(), MD(frames, 300.0))
    assert not found.failed
    rt = units.kB * 300 / (units.kJ / units.mol)
    assert numbers(found)["heat_of_vaporisation"] == pytest.approx(1.5 * rt, abs=0.02)
    assert "3 N2" in found.how["vaporisation"]


def _measured(built: Atoms, kind: str, calculator: Calculator) -> dict[str, float]:
    found = measure(built, PropertiesAsked(kinds=[kind]), calculator)
    assert not found.failed
    return numbers(found)


def test_adsorption_of_one_atom_on_one_is_the_bond_of_the_pair_potential() -> None:
    """Each atom over its own, all others out of reach: 4 e (s^-12 - s^-6) as built, -e at rest."""
    built = Atoms("Ar4", [[2, 2, 2], [2, 22, 2], [2, 2, 2 + 1.3 * SIGMA], [2, 22, 2 - 1.3 * SIGMA]])
    built.set_cell([20.0, 40.0, 40.0])
    built.pbc = True
    built.arrays["adsorbate"] = np.array([-1, -1, 0, 1])
    found = _measured(built, "adsorption", LennardJones(sigma=SIGMA, epsilon=0.1, rc=9.0))
    shift = 0.4 * ((SIGMA / 9.0) ** 12 - (SIGMA / 9.0) ** 6)
    stiff = 0.4 * (1.3**-12 - 1.3**-6) - shift
    assert found["adsorption_unrelaxed"] == pytest.approx(stiff, abs=1e-9)
    assert found["adsorption"] == pytest.approx(-0.1 - shift, abs=5e-5)


def test_adsorption_of_nitrogen_on_copper_is_that_by_hand(tmp_path: Path) -> None:
    """ASE's own slab and site, through the builder's file format."""
    slab = fcc111("Cu", (2, 2, 3), vacuum=8.0, periodic=True)
    slab.arrays["molecule"] = np.full(len(slab), -1)
    built = slab.copy()
    foot = [*slab.positions[-1][:2], slab.positions[-1][2] + 1.85]
    added = Atoms("N2", [foot, np.add(foot, [0, 0, 1.1])])
    added.arrays["molecule"] = np.zeros(2, int)
    built += added
    built.positions[-1] -= built.cell[0]  # across the border
    built.info["adsorbed"] = 1
    del built.arrays["tags"], built.info["adsorbate_info"]
    write(tmp_path / "n2.xyz", built, format="extxyz")
    entry = {"id": "n2", "file": "n2.xyz", "subsystem": "n2", "family": "solid-molecule"}
    entry |= {"held_out": False, "description": "N2 on copper", "folder": tmp_path}
    read = load(Structure(**entry))
    found = _measured(read, "adsorption", EMT())
    energies = []
    for part in (built, slab, molecule("N2", positions=added.positions, vacuum=8.0)):
        part.set_constraint()
        part.calc = EMT()
        before = part.get_potential_energy()
        part.rattle(0.01, seed=1)
        FIRE(part, logfile=None).run(fmax=0.005, steps=500)
        energies.append([before, part.get_potential_energy()])
    by_hand = np.array(energies[0]) - energies[1] - energies[2]
    assert found["adsorption_unrelaxed"] == pytest.approx(by_hand[0], abs=1e-6)
    assert found["adsorption"] == pytest.approx(by_hand[1], abs=0.02)


@pytest.mark.parametrize("vacuum", [0.0, 10.0])
@pytest.mark.parametrize("shift", [0.0, 7.3])
def test_the_halves_of_a_crystal_are_held_by_twice_its_surface_energy(
    vacuum: float, shift: float
) -> None:
    """Whatever the origin, with one interface or two."""
    built = fcc111("Cu", (1, 1, 12), a=3.59, vacuum=None, periodic=True)
    built.cell[2, 2] = 12 * 3.59 / np.sqrt(3)
    built.arrays = {name: built.arrays[name] for name in ("numbers", "positions")}
    per_atom = _energy(built) / 12
    half = built[:6]
    half.cell[2, 2] += 20
    area = np.linalg.norm(np.cross(built.cell[0], built.cell[1]))
    surface = (_energy(half) - 6 * per_atom) / (2 * area) * units.m**2 / units.J
    built.cell[2, 2] += vacuum
    built.arrays["layer"] = np.repeat([0, 1], 6)
    built.info["layers"] = "lower upper"
    built.positions[:, 2] += shift
    built.wrap()
    found = _measured(built, "adhesion", EMT())
    assert found["work_of_separation_unrelaxed"] == pytest.approx(2 * surface, rel=1e-5)
    assert found["work_of_separation"] == pytest.approx(2 * surface, rel=0.05)


def _energy(atoms: Atoms) -> float:
    copy = atoms.copy()
    copy.calc = EMT()
    return copy.get_potential_energy()


def test_parts_that_are_none_have_no_value() -> None:
    crystal = bulk("Cu", cubic=True) * 2
    plain = measure(crystal, PropertiesAsked(kinds=["adsorption", "adhesion"]), EMT())
    assert "adsorbed" in plain.failed["adsorption"]
    assert "no layers" in plain.failed["adhesion"]
    particle = fcc111("Cu", (6, 6, 3), vacuum=None, periodic=True)
    particle.cell[2, 2] += 12
    particle += Atoms("Cu", [[1.0, 1.0, particle.positions[:, 2].max() + 2.2]])
    particle.arrays["layer"] = np.array([0] * (len(particle) - 1) + [1])
    particle.info["layers"] = "lower upper"
    found = measure(particle, PropertiesAsked(kinds=["adhesion"]), EMT())
    assert "covers only part of the face" in found.failed["adhesion"]


def test_parts_are_taught_nearer_and_farther() -> None:
    built = fcc111("Cu", (1, 1, 6), vacuum=None, periodic=True)
    built.cell[2, 2] = 6 * 3.61 / np.sqrt(3)
    built.arrays["layer"] = np.repeat([0, 1], 3)
    built.info["layers"] = "lower upper"
    heights = [f.cell[2, 2] for f in taught(built, "adhesion", PropertiesAsked(), 3, seed=1)]
    assert np.allclose(np.subtract(heights, built.cell[2, 2]), [-0.4, 1.8, 4.0])


def test_names_lead_to_kinds_and_units() -> None:
    assert kind_of("c11") == "elastic"
    assert kind_of("surface_1-10") == "surfaces"
    assert kind_of("work_of_separation_unrelaxed") == "adhesion"
    assert kind_of("nonsense") is None
    assert unit_of("vacancy") == "eV"
    assert unit_of("phonon_lowest") == "THz"


@pytest.mark.parametrize("kind", ["lattice", "elastic", "phonons", "vacancy", "surfaces"])
def test_teaching_frames_are_near_what_is_missed(kind: str) -> None:
    built = bulk("Cu", cubic=True) * 2
    frames = taught(built, kind, PropertiesAsked(kinds=[kind]), 5, seed=4)
    again = taught(built, kind, PropertiesAsked(kinds=[kind]), 5, seed=4)
    assert len(frames) == 5
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(frames, again, strict=True))
    assert all(np.isfinite(label(a, EMT()).get_potential_energy()) for a in frames)
    if kind == "vacancy":
        assert {len(a) for a in frames} == {107}
    if kind == "surfaces":
        assert all(a.get_volume() / len(a) > 15 for a in frames)
