"""Potential files: what is written is what is read, and what is broken is named."""

import re
from contextlib import suppress
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtp.errors import MTPError
from mtp.formats.almtp import read_potential, write_potential
from mtp.potential import untrained
from mtp.selection.active_set import ActiveSet
from tests.mtp.engine_samples import SHARED, random_potential, unzipped

files = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def with_active_set(potential, seed=0):
    size = potential.parameter_count
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(size, size))
    active = ActiveSet(
        matrix=matrix,
        inverse=np.linalg.inv(matrix),
        cfg_indices=rng.integers(-1, 9, size),
        eqn_indices=rng.integers(-1, 99, size),
        configurations="BEGIN_CFG\nEND_CFG\n\n",
        energy_weight=0.0,
        force_weight=0.25,
        stress_weight=1 / 3,
        site_en_weight=1.0,
        weight_scaling=2,
    )
    return replace(potential, active_set=active)


def assert_same(a, b):
    for item in fields(a):
        x, y = getattr(a, item.name), getattr(b, item.name)
        if item.name in ("basis", "active_set"):
            assert (x is None) == (y is None)
            if x is not None:
                assert_same(x, y)
        else:
            assert np.array_equal(x, y), item.name


@files
@given(
    level=st.sampled_from([2, 6, 8]),
    species=st.integers(1, 3),
    numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=9),
    scaling=st.floats(1e-300, 1e300),
)
def test_round_trip_keeps_every_bit(tmp_path, level, species, numbers, scaling):
    template = replace(untrained(level, species), scaling=scaling)
    potential = template.with_parameters(np.resize(numbers, template.parameter_count))
    write_potential(tmp_path / "p.mtp", potential)
    assert_same(read_potential(tmp_path / "p.mtp"), potential)


def test_round_trip_of_template_and_active_set(tmp_path):
    for potential in (untrained(6, 2), with_active_set(random_potential(6, 2))):
        write_potential(tmp_path / "p.almtp", potential)
        again = read_potential(tmp_path / "p.almtp")
        assert_same(again, potential)
        write_potential(tmp_path / "q.almtp", again)
        assert (tmp_path / "p.almtp").read_bytes() == (tmp_path / "q.almtp").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.almtp", "q.almtp"]


def test_parameters_go_by_radial_species_moment():
    potential = random_potential(8, 2)
    order = potential.slices
    assert np.array_equal(potential.parameters[order.radial], potential.radial_coeffs.ravel())
    assert np.array_equal(potential.parameters[order.species], potential.species_coeffs)
    assert np.array_equal(potential.parameters[order.moment], potential.moment_coeffs)
    assert order.moment.stop == potential.parameter_count
    assert np.array_equal(
        potential.with_parameters(potential.parameters).parameters, potential.parameters
    )


@pytest.mark.skipif(not SHARED.exists(), reason="interoperability data not here")
@pytest.mark.parametrize(
    "name",
    ["trained-L08.mtp", "trained-L12.mtp", "trained-L16.mtp", "trained-L08-nbh-active-set.almtp"],
)
def test_files_of_the_original_come_back_byte_for_byte(name, tmp_path):
    original = unzipped(name, tmp_path)
    potential = read_potential(original)
    write_potential(tmp_path / "again", potential)
    assert (tmp_path / "again").read_bytes() == original.read_bytes()
    if potential.active_set is not None:
        identity = potential.active_set.matrix @ potential.active_set.inverse
        assert np.abs(identity - np.eye(len(identity))).max() < 1e-2


def test_an_untrained_potential_has_no_parameters():
    with pytest.raises(MTPError, match="untrained"):
        _ = untrained(6, 1).parameters


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("MTP\n", "XYZ\n", "not a potential"),
        ("species_count = 2", "species_count = 2000000000", "out of range"),
        ("species_count = 2", "species_count = two", "not a number"),
        ("species_count = 2", "species_count = 3", "0-0 to 2-2"),
        ("alpha_moments_count = 8", "alpha_moments_count = 2000000", "does not fit"),
        ("alpha_index_basic_count = 5", "alpha_index_basic_count = 6", "5 entries"),
        ("radial_basis_type = RBChebyshev", "radial_basis_type = RBTaylor", "RBTaylor"),
        ("radial_basis_type", "magnetic_basis_type", "unknown entry"),
        ("min_dist = 8", "min_dist = 9e99", "min_dist"),
        ("min_dist = 8.000000000000000e-01", "min_dist = nan", "finite"),
        ("{{0, 0, 0, 0}", "{{7, 0, 0, 0}", "alpha_index_basic holds an index"),
        ("{{0, 0, 0, 0}", "{{0, 99, 0, 0}", "degree"),
        ("{{0, 0, 0, 0}", "{{0, 99999999999, 0, 0}", "out of range"),
        ("alpha_index_times = {{0, 0, 1, 5}", "alpha_index_times = {{0, 7, 1, 5}", "before it is"),
        ("alpha_index_times = {{0, 0, 1, 5}", "alpha_index_times = {{0, 0, 1, 0}", "out of range"),
        ("\t\t0-1\n", "\t\t0-7\n", "blocks"),
        ("species_coeffs = {", "species_coeffs = {1.0, ", "3 values"),
        ("species_coeffs = {", "species_coeffs = {nan, ", "species_coeffs"),
        ("version = 1.1.0\n", "version = 1.1.0\nversion = 1.1.0\n", "given twice"),
    ],
)
def test_a_broken_entry_is_named_in_one_line(old, new, message, tmp_path):
    path = tmp_path / "bad.mtp"
    write_potential(path, random_potential(6, 2))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(MTPError, match=re.escape(message)) as error:
        read_potential(path)
    assert "bad.mtp" in str(error.value)
    assert "\n" not in str(error.value)


@files
@given(data=st.data())
def test_damaged_files_never_do_more_than_fail(tmp_path, data):
    path = tmp_path / "good.almtp"
    if not path.exists():
        write_potential(path, with_active_set(random_potential(6, 2)))
    content = bytearray(path.read_bytes())
    kind = data.draw(st.sampled_from(["cut", "flip", "delete"]))
    at = data.draw(st.integers(0, len(content) - 1))
    if kind == "cut":
        del content[at:]
    elif kind == "flip":
        content[at] = data.draw(st.integers(0, 255))
    else:
        del content[at : at + data.draw(st.integers(1, 200))]
    (tmp_path / "bad.almtp").write_bytes(bytes(content))
    with suppress(MTPError):
        read_potential(tmp_path / "bad.almtp")


def test_a_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(MTPError, match=r"none\.mtp"):
        read_potential(tmp_path / "none.mtp")
    with pytest.raises(MTPError, match="folder"):
        write_potential(tmp_path / "no" / "p.mtp", random_potential(2, 1))
