"""Outputs of pw.x, GPAW, ORCA and CP2K: which step is a label, and whose energy it has.

`pw.out` is of pw.x 6.7 (aluminium, MD with four iterations and scf_must_converge = .false.),
`cp2k.out` and `cp2k_npt` of CP2K 2023.1, `gpaw.out` of GPAW 22.8 (lithium, two geometries); what
no reader looks at is cut out of them.
"""

from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from ase import Atoms
from ase.geometry import cell_to_cellpar
from ase.units import Bohr, GPa, Hartree, Ry

from mtp.errors import MTPError
from mtp.reading.files import read_calculations
from mtp.reading.frames import UNCONVERGED, Reading, ReadOptions
from mtp.reading.programs import words_of_orca

OUTPUTS = Path(__file__).resolve().parents[1] / "data/outputs"
PW = (OUTPUTS / "pw.out").read_text()
CP2K = (OUTPUTS / "cp2k.out").read_text()
GPAW = (OUTPUTS / "gpaw.out").read_text()
# in the layout that ASE reads, with numbers of our own
ORCA = """
                                 * O   R   C   A *
|  1> ! B97-3c TightSCF EnGrad
CARTESIAN COORDINATES (ANGSTROEM)
---------------------------------
  H      0.000000    0.000000    0.000000
  H      0.000000    0.000000    0.800000

Number of atoms                             ....      2
 Total Charge           Charge          ....    0
SCF ITERATIONS
          *        SCF {converged} AFTER   8 CYCLES          *
FINAL SINGLE POINT ENERGY        -1.150000000000

------------------
CARTESIAN GRADIENT
------------------

   1   H   :    0.000000000    0.000000000   -0.020000000
   2   H   :    0.000000000    0.000000000    0.020000000

                             ****ORCA TERMINATED NORMALLY****
"""


def reading_of(folder: Path, text: str, nonconverged: bool = False) -> Reading:
    path = folder / "output"
    path.write_text(text)
    return read_calculations(path, ReadOptions(nonconverged=nonconverged))


def test_a_step_of_pw_that_stopped_at_its_limit_is_no_label(tmp_path: Path) -> None:
    """It says "convergence has been achieved in 4 iterations", 5e-7 Ry where 1e-9 was asked for."""
    assert PW.count("convergence has been achieved") == 3
    reading = reading_of(tmp_path, PW)
    assert reading.left_out == {UNCONVERGED: 1}
    first, second = reading.frames
    assert first.get_potential_energy() == pytest.approx(-8.46014996 * Ry)
    assert first.get_forces()[0, 2] == pytest.approx(0.00431087 * Ry / Bohr, abs=1e-6)
    assert first.get_stress()[0] > 0, "ASE's sign: P is -55 kbar"
    assert np.abs(first.positions - second.positions).max() > 1e-3
    assert reading.method["pseudopotential Al"] == "Al.pz-vbc.UPF"
    assert len(reading_of(tmp_path, PW, nonconverged=True).frames) == 3


def test_energies_and_forces_of_pw_belong_together(tmp_path: Path) -> None:
    first, second = reading_of(tmp_path, PW).frames
    way = second.positions - first.positions
    work = -np.sum((first.get_forces() + second.get_forces()) / 2 * way)
    change = second.get_potential_energy() - first.get_potential_energy()
    assert change == pytest.approx(work, rel=0.05)


@pytest.mark.parametrize(
    ("old", "new", "left_out"),
    [
        ("Forces acting on atoms", "Nothing acting on them", "without forces"),
        ("convergence has been achieved", "convergence NOT achieved", UNCONVERGED),
        ("!    total energy", "     total energy", "cut short"),
    ],
)
def test_steps_of_pw_that_are_no_labels(tmp_path: Path, old: str, new: str, left_out: str) -> None:
    reading = reading_of(tmp_path, PW.replace(old, new))
    assert not reading.frames
    assert reading.left_out[left_out] >= 2


def test_pw_killed_in_its_forces(tmp_path: Path) -> None:
    text = PW[: PW.rindex("     atom    2 type  1   force")]
    reading = reading_of(tmp_path, text)
    assert reading.left_out == {UNCONVERGED: 1, "cut short": 1}
    assert len(reading.frames) == 1


def test_the_energy_of_exact_exchange_is_the_last_one(tmp_path: Path) -> None:
    """pw.x prints "!" before the exchange operator and "!!" with it; the forces are of the last."""
    line = next(line for line in PW.splitlines() if line.startswith("!    total energy"))
    reading = reading_of(
        tmp_path, PW.replace(line, f"{line}\n!!   total energy   =  -9.5 Ry"), nonconverged=True
    )
    assert reading.frames[0].get_potential_energy() == pytest.approx(-9.5 * Ry)


def test_the_charge_of_a_cell_of_pw_is_said(tmp_path: Path) -> None:
    text = PW.replace("number of electrons       =         6.00", "number of electrons = 5.00")
    assert reading_of(tmp_path, text).unknown == {"a charge of the cell of +1 e": 2}


def test_runs_of_pw_with_other_settings_in_one_file(tmp_path: Path) -> None:
    other = PW.replace("kinetic-energy cutoff     =      12.0000", "kinetic-energy cutoff = 20.0")
    with pytest.raises(MTPError, match=r"ecutwfc \(12 and 20\); split it"):
        reading_of(tmp_path, PW + other)


def test_cp2k(tmp_path: Path) -> None:
    (atoms,) = reading_of(tmp_path, CP2K).frames
    assert atoms.get_potential_energy() == pytest.approx(-1.055810167976986 * Hartree)
    assert atoms.get_forces()[1, 2] == pytest.approx(-0.11981436 * Hartree / Bohr)
    assert atoms.get_stress()[2] == pytest.approx(4.75068528 * GPa), "CP2K's sign is the other one"
    assert atoms.get_stress()[3] == pytest.approx(1.19541698 * GPa)
    warned = "*** WARNING in qs_scf.F:601 :: SCF run NOT converged ***"
    reading = reading_of(tmp_path, CP2K.replace("*** SCF run converged in     7 steps ***", warned))
    assert (len(reading.frames), reading.left_out) == (0, {UNCONVERGED: 1})
    with pytest.raises(MTPError, match=r"of its steps are in PROJECT-pos-1\.xyz; put it"):
        reading_of(tmp_path, CP2K + CP2K)


def test_md_of_cp2k(tmp_path: Path) -> None:
    """Of 2023.1 at constant pressure: energies change by the work of forces and stress."""
    copytree(OUTPUTS / "cp2k_npt", tmp_path, dirs_exist_ok=True)
    path, text = tmp_path / "npt.out", (tmp_path / "npt.out").read_text()
    reading = read_calculations(path, ReadOptions())
    assert reading.line(()).startswith("4 frames: energy 4, forces 4, stress 4; not understood: no")
    assert reading.method["kpoints"] == "2 x 1 x 1"
    last = reading.frames[-1]
    assert last.get_potential_energy() == pytest.approx(-1.07501672979 * Hartree)
    assert last.get_forces()[1, 2] == pytest.approx(0.15223373 * Hartree / Bohr)
    assert last.cell[2].tolist() == [-0.2344690713, -0.4431965902, 3.6670344307]
    change = reading.frames[1].get_potential_energy() - reading.frames[0].get_potential_energy()
    assert change == pytest.approx(sum(work_between(*reading.frames[:2])), rel=0.1)
    warned = "*** WARNING in qs_scf.F:601 :: SCF run NOT converged ***"
    path.write_text(text.replace("*** SCF run converged in    28 steps ***", warned, 2))
    assert read_calculations(path, ReadOptions()).left_out == {UNCONVERGED: 2}
    path.write_text(text[: text.rindex("      2      1      H")])
    assert read_calculations(path, ReadOptions()).left_out == {"cut short": 1}
    positions = (tmp_path / "npt-pos-1.xyz").read_text()
    (tmp_path / "npt-pos-1.xyz").write_text("".join(positions.splitlines(True)[4:-2]))
    reading = read_calculations(path, ReadOptions())
    assert len(reading.frames) == 2
    assert reading.left_out["without positions, as not every step's were written"] == 2
    (tmp_path / "npt-1.cell").unlink()
    with pytest.raises(
        MTPError, match=r"cells of its steps are in npt-1\.cell \(MOTION/PRINT/CELL"
    ):
        read_calculations(path, ReadOptions())
    path.write_text(text.replace("NPT_F", "NVT").replace("Spin restricted", "Spin unrestricted"))
    reading = read_calculations(path, ReadOptions())
    assert reading.frames[1].cell.lengths().tolist() == [3.6, 4, 4.4]
    assert reading.unknown == {"magnetic moments (UKS)": 2}
    path.write_text(text + text)
    with pytest.raises(MTPError, match="holds 2 runs of CP2K; split it"):
        read_calculations(path, ReadOptions())


def work_between(one: Atoms, other: Atoms) -> tuple[float, float]:
    """Of forces and of stress (eV), by the mean of both ends."""
    middle = (one.cell.array + other.cell.array) / 2
    moved = other.get_scaled_positions(wrap=False) - one.get_scaled_positions(wrap=False)
    forces = (one.get_forces() + other.get_forces()) / 2
    strain = np.linalg.solve(middle, other.cell.array - one.cell.array)
    pulls = [a.get_volume() * a.get_stress(voigt=False) for a in (one, other)]
    return -np.sum(forces * (moved @ middle)), np.sum((pulls[0] + pulls[1]) / 2 * strain)


def test_the_cell_of_cp2k_is_exact_and_where_it_was(tmp_path: Path) -> None:
    """Vectors are printed to 0.001 Å, lengths and angles to 1e-6; a turned cell stays turned."""
    cell = np.array([[0.0, 3.21234, 0.4], [3.9, 0.1, 0.0], [0.31, 0.2, -4.44123]])
    par = cell_to_cellpar(cell)
    lines = [
        f" CELL| Vector {name} [angstrom]: {row[0]:9.3f} {row[1]:9.3f} {row[2]:9.3f}   |{name}| ="
        f" {length:12.6f}"
        for name, row, length in zip("abc", cell, par, strict=False)
    ]
    lines += [
        f" CELL| Angle ({name}) [degree]: {one:.6f}"
        for name, one in zip("xyz", par[3:], strict=True)
    ]
    start, end = CP2K.index(" CELL| Vector a"), CP2K.index(" CELL| Numerically")
    text = CP2K[:start] + "\n".join(lines) + "\n" + CP2K[end:]
    found = reading_of(tmp_path, text).frames[0].cell.array
    assert np.abs(found - cell).max() < 1e-3
    assert cell_to_cellpar(found) == pytest.approx(par, abs=2e-6)


def test_gpaw_gives_the_free_energy(tmp_path: Path) -> None:
    reading = reading_of(tmp_path, GPAW)
    first, second = reading.frames
    assert first.get_potential_energy() == -4.85614, "of which forces are derivatives"
    assert second.get_forces()[0].tolist() == [-0.11773, -0.0445, 0.14656]
    assert second.get_stress()[3:].tolist() == [0.000181, 0.000478, -0.000146]
    way = second.positions - first.positions
    work = -np.sum((first.get_forces() + second.get_forces()) / 2 * way)
    change = second.get_potential_energy() - first.get_potential_energy()
    assert change == pytest.approx(work, rel=0.05)
    told = {"xc": "lda", "ecut": "200", "smearing": "fermi-dirac", "width": "0.3", "hubbard": "f"}
    told |= {"kpoints": "2 x 2 x 2", "k-point spacing": "0.924 to 1.848"}
    assert reading.method == {"program": "GPAW", **told}
    assert reading.line(()).endswith("not understood: nothing")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("Converged after", "Did not converge!", f"left out: {UNCONVERGED} (2)"),
        ("Converged after", "", "left out: cut short (2)"),
        ("Forces in eV/Ang", "", "left out: without forces (2)"),
        ("Total Charge: 0.0", "Total Charge: -1.0", "a charge of the cell of -1 e (2)"),
    ],
)
def test_steps_of_gpaw(tmp_path: Path, old: str, new: str, line: str) -> None:
    assert line in reading_of(tmp_path, GPAW.replace(old, new)).line(())


def test_orca(tmp_path: Path) -> None:
    text = ORCA.replace("{converged}", "CONVERGED")
    reading = reading_of(tmp_path, text)
    (atoms,) = reading.frames
    assert atoms.get_potential_energy() == pytest.approx(-1.15 * Hartree)
    assert atoms.get_forces()[1, 2] == pytest.approx(-0.02 * Hartree / Bohr)
    assert not atoms.pbc.any()
    assert (
        reading.method["orcasimpleinput"] == words_of_orca("TightSCF B97-3c") == "b97-3c tightscf"
    )
    killed = text[: text.index("   2   H   :    0.000000000")]
    assert reading_of(tmp_path, killed).left_out == {"cut short": 1}
    reading = reading_of(tmp_path, ORCA.replace("{converged}", "NOT CONVERGED"))
    assert (len(reading.frames), reading.left_out) == (0, {UNCONVERGED: 1})
