"""sample: what each run gave and why it stopped, by subsystem; the bill; seeds and packing."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.calculator import SCFError
from ase.calculators.emt import EMT
from ase.io import write

from atomistics import dataset
from campaign.actions.sample import Sample, SampleGroup
from mtp.calculator import MTP
from tests.actions.conftest import SPECIES, TRAINING, Bench, Reference, structure


def plan(method: str, **changes: object) -> Sample:
    given = {
        "method": method,
        "model": "m003" if method == "model" else None,
        "groups": groups([300]),
        "steps": 20,
        "interval": 5,
        "seed": 21,
    }
    return Sample(**given | changes)


def groups(kelvins: list[int], ensembles: tuple[str, ...] = ("nvt", "npt")) -> list[SampleGroup]:
    return [
        SampleGroup(subsystem=s, structures=[n], temperatures=kelvins, ensembles=list(ensembles))
        for n, s in TRAINING.items()
    ]


def run(bench: Bench, size: int = 99) -> None:
    bench.on_items("run", size)


def collect(bench: Bench, size: int = 99) -> None:
    bench.call("collect", size)


def trajectories(bench: Bench) -> dict[str, list[Atoms]]:
    return {p.stem: dataset.read(p) for p in sorted((bench.here / "sample/runs").glob("*.h5"))}


def test_snapshots_of_the_reference_become_a_data_set_of_true_labels(
    new: Bench, reference: Reference
) -> None:
    new.begin(plan("reference", compression=[0.95, 1.04], rattle=3, amplitude=0.05, relax_steps=2))
    run(new)
    true_calls = reference.calls
    collect(new)
    runs = trajectories(new)
    frames = dataset.read(new.here / "sample/dataset.h5")
    assert Counter(a.info["source"] for a in frames) == {n: len(f) for n, f in runs.items()}
    for atoms in frames:
        fresh = atoms.copy()
        fresh.calc = EMT()
        assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy())
        assert np.allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-9)
        assert np.allclose(atoms.get_stress(), fresh.get_stress(), atol=1e-9)
    result = new.result()
    assert result.dataset == "d001"
    assert result.reference_calls == true_calls
    assert result.md_steps == 2 * 2 * 20
    for group in result.groups:
        own = [a for a in frames if a.info["subsystem"] == group.subsystem]
        assert (group.runs, group.snapshots, group.atoms) == (4, len(own), 32 * len(own))
        assert (group.early_stops, group.failed_runs, group.max_grade) == (0, 0, None)
    new.finalize()
    assert new.campaign.state().spent.labels == len(frames)


def test_a_fixed_cell_keeps_its_volume_whatever_the_plan_says(new: Bench) -> None:
    index = new.folder / "structures/index.yaml"
    fixed = next(iter(TRAINING))
    entries = yaml.safe_load(index.read_text())
    for entry in entries:
        entry.update({"fixed_cell": True} if entry["id"] == fixed else {})
    index.write_text(yaml.safe_dump(entries))
    new.begin(plan("reference", groups=groups([300], ("npt",))))
    run(new)
    for name, frames in trajectories(new).items():
        moved = np.ptp([a.get_volume() for a in frames])
        assert (moved < 1e-9) == (name == f"{fixed}-npt-300k")


def test_compression_and_rattle_give_what_was_asked(new: Bench) -> None:
    new.begin(
        plan(
            "reference",
            groups=groups([], ()),
            steps=0,
            interval=1,
            compression=[0.95, 1.04],
            rattle=3,
            amplitude=0.05,
            relax_steps=2,
        )
    )
    run(new)
    collect(new)
    runs = trajectories(new)
    assert set(runs) == {f"{n}-{kind}" for n in TRAINING for kind in ("compression", "rattle")}
    for name in TRAINING:
        start = structure(new.folder, name)
        for factor, atoms in zip([0.95, 1.04], runs[f"{name}-compression"], strict=True):
            assert np.allclose(atoms.cell, start.cell * factor)
            assert np.allclose(
                atoms.get_scaled_positions(), start.get_scaled_positions(), atol=1e-9
            )
        rattled = runs[f"{name}-rattle"]
        assert len(rattled) == 6, "each as rattled and after its relaxation"
        ways = np.array([(a.positions - start.positions).std() for a in rattled[::2]])
        assert ways == pytest.approx(0.05, rel=0.25)
        assert len({a.positions.tobytes() for a in rattled}) == 6
        for before, after in zip(rattled[::2], rattled[1::2], strict=True):
            assert after.get_potential_energy() < before.get_potential_energy()


@pytest.mark.parametrize("method", ["reference", "model"])
def test_packing_and_order_change_nothing(begun: Bench, method: str) -> None:
    more = {"compression": [0.97], "rattle": 1} if method == "reference" else {}
    begun.begin(plan(method, **more))

    def made(size: int) -> dict[str, bytes]:
        run(begun, size)
        collect(begun, size)
        files = [*begun.here.glob("sample/runs/*.h5"), begun.here / "sample/result.yaml"]
        files += begun.here.glob("sample/dataset.h5")
        seen = {p.name: p.read_bytes() for p in files}
        for path in begun.here.glob("sample/runs/*"):
            path.unlink()
        return seen

    one, four = made(1), made(4)
    assert len(one) >= 5
    assert one == four
    begun.begin(plan(method, **more, seed=22))
    other = made(4)
    fixed = {n for n in one if "compression" in n or n == "result.yaml"}
    assert {n for n in one if n not in fixed and one[n] == other[n]} == set(), "seeds of the plan"


def test_the_class_of_a_stop_reaches_its_subsystem(begun: Bench, engine: str) -> None:
    begun.configure(md={"engine": engine})
    close = structure(begun.folder, "alloy_a")
    close.positions[1] += 0.34 * (close.positions[0] - close.positions[1])
    path = begun.folder / "structures/alloy_a.extxyz"
    write(path, Atoms(close.numbers, close.positions, cell=close.cell, pbc=True))
    index = begun.folder / "structures/index.yaml"
    index.write_text("".join(x for x in index.open() if "sha256" not in x))
    begun.configure(watchdog={"grade": 1e9, "energy_margin": 50.0, "temperature_factor": 50.0})
    begun.begin(plan("model"))
    run(begun)
    collect(begun)
    copper, alloy = begun.result().groups
    assert (copper.subsystem, copper.runs, copper.early_stops, copper.stops) == ("copper", 2, 0, [])
    assert copper.snapshots == 2 * 4
    assert (alloy.subsystem, alloy.runs, alloy.early_stops) == ("alloy", 2, 2)
    assert [(c.kind, c.count) for c in alloy.stops] == [("distance", 2)]
    assert (begun.result().dataset, begun.result().reference_calls) == (None, 0)
    begun.finalize()
    state = begun.campaign.state()
    assert state.subsystem("alloy").early_stop_fraction == 1.0
    assert state.subsystem("copper").early_stop_fraction == 0.0


def test_grade_stops_a_run_and_the_last_sound_frames_are_kept(begun: Bench, engine: str) -> None:
    begun.configure(md={"engine": engine})
    begun.configure(watchdog={"grade": 1e9}, select_data={"grade": 1e8})
    begun.begin(plan("model", groups=groups([300, 900], ("nvt",))))
    run(begun)
    collect(begun)
    runs = trajectories(begun)
    for group, name in zip(begun.result().groups, TRAINING, strict=True):
        grades = [a.info["grade"] for k in (300, 900) for a in runs[f"{name}-nvt-{k}k"]]
        assert group.max_grade == max(grades)
        assert (group.temperature_low, group.temperature_high) == (300, 900)
    free = runs["alloy_a-nvt-900k"]
    limit = sorted(a.info["grade"] for a in free)[1]
    for path in begun.here.glob("sample/runs/*"):
        path.unlink()
    frozen = begun.here / "config.yaml"
    frozen.write_text(frozen.read_text().replace("grade: 1000000000.0", f"grade: {limit!r}"))
    run(begun)
    collect(begun)
    kept = trajectories(begun)["alloy_a-nvt-900k"]
    report = json.loads((begun.here / "sample/runs/alloy_a-nvt-900k.report.json").read_text())
    assert report["stop"] == "grade"
    assert f"{limit:g}"[:5] in report["detail"]
    assert kept, "the sound frames before the stop"
    calculator = MTP(begun.here / "../003/train/model.almtp", SPECIES, grades=True)
    for atoms in kept:
        calculator.calculate(atoms)
        assert atoms.info["grade"] == pytest.approx(calculator.results["grades"].max(), rel=1e-6)
        assert atoms.info["grade"] < limit
    group = begun.result().groups[1]
    assert group.max_grade < limit
    assert "grade" in {c.kind for c in group.stops}


def test_a_run_that_gives_nothing_is_counted_and_paid(new: Bench, reference: Reference) -> None:
    reference.fail = lambda atoms, number: (
        SCFError("no convergence") if "Ag" in atoms.symbols and number % 4 == 0 else None
    )
    section = plan("reference", groups=groups([300], ("nvt",)), compression=[0.97], rattle=1)
    new.begin(section)
    run(new)
    collect(new)
    result = new.result()
    copper, alloy = result.groups
    assert copper.failed_runs == 0
    assert alloy.runs == 3
    assert alloy.failed_runs + alloy.early_stops >= 1
    assert result.reference_calls == reference.calls
    assert sum(c["reference_calls"] for c in new.costs()) == reference.calls
    frames = dataset.read(new.here / "sample/dataset.h5")
    assert {a.info["subsystem"] for a in frames} == {"copper", "alloy"}


def test_all_labels_failing_is_a_failed_run_not_a_stopped_job(
    new: Bench, reference: Reference
) -> None:
    reference.fail = lambda atoms, number: SCFError("no convergence")
    new.begin(plan("reference", compression=[0.97, 1.03], rattle=2))
    run(new)
    collect(new)
    assert new.result().dataset is None
    assert [g.failed_runs for g in new.result().groups] == [4, 4]
    assert new.result().reference_calls == reference.calls
    kinds = {json.loads(p.read_text())["class"] for p in failures(new)}
    assert kinds == {"unconverged"}
    new.finalize()
    assert new.campaign.state().history[-1].outcome == "failed"


def failures(bench: Bench) -> list[Path]:
    return sorted(bench.here.glob("sample/runs/*.failed.json"))


def test_a_finished_run_is_not_repeated(new: Bench, reference: Reference) -> None:
    new.begin(plan("reference", rattle=1))
    run(new)
    collect(new)
    first, paid = (new.here / "sample/dataset.h5").read_bytes(), reference.calls
    run(new, 1)
    collect(new, 1)
    assert reference.calls == paid
    for path in new.here.glob("sample/runs/cu_small-npt-300k*"):
        path.unlink()
    run(new)
    collect(new)
    assert reference.calls == paid + 21, "the missing run alone"
    assert (new.here / "sample/dataset.h5").read_bytes() == first


def test_a_broken_model_is_one_line_and_no_run_is_written_off(begun: Bench) -> None:
    begun.begin(plan("model"))
    model = begun.here / "../003/train/model.almtp"
    model.write_bytes(model.read_bytes()[:400])
    line = begun.fails("run")
    assert "model.almtp" in line
    assert not list(begun.here.glob("sample/runs/*"))


def test_what_teaches_a_property_is_labelled_and_counted(begun: Bench) -> None:
    """Slabs with vacuum, cells without an atom, strained cells: so many labels as priced."""
    from atomistics import dataset

    group = SampleGroup(
        subsystem="copper",
        structures=["cu_small"],
        temperatures=[],
        ensembles=[],
        teach=["elastic", "vacancy", "surfaces"],
    )
    section = Sample(method="reference", groups=[group], steps=0, interval=1, copies=3, seed=4)
    begun.begin(section)
    begun.on_items("run")
    number = begun.campaign.pending.iteration
    begun.call("collect", iteration=number)
    result = begun.result()
    assert result.labels_kept() == 9
    assert section.cost(begun.campaign.state()).labels == 9
    assert result.reference_calls == section.cost(begun.campaign.state()).reference_calls
    frames = dataset.read(begun.here / "sample/dataset.h5")
    assert max(a.get_volume() / len(a) for a in frames) > 20  # a slab
    assert {a.info["subsystem"] for a in frames} == {"copper"}
    begun.finalize()
    assert begun.campaign.state().subsystem("copper").labels >= 9


def test_a_model_teaches_nothing() -> None:
    group = {"subsystem": "copper", "structures": ["x"], "temperatures": [], "ensembles": []}
    with pytest.raises(ValueError, match="teach"):
        Sample(
            method="model",
            model="m003",
            groups=[{**group, "teach": ["elastic"]}],
            steps=10,
            interval=1,
            copies=3,
            seed=1,
        )
