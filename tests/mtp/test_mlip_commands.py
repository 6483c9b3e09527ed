"""Commands and options of MLIP-3: done as there, or refused with the reason."""

import numpy as np
import pytest

from mtp.cli import ABSENT, MODULES, main, verbs
from mtp.engine import Engine
from mtp.formats.almtp import read_potential, write_potential
from mtp.formats.cfg import read_cfg, write_cfg
from mtp.potential import untrained
from tests.mtp.samples import configuration, potential, refused, training_set


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_potential("pot.mtp", potential(level=4))
    write_cfg("train.cfg", training_set(4))
    return tmp_path


def test_every_verb_is_found_by_each_of_its_names():
    for module, names in MODULES.items():
        listed = [name for verb in verbs((module,)).values() for name in (verb.name, *verb.aliases)]
        assert sorted(listed) == sorted(names)
    assert not set(ABSENT) & {name for names in MODULES.values() for name in names}


def test_what_is_not_here_says_what_to_use_instead(files, capsys):
    refused(capsys, "replicate-cell", "a", says="of MLIP-3 is not here: use repeat of ase.Atoms")
    refused(capsys, "train", "train.cfg", "--select_factor=2", says="only MLIP's linear regression")
    words = ("select_add", "pot.mtp", "train.cfg", "train.cfg", "o.cfg")
    refused(capsys, *words, "--force_weight=1", says="--force_weight must be 0")


def test_loss_is_the_sum_of_its_terms(files, capsys):
    weights = ["--energy_weight=2", "--force_weight=0.1", "--stress_weight=0.01"]
    write_potential("other.mtp", potential(seed=3, level=4))
    assert main(["calculate_loss", "other.mtp", "train.cfg", *weights]) == 0
    labelled = read_cfg("train.cfg")
    expected = 0.0
    for c, e in zip(labelled, Engine(read_potential("other.mtp")).evaluate(labelled), strict=True):
        expected += 2 * (c.energy - e.energy) ** 2 / len(c)
        expected += 0.1 * np.square(c.forces - e.forces).sum()
        nine = np.square(c.virial - e.virial) * [1, 1, 1, 2, 2, 2]
        expected += 0.01 * nine.sum() / len(c)
    assert f"Training Loss: {expected:.6f}" in capsys.readouterr().out
    write_potential("blank.mtp", untrained(4, 3))
    refused(capsys, "calculate_loss", "blank.mtp", "train.cfg", says="is untrained")


def test_solving_the_extracted_problem_gives_the_linear_coefficients(files):
    """Labels of a potential with the same radial functions are met exactly."""
    model = read_potential("pot.mtp")
    linear = model.slices.species.start
    teacher = model.parameters.copy()
    teacher[linear:] = np.random.default_rng(4).normal(size=len(teacher) - linear)
    write_cfg("train.cfg", training_set(8, teacher=model.with_parameters(teacher)))
    assert main(["extract_problem", "pot.mtp", "train.cfg", "A.bin", "b.bin"]) == 0
    vector = np.fromfile("b.bin")
    matrix = np.fromfile("A.bin").reshape(len(vector), len(vector))
    assert np.linalg.solve(matrix, vector) == pytest.approx(teacher[linear:], abs=1e-4)


def test_added_species_leave_the_old_energies(files, capsys):
    model = read_potential("pot.mtp")
    assert main(["add_species", "pot.mtp", "3", "4", "--save_to=more.mtp"]) == 0
    more = read_potential("more.mtp")
    assert more.species_count == model.species_count + 2
    for one, two in zip(
        *(Engine(m).evaluate([configuration(5)]) for m in (model, more)), strict=True
    ):
        assert two.energy == one.energy
    refused(capsys, "set-species", "pot.mtp", "3", says="name the result")
    refused(capsys, "add_species", "pot.mtp", "5", "--overwrite", says="species 3, 4")


def test_grades_carry_the_number_of_their_configuration(files):
    assert (
        main(
            [
                "select_add",
                "pot.mtp",
                "train.cfg",
                "train.cfg",
                "o.cfg",
                "--al_mode=nbh",
                "--save_to=al.almtp",
            ]
        )
        == 0
    )
    assert main(["calculate_grade", "al.almtp", "train.cfg", "g.cfg", "--log=none"]) == 0
    assert [c.features["ID"] for c in read_cfg("g.cfg")] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("mode", ["nbh", "cfg"])
@pytest.mark.parametrize("number", [1, 5, 20])
def test_selection_of_a_number(files, capsys, mode, number):
    write_cfg("pool.cfg", [configuration(k, atoms=8) for k in range(25)])
    words = ["select_add", "pot.mtp", "train.cfg", "pool.cfg", "o.cfg", f"--al_mode={mode}"]
    assert main([*words, f"--number={number}"]) == 0
    chosen = [c.positions.tobytes() for c in read_cfg("o.cfg")]
    pool = [c.positions.tobytes() for c in read_cfg("pool.cfg")]
    assert len(set(chosen)) == number
    assert chosen == [p for p in pool if p in chosen]
    refused(capsys, *words, "--number=26", says="offers")
