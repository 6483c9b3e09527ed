"""Training that begins on a part of the data: order of parts, limits, restarts, ranks."""

import re
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest

from mtp.engine import Engine
from mtp.parallel import Ranks
from mtp.potential import untrained
from mtp.training import objective
from mtp.training.fit import TrainingOptions, train
from mtp.training.loss import LossWeights
from mtp.training.objective import Objective, survey
from mtp.training.optimisers import first_state
from mtp.training.pretraining import first_part, pretrain
from mtp.training.starting_point import with_random_functions
from tests.mtp.train_samples import labelled, reference


@pytest.fixture(autouse=True)
def eight_batches(monkeypatch):
    """Small data in as many batches as a large set has."""
    monkeypatch.setattr(objective, "ROWS_PER_PARAMETER", 1)


@pytest.fixture(scope="module")
def sets():
    return labelled(reference(), 24, 0)


def problem_of(configurations):
    potential = reference().with_parameters(reference().parameters * 1.3)
    loads, _ = survey(configurations, potential.max_dist)
    return Objective(Ranks(), potential, configurations, [], LossWeights(), loads)


def states_of(problem, state):
    return list(pretrain(problem, state))


def test_parts_grow_and_the_last_state_is_of_all_data(sets):
    problem = problem_of(sets)
    assert problem.batches == 8
    start = first_part(problem, first_state(problem, problem.potential.parameters))
    states = states_of(problem, start)
    assert [part for part, _ in groupby(s.part for s in states)] == [1, 2, 4, 0]
    end = states[-1]
    assert problem.batches == 8
    assert end.value == problem.value_and_gradient(end.x)[0]
    assert end.value < 0.2 * problem.value_and_gradient(start.x)[0]
    ones = sum(s.part for s in states) / 8
    assert end.passes == pytest.approx(ones)
    assert end.iteration == 0


def test_the_value_of_a_part_is_its_own(sets):
    problem = problem_of(sets)
    x = problem.potential.parameters
    of_all, penalty = problem.value_and_gradient(x)[0], problem.penalty.value_and_gradient(x)[0]
    problem.use(4)
    half, rest = problem.value_and_gradient(x)[0] - penalty, problem.unseen_loss(x)
    assert half != rest
    sizes = problem.batch_sizes
    weighted = (half * sizes[:4].sum() + rest * sizes[4:].sum()) / sizes.sum()
    assert weighted == pytest.approx(of_all - penalty, rel=1e-12)


def test_resumed_at_any_state_repeats_bit_for_bit(sets):
    problem = problem_of(sets)
    start = first_part(problem, first_state(problem, problem.potential.parameters))
    states = states_of(problem, start)
    for middle in range(0, len(states), 3):
        again = states_of(problem, states[middle])
        wanted = states[middle + 1 :] or states[-1:]
        assert [s.x.tobytes() for s in again] == [s.x.tobytes() for s in wanted], middle


def fitted(configurations, log, **options):
    options = TrainingOptions(**{"iteration_limit": 60, "tolerance": 0.0, **options})
    template = untrained(6, 2, 1.5, 4.0, 5)
    return train(Ranks(), template, configurations, [], options, log)


def losses(lines):
    return [float(v) for line in lines for v in re.findall(r"BFGS iter \d+: f=(\S+)", line)]


def test_a_species_of_one_configuration_is_in_every_part(sets):
    rare = [replace(c) for c in sets]
    rare[13] = replace(sets[13], types=np.where(np.arange(len(sets[13])) == 0, 2, sets[13].types))
    rare[13] = replace(rare[13], energy=sets[13].energy - 500.0)
    problem = Objective(Ranks(), trio(), rare, [], LossWeights(), survey(rare, 4.0)[0])
    assert problem.batches > 4
    assert (problem.batch_sizes > 0).all()
    found = fitted(rare, lambda _: None, iteration_limit=2)
    (energy,) = (e.energy for e in Engine(found).evaluate([rare[13]]))
    assert energy == pytest.approx(rare[13].energy, abs=20)


def trio():
    template = untrained(6, 3, 1.5, 4.0, 5)
    return with_random_functions(template, np.random.default_rng(0))


class KilledError(Exception):
    """The process ends here."""


def test_killed_at_any_iteration_and_continued(sets, tmp_path):
    lines = []
    whole = fitted(sets, lines.append).parameters.tobytes()
    began = next(k for k, line in enumerate(lines) if line.startswith("MTPR training started"))
    steps = len(losses(lines[:began]))
    assert steps > 20
    for k in (3, 11, steps - 1, steps, steps + 2, steps + 13):
        seen = []

        def killing(line, seen=seen, k=k):
            seen.append(line)
            if len(losses(seen)) > k:
                raise KilledError

        point = tmp_path / f"point{k}"
        with pytest.raises(KilledError):
            fitted(sets, killing, checkpoint=point)
        continued = fitted(sets, lambda _: None, checkpoint=point)
        assert continued.parameters.tobytes() == whole, k


@pytest.mark.parametrize("limit", [{"iteration_limit": 2}, {"time_limit": 1e-9}])
def test_a_limit_in_it_ends_the_training_with_the_loss_of_all_data(sets, limit):
    lines = []
    found = fitted(sets, lines.append, **limit)
    values = losses(lines)
    assert len(values) < 20
    assert lines[-2] == "step limit reached" or lines[-2] == "time limit reached"
    loads, _ = survey(sets, found.max_dist)
    problem = Objective(Ranks(), found, sets, [], LossWeights(), loads)
    assert values[-1] == pytest.approx(problem.value_and_gradient(found.parameters)[0], rel=1e-6)


def test_only_an_untrained_potential_and_only_when_wanted(sets, tmp_path):
    def parts(template, **options):
        lines = []
        options = TrainingOptions(iteration_limit=3, **options)
        train(Ranks(), template, sets, [], options, lines.append)
        return len(losses(lines)) > 3

    assert parts(untrained(6, 2, 1.5, 4.0, 5))
    assert not parts(untrained(6, 2, 1.5, 4.0, 5), pretrain=False)
    assert not parts(untrained(6, 2, 1.5, 4.0, 5), optimiser="bfgs")
    assert not parts(reference())
