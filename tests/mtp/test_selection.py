"""MaxVol, the active set in both modes, and what MLIP-3 printed for the shared data."""

import itertools
import resource
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtp.selection.selector
from mtp.cli import main
from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.errors import MTPError
from mtp.formats.almtp import read_potential, write_potential
from mtp.formats.cfg import parse_cfg, read_cfg
from mtp.selection.maxvol import THRESHOLD, MaxVol
from mtp.selection.selector import RowWeights, Selector
from mtp.training.fit import check_labels
from tests.mtp.samples import configuration, needs_shared, potential, shared


def rows_of_rank(seed, count, size, rank):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, rank)) @ rng.normal(size=(rank, size))


def volume(active):
    return np.linalg.slogdet(active.rows)[1]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 12),
    count=st.integers(1, 60),
    missing=st.integers(0, 3),
    parts=st.integers(1, 4),
)
def test_no_row_extrapolates_after_maxvol(seed, size, count, missing, parts):
    rows = rows_of_rank(seed, count, size, max(1, size - missing))
    labels = [(k, 0) for k in range(count)]
    active = MaxVol.start(size)
    for part in np.array_split(np.arange(count), parts):
        swaps, start = len(active.swaps), volume(active)
        filled = any(active.labels)
        active.add(rows[part], [labels[k] for k in part])
        assert active.grades(rows[part]).max(initial=0.0) <= THRESHOLD * (1 + 1e-4)
        growth = sum(np.log(swap.grade) for swap in active.swaps[swaps:])
        assert volume(active) - start == pytest.approx(growth, abs=1e-3) or not filled
    assert active.inverse @ active.rows == pytest.approx(np.eye(size), abs=1e-4)
    for position, label in enumerate(active.labels):
        if label:
            assert np.array_equal(active.rows[position], rows[label[0]])


def test_dummy_rows_stay_where_rows_are_deficient():
    active = MaxVol.start(10)
    active.add(rows_of_rank(0, 50, 10, 7), [(k, 0) for k in range(50)])
    assert active.labels.count(None) == 3


def test_pooled_sweeps_end_where_exact_swaps_end(monkeypatch):
    rows = rows_of_rank(1, 400, 20, 20)
    labels = [(k, 0) for k in range(400)]
    volumes = []
    for exact in (10**9, 0):
        monkeypatch.setattr("mtp.selection.maxvol.EXACT_SIZE", exact)
        monkeypatch.setattr("mtp.selection.maxvol.POOL_ROWS", 16)
        active = MaxVol.start(20)
        active.add(rows[:40], labels[:40])
        active.add(rows, labels)
        assert active.grades(rows).max() <= THRESHOLD * (1 + 1e-9)
        volumes.append(volume(active))
    assert volumes[0] == pytest.approx(volumes[1], abs=2.0)


def test_swap_limit_and_best_first():
    active = MaxVol.start(5)
    active.add(rows_of_rank(0, 8, 5, 5), [(k, 0) for k in range(8)])
    more, before = rows_of_rank(3, 50, 5, 5) * 3, len(active.swaps)
    best = active.grades(more).max()
    assert active.add(more, [(k, 1) for k in range(50)], limit=2) == 2
    assert active.swaps[before].grade == pytest.approx(best)


@pytest.fixture(scope="module")
def trained():
    model = potential(level=4, species=2)
    return model, [configuration(k, atoms=12, species=2) for k in range(30)]


@pytest.mark.parametrize("mode", ["nbh", "cfg"])
def test_selected_configurations_do_not_extrapolate(trained, mode, tmp_path):
    model, structures = trained
    selector = Selector(model, RowWeights.of_mode(mode))
    selector.add(structures)
    assert max(g.grade for g in selector.grade(structures)) <= THRESHOLD * (1 + 1e-4)
    path = tmp_path / "pot.almtp"
    write_potential(path, selector.with_active_set())
    again = Selector.stored(read_potential(path), str(path))
    for one, two in zip(selector.grade(structures), again.grade(structures), strict=True):
        assert one.grade == pytest.approx(two.grade, rel=1e-6)
        assert (one.grades is None) == (mode == "cfg")
    assert again.add(structures) == 0
    assert again.active_set().configurations == selector.active_set().configurations


def test_rows_are_derivatives_of_energies(trained):
    """Finite differences of the energies, in the places MLIP-3 numbers the equations."""
    model, structures = trained
    step = 1e-4 * np.random.default_rng(0).normal(size=model.parameter_count)
    for mode in ("nbh", "cfg"):
        selector = Selector(model, RowWeights.of_mode(mode))
        selector.add(structures[:3])
        active = selector.active_set()
        kept = list(parse_cfg(active.configurations.splitlines(), "x"))
        up, down = (
            Engine(model.with_parameters(model.parameters + sign * step)).evaluate(kept)
            for sign in (1, -1)
        )
        for row, cfg, equation in zip(
            active.matrix, active.cfg_indices, active.eqn_indices, strict=True
        ):
            if cfg < 0:
                continue
            size = len(kept[cfg])
            difference = (up[cfg].energy - down[cfg].energy) / (2 * size)
            if mode == "nbh":
                atom = equation - 10 - 3 * size
                difference = (up[cfg].site_energies - down[cfg].site_energies)[atom] / 2
            assert row @ step == pytest.approx(difference, rel=1e-4, abs=1e-9)


def test_batches_do_not_change_grades(trained, monkeypatch):
    model, structures = trained
    selector = Selector(model, RowWeights.of_mode("nbh"))
    selector.add(structures[:5])
    whole = [g.grade for g in selector.grade(structures)]
    monkeypatch.setattr(mtp.selection.selector, "GRADE_BYTES", 1)
    assert [g.grade for g in selector.grade(structures)] == pytest.approx(whole)


def test_memory_does_not_grow_with_the_stream(trained):
    model, structures = trained
    selector = Selector(model, RowWeights.of_mode("nbh"))
    selector.add(structures)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = sum(1 for _ in selector.grade(structures[k % 30] for k in range(3000)))
    assert count == 3000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


def with_images(cell, reach):
    """The atoms of a periodic cell and, as ghosts, their images within `reach` (Å)."""
    positions, types, owners = [cell.positions], [cell.types], [np.arange(len(cell))]
    for shift in itertools.product(range(-3, 4), repeat=3):
        if any(shift):
            moved = cell.positions + shift @ cell.cell
            between = np.linalg.norm(moved[:, None] - cell.positions, axis=2).min(axis=1)
            near = np.flatnonzero(between < reach)
            positions.append(moved[near])
            types.append(cell.types[near])
            owners.append(near)
    owners = np.concatenate(owners)
    flags = (np.arange(len(owners)) >= len(cell)).astype(float)
    everything = Configuration(
        cell.cell, np.concatenate(types), np.vstack(positions), columns={"ghost": flags}
    )
    return everything, owners


def test_ghosts_are_neighbours_and_nothing_else(trained):
    """A domain of a simulation, its border atoms as ghosts, is the cell it was cut from."""
    model, structures = trained
    cell = structures[0]
    domain, owners = with_images(cell, model.max_dist)
    whole, part = (Engine(model).evaluate([c])[0] for c in (cell, domain))
    assert part.energy == pytest.approx(whole.energy, rel=1e-12)
    assert part.virial == pytest.approx(whole.virial, rel=1e-9, abs=1e-9)
    assert part.site_energies[: len(cell)] == pytest.approx(whole.site_energies, rel=1e-10)
    assert not part.site_energies[len(cell) :].any()
    forces = np.zeros((len(cell), 3))
    np.add.at(forces, owners, part.forces)
    assert forces == pytest.approx(whole.forces, abs=1e-10)
    for mode in ("nbh", "cfg"):
        selector = Selector(model, RowWeights.of_mode(mode))
        selector.add(structures[1:6])
        one, two = selector.grade([cell, domain])
        assert two.grade == pytest.approx(one.grade, rel=1e-8)
        if mode == "nbh":
            assert two.grades[: len(cell)] == pytest.approx(one.grades, rel=1e-8)
            assert not two.grades[len(cell) :].any()
    with pytest.raises(MTPError, match="ghost atoms"):
        check_labels([replace(domain, energy=1.0)], "the training set")


def test_errors_are_one_line(trained, tmp_path):
    model, structures = trained
    with pytest.raises(MTPError, match="no active set"):
        Selector.stored(model)
    with pytest.raises(MTPError, match="valid are cfg, nbh"):
        RowWeights.of_mode("sites")
    selector = Selector(model, RowWeights.of_mode("nbh"))
    selector.add(structures[:2])
    weighed = replace(selector.active_set(), force_weight=1.0)
    with pytest.raises(MTPError, match="forces"):
        Selector.stored(replace(model, active_set=weighed))
    with pytest.raises(MTPError, match="type 5"):
        selector.add([replace(structures[0], types=structures[0].types * 0 + 5)])


@needs_shared
def test_grades_of_mlip_to_the_printed_digits(tmp_path):
    almtp = shared("trained-L08-nbh-active-set.almtp", tmp_path)
    given_, out = shared("test.cfg", tmp_path), tmp_path / "out.cfg"
    assert main(["calculate_grade", str(almtp), str(given_), str(out)]) == 0
    printed = read_cfg(shared("test-grades-L08-nbh.cfg", tmp_path))
    for ours, theirs in zip(read_cfg(out), printed, strict=True):
        assert ours.grades == pytest.approx(theirs.grades, abs=5.1e-6)
        assert float(ours.features["MV_grade"]) == pytest.approx(
            float(theirs.features["MV_grade"]), abs=1.1e-6
        )


@needs_shared
def test_select_add_chooses_as_many_as_mlip(tmp_path, capsys):
    names = ("trained-L08-nbh-active-set.almtp", "train.cfg", "test.cfg")
    files = [str(shared(name, tmp_path)) for name in names]
    out = tmp_path / "new.cfg"
    assert main(["select_add", *files, str(out), f"--log={tmp_path / 'swaps'}"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "Training set was increased by 20 configurations"
    assert len(read_cfg(out)) == 20
    assert (tmp_path / "swaps").read_text().startswith("MaxVol: swap 1\tcfg# ")


def test_what_weighs_nothing_in_a_fit_is_no_part_of_the_active_set(trained):
    model, structures = trained
    light = [replace(c, features={**c.features, "weight": "0"}) for c in structures[:2]]
    with_light, without = (Selector(model, RowWeights.of_mode("nbh")) for _ in range(2))
    with_light.add([*light, *structures[2:]])
    without.add(structures[2:])
    assert np.allclose(with_light.active_set().matrix, without.active_set().matrix)
    assert [g.grade for g in with_light.grade(structures[:2])] == pytest.approx(
        [g.grade for g in without.grade(structures[:2])]
    )


def dilute(count, seed=0, ions=1):
    """Frames of eleven atoms of type 0 and `ions` of type 1, labelled by a potential."""
    model = potential(level=8, species=2)
    frames = [configuration(seed + k, atoms=12, species=2) for k in range(count)]
    types = np.r_[np.ones(ions, int), np.zeros(12 - ions, int)]
    frames = [replace(c, types=types) for c in frames]
    forces = [
        replace(c, forces=e.forces)
        for c, e in zip(frames, Engine(model).evaluate(frames), strict=True)
    ]
    return model, forces


def test_what_a_rare_species_does_nearby_is_no_extrapolation():
    """One ion a frame: its site energies are too few for a grade, the forces on it are not."""
    model, frames = dilute(8)
    assert len(frames) < model.radial_coeffs[0].size
    plain, displaced = (Selector(model, RowWeights.of_mode("nbh")) for _ in range(2))
    for selector in (plain, displaced):
        selector.add(frames)
    assert displaced.add_displaced(frames, 0.0) == 0
    assert displaced.add_displaced(frames, 0.05) > 0
    rng = np.random.default_rng(1)
    near = [replace(c, positions=c.positions + rng.normal(0, 0.02, (12, 3))) for c in frames]

    def grades(selector, configurations):
        per_atom = np.array([g.grades for g in selector.grade(configurations)])
        return np.median(per_atom[:, 0]), np.median(per_atom[:, 1:])

    ion, others = grades(plain, near)
    assert ion > 20 * others
    nearer = grades(displaced, near)
    assert nearer[0] < 0.2 * ion
    assert nearer[1] == pytest.approx(others, rel=0.2)
    _, pairs = dilute(3, seed=50, ions=2)  # two ions side by side: nobody saw that
    assert grades(displaced, pairs)[0] > 20 * nearer[0]


def test_displaced_environments_are_kept_in_the_file(tmp_path):
    model, frames = dilute(8)
    selector = Selector(model, RowWeights.of_mode("nbh"))
    selector.add(frames)
    selector.add_displaced(frames, 0.05)
    path = tmp_path / "pot.almtp"
    write_potential(path, selector.with_active_set())
    again = Selector.stored(read_potential(path), str(path))
    for one, two in zip(selector.grade(frames), again.grade(frames), strict=True):
        assert one.grade == pytest.approx(two.grade, rel=1e-6)


def test_a_species_with_environments_enough_is_not_displaced(trained):
    model, structures = trained
    labelled = [
        replace(c, forces=e.forces)
        for c, e in zip(structures, Engine(model).evaluate(structures), strict=True)
    ]
    selector = Selector(model, RowWeights.of_mode("nbh"))
    selector.add(labelled)
    assert selector.add_displaced(labelled, 0.05) == 0
