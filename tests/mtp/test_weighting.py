"""Weights found by the fit, weights of groups and kinds, and the choice of settings."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from mtp.cli import main
from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.formats.almtp import read_potential
from mtp.formats.cfg import read_cfg, write_cfg
from mtp.training.loss import LossWeights, labels_of
from mtp.training.weighting import unseen_errors
from tests.mtp.samples import refused
from tests.mtp.train_samples import labelled, reference

NEW = ("--level=4", "--species=2", "--cutoff=4", "--radial_basis=4")


@pytest.fixture(scope="module")
def frames():
    """Labels of a larger potential, so that no fit here is exact."""
    return labelled(reference(), 40, 0)


@pytest.fixture
def files(tmp_path, monkeypatch, frames):
    monkeypatch.chdir(tmp_path)
    write_cfg("train.cfg", frames)
    return tmp_path


def mean_squares(name, frames):
    """Of energies per atom and of forces."""
    found = Engine(read_potential(name)).evaluate(frames)
    pairs = list(zip(found, frames, strict=True))
    energy = np.mean([((e.energy - c.energy) / len(c)) ** 2 for e, c in pairs])
    forces = np.mean(np.concatenate([(e.forces - c.forces).ravel() ** 2 for e, c in pairs]))
    return energy, forces


def test_no_other_weight_of_energies_gives_a_smaller_product_of_errors(files, frames, capsys):
    """The weights found against ones a hundred times smaller and larger, on the training set."""
    words = ("train", "train.cfg", *NEW, "--stress_weight=0", "--iteration_limit=150")
    auto = [w for w in words if w != "--stress_weight=0"]
    assert main([*auto, "--weights=auto", "--save_to=auto.mtp"]) == 0
    line = next(s for s in capsys.readouterr().out.splitlines() if s.startswith("Weights"))
    weight = float(line.split("energy ")[1].split(",")[0])
    products = [np.prod(mean_squares("auto.mtp", frames))]
    for factor in (0.01, 100):
        assert main([*words, f"--energy_weight={weight * factor}", "--save_to=w.mtp"]) == 0
        products.append(np.prod(mean_squares("w.mtp", frames)))
    assert products[0] < min(products[1:])


def test_errors_are_never_below_what_labels_are_worth(frames):
    """Of the potential that made the labels, all errors are the floors."""
    errors = unseen_errors(reference(), frames, LossWeights())
    sizes = np.array([len(c) for c in frames])
    assert errors.energy == pytest.approx(1e-8 * sizes.sum(), rel=1e-6)
    assert errors.forces == pytest.approx(3e-6 * sizes.sum(), rel=1e-6)


def test_few_frames_keep_the_given_weights(files, frames, capsys):
    write_cfg("few.cfg", frames[:12])
    words = ("--iteration_limit=5", "--save_to=o.mtp", "--weights=auto")
    assert main(["train", "few.cfg", *NEW, *words]) == 0
    assert "Weights: MLIP's" in capsys.readouterr().out
    for more, automatic in (([], True), (["--weights=mlip"], False), (["--force_weight=1"], False)):
        assert main(["train", "few.cfg", *NEW, *words[:2], *more]) == 0
        assert ("Weights" in capsys.readouterr().out) == automatic
    assert main(["train", "o.mtp", "few.cfg", "--save_to=p.mtp", *words[:1]]) == 0
    assert "Weights" not in capsys.readouterr().out  # MLIP's form, MLIP's weights
    refused(capsys, "train", "few.cfg", *NEW, *words, "--energy_weight=2", says="give only one")


def test_weights_of_frames_groups_and_kinds(files, frames, capsys):
    marked = [replace(frames[0], features={"config_type": "slab"}), *frames[1:3]]
    marked[1] = replace(marked[1], features={"weight": "2", "force_weight": "3"})
    plain = labels_of(frames[:3], LossWeights())[1]
    own = labels_of(marked, LossWeights())[1]
    assert own.energy / plain.energy == pytest.approx([1, 2, 1])
    assert own.virial / plain.virial == pytest.approx([1, 2, 1])
    ratio = np.split(own.forces / plain.forces, np.cumsum([len(c) for c in frames[:2]]))
    assert [r.tolist() for r in ratio] == [[1] * len(frames[0]), [6] * 7, [1] * len(frames[2])]
    bad = replace(frames[0], features={"stress_weight": "-1"})
    write_cfg("marked.cfg", [*marked, bad])
    words = ("train", "marked.cfg", *NEW, "--save_to=o.almtp", "--iteration_limit=3")
    refused(capsys, *words, says="Feature stress_weight '-1'")
    write_cfg("marked.cfg", [*marked, *frames[3:8]])
    refused(capsys, *words, "--group_weights=slabs:2", says="did you mean slab?")
    refused(capsys, *words, "--group_weights=slab", says="NAME:WEIGHT")
    assert main([*words, "--group_weights=slab:0", "--log=none"]) == 0
    one = read_potential("o.almtp").parameters
    # its labels may then say anything
    other = replace(marked[0], energy=1e3, forces=marked[0].forces + 5)
    write_cfg("marked.cfg", [other, *marked[1:], *frames[3:8]])
    assert main([*words, "--group_weights=slab:0", "--log=none"]) == 0
    assert read_potential("o.almtp").parameters == pytest.approx(one, rel=1e-9, abs=1e-12)


TUNE = ("tune", "train.cfg", "--levels=2,4,6", "--cutoffs=4,3", "--radial_bases=4")
TUNE += ("--regularisations=1e-10", "--trial_passes=40")


def rows():
    lines = [line for line in open("tune.csv") if not line.startswith("#")]  # noqa: PTH123, SIM115
    return list(csv.DictReader(lines))


def test_tune_tries_chooses_and_fits(files, capsys):
    assert main([*TUNE, "--save_to=best.almtp", "--within=0"]) == 0
    said = capsys.readouterr().out
    trials = rows()
    best = min(trials, key=lambda r: float(r["score"]))
    assert {r["level"] for r in trials} == {"2", "4", "6"}
    assert len(trials) == len({(r["level"], r["cutoff"]) for r in trials})
    assert int(best["level"]) > 2  # labels are of a larger potential
    found = read_potential("best.almtp")
    assert found.max_dist == float(best["cutoff"])
    assert found.parameter_count == int(best["coefficients"])
    chosen = f"--level={best['level']} --radial_basis=4 --cutoff={found.max_dist:g}"
    assert f"# chosen: {chosen}" in (files / "tune.csv").read_text()
    assert "chosen: level" in said


def test_tune_goes_on_from_its_table(files, capsys):
    assert main([*TUNE, "--cpu_budget=1e-9"]) == 0
    assert len(rows()) == 1
    first = rows()[0]["cpu_s"]
    assert main([*TUNE]) == 0
    assert len(rows()) > 1
    assert rows()[0]["cpu_s"] == first
    before = (files / "tune.csv").read_bytes()
    capsys.readouterr()
    assert main([*TUNE]) == 0
    assert (
        capsys.readouterr().out.count("\n") == 3
    )  # weights, best, chosen: nothing is fitted twice
    assert (files / "tune.csv").read_bytes() == before
    refused(capsys, *TUNE, "--energy_weight=3", says="tune.csv: is a table of other data")


def test_tune_keeps_to_the_coefficients_and_refuses_what_makes_no_sense(files, frames, capsys):
    assert main([*TUNE, "--coefficients=60", "--table=small.csv"]) == 0
    capsys.readouterr()
    refused(capsys, *TUNE, "--coefficients=3", says="--coefficients or --cpu_budget")
    refused(capsys, *TUNE[:2], "--levels=8,x", says="--levels='8,x'")
    refused(capsys, *TUNE[:2], "--cutoffs=0.1", says="--cutoffs: 0.1 is below")
    write_cfg("few.cfg", read_cfg("train.cfg")[:3])
    refused(capsys, "tune", "few.cfg", says="--validation=FILE")


def test_level_and_species_follow_the_training_set(files, frames, capsys):
    """Thirty labels a coefficient at least: few frames get a small potential."""
    levels = []
    for count in (12, 40):
        write_cfg("some.cfg", frames[:count])
        words = ("--save_to=o.mtp", "--iteration_limit=2", "--cutoff=4")
        assert main(["train", "some.cfg", *words]) == 0
        said = capsys.readouterr().out
        levels.append(int(said.split("of level ")[1].split(":")[0]))
        assert read_potential("o.mtp").species_count == 2
    labels = sum(1 + 3 * len(c) + 6 for c in frames)
    assert levels[0] == 6
    assert levels[1] == 6 if labels < 30 * 75 else 8
    write_cfg("none.cfg", [])
    refused(capsys, "train", "none.cfg", "--save_to=o.mtp", says="none.cfg")


@pytest.mark.parametrize("optimizer", ["gauss-newton", "bfgs"])
def test_lone_atoms_have_the_energies_given(files, frames, capsys, optimizer):
    """Exactly, and the rest is fitted around them."""
    true = reference().species_coeffs
    words = ("train", "train.cfg", "--level=6", "--cutoff=4", "--radial_basis=5", "--log=none")
    words += ("--iteration_limit=80", f"--optimizer={optimizer}", "--weights=mlip")
    given = ",".join(map(str, true))
    assert main([*words, "--save_to=held.mtp", f"--atom_energies={given}"]) == 0
    assert main([*words, "--save_to=free.mtp"]) == 0
    held = read_potential("held.mtp")
    assert held.species_coeffs.tolist() == true.tolist()
    assert np.abs(read_potential("free.mtp").species_coeffs - true).max() > 1e-3
    size = np.sqrt(np.mean(np.concatenate([c.forces.ravel() for c in frames]) ** 2))
    assert np.sqrt(mean_squares("held.mtp", frames)[1]) < 0.05 * size
    lone = Configuration(np.zeros((3, 3)), np.array([1]), np.zeros((1, 3)), pbc=np.zeros(3, bool))
    assert Engine(held).evaluate([lone])[0].energy == true[1]
    refused(capsys, *words, "--save_to=o.mtp", "--atom_energies=1", says="there are 2 species")
    refused(capsys, *words, "--save_to=o.mtp", "--atom_energies=1,x", says="for each type")
