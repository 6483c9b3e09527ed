"""The basis generated from the definition of a level."""

from collections import Counter

import numpy as np
import pytest

from mtp.basis import Contraction, level_basis
from mtp.errors import MTPError
from mtp.formats.almtp import read_potential
from tests.mtp.engine_samples import SHARED, unzipped

# scalars and moments of the distributed templates (levels 8, 12, 16) and as counted for others
SIZES = {2: (1, 1), 4: (2, 2), 6: (5, 8), 8: (9, 18), 10: (16, 41), 12: (29, 84), 14: (52, 174)}


@pytest.mark.parametrize("level", SIZES)
def test_sizes_are_those_of_mlip(level):
    basis = level_basis(level)
    assert (len(basis.alpha_moment_mapping), basis.alpha_moments_count) == SIZES[level]


@pytest.mark.skipif(not SHARED.exists(), reason="interoperability data not here")
@pytest.mark.parametrize("level", [8, 12, 16])
def test_equals_the_template_number_for_number(level, tmp_path):
    template = read_potential(unzipped(f"untrained-L{level:02d}.almtp", tmp_path))
    basis = level_basis(level)
    for name in ("alpha_index_basic", "alpha_index_times", "alpha_moment_mapping"):
        assert np.array_equal(getattr(basis, name), getattr(template, name)), name
    assert basis.alpha_moments_count == template.alpha_moments_count
    assert basis.radial_funcs_count == template.radial_funcs_count


@pytest.mark.parametrize("level", [8, 14, 18])
def test_scalars_do_not_change_under_rotation_and_are_different(level):
    basis = level_basis(level)
    rng = np.random.default_rng(level)
    vectors = rng.normal(size=(9, 3))
    weights = rng.normal(size=(basis.radial_funcs_count, 9))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    scalars = values(basis, weights, vectors)
    assert np.allclose(scalars, values(basis, weights, vectors @ rotation), rtol=1e-9, atol=1e-9)
    assert len(set(np.round(scalars, 9))) == len(scalars)
    assert level_basis(level + 2).alpha_moments_count > basis.alpha_moments_count


def values(basis, weights, vectors):
    moments = np.zeros(basis.alpha_moments_count)
    for n, (mu, *powers) in enumerate(basis.alpha_index_basic):
        moments[n] = (weights[mu] * (vectors**powers).prod(axis=1)).sum()
    for a, b, factor, target in basis.alpha_index_times:
        moments[target] += factor * moments[a] * moments[b]
    return moments[basis.alpha_moment_mapping]


@pytest.mark.parametrize("level", [0, 3, 30, -2])
def test_a_level_that_does_not_exist_is_refused(level):
    with pytest.raises(MTPError, match=f"level {level} "):
        level_basis(level)


def test_equal_graphs_have_one_canonical_form():
    path = Contraction(((0, 1), (0, 2), (0, 1)), ((1, 0), (1,), ()))
    forms = {path.take(order).canonical() for order in [(0, 1, 2), (2, 1, 0), (1, 0, 2)]}
    assert len(forms) == 1
    assert forms.pop().free == (0, 0, 0)


def test_no_product_is_written_twice():
    times = level_basis(16).alpha_index_times
    assert max(Counter(map(tuple, times[:, [0, 1, 3]])).values()) == 1
