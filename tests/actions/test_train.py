"""train: what is fitted and what is left out, refusals, errors and outliers true to the model."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, io, units
from ase.calculators.singlepoint import SinglePointCalculator
from threadpoolctl import threadpool_limits

from atomistics import dataset
from atomistics.structure_index import Structure, read_index, write_index
from campaign.actions.prune import Prune, PruneResult
from campaign.actions.train import Train, TrainResult
from campaign.config import PASSES_FOR_WEIGHTS
from campaign.integrity import products
from campaign.results import FrameSet
from mtp.calculator import MTP
from mtp.configuration import from_atoms
from mtp.engine import Engine
from mtp.formats.almtp import read_potential, write_potential
from mtp.formats.cfg import read_cfg
from mtp.parallel import Ranks
from mtp.potential import untrained
from mtp.potential_files import copy_potential
from mtp.training.fit import TrainingOptions
from mtp.training.fit import train as fit
from mtp.training.loss import LossWeights
from mtp.training.objective import Objective, survey
from mtp.training.optimisers import first_state, gauss_newton
from mtp.training.starting_point import with_random_functions
from mtp.training.weighting import HELD_OUT, PILOT
from tests.actions.conftest import ROOT, SPECIES, Bench, script

FRAMES = 24


def plan(**changes: object) -> Train:
    given = {"start": "scratch", "effort": "quick", "datasets": ["d002"], "seed": 31}
    return Train(**given | changes)


def begin(bench: Bench, section: Train) -> None:
    bench.begin(section)
    (bench.here / "train").mkdir(exist_ok=True)


def inputs(bench: Bench) -> None:
    bench.call("inputs")


def collect(bench: Bench) -> TrainResult:
    bench.call("collect")
    return bench.result()


def train(bench: Bench, section: Train) -> TrainResult:
    begin(bench, section)
    inputs(bench)
    bench.call("fit")
    return collect(bench)


def reuse(bench: Bench) -> None:
    """The fit of iteration 3 stands for that of the pending iteration."""
    begin(bench, plan())
    inputs(bench)
    shutil.copy(bench.here / "../003/train/model.almtp", bench.here / "train/model.almtp")
    report = {"status": "ok", "failure": None, "iterations": 30, "loss": 0.1}
    (bench.here / "train/fit.json").write_text(json.dumps(report))


def data(bench: Bench) -> Path:
    return bench.campaign.iteration(2) / "sample/dataset.h5"


def relabel(bench: Bench, changes: dict[int, tuple[float, float]]) -> None:
    """Forces of chosen frames of d002 times a factor, with noise (eV/Å) on top."""
    frames = dataset.read(data(bench))
    generator = np.random.default_rng(0)
    for number, (factor, noise) in changes.items():
        atoms = frames[number]
        forces = factor * atoms.get_forces() + generator.normal(0, noise, (len(atoms), 3))
        energy, stress = atoms.get_potential_energy(), atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
    dataset.write(data(bench), frames)


def test_scratch_gives_a_model_with_an_active_set(begun: Bench) -> None:
    result = train(begun, plan(effort="quick"))
    assert (result.model, result.parent, result.status) == ("m004", None, "ok")
    assert (result.frames, result.atoms) == (FRAMES, FRAMES * 32)
    assert 1 <= result.iterations <= 15, "the quick limit of this campaign"
    start = read_potential(begun.here / "train/start.almtp")
    model = read_potential(begun.here / "train/model.almtp")
    assert not start.trained
    assert (model.trained, model.species_count, model.max_dist) == (True, 2, 5.0)
    shortest = min(
        a.get_all_distances(mic=True)[np.triu_indices(len(a), 1)].min()
        for a in dataset.read(data(begun))
    )
    assert 0.95 * shortest < model.min_dist <= shortest
    atoms = dataset.read(data(begun), [0])[0]
    calculator = MTP(model, SPECIES, grades=True)
    calculator.calculate(atoms)
    # MaxVol ends at 1.001, and rounding of a badly conditioned active set comes on top
    assert calculator.results["grades"].max() <= 1.01, "a frame it was fitted to"


def test_continue_starts_from_the_parent_and_accurate_goes_further(begun: Bench) -> None:
    begun.configure(mlp={"stress_weight": 0.001})  # the loss that the parent was fitted by
    result = train(begun, plan(start="continue", model="m003", effort="accurate"))
    assert (result.parent, result.status) == ("m003", "ok")
    assert result.iterations <= 25, "the accurate limit of this campaign"
    first = re.search(r"BFGS iter 0: f=(\S+)", (begun.here / "train/train.log").read_text())
    last = re.findall(r"f=(\S+)", (begun.here / "../003/train/train.log").read_text())[-1]
    assert float(first.group(1)) <= 1.001 * float(last), "goes on where the parent ended"
    assert result.loss < float(last)
    assert not (begun.here / "train/start.almtp").exists()


def test_a_repulsive_core_lies_under_every_potential_where_configured(
    begun: Bench, tmp_path: Path
) -> None:
    begun.configure(mlp={"zbl": True})
    result = train(begun, plan(start="continue", model="m003"))  # whose parent stands on none
    model = begun.here / "train/model.almtp"
    assert (result.status, result.parent) == ("ok", "m003")
    assert read_potential(begun.here / "train/start.almtp").core is not None
    assert "train/model.almtp.core" in products(begun.here)
    copy_potential(model, tmp_path / "potential.almtp")
    whole = read_potential(tmp_path / "potential.almtp")
    bare = Engine(replace(whole, core=None))
    added, nuclei = [], []
    for distance in (0.3, 0.4):  # Å, where the core is whole, up to a constant
        near = Atoms([SPECIES[0]] * 2, [(0, 0, 0), (distance, 0, 0)], cell=[20] * 3, pbc=True)
        charge = near.numbers[0]
        x = distance * 2 * charge**0.23 / 0.46850  # ZBL by its formula
        terms = [(0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162)]
        screening = sum(a * np.exp(-b * x) for a, b in terms)
        nuclei.append(14.399645 * charge**2 / distance * screening)
        rest = bare.evaluate([from_atoms(near, SPECIES)])[0].energy
        near.calc = MTP(whole, SPECIES)
        added.append(near.get_potential_energy() - rest)
    assert added[0] - added[1] == pytest.approx(nuclei[0] - nuclei[1], rel=1e-4)


def test_pruned_frames_are_left_out(begun: Bench) -> None:
    cut = {"datasets": [], "models": [], "frames": [FrameSet(dataset="d002", frames=[2, 13, 14])]}
    begun.begin(Prune(**cut))
    begun.finalize(PruneResult(**cut, restored=False))
    begin(begun, plan())
    inputs(begun)
    rows = json.loads((begun.here / "train/frames.json").read_text())
    assert [index for _, index, _ in rows] == sorted(set(range(FRAMES)) - {2, 13, 14})
    written = [c.positions for c in read_cfg(begun.here / "train/train.cfg")]
    everything = dataset.read(data(begun))
    kept = [everything[index].positions for _, index, _ in rows]
    assert np.allclose(written, kept, atol=1e-9)
    assert {subsystem for _, _, subsystem in rows} == {"copper", "alloy"}


def test_isolated_atoms_and_dimers_weigh_as_configured(begun: Bench) -> None:
    structures, frames = begun.folder / "structures", dataset.read(data(begun))
    index = read_index(structures)
    entry = index[0].model_dump() | {"id": "alone", "file": "alone.extxyz", "sha256": None}
    entry |= {"single_point": True, "held_out": False}
    io.write(structures / "alone.extxyz", frames[5])
    write_index(structures, [*index, Structure(**entry, folder=structures)])
    frames[5].info["structure"] = "alone"
    dataset.write(data(begun), frames)
    begun.configure(mlp={"scale_by_pressure": 0.0})
    begin(begun, plan())
    inputs(begun)
    weights = [c.features.get("weight") for c in read_cfg(begun.here / "train/train.cfg")]
    assert weights == [None] * 5 + ["0.01"] + [None] * (FRAMES - 6)


def test_stresses_weigh_by_what_those_of_their_subsystem_span(begun: Bench) -> None:
    begin(begun, plan())
    inputs(begun)
    frames = dataset.read(data(begun))
    written = read_cfg(begun.here / "train/train.cfg")
    for name in ("copper", "alloy"):
        mine = [i for i, a in enumerate(frames) if a.info["subsystem"] == name]
        sizes = [np.sqrt(np.square(frames[i].get_stress() / units.GPa).mean()) for i in mine]
        for i in mine:
            virial = 0.04 * np.median(sizes) * units.GPa * frames[i].get_volume()
            weight = np.clip(len(frames[i]) * 0.01 * (0.15 / virial) ** 2, 0.001, 0.3)
            assert float(written[i].features["stress_weight"]) == pytest.approx(weight, rel=0.06)
            assert written[i].features["mean_stress"] == f"{name}/d002"


def test_one_weight_for_all_stresses_where_configured(begun: Bench) -> None:
    begun.configure(mlp={"stress_weight": 0.3})
    begin(begun, plan())
    inputs(begun)
    assert "stress_weight" not in read_cfg(begun.here / "train/train.cfg")[0].features


def test_the_weight_of_energies_is_found_where_configured(begun: Bench) -> None:
    begun.configure(mlp={"energy_weight": "auto", "force_weight": 0.02})
    assert train(begun, plan(effort="quick")).status == "ok"
    found = re.search(r"energy (\S+), forces (\S+),", (begun.here / "train/train.log").read_text())
    assert found
    assert float(found[1]) != 1
    assert float(found[2]) == 0.02, "that of forces stays"
    assert math.ceil(sum(PILOT) * (1 - 1 / HELD_OUT)) == PASSES_FOR_WEIGHTS, "what it is priced by"


def test_frames_under_pressure_weigh_less_where_configured(begun: Bench) -> None:
    begun.configure(mlp={"scale_by_pressure": 2.0})
    begin(begun, plan())
    inputs(begun)
    pressures = [a.get_stress()[:3].mean() / units.GPa for a in dataset.read(data(begun))]
    weights = [float(c.features["weight"]) for c in read_cfg(begun.here / "train/train.cfg")]
    assert weights == pytest.approx([4 / (4 + p * p) for p in pressures], rel=1e-6)
    assert min(weights) < 0.9


def test_errors_are_those_of_an_independent_evaluation(begun: Bench) -> None:
    reuse(begun)
    result = collect(begun)
    calculator = MTP(begun.here / "train/model.almtp", SPECIES)
    reference = begun.campaign.iteration(1) / "reference_calc/runs"
    frames = dataset.read(data(begun))
    sets = {
        ("copper", "train"): frames[:12],
        ("alloy", "train"): frames[12:],
        ("copper", "held_out"): dataset.read(reference / "cu_held.h5"),
        ("alloy", "held_out"): dataset.read(reference / "alloy_held.h5"),
    }
    assert {(e.subsystem, e.split) for e in result.errors} == set(sets)
    for seen in result.errors:
        own = sets[seen.subsystem, seen.split]
        energy, force, stress = map(np.array, zip(*(off(a, calculator) for a in own), strict=True))
        assert seen.frames == len(own)
        assert seen.energy_mae == pytest.approx(np.abs(energy).mean(), rel=1e-6)
        assert seen.energy_rmse == pytest.approx(np.sqrt((energy**2).mean()), rel=1e-6)
        assert seen.force_mae == pytest.approx(np.abs(force).mean(), rel=1e-6)
        assert seen.force_rmse == pytest.approx(np.sqrt((force**2).mean()), rel=1e-6)
        assert seen.stress_mae == pytest.approx(np.abs(stress).mean() * 160.21766, rel=1e-5)


def test_what_a_fit_has_no_label_of_it_is_not_held_against(begun: Bench) -> None:
    reuse(begun)
    path = begun.here / "train/frames.json"
    rows = [[name, index, "copper"] for name, index, _ in json.loads(path.read_text())]
    path.write_text(json.dumps(rows))
    seen = {(e.subsystem, e.split) for e in collect(begun).errors}
    assert seen == {("copper", "train"), ("copper", "held_out")}


def off(atoms: Atoms, calculator: MTP) -> tuple[float, np.ndarray, np.ndarray]:
    """Model minus label: eV/atom, eV/Å, eV/Å^3."""
    copy = atoms.copy()
    copy.calc = calculator
    energy = (copy.get_potential_energy() - atoms.get_potential_energy()) / len(atoms)
    force = copy.get_forces() - atoms.get_forces()
    return energy, force, copy.get_stress() - atoms.get_stress()


def test_a_corrupt_label_is_an_outlier(begun: Bench) -> None:
    reuse(begun)
    before = {n for odd in collect(begun).outliers for n in odd.frames}
    assert 17 not in before
    relabel(begun, {17: (1.0, 3.0)})
    after = [FrameSet(dataset="d002", frames=sorted(before | {17}))]
    assert collect(begun).outliers == after


def test_a_bad_model_makes_no_outliers(begun: Bench) -> None:
    relabel(begun, dict.fromkeys(range(FRAMES), (4.0, 0.5)))
    reuse(begun)
    result = collect(begun)
    assert result.outliers == []
    assert result.errors[0].force_mae > 0.3


def test_a_diverging_fit_is_refused_and_the_campaign_goes_on(begun: Bench) -> None:
    begun.configure(mlp={"energy_weight": 1e307, "force_weight": 1e307})
    result = train(begun, plan())
    assert (result.status, result.failure) == ("refused", "diverged")
    assert result.errors == result.outliers == []
    begun.finalize()
    state = begun.campaign.state()
    assert [m.id for m in state.usable_models] == ["m003"]
    assert state.history[-1].outcome == "failed"


@pytest.mark.parametrize("factor", [1e160, 1e250])
def test_a_model_that_predicts_no_number_is_refused(begun: Bench, factor: float) -> None:
    reuse(begun)
    path = begun.here / "train/model.almtp"
    model = read_potential(path)
    linear = model.parameters.copy()
    linear[model.slices.species.start :] *= factor
    write_potential(path, model.with_parameters(linear))
    result = collect(begun)
    assert (result.status, result.failure) == ("refused", "nan")
    assert result.errors == []


def test_a_label_that_is_no_number_refuses_the_fit(begun: Bench) -> None:
    begin(begun, plan())
    inputs(begun)
    path = begun.here / "train/train.cfg"
    path.write_text(re.sub(r"(Energy\s+)\S+", r"\1nan", path.read_text(), count=1))
    begun.call("fit")
    result = collect(begun)
    assert (result.status, result.failure) == ("refused", "diverged")
    assert "finite" in (begun.here / "train/refusal.txt").read_text()


def test_data_without_one_of_the_species_refuses_the_fit(begun: Bench) -> None:
    begin(begun, plan())
    inputs(begun)
    path = begun.here / "train/train.cfg"
    parts = re.findall(r"BEGIN_CFG.*?END_CFG\n", path.read_text(), flags=re.DOTALL)
    copper = [part for part in parts if not re.search(r"^\s+\d+\s+1\s", part, flags=re.MULTILINE)]
    assert 0 < len(copper) < len(parts)
    path.write_text("\n".join(copper))
    begun.call("fit")
    fit = json.loads((begun.here / "train/fit.json").read_text())
    assert (fit["status"], fit["failure"]) == ("refused", "species")
    assert "lacks one" in (begun.here / "train/refusal.txt").read_text()


def test_an_mlp_that_is_missing_stops_with_one_line(begun: Bench) -> None:
    begun.configure(mlp={"command": "no-such-mlp"})
    begin(begun, plan())
    inputs(begun)
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/train.py"), *begun.words("fit")],
        cwd=begun.here,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "no-such-mlp" in done.stderr
    assert not (begun.here / "train/fit.json").exists()


def test_the_time_is_estimated_before_and_measured_after(
    begun: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    begun.configure(mlp={"level": 8, "quick_iterations": 40})
    begin(begun, plan())
    inputs(begun)
    before = json.loads((begun.here / "train/estimate.json").read_text())
    assert before["iterations"] == 40
    assert "40 iterations on 24 frames" in capsys.readouterr().err
    begun.call("fit")
    said = capsys.readouterr().err
    spent = json.loads((begun.here / "train/fit.cost.json").read_text())["core_seconds"]
    assert f"estimated {before['core_seconds']:.1f} core-s, took {spent:.1f} core-s" in said
    assert json.loads((begun.here / "train/time.json").read_text())["seconds"] > 0
    collect(begun)
    for name in ("fit.json", "result.yaml"):
        assert "seconds" not in (begun.here / "train" / name).read_text(), "no clock in a result"


@pytest.mark.parametrize("copies", [1, 4])
def test_the_estimate_of_an_iteration_is_within_a_factor_of_two(begun: Bench, copies: int) -> None:
    module = script("train")
    frames = [from_atoms(a, SPECIES) for a in dataset.read(data(begun))] * copies
    start = with_random_functions(untrained(10, 2, 1.5, 5.0, 8), np.random.default_rng(0))
    loads, _ = survey(frames, 5.0)
    objective = Objective(Ranks(), start, frames, [], LossWeights(), loads)
    state = first_state(objective, objective.solve_linear(objective.rescale().parameters))
    with threadpool_limits(1):
        began = time.process_time()
        assert len(list(islice(gauss_newton(objective, state), 12))) == 12
        true = (time.process_time() - began) / 12
    found = [module.iteration_seconds(start, frames, LossWeights()) for _ in range(5)]
    assert true / 2 < np.median(found) < 2 * true


def test_killed_and_continued_gives_the_same_result(begun: Bench) -> None:
    begun.configure(mlp={"level": 8, "quick_iterations": 60})
    begin(begun, plan())
    inputs(begun)
    work = begun.here / "train"
    begun.call("fit")
    undisturbed = (work / "model.almtp").read_bytes(), (work / "fit.json").read_bytes()
    for name in ("model.almtp", "fit.json"):
        (work / name).unlink()
    words = [sys.executable, str(ROOT / "scripts/train.py"), *begun.words("fit")]
    process = subprocess.Popen(words, cwd=begun.here, start_new_session=True)
    while process.poll() is None and not (work / "checkpoint").exists():
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (work / "fit.json").exists(), "killed in time"
    assert (work / "checkpoint").exists()
    begun.call("fit")
    assert "Continuing after" in (work / "train.log").read_text()
    assert (work / "model.almtp").read_bytes() == undisturbed[0]
    assert (work / "fit.json").read_bytes() == undisturbed[1]


def test_killed_after_the_last_iteration_gives_the_same_result(begun: Bench) -> None:
    begin(begun, plan())
    inputs(begun)
    work = begun.here / "train"
    begun.call("fit")
    undisturbed = (work / "model.almtp").read_bytes(), (work / "fit.json").read_bytes()
    weights = LossWeights(1.0, 0.01, 1.0)
    options = TrainingOptions(
        weights, iteration_limit=15, seed=31, init_random=True, checkpoint=work / "checkpoint"
    )
    start, frames = read_potential(work / "start.almtp"), read_cfg(work / "train.cfg")
    fit(Ranks(), start, frames, [], options, lambda line: None)
    assert (work / "checkpoint").exists()
    begun.call("fit")
    assert "Continuing after iteration" in (work / "train.log").read_text()
    assert (work / "model.almtp").read_bytes() == undisturbed[0]
    assert (work / "fit.json").read_bytes() == undisturbed[1]


def test_a_data_set_pruned_to_nothing_is_one_line(begun: Bench) -> None:
    cut = {"datasets": [], "models": []}
    frames = [FrameSet(dataset="d002", frames=list(range(FRAMES)))]
    begun.begin(Prune(**cut, frames=frames))
    begun.finalize(PruneResult(**cut, frames=frames, restored=False))
    begin(begun, plan())
    assert "hold no active frame" in begun.fails("inputs")
