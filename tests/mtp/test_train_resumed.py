"""A training killed at any iteration and continued gives the potential of an undisturbed one."""

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.formats.almtp import write_potential
from mtp.parallel import Ranks
from mtp.potential import untrained
from mtp.training.fit import ITERATIONS_PER_CHECKPOINT, OPTIMISERS, TrainingOptions, train
from tests.mtp.train_samples import labelled, reference

LIMIT = 18  # past the 16 iterations after which Gauss-Newton takes a new matrix at the latest


class KilledError(Exception):
    """The process ends here: nothing after it reaches the disk."""


@pytest.fixture(scope="module")
def sets():
    known = reference()
    return labelled(known, 18, 0), labelled(known, 6, 1)


def fitted(path, sets, options, log):
    held_out = sets[1] if options.patience < LIMIT else []
    trained = train(Ranks(), untrained(8, 2, 1.5, 4.0, 8), sets[0], held_out, options, log)
    write_potential(path, trained)
    return path.read_bytes()


def killing(iteration):
    def log(line):
        if line.startswith("BFGS iter") and int(line.split()[2][:-1]) + 1 >= iteration:
            raise KilledError

    return log


@pytest.mark.parametrize("patience", [LIMIT, LIMIT - 1], ids=["alone", "held-out"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_killed_at_any_iteration(tmp_path, sets, optimiser, patience):
    options = TrainingOptions(optimiser=optimiser, iteration_limit=LIMIT, patience=patience)
    undisturbed = fitted(tmp_path / "whole", sets, options, lambda _: None)
    for k in range(LIMIT + 1):
        point, lines = tmp_path / f"point{k}", []
        resumable = replace(options, checkpoint=point)
        with pytest.raises(KilledError):
            fitted(tmp_path / "part", sets, resumable, killing(k) if k else _at_the_start)
        assert point.exists() == (k > ITERATIONS_PER_CHECKPOINT), k
        assert fitted(tmp_path / "part", sets, resumable, lines.append) == undisturbed, k
        done = (k - 1) // ITERATIONS_PER_CHECKPOINT * ITERATIONS_PER_CHECKPOINT
        assert (done <= 0) == (not any("Continuing after" in line for line in lines)), k


def _at_the_start(line):
    if "training started" in line:
        raise KilledError


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_killed_after_the_last_iteration(tmp_path, sets, optimiser):
    limit = 3 * ITERATIONS_PER_CHECKPOINT
    options = TrainingOptions(optimiser=optimiser, iteration_limit=limit, patience=limit)
    undisturbed = fitted(tmp_path / "whole", sets, options, lambda _: None)
    resumable, lines = replace(options, checkpoint=tmp_path / "point"), []
    fitted(tmp_path / "part", sets, resumable, lambda _: None)
    assert fitted(tmp_path / "part", sets, resumable, lines.append) == undisturbed
    assert f"Continuing after iteration {limit} of {tmp_path / 'point'}" in lines


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_threads_of_blas_do_not_reach_the_digits(tmp_path, sets, optimiser):
    large = [labelled_again(supercell(c)) for c in sets[0][:6]]
    options = TrainingOptions(optimiser=optimiser, iteration_limit=LIMIT, patience=LIMIT)
    found = set()
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.add(fitted(tmp_path / "whole", (large, []), options, lambda _: None))
    assert len(found) == 1


def supercell(c):
    """Eight times the atoms: enough rows for BLAS to share them among threads."""
    shifts = [np.array(n) @ c.cell for n in np.ndindex(2, 2, 2)]
    positions = np.concatenate([c.positions + shift for shift in shifts])
    return Configuration(2 * c.cell, np.tile(c.types, 8), positions)


def labelled_again(c):
    (found,) = Engine(reference()).evaluate([c])
    return replace(c, energy=found.energy, forces=found.forces, virial=found.virial)
