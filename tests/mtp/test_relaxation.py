"""The verb relax: minima, constraints, and every line of MLIP's relax.ini."""

from dataclasses import replace

import numpy as np
import pytest

from mtp.cli import main
from mtp.formats.almtp import write_potential
from mtp.formats.cfg import read_cfg, write_cfg
from mtp.geometry import minimal_distances
from tests.mtp.samples import configuration, potential

INI = """### RELAXATION OPTIONS ####
relax:pressure              0.0     # external pressure (in GPa)
relax:iteration_limit       500
relax:mindist               0.8
relax:force_tolerance       0.001
relax:stress_tolerance      0.02
relax:energy_tolerance      -9.9e99
relax:energy_der_wrt_magmom 0.0001
relax:max_step              0.2
relax:min_step              1.0e-8
relax:bfgs_wolfe_c1         1.0e-3
relax:bfgs_wolfe_c2         0.7
relax:log                   relaxation.log
relax:freeze_small_grads    FALSE
relax:use_gd_method         FALSE
relax:correct_cell          FALSE
relax:init_mindist          1.0
relax:forces_elasticity_scale 10
relax:stress_elasticity_scale 50
"""


@pytest.fixture
def repulsive(tmp_path, monkeypatch):
    """Atoms that only repel each other, so that pressure alone decides the minimum."""
    monkeypatch.chdir(tmp_path)
    model = potential(level=4, species=1)
    radial, moment = np.zeros_like(model.radial_coeffs), np.zeros_like(model.moment_coeffs)
    radial[..., 0, 0], moment[0] = 1.0, 10.0
    model = replace(model, radial_coeffs=radial, moment_coeffs=moment, species_coeffs=np.zeros(1))
    write_potential("r.mtp", model)
    write_cfg("in.cfg", [configuration(k, species=1) for k in range(3)])
    (tmp_path / "relax.ini").write_text(INI.replace("pressure              0.0", "pressure 20"))
    return tmp_path


def relaxed(*words):
    assert main(["relax", "r.mtp", "in.cfg", "out.cfg", *words]) == 0
    return read_cfg("out.cfg")


def enthalpy(c, pressure=20.0):
    return c.energy + pressure / 160.21766208 * c.volume


def test_the_settings_of_mlip_are_read_and_lead_to_a_minimum(repulsive):
    found = relaxed("--relaxation_settings=relax.ini")
    assert len(found) == 3
    for c in found:
        assert np.linalg.norm(c.forces, axis=1).max() <= 1e-3
        gpa = c.virial / c.volume * 160.21766208
        assert gpa == pytest.approx([20, 20, 20, 0, 0, 0], abs=0.02)
        assert c.features["from"] == "relaxation_OK"
        assert float(c.features["enthalpy"]) == pytest.approx(enthalpy(c), abs=1e-5)
    log = (repulsive / "relaxation.log").read_text().splitlines()
    assert log[0].startswith("cfg 1\titr 0\t")
    assert log[-1].startswith("cfg 3\t")
    slow = relaxed("--relaxation_settings=relax.ini", "--use_gd_method=true", "--log=none")
    assert enthalpy(slow[0]) == pytest.approx(enthalpy(found[0]), abs=1e-3)


def test_atoms_nearer_than_mindist_are_not_begun_with(repulsive, capsys):
    words = ["--relaxation_settings=relax.ini", "--iteration_limit=1", "--save_unrelaxed=u.cfg"]
    assert main(["relax", "r.mtp", "in.cfg", "out.cfg", *words, "--mindist=5"]) == 0
    assert capsys.readouterr().out.count("nearer than mindist = 5") == 3


def test_atoms_or_cell_or_single_atoms_may_be_held(repulsive):
    before = read_cfg("in.cfg")
    for c, was in zip(
        relaxed("--stress_tolerance=0", "--force_tolerance=1e-3"), before, strict=True
    ):
        assert np.array_equal(c.cell, was.cell)
    settings = ["--relaxation_settings=relax.ini", "--force_tolerance=0"]
    for c, was in zip(relaxed(*settings), before, strict=True):
        inside = [np.linalg.solve(x.cell.T, x.positions.T) for x in (c, was)]
        assert inside[0] == pytest.approx(inside[1], abs=1e-9)
    write_cfg("in.cfg", [replace(before[0], features={"relax:fixed_atoms": "0,2"})])
    (held,) = relaxed("--stress_tolerance=0", "--force_tolerance=1e-3")
    moved = np.linalg.norm(held.positions - before[0].positions, axis=1)
    assert moved[[0, 2]].tolist() == [0, 0]
    assert moved.max() > 0.01
    assert (
        main(["relax", "r.mtp", "in.cfg", "o", "--stress_tolerance=0", "--force_tolerance=0"]) == 1
    )


def test_atoms_are_pushed_apart_first_and_the_cell_is_corrected(repulsive):
    (crowded,) = read_cfg("in.cfg")[:1]
    crowded.positions[1] = crowded.positions[0] + [0.3, 0.0, 0.0]
    skew = np.array([[1.0, 0, 0], [3, 1, 0], [0, 2, 1]]) @ crowded.cell
    write_cfg("in.cfg", [replace(crowded, cell=skew)])
    settings = ["--relaxation_settings=relax.ini", "--correct_cell=true"]
    for distance in ("1.2", "{0:0.6}"):
        (found,) = relaxed(*settings, f"--init_mindist={distance}", "--mindist=1.1")
        assert min(minimal_distances(found).values()) > 1.1
        assert np.allclose(np.triu(found.cell, 1), 0)
        assert np.linalg.norm(found.cell) < np.linalg.norm(skew)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("relax:freeze_small_grads TRUE", "freeze_small_grads=true is refused"),
        ("relax:max_step 1e-9", "bad.ini:1: --max_step"),
        ("relax:init_mindist {1:0.5}", "type 0 has no radius"),
        ("relax:init_mindist {x}", "neither a distance"),
        ("relax:bfgs_wolfe_c1 0.9", "0 < bfgs_wolfe_c1"),
        ("relax:mindst 1", "did you mean mindist"),
    ],
)
def test_what_cannot_be_done_is_named(repulsive, capsys, line, says):
    (repulsive / "bad.ini").write_text(line + "\n")
    assert main(["relax", "r.mtp", "in.cfg", "out.cfg", "--relaxation_settings=bad.ini"]) == 1
    printed = capsys.readouterr()
    assert says in printed.err + printed.out
