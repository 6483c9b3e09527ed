"""The training loss with its derivatives, and the course of BFGS beside MLIP-3's own logs."""

import gzip
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from mtp.errors import MTPError
from mtp.formats.almtp import read_potential
from mtp.formats.cfg import parse_cfg
from mtp.parallel import Ranks
from mtp.training.fit import TrainingOptions
from mtp.training.fit import train as train_potential
from mtp.training.loss import LossWeights
from mtp.training.objective import Objective, survey
from mtp.training.optimisers import bfgs, first_state
from tests.mtp.train_samples import labelled, reference

SHARED = Path(__file__).parents[3] / "shared/data/mtp"


@pytest.fixture(scope="module")
def train():
    return labelled(reference(), 18, 0)


def test_weight_feature_decides_which_of_two_contradicting_labels_wins(train):
    raised = [replace(c, energy=c.energy + 8.0, features={"weight": "0"}) for c in train]
    weights = LossWeights(penalty_weight=0.0)
    potential = reference()
    values = []
    for configurations in ([*train, *raised], train):
        loads, _ = survey(configurations, potential.max_dist)
        problem = Objective(Ranks(), potential, configurations, [], weights, loads)
        values.append(problem.value_and_gradient(potential.parameters)[0])
    assert values[0] == pytest.approx(values[1], abs=1e-8)
    assert values[1] < 1e-8


def test_gradient_and_curvature_of_the_objective(train):
    rng = np.random.default_rng(0)
    potential = reference()
    loads, _ = survey(train, potential.max_dist)
    problem = Objective(Ranks(), potential, train, [], LossWeights(), loads)
    exact, scale = potential.parameters, 1e-5
    direction = rng.normal(size=len(exact))
    x = exact + 0.1 * direction
    _, gradient = problem.value_and_gradient(x)
    up, down = (problem.value_and_gradient(x + h * direction)[0] for h in (scale, -scale))
    assert gradient @ direction == pytest.approx((up - down) / (2 * scale), rel=1e-6)
    # labels come from this potential: residuals vanish, so Gauss-Newton is the Hessian
    sizes = problem.batch_sizes / problem.batch_sizes.sum()
    matrix = sum(size * problem.curvature(exact, i) for i, size in enumerate(sizes))
    up, down = (problem.value_and_gradient(exact + h * direction)[1] for h in (1e-6, -1e-6))
    found = matrix @ direction
    assert found == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-4 * np.abs(found).max())


def test_the_linear_solution_is_a_minimum(train):
    potential = reference()
    loads, _ = survey(train, potential.max_dist)
    problem = Objective(Ranks(), potential, train, [], LossWeights(), loads)
    x = potential.parameters
    x[problem.linear_start :] = 0.0
    solved = problem.solve_linear(x)
    assert np.array_equal(solved[: problem.linear_start], x[: problem.linear_start])
    assert problem.value_and_gradient(solved)[0] < 1e-4 * problem.value_and_gradient(x)[0]


def test_a_linear_solution_of_a_part_is_its_minimum_beside_what_is_held(train):
    potential = reference()
    loads, _ = survey(train, potential.max_dist)
    problem = Objective(Ranks(), potential, train, [], LossWeights(), loads)
    x = potential.parameters * 1.3
    solved = problem.solve_linear(x, free := slice(0, potential.species_count))
    moved = np.flatnonzero(solved != x) - problem.linear_start
    assert set(moved) <= set(range(potential.species_count))
    before, after = (
        problem.value_and_gradient(y)[1][problem.linear_start :][free] for y in (x, solved)
    )
    assert np.abs(after).max() < 1e-6 * np.abs(before).max()


def test_the_validation_set_decides_which_coefficients_are_kept(train):
    held, lines = labelled(reference(), 6, 1), []
    options = TrainingOptions(iteration_limit=200, patience=8, tolerance=0.0)
    noisy = [
        replace(c, forces=c.forces + np.random.default_rng(k).normal(0, 0.3, c.forces.shape))
        for k, c in enumerate(train[:5])
    ]
    start = reference().with_parameters(reference().parameters * 1.1)
    found = train_potential(Ranks(), start, noisy, held, options, lines.append)
    values = [float(v) for line in lines for v in re.findall(r"validation=(\S+)", line)]
    assert any(line.startswith("early stop") for line in lines)
    assert len(values) < 200
    loads, _ = survey(held, found.max_dist)
    weights = LossWeights(penalty_weight=0.0)
    problem = Objective(Ranks(), found, held, [], weights, loads)
    kept = problem.value_and_gradient(found.parameters)[0]
    assert kept == pytest.approx(min(values), rel=1e-3) or kept < min(values)


def test_labels_that_are_not_finite_are_an_error(train):
    broken = [train[0], replace(train[1], energy=float("nan"))]
    with pytest.raises(MTPError, match="configuration 2 has a label that is not finite"):
        train_potential(Ranks(), reference(), broken, [], TrainingOptions(), lambda _: None)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared interoperability data are elsewhere")
@pytest.mark.parametrize(
    ("level", "data"), [("08", "train50"), ("12", "train50"), ("16", "train20")]
)
def test_bfgs_beside_the_log_of_mlip3(level, data, tmp_path):
    log = gzip.decompress((SHARED / f"parity-train-L{level}.log.gz").read_bytes()).decode()
    logged = [float(word) for word in re.findall(r"BFGS iter \d+: f=(\S+)", log)]
    shortest = float(re.search(r"training set is (\S+)\. MTP", log)[1])
    (tmp_path / "p").write_bytes(
        gzip.decompress((SHARED / f"trained-L{level}.mtp.gz").read_bytes())
    )
    potential = replace(read_potential(tmp_path / "p"), min_dist=0.99 * shortest)
    text = gzip.decompress((SHARED / f"{data}.cfg.gz").read_bytes()).decode()
    configurations = list(parse_cfg(text.splitlines(), data))
    loads, _ = survey(configurations, potential.max_dist)
    weights = LossWeights(1.0, 0.01, 0.0, weight_scaling=2, weight_scaling_forces=1)
    problem = Objective(Ranks(), potential, configurations, [], weights, loads)
    steps = bfgs(problem, first_state(problem, potential.parameters))
    values = [state.value for state in islice(steps, len(logged))]
    # MLIP-3 prints the loss after each step: its first line search ends higher at L16
    assert logged[0] * 0.995 < values[0] < logged[0] * 1.001
    assert values[-1] <= logged[-1]


@pytest.mark.parametrize("held", [(), (-2.0, -3.0)])
def test_a_start_that_is_worse_than_none_is_not_fitted_on(train, held):
    potential = reference()
    wild = replace(potential, moment_coeffs=1e5 * potential.moment_coeffs)
    options = TrainingOptions(iteration_limit=60, atom_energies=held)
    lines: list[str] = []
    found = train_potential(Ranks(), wild, train, [], options, lines.append)
    assert any("worse than none" in line for line in lines)
    losses = [float(re.search(r"f=(\S+)", line)[1]) for line in lines if "f=" in line]
    assert losses[-1] < 0.01 < losses[0] < 10.0
    if held:
        assert found.species_coeffs.tolist() == list(held)
    lines.clear()
    train_potential(Ranks(), potential, train, [], options, lines.append)
    assert not any("worse than none" in line for line in lines)
