"""The nine examples that MLIP-3 ships, in its own words, on data made here: copper by EMT."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from mtp.cli import main
from mtp.configuration import from_atoms
from mtp.engine import Engine
from mtp.formats.almtp import read_potential, write_potential
from mtp.formats.cfg import read_cfg, write_cfg
from mtp.geometry import cut_sphere
from mtp.potential import untrained
from tests.mtp.test_relaxation import INI
from tests.mtp.test_selection import with_images
from tests.mtp.vasp_files import Step, outcar

LATTICE = 3.59  # Å, of EMT's copper
STRETCHED = 0.24  # a strain no training configuration comes near


def copper(seed, shake=0.12, strain=0.04, repeat=2):
    atoms = bulk("Cu", cubic=True, a=LATTICE).repeat((repeat, 1, 1))
    rng = np.random.default_rng(seed)
    cell = atoms.cell @ (np.eye(3) + rng.uniform(-strain, strain, (3, 3)))
    atoms.set_cell(cell, scale_atoms=True)
    atoms.positions += rng.normal(0, shake, atoms.positions.shape)
    atoms.calc = EMT()
    atoms.get_stress()
    return from_atoms(atoms, ["Cu"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    write_cfg(folder / "train.cfg", [copper(k) for k in range(40)])
    write_cfg(folder / "to-relax.cfg", [copper(100 + k, 0.1, 0.03) for k in range(4)])
    write_cfg(folder / "far.cfg", [copper(200 + k, 0.1, STRETCHED) for k in range(6)])
    write_potential(folder / "06.almtp", untrained(6, 1, 1.9, 5.0, 8))
    (folder / "relax.ini").write_text(INI)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ("--iteration_limit=100", "--al_mode=nbh", "--save_to=pot.almtp", "--log=none")
        assert main(["train", "06.almtp", "train.cfg", *words]) == 0
    return folder


@pytest.fixture(autouse=True)
def there(shop, monkeypatch):
    monkeypatch.chdir(shop)


def energies(name):
    return [c.energy for c in read_cfg(name)]


def test_00_outcar_becomes_cfg():
    Path("OUTCAR").write_text(outcar([Step(), Step(free=-8.0)]))
    assert main(["convert", "OUTCAR", "relax.cfg", "--input_format=outcar"]) == 0
    assert energies("relax.cfg") == pytest.approx([-7.5, -8.0])  # what the forces belong to


def test_01_to_03_trained_checked_evaluated(capsys):
    labelled = read_cfg("train.cfg")
    ours = Engine(read_potential("pot.almtp")).evaluate(labelled)
    pairs = zip(ours, labelled, strict=True)
    error = np.mean([abs(e.energy - c.energy) / len(c) for e, c in pairs])
    assert error < 5e-3
    assert main(["check_errors", "pot.almtp", "train.cfg"]) == 0
    block = capsys.readouterr().out.split("Energy per atom:")[1]
    said = float(block.split("Average absolute difference = ")[1].split()[0])
    assert said == pytest.approx(error, rel=1e-5)
    assert main(["calculate_efs", "pot.almtp", "train.cfg", "--output_filename=efs.cfg"]) == 0
    assert energies("efs.cfg") == pytest.approx([e.energy for e in ours], rel=1e-12)


def test_04_grades_and_05_neighbourhoods_cut(capsys):
    assert main(["calculate_grade", "pot.almtp", "train.cfg", "own.cfg"]) == 0
    assert max(float(c.features["MV_grade"]) for c in read_cfg("own.cfg")) < 1.1
    assert main(["calculate_grade", "pot.almtp", "far.cfg", "graded.cfg"]) == 0
    graded = read_cfg("graded.cfg")
    assert max(float(c.features["MV_grade"]) for c in graded) > 2
    assert main(["cut_extrapolative_nbh", "graded.cfg", "cut.cfg", "--cutoff=8"]) == 0
    worst = [c for c in graded if c.grades.max() >= 1.1]
    for sphere, whole in zip(read_cfg("cut.cfg"), worst, strict=True):
        assert len(sphere) == len(cut_sphere(whole, int(np.argmax(whole.grades)), 8.0))
        assert np.linalg.norm(sphere.positions, axis=1).max() < 8


def test_06_candidates_with_ghosts_are_chosen_as_whole_cells_are():
    """A domain as LAMMPS leaves it, with its border atoms as ghosts, and the periodic cell."""
    whole = read_cfg("far.cfg")
    write_cfg("ghosts.cfg", [with_images(c, 5.0)[0] for c in whole])
    assert "ghost" in Path("ghosts.cfg").read_text()
    chosen = []
    for name in ("far.cfg", "ghosts.cfg"):
        assert main(["select_add", "pot.almtp", "train.cfg", name, "chosen.cfg"]) == 0
        chosen.append(read_cfg("chosen.cfg"))
    assert len(chosen[0]) == len(chosen[1]) > 0
    for cell, domain in zip(*chosen, strict=True):
        assert domain.positions[: len(cell)] == pytest.approx(cell.positions, abs=1e-9)


def test_07_relaxed_to_the_same_crystal():
    """All end in one minimum, the lattice of the potential, near that of EMT."""
    words = ("pot.almtp", "to-relax.cfg", "relaxed.cfg", "--relaxation_settings=relax.ini")
    assert main(["relax", *words]) == 0
    done = read_cfg("relaxed.cfg")
    assert len(done) == 4
    assert all(c.features["from"] == "relaxation_OK" for c in done)
    per_atom = np.array([c.energy / len(c) for c in done])
    assert np.ptp(per_atom) < 1e-4
    volume = np.array([c.volume / len(c) for c in done])
    assert volume == pytest.approx(LATTICE**3 / 4, rel=0.02)


def test_08_what_extrapolates_on_the_way_is_kept_once():
    write_cfg("both.cfg", [*read_cfg("to-relax.cfg"), *read_cfg("far.cfg")])
    words = ["relax", "pot.almtp", "both.cfg", "relaxed.cfg", "--relaxation_settings=relax.ini"]
    words += ["--extrapolation_control", "--save_extrapolative_to=kept.cfg"]
    words += ["--threshold_save=2", "--threshold_break=10", "--save_unrelaxed=failed.cfg"]
    assert main(words) == 0
    assert len(read_cfg("relaxed.cfg")) + len(read_cfg("failed.cfg")) == 10
    kept = read_cfg("kept.cfg")
    assert min(float(c.features["MV_grade"]) for c in kept) > 2
    assert len({c.positions.tobytes() + c.cell.tobytes() for c in kept}) == len(kept)
    assert main(["calculate_grade", "pot.almtp", "kept.cfg", "again.cfg", "--log=none"]) == 0
    for one, two in zip(kept, read_cfg("again.cfg"), strict=True):
        assert two.grades.max() == pytest.approx(one.grades.max(), rel=1e-6)
