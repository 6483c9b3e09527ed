"""Frames chosen by the error to expect: no duplicate is bought."""

import numpy as np

from benchmarks.labels.informative import information_rows, most_informative
from mtp.engine import Engine
from mtp.training.loss import LossWeights
from tests.mtp.samples import configuration, potential


def test_duplicates_wait_until_all_else_is_taken() -> None:
    frames = [configuration(seed, 6) for seed in range(7)]
    training, candidates = frames[:2], [*frames[2:], frames[2], frames[2]]
    chosen = most_informative(potential(), training, candidates, 5)
    assert len(set(chosen)) == 5
    assert len(set(chosen) & {0, 5, 6}) == 1, "one of three equal frames"


def test_rows_are_those_of_energy_and_forces_times_the_roots_of_their_weights() -> None:
    frame, fitted = configuration(4, 5), potential()
    engine = Engine(fitted)
    (rows,) = information_rows(engine, [frame], LossWeights(energy_weight=4, force_weight=9))
    plain = engine.configuration_rows(engine.neighbours([frame]), 0)
    np.testing.assert_allclose(rows[0], 2 * plain[0] / np.sqrt(5))
    np.testing.assert_allclose(rows[1:], 3 * plain[1:16])
