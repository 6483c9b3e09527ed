"""Files of other programs: the labels they hold, or a word on why not. Expected numbers by hand."""

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path

import dpdata
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect
from ase.io import read, write
from ase.units import Bohr, Hartree

from mtp.cli import main
from mtp.configuration import from_atoms
from mtp.errors import MTPError
from mtp.formats.cfg import read_cfg, write_cfg
from mtp.reading.files import expanded, kind_of, read_calculations
from mtp.reading.frames import Reading, ReadOptions, order_of, pairs_of
from mtp.reading.poscar import read_poscar
from tests.mtp.vasp_files import Step, outcar, vasprun

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases"
handed = pytest.mark.skipif(not CASES.is_dir(), reason="no handed cases")
FORCE = [0.5, 0.1, -0.2]
STRESS = [-0.01, -0.02, -0.03, -0.004, -0.003, -0.002]  # eV/Å^3, of VASP's kbar in vasp_files.py
LATTICE = 'Lattice="4 0 0 0 4 0 0 0 4"'
NINE = "0.01 0.002 0.003 0.002 0.02 0.004 0.003 0.004 0.03"
VIRIAL = "-0.64 -0.128 -0.192 -0.128 -1.28 -0.256 -0.192 -0.256 -1.92"


def parsed(folder: Path, name: str, text: str, told: ReadOptions | None = None) -> Reading:
    (folder / name).write_text(text)
    return read_calculations(folder / name, told or ReadOptions())


def energies(reading: Reading) -> list[float]:
    return [atoms.calc.results["energy"] for atoms in reading.frames]


# -- VASP --


@pytest.mark.parametrize(
    ("steps", "nelm", "version", "kept", "reason"),
    [
        ([Step(), Step(-7.6)], 60, "5.4.4", [-7.5, -7.6], None),
        ([Step(iterations=6), Step(-7.6)], 6, "5.4.4", [-7.6], "electronic convergence (1)"),
        (
            [Step(iterations=6, loop="EDIFF was not reached (unconverged)"), Step(-7.6)],
            6,
            "6.4.2",
            [-7.6],
            "electronic convergence (1)",
        ),
        ([Step(loop="because hard stop was set")], 60, "6.4.2", [], "electronic convergence (1)"),
        ([Step(loop=None), Step(-7.6)], 60, "5.4.4", [-7.5, -7.6], None),
        ([Step(iterations=6, loop=None), Step(-7.6)], 6, "5.4.4", [-7.6], "convergence (1)"),
        ([Step(iterations=100), Step(-7.6)], 100, "5.4.4", [-7.6], "convergence (1)"),
        ([Step(table=False), Step(-7.6)], 60, "5.4.4", [-7.6], "without forces or positions (1)"),
        (
            [Step(learned=True), Step(iterations=0, learned=True), Step(-7.6, learned=True)],
            60,
            "6.4.2",
            [-7.5, -7.6],
            "machine learning (3)",
        ),
        ([Step(dispersion=True)], 60, "5.3.5", [-7.5], None),
    ],
)
def test_outcar(tmp_path, steps, nelm, version, kept, reason) -> None:
    reading = parsed(tmp_path, "OUTCAR", outcar(steps, nelm, version))
    assert energies(reading) == kept
    for atoms in reading.frames:
        assert atoms.calc.results["forces"][0].tolist() == FORCE
        assert atoms.calc.results["stress"] == pytest.approx(STRESS, abs=1e-7)
        assert str(atoms.symbols) == "CuO"
    assert (reason or "0 stress") in reading.line(()) or reason is None
    assert bool(reading.left_out) == (reason is not None)
    assert reading.method["ENCUT"] == "400"


def test_outcar_of_another_wording(tmp_path) -> None:
    steps = [Step(), Step(-7.6, kilobar=None), Step(-7.7, kilobar="16.02177-1032.04353 ********")]
    reading = parsed(tmp_path, "OUTCAR", outcar(steps))
    assert "3 frames: energy 3, forces 3, stress 1; not" in reading.line(())
    glued = Step(kilobar="-16.02177-1032.04353   48.06530     3.20435     6.40871     4.80653")
    (atoms,) = parsed(tmp_path, "OUTCAR", outcar([glued])).frames
    assert atoms.calc.results["stress"][:2] == pytest.approx([0.01, 0.644151], abs=1e-6)
    text = outcar([Step(), Step(-7.6)])
    cut = parsed(tmp_path, "OUTCAR", text[: text.rindex("TOTEN")])
    assert energies(cut) == [-7.5]
    assert "cut short (1)" in cut.line(())
    lost = text.replace("free  energy   TOTEN  =    -7.50000000", "free  energy   TOTEN  = ****")
    assert parsed(tmp_path, "OUTCAR", lost).left_out == {"cut short": 1}
    spins = parsed(tmp_path, "OUTCAR", text.replace("   NELM ", "   ISPIN  =      2\n   NELM ", 1))
    assert "not understood: magnetic moments (ISPIN = 2) (2)" in spins.line(())
    table = " magnetization ({})\n\n# of ion       s       p       d       tot\n" + "-" * 40
    table += (
        "\n    1        0.001   0.002   2.111   2.114\n    2       -0.010  -0.250  -0.001  -0.261\n"
    )
    marked = told = text.replace("   NELM ", "   ISPIN  =      2\n   NELM ", 1)
    place = told.rindex(" POSITION")  # of the second step only
    told = told[:place] + table.format("x") + told[place:]
    spins = parsed(tmp_path, "OUTCAR", told)
    assert "initial_magmoms" not in spins.frames[0].arrays
    assert spins.frames[1].arrays["initial_magmoms"].tolist() == [2.114, -0.261]
    assert "magnetic moments (ISPIN = 2) (1)" in spins.line(("initial_magmoms",))
    told = told[:place] + table.format("y") + told[place:]  # not collinear
    assert "(ISPIN = 2) (2)" in parsed(tmp_path, "OUTCAR", told).line(())
    late = marked + table.format("x")  # after the last step: of none that can be told
    assert "(ISPIN = 2) (2)" in parsed(tmp_path, "OUTCAR", late).line(())
    (tmp_path / "run.OUTCAR.gz").write_bytes(gzip.compress(text.encode()))
    assert energies(read_calculations(tmp_path / "run.OUTCAR.gz", ReadOptions())) == [-7.5, -7.6]
    kept = read_calculations(tmp_path / "run.OUTCAR.gz", ReadOptions(nonconverged=True))
    assert len(kept.frames) == 2
    old = re.sub(r"( *VRHFIN.*\n)|( *TITEL.*\n)", "", text)
    listed = "\n".join(f" POTCAR:    PAW_PBE {e} 08Apr2002" for e in ("Cu_pv", "O", "Cu_pv", "O"))
    (atoms, _) = parsed(tmp_path, "OUTCAR", f"{listed}\n{old}").frames
    assert str(atoms.symbols) == "CuO"
    unknown = parsed(tmp_path, "OUTCAR", text.replace("   NELM ", "   NLEM ", 1))
    assert unknown.left_out == {"converged or not, NELM is not said": 2}
    three = outcar([Step(-3.0, iterations=6), Step(-3.1)], nelm=6).replace("O:", "Ag:")
    both = parsed(tmp_path, "OUTCAR", f"{text}\n{three}")
    assert energies(both) == [-7.5, -7.6, -3.1], "a second run in one file has its own NELM"
    assert [str(a.symbols) for a in both.frames] == ["CuO", "CuO", "CuAg"]
    with pytest.raises(MTPError, match="in them 2 of 48 atoms"):
        parsed(tmp_path, "OUTCAR", text.replace("   NELM ", "   NIONS =  48\n   NELM ", 1))
    with pytest.raises(MTPError, match="no electronic step"):
        parsed(tmp_path, "OUTCAR", "nothing")
    lost = text.replace("VRHFIN =O", "").replace("TITEL  = PAW_PBE O", "")
    with pytest.raises(MTPError, match="names 1 elements for 2 groups"):
        parsed(tmp_path, "OUTCAR", lost)


def test_vasprun_gives_the_free_energy_without_work(tmp_path) -> None:
    steps = [Step(), Step(-7.6, iterations=6), Step(-7.7, iterations=0), Step(-7.8, table=False)]
    for pressure in (0.0, 100.0):
        reading = parsed(tmp_path, "vasprun.xml", vasprun(steps, 6, pressure))
        assert energies(reading) == pytest.approx([-7.5], abs=1e-6)
        assert reading.frames[0].calc.results["stress"] == pytest.approx(STRESS, abs=1e-7)
        assert reading.frames[0].calc.results["forces"][0].tolist() == FORCE
        assert reading.frames[0].positions[1] == pytest.approx([2.1, 2, 2])
        assert sum(reading.left_out.values()) == 3
    learned = parsed(tmp_path, "vasprun.xml", vasprun([Step(), Step(iterations=0, learned=True)]))
    assert learned.left_out == {"predicted by VASP's machine learning": 1}
    whole = vasprun([Step(), Step(-7.6)])
    cut = parsed(tmp_path, "vasprun.xml", whole[: whole.rindex("<scstep>")])
    assert energies(cut) == [-7.5]
    assert cut.left_out == {"cut short": 1}
    with pytest.raises(MTPError, match=r"no vasprun.xml that pymatgen"):
        parsed(tmp_path, "vasprun.xml", "<modeling></modeling>")


SPINS = """<i type="int" name="ISPIN">2</i><i type="int" name="ISTART">0</i>
<i type="int" name="ICHARG">2</i><v name="MAGMOM">2.0 -1.0</v></parameters>"""


def test_moments_of_a_vasprun_are_those_it_began_from(tmp_path) -> None:
    """Where it began from nothing: MAGMOM is not what a run had that found wavefunctions."""
    text = vasprun([Step()]).replace("</parameters>", SPINS)
    (atoms,) = parsed(tmp_path, "vasprun.xml", text).frames
    assert atoms.get_initial_magnetic_moments().tolist() == [2, -1]
    for part in ('ISTART">0', 'ICHARG">2', "2.0 -1.0"):
        other = text.replace(part, part[:-1] + "1")
        if part == "2.0 -1.0":
            other = text.replace(part, "0 0 2 0 0 -1")  # not collinear
        reading = parsed(tmp_path, "vasprun.xml", other)
        assert "initial_magmoms" not in reading.frames[0].arrays
        assert "not understood: magnetic moments (ISPIN = 2) (1)" in reading.line(())


MAGNETIZED = """
 magnetization (x)

# of ion       s       p       d       tot
------------------------------------------
    1        0.000   0.010   1.200   {first}
    2        0.000  -0.010  -0.500  -0.510
--------------------------------------------------
"""


def test_moments_of_a_vasprun_are_those_of_the_outcar_beside_it(tmp_path) -> None:
    """Step by step; where the OUTCAR is of another run, it tells nothing."""
    spins = SPINS.replace('ISTART">0', 'ISTART">1')
    steps = [Step(-7.5), Step(-7.6)]
    text = vasprun(steps).replace("</parameters>", spins)
    parts = outcar(steps).split("VOLUME and BASIS-vectors")
    parts = [a + MAGNETIZED.format(first=f"{1 + k:.3f}") for k, a in enumerate(parts[:-1])] + parts[
        -1:
    ]
    (tmp_path / "OUTCAR").write_text("VOLUME and BASIS-vectors".join(parts))
    frames = parsed(tmp_path, "vasprun.xml", text).frames
    expected = [
        a.get_initial_magnetic_moments()
        for a in read_calculations(tmp_path / "OUTCAR", ReadOptions()).frames
    ]
    assert [a.get_initial_magnetic_moments().tolist() for a in frames] == [
        e.tolist() for e in expected
    ]
    assert [e[0] for e in expected] == [1, 2]
    (tmp_path / "OUTCAR").write_text("VOLUME and BASIS-vectors".join(parts).replace("-7.5", "-9.5"))
    frames = parsed(tmp_path, "vasprun.xml", text).frames
    assert ["initial_magmoms" in a.arrays for a in frames] == [False, True]


def test_the_charge_of_a_cell_is_said(tmp_path) -> None:
    lines = "   Ionic Valenz\n   ZVAL   =  11.00  6.00\n   NELECT =      {}    total\n   NELM "
    for electrons, says in (("17.0000", ""), ("16.0000", "a charge of the cell of +1 e (1)")):
        text = outcar([Step()]).replace("   NELM ", lines.format(electrons), 1)
        assert parsed(tmp_path, "OUTCAR", text).line(()).endswith(says or "nothing")


TYPES = """</array>
  <array name="atomtypes" ><dimension dim="1">type</dimension><field>valence</field><set>
    <rc><c>   1</c><c>Cu</c><c> 63.54600000</c><c> 11.00000000</c><c> PAW_PBE Cu_pv  </c></rc>
    <rc><c>   1</c><c>O </c><c> 16.00000000</c><c>  6.00000000</c><c> PAW_PBE O 08Apr2002  </c></rc>
  </set></array></atominfo>"""


def test_charge_and_kpoints_of_a_vasprun(tmp_path) -> None:
    """What its atomtypes have more than NELECT; the mesh as generated, else that of its points."""
    text = vasprun([Step()]).replace("</array></atominfo>", TYPES)
    for electrons, says in (("17.0", "nothing"), ("19.0", "a charge of the cell of -2 e (1)")):
        given = f'<i name="NELECT">{electrons}</i></parameters>'
        reading = parsed(tmp_path, "vasprun.xml", text.replace("</parameters>", given))
        assert reading.line(()).endswith(says)
        assert reading.method["POTCAR O"] == "PAW_PBE O 08Apr2002"
    mesh = text.replace(">1 1 1<", ">3 3 2<")
    assert parsed(tmp_path, "vasprun.xml", mesh).method["kpoints"] == "3 x 3 x 2"
    points = "".join(f"<v>{x} {y} {z}</v>" for x in (0, 0.5) for y in (0, 0.5) for z in (0, 0.5))
    listed = text[: text.index("<generation")] + (
        f'<varray name="kpointlist">{points}</varray>'
        f'<varray name="weights">{8 * "<v>0.125</v>"}</varray>'
    ) + text[text.index("</kpoints>") :]  # fmt: skip
    assert parsed(tmp_path, "vasprun.xml", listed).method["kpoints"] == "2 x 2 x 2"


HUBBARD = """   GGA     =    --    GGA type
   METAGGA=      F    non-selfconsistent MetaGGA calc.
   LDAU   =      T
   angular momentum for each species LDAUL =     2   -1
   U (eV)           for each species LDAUU =   6.2  4.0
   J (eV)           for each species LDAUJ =   1.0  0.0
   NELM """


def test_settings_of_an_outcar(tmp_path) -> None:
    """GGA of the POTCARs where none is set; U by element, none where no shell has one."""
    text = outcar([Step()]).replace("   NELM ", HUBBARD, 1)
    assert parsed(tmp_path, "OUTCAR", text).method == {
        "program": "VASP",
        "GGA": "PE",
        "LDAU": "T",
        "ENCUT": "400",
        "ISMEAR": "1",
        "SIGMA": "0.2",
        "POTCAR Cu": "PAW_PBE Cu_pv 06Sep2000",
        "POTCAR O": "PAW_PBE O 08Apr2002",
        "U Cu": "5.2",
        "U O": "0",
    }


# -- extended XYZ --


def frame(keys: str, columns: str = "forces:R:3", rows: tuple[str, str] | None = None) -> str:
    a, b = rows or ("0.5 0.1 -0.2", "-0.5 -0.1 0.2")
    names = "Properties=species:S:1:pos:R:3" + f":{columns}" * bool(columns)
    return f"2\n{LATTICE} {names} {keys}\nCu 0 0 0 {a}\nCu 2.1 2 2 {b}\n"


E, S, V = "energy=-7.5", f'stress="{NINE}"', f'virial="{VIRIAL}"'


@pytest.mark.parametrize(
    "text",
    [
        frame(f"{E} {S}"),
        frame(f"{E} {V}", "force:R:3"),
        frame(f"{E} {V}", "fx:R:1:fy:R:1:fz:R:1"),
        frame(f"REF_{E} {V}", "REF_fx:R:1:REF_fy:R:1:REF_fz:R:1"),
        frame(f"REF_{E} REF_{S}", "REF_forces:R:3"),
        frame(f"DFT_{E} dft_{V}", "dft_force:R:3"),
        frame(f'energy_dft=-7.5 virials_dft="{VIRIAL}"', "forces_dft:R:3"),
        frame(f"energy=-7.4 free_{E} {S}"),
        frame(f"ref_energy=-7.4 ref_free_{E} REF_{V}", "ref_forces:R:3"),
        frame(f"energy=-7.4 freeEnergy=-7.5 {S}"),
        frame(f"REF_energy=-7.4 REF_energy_free=-7.5 {S}", "REF_forces:R:3"),
        frame(f"energy=-7.4 force_consistent_energy=-7.5 {S}"),
        frame(f"{E} {S}", "f_x:R:1:f_y:R:1:f_z:R:1"),
        frame(f"{E} {S}", "dft_force_x:R:1:dft_force_y:R:1:dft_force_z:R:1"),
        frame(f"{E} {S} scf_converged=T unconverged=F"),
        frame(f"{E} {S} {V}"),
        frame(f'{E} stresses="{NINE}"'),
        frame(f'{E} {V} stresses="{NINE}"'),
        frame(f"{E} {S} REF_{E}"),
        frame(f'Energy=-7.5 Virial="{VIRIAL}"', "Force:R:3"),
        frame(f"{E} {V}").replace("Lattice", "lattice").replace("Properties", "properties"),
        frame(f"{E} {V}").replace("species", "element").replace(":pos", ":positions"),
        frame(f'energy_eV=-7.5 virial_eV="{VIRIAL}"'),
        frame(
            f'{E} stress_GPa="1.602176634 .3204353268 .4806529902 .3204353268 3.204353268 '
            '.6408706536 .4806529902 .6408706536 4.806529902"'
        ),
        frame(f"{E} {S} config_weight=2.0 energy_weight=1.0"),
        frame(f'{E} REF_stress="0.01 0.02 0.03 0.004 0.003 0.002"'),
        "\n" + frame(f"{E} {S}") + "\n",
        "\ufeff" + frame(f"{E} {S}").replace("\n", "\r\n"),
    ],
)
def test_extxyz_spellings(tmp_path, text) -> None:
    (atoms,) = parsed(tmp_path, "a.xyz", text).frames
    results = atoms.calc.results
    assert results["energy"] == -7.5
    assert results["forces"][0].tolist() == FORCE
    assert results["stress"] == pytest.approx([0.01, 0.02, 0.03, 0.004, 0.003, 0.002], rel=1e-7)
    assert atoms.pbc.all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (frame(f"mace_{E} {S}"), "'mace_energy'; say with --keys=energy=mace_energy"),
        (frame(f"total_{E} {S}"), "'total_energy'"),
        (frame(f"energy_per_atom=-3.75 {S}"), "'energy_per_atom'"),
        (frame(f"{E} {S}", "gap_force:R:3"), "--keys=forces=gap_force"),
        (frame(f"{E} pressure=3.0"), "'pressure'; say with --keys=stress=pressure"),
        (frame(f"{E} REF_energy=-7.6 {S}"), "REF_energy and energy hold different energy"),
        (frame(f'{E} {S} virial="{NINE}"'), "contradict each other"),
        (frame(f"{E} {S} stress-unit=furlong"), "'furlong' of stress is not known"),
        (frame(f"{E} {S} energy_unit=Hartree"), "the unit of forces is not said"),
        (frame(f"{E} {S} length_unit=bohr"), "the unit of forces is not said"),
        (frame(f"energy_Ha=-0.2756 {S}"), "the unit of forces is not said"),
        (frame(f"{E} {S} forces_unit=Ha/Bohr"), "the unit of energy is not said"),
        (frame(f'{E} virial="1 2 3 4 5 6"'), "order of the six numbers of virial"),
        (frame(f"{E} {S} units=real"), "units=real does not say"),
        (frame(f'{E} stress="20 0 0 0 20 0 0 0 20"'), "3204 GPa if it is in eV/Å^3"),
        (frame(f'{E} stress="0.01 0 0 0.01 0 0 0.01 0 0"'), "not symmetric"),
        (frame(f'{E} virial_dft="1 2 3 4 5 6"'), "order of the six numbers of virial_dft"),
        (frame(f"{E} {S}", "forces:R:2", ("0 0", "0 0")), "forces of shape"),
        (frame(f"{E} {S}", ""), "7 columns"),
        (frame(f"{E} {S}").replace("species:S:1:", "label:S:1:"), "no element"),
        (frame(f"{E} {S}").replace("2\n", "5\n", 1), "5 atoms announced"),
        (frame(f"{E} {S}").replace("2.1", "x"), "no extended XYZ"),
        (frame(f"{E} {S}").replace("pos:R:3", "pos:R:"), "no list of NAME:TYPE:COLUMNS"),
        (frame(f"{E} REF_energy=cold {S}"), "REF_energy=cold is no number"),
        *((frame(f"{key}=-7.5 {S}"), f"{key!r}; say") for key in ("Epot", "PotEng", "pe", "U")),
        (frame(f"{E} {S} energy=-7.6"), "energy stands twice"),
        (frame(f"{E} {S}").replace("Lattice", "cell"), "no Lattice, but cell"),
        (frame(f"{E} {S}").replace("0 0 4", "0 0 0"), "in a cell without volume"),
        (
            frame(f"{E} {S}", "occupancy:R:1:forces:R:3", ("0.6 0 0 0", "1 0 0 0")),
            "occupancy is not 1 at every site",
        ),
        (
            frame(S, "energies:R:1:forces:R:3", ("-3 0 0 0", "-4.5 0 0 0")),
            "'energies of each atom'; say with --keys=energy=none",
        ),
        (frame(f'{E} stress="0.5 0 0 0 0.6 0 0 0 0.7"'), "beyond 112 GPa if they are in eV/Å^3"),
        (frame(f"{E} {S}").replace("pos:R:3", "frac_pos:R:3"), "names no pos:R:3"),
        (frame(E, "Z:I:1:forces:R:3", ("29 0 0 0", "28 0 0 0")), "species and Z name different"),
        (frame(f"REF_energy=T {S}"), "REF_energy=True is no number"),
        (frame(f"{E} {S} pos_unit=Bohr lattice_unit=nm"), "length is in Bohr and by lattice_unit"),
    ],
)
def test_extxyz_refusals_name_what_settles_them(tmp_path, text, says) -> None:
    with pytest.raises(MTPError) as error:
        parsed(tmp_path, "a.xyz", text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_an_energy_of_each_atom_is_not_one_of_the_frame(tmp_path) -> None:
    """Neither the hint nor the key alone makes it one."""
    text = (
        '1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3'
        " energy_per_atom=-3.75\nCu 0 0 0 0.5 0.1 -0.2\n"
    ).replace("1\n", "2\n", 1) + "Cu 2 2 2 -0.5 -0.1 0.2\n"
    path = tmp_path / "a.xyz"
    path.write_text(text)
    keys = {"energy": "energy_per_atom"}
    with pytest.raises(MTPError, match="--keys=energy=energy_per_atom --units=energy=eV/atom"):
        read_calculations(path, ReadOptions())
    with pytest.raises(MTPError, match="is an energy of each atom by its name; say --units"):
        read_calculations(path, ReadOptions(keys=keys))
    (atoms,) = read_calculations(path, ReadOptions(keys=keys, units={"energy": "eV/atom"})).frames
    assert atoms.get_potential_energy() == -7.5


def test_extxyz_settled_by_the_user(tmp_path) -> None:
    told = ReadOptions(keys=pairs_of("keys", "energy=mace_energy,stress=none"))
    reading = parsed(tmp_path, "a.xyz", frame(f"mace_energy=-7.5 {E} {S}"), told)
    assert "energy 1, forces 1, stress 0" in reading.line(())
    told = ReadOptions(units=pairs_of("units", "energy=Ha,forces=Ha/Bohr,stress=kbar"))
    (atoms,) = parsed(tmp_path, "a.xyz", frame(f"{E} {S}"), told).frames
    assert atoms.calc.results["energy"] == pytest.approx(-7.5 * Hartree)
    assert atoms.calc.results["forces"][0, 0] == pytest.approx(0.5 * Hartree / Bohr)
    assert atoms.calc.results["stress"][0] == pytest.approx(0.01 * 6.241509e-4)
    told = ReadOptions(units=pairs_of("units", "energy=eV/atom,forces=-eV/Å,stress=-GPa,length=Å"))
    (atoms,) = parsed(tmp_path, "a.xyz", frame(f"{E} {S}"), told).frames
    assert atoms.calc.results["energy"] == -15
    assert atoms.calc.results["forces"][0].tolist() == [-0.5, -0.1, 0.2]
    assert atoms.calc.results["stress"][0] == pytest.approx(-0.01 * 6.241509e-3)
    with pytest.raises(MTPError, match="--units: a file of kind outcar says it by itself"):
        parsed(tmp_path, "OUTCAR", outcar([Step()]), told)
    told = ReadOptions(voigt=order_of("xx,yy,zz,xy,yz,zx"))
    text = frame(f'{E} virial="-0.64 -1.28 -1.92 -.128 -.256 -.192"').replace(
        "virial", "virial_vasp"
    )
    (atoms,) = parsed(tmp_path, "a.xyz", text, told).frames
    assert atoms.calc.results["stress"] == pytest.approx([0.01, 0.02, 0.03, 0.004, 0.003, 0.002])
    for flag, text in (("keys", "work=a"), ("units", "energy")):
        with pytest.raises(MTPError, match=f"--{flag}"):
            pairs_of(flag, text)
    with pytest.raises(MTPError, match="--voigt"):
        order_of("xx,yy,zz")


def test_frames_of_one_file_may_differ(tmp_path) -> None:
    bare = frame("mace_energy_weight=1", "")
    bare = "\n".join(
        line[: line.find("0.5")] if "Cu" in line else line for line in bare.split("\n")
    )
    text = frame(f"{E} {S}") + frame(f"REF_{E} gap_energy=3", "tags:I:1:force:R:3").replace(
        "0 0 0 0.5", "0 0 0 1 0.5"
    ).replace("2.1 2 2 -0.5", "2.1 2 2 1 -0.5")
    text += "2\nProperties=species:S:1:pos:R:3\nCu 0 0 0\nCu 2.1 2 2\n"
    text += frame(f"energy=nan {S}")
    line = parsed(tmp_path, "a.xyz", text).line(())
    assert line == (
        "3 frames: energy 2, forces 2, stress 1; left out: with a number that is not finite (1); "
        "not understood: gap_energy (1); not used: tags (1)"
    )


def test_frames_that_say_they_are_not_converged(tmp_path) -> None:
    says = ("converged=F", "scf_converged=0", "dft_converged=False", "converged_scf=F")
    text = "".join(frame(f"{E} {S} {key}") for key in says) + frame(f"{E} {S} converged=T")
    reading = parsed(tmp_path, "a.xyz", text)
    assert reading.left_out == {"without electronic convergence": 4}
    assert len(reading.frames) == 1
    for key in (
        "unconverged=T",
        "status=unconverged",
        "electronic_convergence=F",
        "scf=NotConverged",
    ):
        assert parsed(tmp_path, "b.xyz", frame(f"{E} {S} {key}")).frames == []
    for key in ("unconverged=F", "convergence=1e-8", "scf_convergence_steps=0", "name=converged"):
        assert len(parsed(tmp_path, "b.xyz", frame(f"{E} {S} {key}")).frames) == 1
    assert len(parsed(tmp_path, "a.xyz", text, ReadOptions(nonconverged=True)).frames) == 5


def test_what_converters_fill_in_is_no_label(tmp_path) -> None:
    """An energy of exactly 0, six zeros of stress beside forces; those of a lone atom stay."""
    nothing = 'stress="0 0 0 0 0 0 0 0 0"'
    text = frame("energy=0.0") + frame(f"{E} {nothing}") + frame(f"{E} {S}")
    text += f"1\n{LATTICE} Properties=species:S:1:pos:R:3:forces:R:3 energy=0 {nothing}\n"
    reading = parsed(tmp_path, "a.xyz", text + "Cu 0 0 0 0 0 0\n")
    assert reading.line(()) == (
        "3 frames: energy 3, forces 3, stress 2; left out: with an energy of exactly 0 beside "
        "forces, which none has (1); not understood: stress of exactly 0 beside forces (1)"
    )


def test_keys_that_no_one_takes_are_said(tmp_path) -> None:
    rows = ("2 0.5 0.1 -0.2 -3", "-2 0 0 0 -4.5")
    keys = f"{E} {S} charge=1 REF_dipole=3 energy_unit=eV config_type=a"
    reading = parsed(tmp_path, "a.xyz", frame(keys, "magmoms:R:1:forces:R:3:energies:R:1", rows))
    assert reading.frames[0].get_initial_magnetic_moments().tolist() == [2, -2]
    line = reading.line(("initial_magmoms", "config_type"), keys=False)
    assert line.endswith("nothing; not used: REF_dipole (1), charge (1), energies (1)")


def test_a_stress_without_a_volume_is_counted(tmp_path) -> None:
    for flags in ("T T F", "F F F"):
        for key, text in (("stress", S), ("virial", V)):
            line = parsed(tmp_path, "a.xyz", frame(f'{E} {text} pbc="{flags}"')).line(())
            assert f"stress 0; not understood: {key} of a cell that is not periodic" in line


def test_moments_charges_and_constraints_stay(tmp_path) -> None:
    atoms = Atoms("CuO", [[0, 0, 0], [2, 2, 2]], cell=[4] * 3, pbc=True, magmoms=[1, -1])
    atoms.set_initial_charges([0.5, -0.5])
    atoms.set_constraint(FixAtoms([0]))
    write(tmp_path / "a.extxyz", atoms)
    (found,) = read_calculations(tmp_path / "a.extxyz", ReadOptions()).frames
    assert found.get_initial_magnetic_moments().tolist() == [1, -1]
    assert found.get_initial_charges().tolist() == [0.5, -0.5]
    assert found.constraints[0].index.tolist() == [0]
    line = Reading([found]).line(("initial_charges",))
    assert line.endswith("not used: constraints (1), initial_magmoms (1)")


def test_forces_that_constraints_took_away_are_no_labels(tmp_path) -> None:
    """Programs that hold atoms write 0 for them; forces that are there whole stay."""
    for rows, kept in (
        (("F 0 0 0", "T -0.5 -0.1 0.2"), 0),
        (("F 0.5 0.1 -0.2", "T -0.5 -0.1 0.2"), 1),
        (("F 0 0 0", "T 0 0 0"), 1),
    ):
        reading = parsed(tmp_path, "a.xyz", frame(f"{E} {S}", "move_mask:L:1:forces:R:3", rows))
        assert len(reading.frames) == kept
    rows = ("F T T 0 0.1 -0.2", "T T T -0.5 -0.1 0.2")
    reading = parsed(tmp_path, "a.xyz", frame(f"{E} {S}", "move_mask:L:3:forces:R:3", rows))
    assert reading.left_out == {"with forces of 0 where constraints hold an atom": 1}


@pytest.mark.parametrize("name", ["magmom", "DFT_magmoms", "magnetic_moments"])
def test_columns_of_moments_begin_the_next_calculation(tmp_path, name) -> None:
    rows = ("2 0.5 0.1 -0.2", "-2 -0.5 -0.1 0.2")
    (atoms,) = parsed(tmp_path, "a.xyz", frame(f"{E} {S}", f"{name}:R:1:forces:R:3", rows)).frames
    assert atoms.get_initial_magnetic_moments().tolist() == [2, -2]


# -- dumps, POSCARs, data sets --

DUMP = """ITEM: TIMESTEP
100
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 4
0 4
0 4
ITEM: ATOMS {columns}
{rows}
"""


@pytest.mark.parametrize(
    ("columns", "rows", "types"),
    [
        ("id type x y z fx fy fz", "2 1 2 2 2 .1 0 0\n1 2 0 0 0 .2 0 0", [1, 0]),
        ("id type element x y z fx fy fz", "2 1 Cu 2 2 2 .1 0 0\n1 2 O 0 0 0 .2 0 0", [1, 0]),
        ("id element xs ys zs fx fy fz", "2 Cu .5 .5 .5 .1 0 0\n1 O 0 0 0 .2 0 0", [1, 0]),
        ("id type mass xu yu zu fx fy fz", "2 1 1.0 2 2 2 .1 0 0\n1 2 1.0 0 0 0 .2 0 0", [1, 0]),
    ],
)
def test_dump(tmp_path, monkeypatch, columns, rows, types) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.dump").write_text(DUMP.format(columns=columns, rows=rows))
    words = ["convert", "a.dump", "o.cfg", "--input_format=lammps_dump", "--species=Cu,O"]
    assert main(words) == 0
    (found,) = read_cfg("o.cfg")
    assert found.types.tolist() == types
    assert found.energy is None
    assert found.forces[:, 0].tolist() == [0.2, 0.1]
    assert "element" not in columns or main([*words[:-1], "--species=O,Cu"]) == int(
        "type" in columns
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            DUMP.format(columns="id type x y z", rows="1 1 0 0 0"),
            "2 atoms of 5 columns announced, 1",
        ),
        (DUMP.format(columns="id type x y z", rows="1 1 0 0 0\n2 1 2 2"), "cut short"),
        (
            DUMP.format(columns="id element x y z", rows="1 C1 0 0 0\n2 O 2 2 2"),
            "element C1 is none",
        ),
        (DUMP.replace(" pp pp pp", "").format(columns="id type x y z", rows=""), "periodic"),
        (
            DUMP.replace("pp pp pp", "abc origin").format(columns="id type x y z", rows=""),
            "periodic",
        ),
    ],
)
def test_dumps_that_would_be_read_as_something_else(tmp_path, text, says) -> None:
    with pytest.raises(MTPError, match=says):
        parsed(tmp_path, "a.dump", text)


def test_columns_of_a_dump_that_no_one_takes_are_said(tmp_path) -> None:
    text = DUMP.format(columns="id type x y z fx fy mol", rows="1 1 0 0 0 1 2 3\n2 1 2 2 2 1 2 3")
    line = parsed(tmp_path, "a.dump", text, ReadOptions(("Cu",))).line(("type",))
    assert "forces 0, stress 0; not understood: fx (1), fy (1), mol (1)" in line
    with pytest.raises(MTPError, match="atom 1 stands twice"):
        parsed(tmp_path, "a.dump", text.replace("2 1 2 2 2", "1 1 2 2 2"), ReadOptions(("Cu",)))
    with pytest.raises(MTPError, match="type 0 has no element"):
        parsed(tmp_path, "a.dump", text.replace("2 1 2 2 2", "2 0 2 2 2"), ReadOptions(("Cu",)))


@pytest.mark.parametrize(
    ("columns", "rows", "symbols"),
    [
        ("id type x y z", "1 1 0 0 0\n2 2 2 2 2", None),
        ("id type element x y z", "1 1 C 0 0 0\n2 2 C 2 2 2", None),  # LAMMPS's default
        ("id type element x y z", "1 1 C 0 0 0\n2 1 C 2 2 2", "C2"),
        ("id type element x y z", "1 1 Cu 0 0 0\n2 2 O 2 2 2", "CuO"),
    ],
)
def test_a_type_is_not_the_element_of_its_number(
    tmp_path, monkeypatch, capsys, columns, rows, symbols
) -> None:
    """Types as they are in a .cfg; where elements are named, H and He had stood."""
    monkeypatch.chdir(tmp_path)
    Path("a.dump").write_text(DUMP.format(columns=columns, rows=rows))
    words = ["convert", "a.dump", "o", "--input_format=lammps_dump"]
    for form in ("poscar", "extxyz"):
        assert main([*words, f"--output_format={form}"]) == (symbols is None)
        assert symbols or "give --species=A,B" in capsys.readouterr().err
        if symbols:
            found = read("o", format={"poscar": "vasp"}.get(form, form))
            assert str(found.symbols) == symbols
    assert main(words) == 0
    assert read_cfg("o")[0].types.tolist() == ([0, 0] if "2 1" in rows else [0, 1])
    if symbols is None:
        assert main([*words, "--output_format=extxyz", "--species=Cu,O"]) == 0
        assert str(read("o", format="extxyz").symbols) == "CuO"
    assert main([*words[:2], "o.data", words[3], "--output_format=lammps_datafile"]) == 0
    back = ["convert", "o.data", "p", "--input_format=lammps_datafile", "--output_format=poscar"]
    assert main(back) == 1


def test_dump_units(tmp_path) -> None:
    text = DUMP.format(columns="id type x y z fx fy fz", rows="1 1 0 0 0 1 0 0\n2 1 2 2 2 0 0 0")
    real = ReadOptions(("Cu",), units={"lammps": "real"})
    (atoms,) = parsed(tmp_path, "a.dump", text, real).frames
    assert atoms.calc.results["forces"][0, 0] == pytest.approx(0.0433641, abs=1e-6)
    (atoms,) = parsed(tmp_path, "a.dump", "ITEM: UNITS\nreal\n" + text, ReadOptions(("Cu",))).frames
    assert atoms.calc.results["forces"][0, 0] == pytest.approx(0.0433641, abs=1e-6)
    with pytest.raises(MTPError, match="units style is metal, not real"):
        parsed(tmp_path, "a.dump", "ITEM: UNITS\nmetal\n" + text, real)
    with pytest.raises(MTPError, match="units style 'lj'"):
        parsed(tmp_path, "a.dump", "ITEM: UNITS\nlj\n" + text, ReadOptions(("Cu",)))
    with pytest.raises(MTPError, match="type 2 has no element in --species=Cu;"):
        parsed(tmp_path, "a.dump", text.replace("2 1 2", "2 2 2"), ReadOptions(("Cu",)))
    with pytest.raises(MTPError, match="neither type nor element"):
        parsed(tmp_path, "a.dump", text.replace("id type x", "id mol x"), ReadOptions(("Cu",)))


POSCAR = (
    "{comment}\n1.0\n4 0 0\n0 4 0\n0 0 4\n{species}2 2\nDirect\n0 0 0\n.5 .5 0\n.5 0 .5\n0 .5 .5\n"
)


@pytest.mark.parametrize(
    ("comment", "species", "told", "potcar", "symbols"),
    [
        ("x", "Na Cl\n", (), "", "Na2Cl2"),
        ("x", "Na_pv Cl/1a2b\n", (), "", "Na2Cl2"),
        ("my rock salt", "", ("Na", "Cl"), "", "Na2Cl2"),
        ("Na Cl", "", (), "", "Na2Cl2"),
        ("Na2 Cl2", "", (), "", "Na2Cl2"),
        ("NaCl", "", (), "", "Na2Cl2"),
        ("my cell", "", (), "VRHFIN =Na: s1p0\nVRHFIN =Cl: s2p5\n", "Na2Cl2"),
        ("In a cell", "", (), "", None),
        ("Na3 Cl1", "", (), "", None),
        ("my cell", "", ("Na", "K", "Cl"), "", None),
        ("Cl Na", "", ("Na", "Cl"), "", None),
    ],
)
def test_poscar_elements(tmp_path, comment, species, told, potcar, symbols) -> None:
    path = tmp_path / "POSCAR"
    path.write_text(POSCAR.format(comment=comment, species=species))
    if potcar:
        (tmp_path / "POTCAR").write_text(potcar)
    if symbols:
        assert str(read_poscar(path, ReadOptions(told)).symbols) == symbols
        return
    with pytest.raises(MTPError, match="names no elements"):
        read_poscar(path, ReadOptions(told))


@pytest.mark.parametrize(
    ("incar", "moments"),
    [
        ("ISPIN = 2\nMAGMOM = 2*5.0 2*-5.0  # by hand\n", [5, 5, -5, -5]),
        ("ispin=2; magmom=1 2 3 4", [1, 2, 3, 4]),
        ("MAGMOM = 1 2 \\\n 3 4\nISPIN = 2", [1, 2, 3, 4]),
        ("LSORBIT = T\nMAGMOM = 9*0 0 0 2", [[0, 0, 0]] * 3 + [[0, 0, 2]]),
        ("ISPIN = 1\nMAGMOM = 4*1", [0, 0, 0, 0]),
        ("# MAGMOM = 4*1\nISPIN = 2", [0, 0, 0, 0]),
        ("MAGMOM = 2*1 5", "INCAR beside it is for 3 atoms, 4 are here"),
        ("MAGMOM = up down", "MAGMOM = up down is not a list of moments"),
    ],
)
def test_moments_of_the_incar_beside_a_poscar(tmp_path, incar, moments) -> None:
    path = tmp_path / "POSCAR"
    path.write_text(POSCAR.format(comment="x", species="Ni O\n"))
    (tmp_path / "INCAR").write_text(incar)
    if isinstance(moments, str):
        with pytest.raises(MTPError, match=moments):
            read_poscar(path, ReadOptions())
        return
    assert read_poscar(path, ReadOptions()).get_initial_magnetic_moments().tolist() == moments
    for name in ("a.vasp", "b.vasp"):
        (tmp_path / name).write_text(path.read_text())
    if np.any(moments):
        with pytest.raises(MTPError, match="2 structures are there; give each a folder"):
            read_poscar(tmp_path / "a.vasp", ReadOptions())


def test_poscars_that_hold_more_than_ase_reads(tmp_path) -> None:
    whole, path = POSCAR.format(comment="x", species="Na Cl\n"), tmp_path / "POSCAR"
    bare = whole.partition("0 0 0\n.5")[0]
    named = "0 0 0 Na\n.5 .5 0 Na\n.5 0 .5 Cl\n0 .5 .5 Cl\n"
    for text, says in (
        (whole + ".1 .1 .1\n", "goes on after the 4 atoms that it counts"),
        (whole + "Direct configuration=     2\n0 0 0\n", "leave one structure"),
        (bare + named.replace(".5 .5 0 Na", ".5 .5 0 Cl"), "atom 2 is Na by line 6 and Cl"),
    ):
        path.write_text(text)
        with pytest.raises(MTPError, match=says):
            read_poscar(path, ReadOptions())
    for text in (
        bare + named,
        bare.replace("Na Cl\n", "") + named,
        whole + "\n" + "1 1 1\n" * 4,
    ):
        path.write_text(text)
        assert str(read_poscar(path, ReadOptions()).symbols) == "Na2Cl2"


def test_poscar_written_by_element(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    atoms = Atoms("AgCuAgCuCu", np.arange(15).reshape(5, 3) % 7, cell=[9] * 3, pbc=True)
    write("a.xyz", atoms, format="extxyz")
    words = ["convert", "a.xyz", "POSCAR", "--input_format=extxyz", "--output_format=poscar"]
    assert main([*words, "--species=Cu,Ag"]) == 0
    lines = Path("POSCAR").read_text().split("\n")
    assert (lines[5].split(), lines[6].split()) == (["Cu", "Ag"], ["3", "2"])
    order = [1, 3, 4, 0, 2]
    assert np.allclose(read("POSCAR").positions, atoms.positions[order])


def labelled() -> Atoms:
    atoms = Atoms("CuO", [[0, 0, 0], [2.1, 2, 2]], cell=[4] * 3, pbc=True)
    results = {"energy": -7.4, "free_energy": -7.5, "forces": np.array([FORCE, FORCE])}
    atoms.calc = SinglePointCalculator(atoms, **results, stress=np.array(STRESS))
    return atoms


@pytest.mark.parametrize("name", ["a.db", "a.json", "a.traj"])
def test_ase_databases(tmp_path, name) -> None:
    write(tmp_path / name, [labelled(), labelled()])
    reading = read_calculations(tmp_path / name, ReadOptions())
    assert energies(reading) == [-7.5, -7.5]
    assert reading.frames[1].calc.results["stress"] == pytest.approx(STRESS)
    assert reading.line(()) == "2 frames: energy 2, forces 2, stress 2; not understood: nothing"


@pytest.mark.parametrize("name", ["a.db", "a.json"])
def test_keys_of_an_ase_database(tmp_path, name) -> None:
    """Labels that stand in key-value pairs and data, where ASE's own reader leaves them."""
    bare = labelled().copy()
    with connect(tmp_path / name) as rows:
        rows.write(bare, REF_energy=-7.5, note="a", data={"REF_forces": np.array([FORCE, FORCE])})
        rows.write(labelled(), converged=False)
    reading = read_calculations(tmp_path / name, ReadOptions())
    assert energies(reading) == [-7.5]
    assert reading.frames[0].calc.results["forces"].tolist() == [FORCE, FORCE]
    assert reading.left_out == {"without electronic convergence": 1}
    assert reading.line((), keys=False).endswith("not used: note (1)")
    with connect(tmp_path / name) as rows:
        rows.write(bare, total_energy=-7.5)
    with pytest.raises(MTPError, match="row 2: no energy is understood, but there is 'total_en"):
        read_calculations(tmp_path / name, ReadOptions())
    (tmp_path / "none.db").write_text("")
    with pytest.raises(MTPError, match="holds no structure"):
        read_calculations(tmp_path / "none.db", ReadOptions())


@pytest.mark.parametrize("name", ["a.db", "a.traj"])
def test_the_energy_without_smearing_is_no_label(tmp_path, name) -> None:
    """ASE's `energy` of VASP and GPAW; the forces are derivatives of `free_energy`."""
    for code, free, kept in (("vasp", {}, 0), ("vasp", {"free_energy": -7.5}, 1), ("emt", {}, 1)):
        atoms = labelled()
        results = {"energy": -7.4, "forces": [FORCE, FORCE]} | free
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.calc.name = code
        (tmp_path / name).unlink(missing_ok=True)
        write(tmp_path / name, atoms)
        if kept:
            expected = [free.get("free_energy", -7.4)]
            assert energies(read_calculations(tmp_path / name, ReadOptions())) == expected
            continue
        with pytest.raises(MTPError, match="energy of vasp is the one without smearing"):
            read_calculations(tmp_path / name, ReadOptions())
        told = ReadOptions(keys={"energy": "energy"})
        assert energies(read_calculations(tmp_path / name, told)) == [-7.4]


@pytest.mark.parametrize("kind", ["deepmd/npy", "deepmd/npy/mixed"])
def test_deepmd(tmp_path, kind) -> None:
    folder = tmp_path / "system"
    data = {
        "atom_names": ["Cu", "O"],
        "atom_numbs": [1, 1],
        "atom_types": np.array([0, 1]),
        "orig": np.zeros(3),
        "cells": np.tile(4 * np.eye(3), (3, 1, 1)),
        "coords": np.tile([[0, 0, 0], [2.1, 2, 2]], (3, 1, 1)),
        "energies": np.array([-7.5, -7.6, -7.7]),
        "forces": np.tile([FORCE, FORCE], (3, 1, 1)),
        "virials": np.tile(np.diag([-0.64, -1.28, -1.92]), (3, 1, 1)),
    }
    dpdata.LabeledSystem(data=data).to(kind, str(folder), prec=np.float64, set_size=2)
    sets = [folder] if (folder / "type.raw").exists() else sorted(folder.glob("*/"))
    (system,) = sets
    reading = read_calculations(system, ReadOptions())
    assert energies(reading) == [-7.5, -7.6, -7.7]
    assert reading.frames[2].calc.results["stress"][:3] == pytest.approx([0.01, 0.02, 0.03])
    assert str(reading.frames[0].symbols) == "CuO"
    (system / "nopbc").touch()
    line = read_calculations(system, ReadOptions()).line(())
    assert "stress 0; not understood: virial of a cell that is not periodic" in line
    (system / "nopbc").unlink()
    box = np.load(system / "set.001" / "box.npy")
    np.save(system / "set.001" / "box.npy", 0 * box)
    with pytest.raises(MTPError, match="frame 2: periodic in three directions in a cell without"):
        read_calculations(system, ReadOptions())
    np.save(system / "set.001" / "box.npy", box)
    (system / "set.000" / "force.npy").unlink()
    with pytest.raises(MTPError, match=r"not every set has force.npy"):
        read_calculations(system, ReadOptions())
    (system / "set.001" / "force.npy").unlink()
    assert "energy 3, forces 0, stress 3" in read_calculations(system, ReadOptions()).line(())
    (system / "type_map.raw").unlink()
    with pytest.raises(MTPError, match="no type_map"):
        read_calculations(system, ReadOptions())


def test_deepmd_raw(tmp_path) -> None:
    """The text files that sets are made of; other labels in them are named."""
    made = {"box": [4 * np.eye(3).ravel()] * 2, "coord": [[0, 0, 0, 2.1, 2, 2]] * 2}
    made |= {"energy": [[-7.5], [-7.6]], "force": [[*FORCE, *FORCE]] * 2, "atom_ener": [[1, 2]] * 2}
    made |= {"virial": [np.diag([-0.64, -1.28, -1.92]).ravel()] * 2, "type": [[0], [1]]}
    system = tmp_path / "all/of/it"
    system.mkdir(parents=True)
    for name, rows in made.items():
        np.savetxt(system / f"{name}.raw", rows, fmt="%d" if name == "type" else "%.8f")
    with pytest.raises(MTPError, match="no type_map"):
        read_calculations(system, ReadOptions())
    reading = read_calculations(system, ReadOptions(species=("Cu", "O")))
    assert expanded(tmp_path) == expanded(system) == [system]
    assert energies(reading) == [-7.5, -7.6]
    assert reading.frames[1].calc.results["stress"][:3] == pytest.approx([0.01, 0.02, 0.03])
    assert reading.frames[1].get_forces()[1].tolist() == FORCE
    line = "2 frames: energy 2, forces 2, stress 2; not understood: atom_ener.raw (2)"
    assert reading.line(()) == line
    np.savetxt(system / "force.raw", [[*FORCE]] * 2)
    with pytest.raises(MTPError, match="nothing that dpdata can read"):
        read_calculations(system, ReadOptions(species=("Cu", "O")))


def test_site_energies_of_a_cfg_are_named(tmp_path) -> None:
    atoms = Atoms("CuO", [[0, 0, 0], [2.1, 2, 2]], cell=4 * np.eye(3), pbc=True)
    plain = from_atoms(atoms, ["Cu", "O"])
    write_cfg(tmp_path / "a.cfg", [plain, replace(plain, site_energies=np.array([-1.0, -2.0]))])
    reading = read_calculations(tmp_path / "a.cfg", ReadOptions(species=("Cu", "O")))
    assert "not understood: site_en (1)" in reading.line(())


def test_frames_of_a_cfg_that_are_no_labels(tmp_path, monkeypatch, capsys) -> None:
    """What MLIP's readers of OUTCARs mark, and domains of a simulation, whose ghosts are copies."""
    monkeypatch.chdir(tmp_path)
    atoms = Atoms("CuO", [[0, 0, 0], [2.1, 2, 2]], cell=4 * np.eye(3), pbc=True)
    plain = replace(from_atoms(atoms, ["Cu", "O"]), energy=-7.5, features={"EFS_by": "VASP"})
    stopped = replace(plain, features={"EFS_by": "VASP_not_converged"})
    domain = replace(plain, columns={"ghost": np.array([0.0, 1.0])})
    write_cfg("a.cfg", [plain, stopped, domain])
    reading = read_calculations(Path("a.cfg"), ReadOptions(species=("Cu", "O")))
    assert len(reading.frames) == 1
    left = "with ghost atoms, which are copies of others (1), without electronic convergence (1)"
    assert f"left out: {left}" in reading.line(())
    for form in ("poscar", "extxyz"):
        words = ["convert", "a.cfg", "o", f"--output_format={form}", "--species=Cu,O"]
        assert main(words) == 1
        assert "has no ghost atoms" in capsys.readouterr().err


def test_mlearn(tmp_path) -> None:
    from pymatgen.core import Structure

    structure = Structure(4 * np.eye(3), ["Cu", "O"], [[0, 0, 0], [0.525, 0.5, 0.5]])
    kilobar = [16.02177, 32.04353, 48.0653, 3.20435, 6.40871, 4.80653]
    outputs = {"energy": -7.5, "forces": [FORCE, FORCE], "virial_stress": kilobar}
    row = {"structure": structure.as_dict(), "outputs": outputs, "group": "Elastic"}
    (tmp_path / "a.json").write_text(json.dumps([row]))
    assert kind_of(tmp_path / "a.json") == "mlearn"
    (atoms,) = read_calculations(tmp_path / "a.json", ReadOptions()).frames
    assert atoms.calc.results["stress"] == pytest.approx(STRESS, abs=1e-7)
    assert atoms.info["group"] == "Elastic"


# -- the handed cases, read where they lie --


@handed
@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("03-outcar-nelm/nelm_vasp5.OUTCAR", [-7.7]),
        ("04-outcar-unreadable/mlff.OUTCAR", [-7.5, -7.6]),
        ("04-outcar-unreadable/vdw.OUTCAR", [-7.5]),
        ("04-outcar-unreadable/nwrite0.OUTCAR", [-7.5, -7.7]),
        ("04-outcar-unreadable/std.OUTCAR", [-7.5, -7.6]),
        *((f"05-extxyz-labels-lost/{n}.xyz", [-7.5]) for n in ("mace_REF", "nep", "free", "std")),
        *((f"05-extxyz-labels-lost/{n}.xyz", [-7.5]) for n in ("quip_dft", "virials")),
    ],
)
def test_handed_labels(tmp_path, monkeypatch, name, kept) -> None:
    monkeypatch.chdir(tmp_path)
    form = "outcar" if name.endswith("OUTCAR") else "extxyz"
    words = ["convert", str(CASES / name), "o.cfg", f"--input_format={form}"]
    assert main([*words, "--species=" + ("Cu,O" if form == "outcar" else "Cu")]) == 0
    found = read_cfg("o.cfg")
    assert [c.energy for c in found] == kept
    sign = 1 if form == "outcar" else -1
    for c in found:
        assert c.forces[0].tolist() == FORCE
        assert c.virial == pytest.approx(
            sign * np.array([0.64, 1.28, 1.92, 0.256, 0.192, 0.128]), abs=1e-5
        )


@handed
def test_handed_units_dumps_and_poscars(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    def converted(name: str, form: str, species: str):
        path = str(CASES / name)
        assert main(["convert", path, "o.cfg", f"--input_format={form}", species]) == 0
        return read_cfg("o.cfg")[0]

    assert converted("06-extxyz-units/gpa.xyz", "extxyz", "--species=Cu").virial[:3] == (
        pytest.approx([-0.39946] * 3, abs=1e-5)
    )
    assert converted("08-dump-energy-zero/forces.dump", "lammps_dump", "--last").energy is None
    assert converted("09-dump-types/el.dump", "lammps_dump", "--last").types.tolist() == [
        0,
        0,
        1,
        1,
    ]
    poscar = converted("17-poscar-vasp4-species/vasp4c.vasp", "poscar", "--species=Na,Cl")
    assert poscar.types.tolist() == [0] * 4 + [1] * 4
    mixed = str(CASES / "11-poscar-interleaved/mixed.cfg")
    assert main(["convert", mixed, "P", "--output_format=poscar", "--species=Cu,Ag"]) == 0
    assert [line.split() for line in Path("P").read_text().split("\n")[5:7]] == [
        ["Cu", "Ag"],
        ["2", "2"],
    ]
