"""The repulsive core: its closed form, LAMMPS's own, derivatives, and that no reader forgets it."""

from dataclasses import replace

import numpy as np
import pytest

from mtp.calculator import MTP
from mtp.cli import main
from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.formats.almtp import read_potential, write_potential
from mtp.formats.cfg import read_cfg, write_cfg
from mtp.potential import untrained
from mtp.repulsion import RepulsiveCore, without_core, zbl
from tests.mtp.samples import configuration, labelled, potential, refused

ELEMENTS = ["Si", "O"]


def dimer(distance, types=(0, 0)):
    return Configuration(
        np.zeros((3, 3)),
        np.array(types),
        np.array([[0.0, 0, 0], [0.6 * distance, 0, 0.8 * distance]]),
        pbc=np.zeros(3, bool),
    )


def silent(species=2):
    """A potential that says nothing, so that only its core is seen."""
    template = untrained(4, species, 0.5, 4.0, 4)
    return template.with_parameters(np.zeros(template.parameter_count))


def near_nuclei(seed=3):
    """Atoms of two types, some so near that their cores touch."""
    own = configuration(seed, atoms=16, species=2)
    shaken = np.random.default_rng(seed).normal(0, 0.35, own.positions.shape)
    return replace(own, positions=own.positions + shaken)


def test_energy_of_two_nuclei_is_the_universal_potential():
    """Z1 Z2 e^2 / r times the sum of four exponentials, written out for Si-O at 0.5 Å."""
    r, a = 0.5, 0.46850 / (14**0.23 + 8**0.23)
    screen = 0.18175 * np.exp(-3.19980 * r / a) + 0.50986 * np.exp(-0.94229 * r / a)
    screen += 0.28022 * np.exp(-0.40290 * r / a) + 0.02817 * np.exp(-0.20162 * r / a)
    found = zbl(np.array([r]), np.array([[14.0, 8.0]]))
    assert found.energy[0] == pytest.approx(14 * 8 * 14.3996454 / r * screen, rel=1e-8)


def test_derivatives_are_those_of_the_energy():
    r, charges, h = np.linspace(0.2, 2, 30), np.full((30, 2), 14.0), 1e-5
    low, here, high = (zbl(r + d, charges) for d in (-h, 0, h))
    assert here.slope == pytest.approx((high.energy - low.energy) / (2 * h), rel=1e-6)
    assert here.curvature == pytest.approx((high.slope - low.slope) / (2 * h), rel=1e-6)


def test_core_is_smooth_where_it_ends_and_whole_within():
    core = RepulsiveCore.of_elements(ELEMENTS)
    inner, outer = core.inner[0, 1], core.outer[0, 1]
    assert inner == pytest.approx(0.5 * (1.11 + 0.66))

    def at(r):
        return core.pair(np.atleast_1d(r), np.array([0]), np.array([1]))

    (e1, s1), (e2, s2) = at(outer - 1e-2), at(outer - 1e-3)
    assert e2[0] == pytest.approx(1e-3 * e1[0], rel=0.2)  # a third power: two derivatives vanish
    assert s2[0] == pytest.approx(1e-2 * s1[0], rel=0.2)
    assert at(outer + 1e-9)[0] == 0
    bare = zbl(np.array([0.3, 0.6]), np.array([[14.0, 8.0]] * 2)).energy
    assert np.diff([at(0.3)[0][0], at(0.6)[0][0]]) == pytest.approx(np.diff(bare), rel=1e-12)
    energies = [at(r)[0][0] for r in np.linspace(0.1, outer, 200)]
    assert np.all(np.diff(energies) < 0)  # repulsive everywhere


def test_forces_and_virial_are_derivatives_of_the_energy():
    model = replace(silent(), core=RepulsiveCore.of_elements(ELEMENTS, 0.5, 1.2))
    engine, c, h = Engine(model), near_nuclei(), 1e-5
    here = engine.evaluate([c])[0]
    assert here.energy > 1
    assert here.site_energies.sum() == pytest.approx(here.energy)
    for atom, axis in ((0, 0), (5, 1), (11, 2)):
        moved = []
        for sign in (1, -1):
            positions = c.positions.copy()
            positions[atom, axis] += sign * h
            moved.append(engine.evaluate([replace(c, positions=positions)])[0].energy)
        slope = (moved[0] - moved[1]) / (2 * h)
        assert here.forces[atom, axis] == pytest.approx(-slope, rel=1e-5, abs=1e-6)
    for k, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        moved = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * h
            strained = replace(c, cell=c.cell @ strain, positions=c.positions @ strain)
            moved.append(engine.evaluate([strained])[0].energy)
        slope = (moved[0] - moved[1]) / (2 * h)
        assert here.virial[k] == pytest.approx(-slope, rel=1e-5, abs=1e-6)


def test_configurations_together_are_what_they_are_alone():
    model = replace(potential(species=2), core=RepulsiveCore.of_elements(ELEMENTS, 0.5, 1.2))
    several = [near_nuclei(k) for k in range(4)] + [dimer(0.7), dimer(3.0)]
    engine = Engine(model)
    for one, together in zip(several, engine.evaluate(several), strict=True):
        alone = engine.evaluate([one])[0]
        assert together.energy == pytest.approx(alone.energy, rel=1e-12)
        assert together.forces == pytest.approx(alone.forces, rel=1e-10, abs=1e-12)
        assert together.virial == pytest.approx(alone.virial, rel=1e-10, abs=1e-12)


def test_lammps_has_the_same_core():
    lammps = pytest.importorskip("mtp.lammps").load_lammps(["-log", "none", "-screen", "none"])
    inner, outer = 0.9, 1.6
    lammps.commands_string(
        f"""units metal
        boundary f f f
        region box block -9 9 -9 9 -9 9
        create_box 2 box
        create_atoms 1 single 0 0 0
        create_atoms 2 single 1.2 0 0
        mass * 1
        pair_style zbl {inner} {outer}
        pair_coeff 1 1 14 14
        pair_coeff 2 2 8 8
        run 0"""
    )
    core = RepulsiveCore(np.array([14, 8]), np.full((2, 2), inner), np.full((2, 2), outer))
    for r in (0.4, 1.0, 1.5, 1.7):
        lammps.commands_string(f"set atom 2 x {r}\nrun 0")
        energy, slope = core.pair(np.array([r]), np.array([0]), np.array([1]))
        assert lammps.get_thermo("pe") == pytest.approx(energy[0], rel=1e-6)
        force = lammps.numpy.extract_atom("f")[1, 0]
        assert force == pytest.approx(-slope[0], rel=1e-6, abs=1e-12)
    lammps.close()


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = replace(potential(species=2), core=RepulsiveCore.of_elements(ELEMENTS, 0.5, 1.2))
    write_potential("pot.mtp", model)
    write_cfg("near.cfg", labelled([near_nuclei(k) for k in range(12)], model))
    return model


def test_core_lies_beside_and_every_reader_has_it(files, capsys):
    expected = read_cfg("near.cfg")[0]
    assert main(["calculate_efs", "pot.mtp", "near.cfg", "--output_filename=efs.cfg"]) == 0
    assert read_cfg("efs.cfg")[0].energy == pytest.approx(expected.energy)
    atoms = expected.to_atoms(ELEMENTS)
    atoms.calc = MTP("pot.mtp", ELEMENTS)
    assert atoms.get_potential_energy() == pytest.approx(expected.energy)
    assert atoms.get_forces() == pytest.approx(expected.forces, abs=1e-9)
    assert main(["calculate_loss", "pot.mtp", "near.cfg"]) == 0
    assert "Training Loss: 0.000000" in capsys.readouterr().out


def test_training_is_on_what_the_core_leaves(files, capsys):
    """The rest of the labels is within the form; with the cores in, it would not be."""
    words = ["--iteration_limit=60", "--al_mode=nbh", "--log=none", "--skip_preinit"]
    start = replace(files, core=None).with_parameters(files.parameters * 1.02)
    write_potential("start.mtp", start)
    losses = []
    for more in ([], ["--core=pot.mtp.core"]):
        assert main(["train", "start.mtp", "near.cfg", "--save_to=new.almtp", *words, *more]) == 0
        assert main(["calculate_loss", "new.almtp", "near.cfg"]) == 0
        losses.append(float(capsys.readouterr().out.split("Training Loss:")[1].split()[0]))
    assert losses[1] < 1e-2 * losses[0]
    assert read_potential("new.almtp").core.tag == files.core.tag
    assert main(["select_add", "new.almtp", "near.cfg", "near.cfg", "o.cfg"]) == 0


def test_core_left_out_or_exchanged_is_refused_by_name(files, tmp_path, capsys):
    core, evaluate = tmp_path / "pot.mtp.core", ("check_errors", "pot.mtp", "near.cfg")
    text = core.read_text()
    core.write_text(text.replace("14 14", "15 15").replace("14 8", "15 8"))
    refused(capsys, *evaluate, says="pot.mtp.core: is not the core")
    core.write_text(text.replace("0 1 ", "0 x "))
    refused(capsys, *evaluate, says="pot.mtp.core:4:")
    core.write_text("\n".join(text.splitlines()[:-1]))
    refused(capsys, *evaluate, says="pot.mtp.core: ")
    core.unlink()
    refused(capsys, *evaluate, says="put its file pot.mtp.core beside it")
    write_potential("pot.mtp", replace(files, core=None))
    core.write_text(text)
    refused(capsys, *evaluate, says="does not say that it stands on the core")
    write_potential("pot.mtp", replace(files, core=None))
    assert not core.exists()
    assert main(list(evaluate)) == 0


def test_cores_that_make_no_sense_are_refused(files, capsys):
    train = ("train", "near.cfg", "--level=4", "--species=2", "--save_to=n.mtp")
    refused(capsys, *train, "--zbl=Si,Xx", says="'Xx' is no element")
    refused(capsys, *train, "--zbl=Si", says="has 1 elements")
    refused(capsys, *train, "--zbl=Si,O", "--zbl_inner=0.9", says="inner < outer")
    refused(capsys, *train, "--zbl_outer=0.9", says="name the elements")
    refused(capsys, *train, "--zbl=Si,O", "--zbl_outer=9", says="beyond the cutoff")
    refused(capsys, *train, "--zbl=Si,O", "--core=pot.mtp.core", says="give only one")


def test_without_core_changes_only_labels_that_exist(files):
    whole = read_cfg("near.cfg")[0]
    rest = without_core(files.core, [replace(whole, virial=None)])[0]
    assert rest.virial is None
    assert rest.energy != whole.energy
    far = labelled([dimer(3.0)], potential(species=2))
    assert without_core(files.core, far)[0] is far[0]
