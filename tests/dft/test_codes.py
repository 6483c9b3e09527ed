"""Real DFT codes as references: Quantum ESPRESSO, CP2K, GPAW.

Labels against finite differences under electronic smearing, where the energy that belongs to the
forces is the free energy; a self-consistent field stopped at its limit; a program that ends badly.
"""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from atomistics.reference.catalog import Method
from atomistics.reference.counting import LabelFailedError
from atomistics.reference.methods import label, reference_calculator

PSEUDOPOTENTIALS = Path("/usr/share/espresso/pseudo")
BASIS_SETS = Path("/usr/share/cp2k")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CP2K_DATA_DIR", str(BASIS_SETS))


def espresso(command="pw.x", calculation="scf", **electrons):
    """Aluminium, smeared by 0.05 Ry.

    Without symmetry: with it pw.x 6.7 of Debian gives a shear stress 20 % off the derivative.
    """
    options = {
        "command": command,
        "pseudo_dir": str(PSEUDOPOTENTIALS),
        "pseudopotentials": {"Al": "Al.pz-vbc.UPF"},
        "kpts": [2, 3, 3],
        "input_data": {
            "control": {"calculation": calculation, "tstress": True, "tprnfor": True},
            "system": {
                "ecutwfc": 15,
                "occupations": "smearing",
                "smearing": "gaussian",
                "degauss": 0.05,
                "nosym": True,
                "noinv": True,
            },
            "electrons": {"conv_thr": 1e-9, **electrons},
        },
    }
    return reference_calculator(Method("espresso", options=options, timeout=300))


def aluminium():
    atoms = bulk("Al", a=4.0) * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    return atoms


def test_espresso_forces_and_stress_are_derivatives_of_the_energy(tmp_path):
    calculator = espresso()
    frame = label(aluminium(), calculator)
    step, energies = 0.01, []
    for sign in (1, -1):
        moved = aluminium()
        moved.positions[0, 0] += sign * step
        energies.append(label(moved, calculator).get_potential_energy())
    assert abs(frame.get_forces()[0, 0]) > 0.3
    slope = -(energies[0] - energies[1]) / (2 * step)
    assert frame.get_forces()[0, 0] == pytest.approx(slope, abs=5e-4)
    strain, energies = 0.003, []
    for sign in (1, -1):
        sheared = aluminium()
        shear = np.eye(3)
        shear[0, 2] = shear[2, 0] = sign * strain / 2
        sheared.set_cell(sheared.cell @ shear, scale_atoms=True)
        energies.append(label(sheared, calculator).get_potential_energy())
    slope = (energies[0] - energies[1]) / (2 * strain) / aluminium().get_volume()
    assert frame.get_stress()[4] == pytest.approx(slope, abs=1e-3)
    assert not list(tmp_path.iterdir()), "folders of calculations that went well are removed"


def test_espresso_that_stops_at_its_limit_is_no_label(tmp_path):
    with pytest.raises(LabelFailedError, match="convergence NOT achieved after 2") as caught:
        label(aluminium(), espresso(electron_maxstep=2))
    assert caught.value.kind == "unconverged"
    (folder,) = tmp_path.iterdir()
    assert "convergence NOT achieved" in (folder / "espresso.pwo").read_text()


def test_espresso_fails_with_its_own_last_words():
    with pytest.raises(LabelFailedError, match=r"espresso.pwo ends: .*nosuch") as caught:
        label(aluminium(), espresso(mixing_mode="nosuch"))
    assert caught.value.kind == "crashed"


def cp2k(**options):
    defaults = {
        "command": "cp2k -s",
        "xc": "PADE",
        "pseudo_potential": "GTH-PADE",
        "cutoff": 5000,
        "basis_set": "SZV-MOLOPT-SR-GTH",
        "stress_tensor": True,
    }
    return reference_calculator(Method("cp2k", options=defaults | options, timeout=300))


def lithium_hydride():
    return Atoms("LiH", [[0, 0, 0], [1.7, 0.2, 0.1]], cell=[5, 5, 5], pbc=True)


def test_cp2k_forces_are_derivatives_of_the_energy():
    calculator = cp2k()
    frame = label(lithium_hydride(), calculator)
    step, energies = 0.02, []
    for sign in (1, -1):
        moved = lithium_hydride()
        moved.positions[1, 0] += sign * step
        energies.append(label(moved, calculator).get_potential_energy())
    slope = -(energies[0] - energies[1]) / (2 * step)
    assert frame.get_forces()[1, 0] == pytest.approx(slope, abs=5e-3)
    assert frame.get_stress().shape == (6,)


def test_cp2k_that_stops_at_its_limit_is_no_label(tmp_path):
    """CP2K ended well until 2023.1, with a warning, and goes on today where it is told to."""
    with pytest.raises(LabelFailedError) as caught:
        label(lithium_hydride(), cp2k(max_scf=2))
    assert caught.value.kind == "unconverged"
    assert "SCF run NOT converged" in caught.value.detail
    (folder,) = tmp_path.iterdir()
    assert folder.name in caught.value.detail


def gpaw(**options):
    """Aluminium of few plane waves, smeared by 0.2 eV."""
    defaults = {"mode": {"name": "pw", "ecut": 200}, "xc": "LDA", "symmetry": "off",
                "kpts": {"density": 1.5, "gamma": True},
                "occupations": {"name": "fermi-dirac", "width": 0.2},
                "convergence": {"density": 1e-6}}  # fmt: skip
    options = {**defaults, **options}
    return reference_calculator(Method("ase", "gpaw:GPAW", options=options, timeout=300))


def test_gpaw_forces_are_derivatives_of_its_free_energy():
    calculator = gpaw()
    frame = label(aluminium(), calculator)
    step, energies = 0.02, []
    for sign in (1, -1):
        moved = aluminium()
        moved.positions[0, 0] += sign * step
        energies.append(label(moved, calculator).get_potential_energy())
    slope = -(energies[0] - energies[1]) / (2 * step)
    assert frame.get_forces()[0, 0] == pytest.approx(slope, abs=5e-3)
    assert frame.get_stress().shape == (6,)


def test_gpaw_that_stops_at_its_limit_is_no_label():
    with pytest.raises(LabelFailedError) as caught:
        label(aluminium(), gpaw(maxiter=2))
    assert caught.value.kind == "unconverged"


def test_a_killed_program_is_a_failed_label(tmp_path):
    """As a node's memory killer leaves it: an output without an end."""
    script = tmp_path / "killed.sh"
    script.write_text('#!/bin/sh\npw.x "$@" & sleep 1; kill -9 $!; wait $!\n')
    script.chmod(0o755)
    with pytest.raises(LabelFailedError) as caught:
        label(aluminium() * (2, 2, 2), espresso(command=str(script)))
    assert caught.value.kind == "crashed"
