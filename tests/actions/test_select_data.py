"""select_data: the gate before the bill, the three methods, quotas, quarantine, nothing twice."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import SCFError
from ase.calculators.emt import EMT

from atomistics import dataset
from campaign.actions.sample import Sample, SampleGroup, SampleResult
from campaign.actions.select_data import SelectData, SelectDataResult, SelectGroup, _findings
from campaign.results import JudgedStops, SampleGroupResult
from mtp.calculator import MTP
from tests.actions.conftest import SPECIES, TRAINING, Bench, Reference, script, structure

COPPER, ALLOY = 9, 7  # sound candidates


def moved(atoms: Atoms, amplitude: float, seed: int) -> Atoms:
    copy = atoms.copy()
    copy.positions += np.random.default_rng(seed).normal(0, amplitude, copy.positions.shape)
    return copy


def broken(bench: Bench, copper: Atoms) -> list[Atoms]:
    """One frame for every reason to reject: near, dense, thin, repeated, labelled already."""
    near, dense, thin = (moved(copper, 0.05, seed) for seed in (90, 91, 92))
    near.positions[1] = near.positions[0] + [1.2, 0, 0]
    dense.set_cell(dense.cell * 0.9, scale_atoms=True)
    thin.set_cell(thin.cell * 1.12, scale_atoms=True)
    known = dataset.read(bench.here / "../002/sample/dataset.h5", [3])[0].copy()
    return [near, dense, thin, moved(copper, 0.05, 0), known]


@pytest.fixture
def sampled(begun: Bench) -> Bench:
    """Iteration 4 sampled with m003: 9 sound frames of copper and 5 others, 7 of the alloy."""
    groups = [
        SampleGroup(subsystem=s, structures=[n], temperatures=[300], ensembles=["nvt"])
        for n, s in TRAINING.items()
    ]
    plan = Sample(method="model", model="m003", groups=groups, steps=99, interval=9, seed=1)
    begun.begin(plan)
    copper, alloy = (structure(begun.folder, name) for name in TRAINING)
    frames = {
        "cu_small-nvt-300k": [
            *(moved(copper, 0.05 + 0.01 * seed, seed) for seed in range(COPPER)),
            *broken(begun, copper),
        ],
        "alloy_a-nvt-300k": [moved(alloy, 0.06 + 0.02 * seed, 50 + seed) for seed in range(ALLOY)],
    }
    rows = []
    for name, (run, own) in zip(TRAINING.values(), frames.items(), strict=True):
        dataset.write(begun.here / f"sample/runs/{run}.h5", own)
        row = SampleGroupResult(
            subsystem=name,
            temperature_low=300,
            temperature_high=300,
            runs=1,
            early_stops=0,
            stops=[],
            failed_runs=0,
            snapshots=len(own),
            atoms=32 * len(own),
        )
        rows.append(row)
    begun.finalize(
        SampleResult(method="model", model="m003", groups=rows, reference_calls=0, md_steps=198)
    )
    return begun


def plan(method: str, *quotas: tuple[str, dict[str, Any]], max_labels: int = 99) -> SelectData:
    wanted = quotas or (("copper", {"fraction": 1.0}), ("alloy", {"fraction": 1.0}))
    return SelectData(
        method=method,
        model=None if method == "all" else "m003",
        samples=["s004"],
        groups=[SelectGroup(subsystem=name, **quota) for name, quota in wanted],
        max_labels=max_labels,
    )


def choose(bench: Bench) -> list[Atoms]:
    (bench.here / "select_data").mkdir(exist_ok=True)
    bench.call("choose")
    return dataset.read(bench.here / "select_data/chosen.h5")


def buy(bench: Bench, size: int = 99) -> None:
    bench.on_items("label", size)


def collect(bench: Bench) -> SelectDataResult:
    bench.call("collect")
    return bench.result()


def select(bench: Bench, section: SelectData) -> SelectDataResult:
    bench.begin(section)
    choose(bench)
    buy(bench)
    return collect(bench)


def kept(bench: Bench) -> list[Atoms]:
    return dataset.read(bench.here / "select_data/dataset.h5")


def force_error(atoms: Atoms, calculator: MTP) -> float:
    """Largest error of a force vector, of the model against a new EMT."""
    fresh, model = atoms.copy(), atoms.copy()
    fresh.calc, model.calc = EMT(), calculator
    return float(np.linalg.norm(model.get_forces() - fresh.get_forces(), axis=1).max())


@pytest.fixture
def model(sampled: Bench) -> MTP:
    return MTP(sampled.campaign.iteration(3) / "train/model.almtp", SPECIES, grades=True)


def test_the_gate_rejects_before_a_call_is_paid(sampled: Bench, reference: Reference) -> None:
    sampled.begin(plan("all"))
    chosen = choose(sampled)
    assert reference.calls == 0
    gate = json.loads((sampled.here / "select_data/gate.json").read_text())
    assert gate["copper"] == {
        "candidates": COPPER + 5,
        "rejected": {"density": 2, "distance": 1, "duplicate": 2},
    }
    assert gate["alloy"] == {"candidates": ALLOY, "rejected": {}}
    assert Counter(a.info["subsystem"] for a in chosen) == {"copper": COPPER, "alloy": ALLOY}
    buy(sampled)
    result = collect(sampled)
    assert reference.calls == COPPER + ALLOY
    assert [(c.kind, c.count) for c in result.groups[0].rejected] == [
        ("density", 2),
        ("distance", 1),
        ("duplicate", 2),
    ]
    assert [g.labels for g in result.groups] == [COPPER, ALLOY]
    for atoms in kept(sampled):
        fresh = atoms.copy()
        fresh.calc = EMT()
        assert np.allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-9)


def test_all_takes_its_quota_evenly(sampled: Bench) -> None:
    result = select(sampled, plan("all", ("copper", {"count": 3}), ("alloy", {"fraction": 0.5})))
    assert [g.labels for g in result.groups] == [3, round(0.5 * ALLOY)]
    frames = kept(sampled)
    sound = dataset.read(sampled.here / "../004/sample/runs/cu_small-nvt-300k.h5", range(COPPER))
    wanted = [sound[i].positions for i in (0, COPPER // 2, COPPER - 1)]
    assert np.allclose([a.positions for a in frames[:3]], wanted)
    assert result.groups[0].energy_mae is None, "no model, no error"


@pytest.mark.parametrize("method", ["all", "error", "grade"])
def test_max_labels_is_shared_not_taken_from_the_last(sampled: Bench, method: str) -> None:
    sampled.configure(select_data={"grade": 1e-9})
    section = plan(method, max_labels=5)
    result = select(sampled, section)
    labels = {g.subsystem: g.labels for g in result.groups}
    assert 0 < sum(labels.values()) <= 5
    assert min(labels.values()) >= 1
    assert sum(labels.values()) <= section.cost(sampled.campaign.state()).labels
    assert Counter(a.info["subsystem"] for a in kept(sampled)) == labels


def test_by_error_the_worst_described_frames_are_kept(
    sampled: Bench, reference: Reference, model: MTP
) -> None:
    quotas = ("copper", {"fraction": 0.2}), ("alloy", {"count": 2})
    result = select(sampled, plan("error", *quotas))
    assert reference.calls == COPPER + ALLOY, "a call for every candidate that is sound"
    chosen = dataset.read(sampled.here / "select_data/chosen.h5")
    for name, count in (("copper", round(0.2 * (COPPER + 5))), ("alloy", 2)):
        own = [a for a in chosen if a.info["subsystem"] == name]
        ranked = sorted(own, key=lambda a: -force_error(a, model))
        found = {a.positions.tobytes() for a in kept(sampled) if a.info["subsystem"] == name}
        assert found == {a.positions.tobytes() for a in ranked[:count]}
    group = result.groups[1]
    assert (group.reference_calls, group.labels) == (ALLOY, 2)
    mine = [np.abs(difference(a, model)).mean() for a in chosen[COPPER:]]
    assert group.force_mae == pytest.approx(np.mean(mine), rel=1e-6), "over all, not the kept"


def difference(atoms: Atoms, calculator: MTP) -> np.ndarray:
    fresh, model = atoms.copy(), atoms.copy()
    fresh.calc, model.calc = EMT(), calculator
    return model.get_forces() - fresh.get_forces()


def test_by_grade_what_does_not_extrapolate_is_not_bought(
    sampled: Bench, reference: Reference, model: MTP
) -> None:
    def grade(atoms: Atoms) -> float:
        model.calculate(atoms)
        return float(model.results["grades"].max())

    runs = sampled.campaign.iteration(4) / "sample/runs"
    alloy = {a.positions.tobytes(): grade(a) for a in dataset.read(runs / "alloy_a-nvt-300k.h5")}
    limit = sorted(alloy.values())[3]
    sampled.configure(select_data={"grade": limit})
    result = select(sampled, plan("grade", ("alloy", {"fraction": 1.0})))
    frames = kept(sampled)
    assert 1 <= len(frames) == result.groups[0].labels == reference.calls <= ALLOY - 3
    grades = [alloy[a.positions.tobytes()] for a in frames]
    assert min(grades) >= limit
    assert grades == sorted(grades, reverse=True)
    assert max(grades) == max(alloy.values()), "the one that extrapolates most is always bought"
    assert [a.info["grade"] for a in frames] == pytest.approx(grades, rel=1e-6)


def test_by_grade_what_two_subsystems_share_is_bought_once(sampled: Bench) -> None:
    """The frames of all compete: the same ones under another name bring nothing new."""
    runs = sampled.campaign.iteration(4) / "sample/runs"
    shared = dataset.read(runs / "cu_small-nvt-300k.h5")
    dataset.write(runs / "alloy_a-nvt-300k.h5", shared)
    sampled.begin(plan("grade"))
    both = choose(sampled)
    sampled.begin(plan("grade", ("copper", {"fraction": 1.0})))
    alone = choose(sampled)
    assert len(both) == len(alone) > 1


def test_by_grade_nothing_is_bought_where_nothing_extrapolates(
    sampled: Bench, reference: Reference
) -> None:
    sampled.configure(select_data={"grade": 1e6})
    result = select(sampled, plan("grade"))
    assert reference.calls == 0
    assert result.dataset is None
    assert [(g.labels, g.reference_calls, g.candidates) for g in result.groups] == [
        (0, 0, COPPER + 5),
        (0, 0, ALLOY),
    ]
    assert kept(sampled) == []
    sampled.finalize()
    assert [d.id for d in sampled.campaign.state().datasets] == ["d002"]


def test_a_failing_label_is_quarantined_and_the_bill_is_the_cost_files(
    sampled: Bench, reference: Reference
) -> None:
    reference.fail = lambda atoms, number: SCFError("no convergence") if number in (2, 5) else None
    result = select(sampled, plan("all"))
    copper, alloy = result.groups
    failed = Counter({c.kind: c.count for g in result.groups for c in g.failed})
    assert failed == {"unconverged": 2}
    assert copper.labels + alloy.labels == COPPER + ALLOY - 2 == len(kept(sampled))
    calls = copper.reference_calls + alloy.reference_calls
    assert calls == reference.calls == sum(c["reference_calls"] for c in sampled.costs())
    labels = sampled.here / "select_data/labels"
    assert len(list(labels.glob("*.failed.json"))) == 2
    sampled.finalize()
    last = sampled.campaign.state().history[-1]
    assert last.outcome == "partial"


def test_a_label_on_disk_is_not_bought_again(sampled: Bench, reference: Reference) -> None:
    first = select(sampled, plan("all"))
    bought = reference.calls
    data = (sampled.here / "select_data/dataset.h5").read_bytes()
    choose(sampled)
    buy(sampled, 1)
    assert reference.calls == bought
    victim = sorted((sampled.here / "select_data/labels").glob("000004-*"))
    assert len(victim) == 2
    for path in victim:
        path.unlink()
    assert [c.kind for c in collect(sampled).groups[0].failed] == ["lost"]
    buy(sampled)
    assert reference.calls == bought + 1
    assert collect(sampled) == first
    assert (sampled.here / "select_data/dataset.h5").read_bytes() == data


def test_no_label_stands_for_another_frame_when_a_plan_is_edited(sampled: Bench) -> None:
    select(sampled, plan("all"))
    sampled.begin(plan("all", ("alloy", {"count": 4})))  # the same iteration, by hand
    chosen = choose(sampled)
    buy(sampled)
    result = collect(sampled)
    assert result.groups[0].labels == 4
    frames = kept(sampled)
    assert {a.positions.tobytes() for a in frames} == {a.positions.tobytes() for a in chosen}
    assert {a.info["subsystem"] for a in frames} == {"alloy"}


def test_labels_whatever_their_grade_are_of_the_later_halves_of_runs() -> None:
    runs = {"a": range(10, 60, 10), "b": range(3, 12, 3)}
    frames = [
        Atoms("Ar", info={"run": name, "step": step})
        for name, steps in runs.items()
        for step in steps
    ]
    late = script("select_data").later_halves(frames)
    assert [(a.info["run"], a.info["step"]) for a in late] == [
        *(("a", step) for step in (30, 40, 50)),
        *(("b", step) for step in (6, 9)),
    ]


def test_shares_are_proportional_and_whole() -> None:
    apportion = script("select_data").apportion
    assert apportion([3, 2], 9) == [3, 2]
    assert apportion([50, 50], 51) == [26, 25]
    assert apportion([90, 10], 10) == [9, 1]
    generator = np.random.default_rng(0)
    for _ in range(200):
        wanted = generator.integers(0, 40, 4).tolist()
        limit = int(generator.integers(1, 100))
        shares = apportion(wanted, limit)
        assert sum(shares) == min(sum(wanted), limit)
        assert all(0 <= s <= w for s, w in zip(shares, wanted, strict=True))


def test_a_missing_data_set_is_one_line(sampled: Bench) -> None:
    Path(sampled.campaign.iteration(2) / "sample/dataset.h5").unlink()
    sampled.begin(plan("all"))
    (sampled.here / "select_data").mkdir()
    line = sampled.fails("choose")
    assert "d002" in line
    assert "prune" in line


@pytest.mark.parametrize(
    ("kind", "judged", "false", "counts"),
    [("grade", 20, 19, 2), ("grade", 20, 17, 1), ("grade", 4, 4, 1), ("density", 20, 20, 1)],
)
def test_grades_that_nearly_all_stopped_good_runs_widen_twice(
    kind: str, judged: int, false: int, counts: int
) -> None:
    assert _findings(JudgedStops(kind=kind, judged=judged, false_alarms=false)) == counts
