"""Configurations no physicist would write: an answer or one error, never undefined behaviour."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtp.engine import Engine
from mtp.errors import MTPError
from tests.mtp.engine_samples import Sample, random_potential

SIZES = [0.0, 1e-300, 1e-9, 1e-3, 0.02, 1.0, 7.0, 1e3, 1e9, 1e15, 1e200, 1e308]
lengths = st.sampled_from([sign * size for size in SIZES for sign in (1, -1)])
ENGINE = Engine(random_potential(6, 2))


@settings(max_examples=1500, deadline=None)
@given(
    cell=st.lists(lengths, min_size=9, max_size=9),
    positions=st.lists(lengths, min_size=6, max_size=6),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    straight=st.booleans(),
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_any_finite_cell_and_positions(cell, positions, pbc, straight):
    cell = np.array(cell).reshape(3, 3)
    sample = Sample(
        cell * np.eye(3) if straight else cell,
        np.array(positions).reshape(2, 3),
        np.array([0, 1]),
        np.array(pbc),
    )
    try:
        found = ENGINE.evaluate([sample])[0]
    except MTPError:
        return
    assert np.isfinite(found.forces).all()
    assert np.isfinite(found.energy)
