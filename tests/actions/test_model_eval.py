"""model_eval: the reference's own protocol repeated, stability told, errors true to the files."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import SCFError
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_masses

from atomistics import dataset
from atomistics.analysis.comparison import compare
from atomistics.analysis.layers import PhaseLayer
from atomistics.analysis.observables import rdf_overlap
from atomistics.md import plain as md
from atomistics.md.steady import SteadyState
from atomistics.md.watchdog import JudgedWatchdog, Limits
from campaign import prediction
from campaign.actions.model_eval import ModelEval
from campaign.job import Job
from campaign.results import EvaluatedStructure
from mtp.calculator import MTP
from tests.actions.conftest import HELD_OUT, SPECIES, Bench, Reference, script, structure


def plan(**changes: object) -> ModelEval:
    given = {
        "model": "m003",
        "structures": list(HELD_OUT),
        "temperature": 300,
        "steps": 40,
        "interval": 10,
        "fresh_frames": 2,
        "seed": 41,
    }
    return ModelEval(**given | changes)


def run(bench: Bench) -> None:
    bench.on_items("run")


def collect(bench: Bench) -> dict[str, EvaluatedStructure]:
    bench.call("collect")
    return {s.structure: s for s in bench.result().structures}


def evaluate(bench: Bench, **changes: object) -> dict[str, EvaluatedStructure]:
    bench.begin(plan(**changes))
    run(bench)
    return collect(bench)


def reference_frames(bench: Bench, name: str) -> list[Atoms]:
    return dataset.read(bench.campaign.iteration(1) / f"reference_calc/runs/{name}.h5")


class Exact(EMT):
    """The reference in the place of the model: what a perfect fit would be."""

    implemented_properties = (*EMT.implemented_properties, "grades")

    def calculate(self, atoms: Atoms, *given: Any) -> None:
        super().calculate(atoms, *given)
        self.results["grades"] = np.zeros(len(atoms))


def test_a_perfect_model_deviates_by_nothing(begun: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "model", lambda *_: Exact())
    begun.configure(reference_calc={"ensemble": "npt"}, md={"timestep": 1.0, "pressure": 3.0})
    for seen in evaluate(begun).values():
        assert seen.status == "ok"
        last = reference_frames(begun, seen.structure)[-1].info
        assert seen.compared_ps == pytest.approx(last["step"] * last["timestep"] / 1000)
        assert seen.density_deviation == pytest.approx(0, abs=1e-9)
        assert seen.rdf_overlap == pytest.approx(1, abs=1e-9)


def test_a_trajectory_compared_with_itself_and_with_others() -> None:
    base = md.Protocol("npt", 500, steps=200, timestep=4.0, interval=5, seed=3)
    start = Atoms("Cu", cell=[[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], pbc=True).repeat(2)
    start.symbols[:4] = "Ag"
    frames = md.run(start, EMT(), base).frames
    same = compare(frames, frames, 4.0)
    assert (same.density_deviation, same.rdf_overlap) == (0, pytest.approx(1))
    assert {d["element"] for d in same.diffusion} == {"Ag", "Cu"}
    assert all(d["model"] == d["reference"] for d in same.diffusion)
    wide = [a.copy() for a in frames]
    for copy, atoms in zip(wide, frames, strict=True):
        copy.set_cell(copy.cell * 1.02, scale_atoms=True)
        copy.calc = atoms.calc
    other = compare(wide, frames, 4.0)
    assert other.density_deviation == pytest.approx(1.02**-3 - 1)
    drawn = other.curves["rdf"]
    shared = [
        rdf_overlap(np.array(drawn["r"]), np.array(g["model"]), np.array(g["reference"]))
        for g in drawn["pairs"].values()
    ]
    assert other.rdf_overlap == pytest.approx(min(shared), abs=1e-4), "the worst pair decides"
    assert min(shared) + 0.01 < max(shared) < 0.9
    nothing = compare([], frames, 4.0)
    assert nothing.density is nothing.rdf_overlap is None
    assert nothing.diffusion == []
    early = compare(frames[:10], frames, 4.0)
    assert early.rdf_overlap > 0.5
    assert early.diffusion == []


def test_errors_are_those_of_the_files_left_behind(begun: Bench, reference: Reference) -> None:
    found = evaluate(begun)
    model = MTP(begun.campaign.iteration(3) / "train/model.almtp", SPECIES)
    for name, seen in found.items():
        assert (seen.status, seen.stop, seen.subsystem) == ("ok", None, HELD_OUT[name])
        assert seen.picoseconds == pytest.approx(40 * 4.0 / 1000)
        energy, force = mae(reference_frames(begun, name), model)
        assert seen.energy_mae == pytest.approx(energy, rel=1e-6)
        assert seen.force_mae == pytest.approx(force, rel=1e-6)
        fresh = dataset.read(begun.here / f"model_eval/runs/{name}.fresh.h5")
        assert seen.fresh_frames == len(fresh) == 2
        energy, force = mae(fresh, model)
        assert seen.fresh_energy_mae == pytest.approx(energy, rel=1e-6)
        assert seen.fresh_force_mae == pytest.approx(force, rel=1e-6)
        own = dataset.read(begun.here / f"model_eval/runs/{name}.h5")
        assert [a.info["step"] for a in own] == [10, 20, 30, 40]
        places = {a.positions.tobytes() for a in own}
        for atoms in fresh:
            assert atoms.positions.tobytes() in places, "a snapshot of the model's own MD"
            again = atoms.copy()
            again.calc = EMT()
            assert np.allclose(atoms.get_forces(), again.get_forces(), atol=1e-9)
    result = begun.result()
    assert result.reference_calls == reference.calls == 4
    assert result.md_steps == 2 * (20 + 40)
    begun.finalize()
    assert begun.campaign.state().spent.reference_calls == 42 + 98 + 4


def mae(frames: list[Atoms], model: MTP) -> tuple[float, float]:
    energies, forces = [], []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = model
        energies.append((copy.get_potential_energy() - atoms.get_potential_energy()) / len(atoms))
        forces.append(copy.get_forces() - atoms.get_forces())
    return float(np.abs(energies).mean()), float(np.abs(forces).mean())


def test_curves_hold_model_and_reference(begun: Bench) -> None:
    evaluate(begun)
    curves = json.loads((begun.here / "model_eval/alloy_held/observables.json").read_text())
    reference = reference_frames(begun, "alloy_held")
    assert curves["time_ps"] == [0.04, 0.08, 0.12, 0.16]
    assert curves["reference_time_ps"] == [round(a.info["step"] * 0.004, 6) for a in reference]
    assert len(curves["density"]["model"]) == 4
    assert len(curves["density"]["reference"]) == len(reference) == 5
    assert set(curves["rdf"]["pairs"]) == {"Ag-Ag", "Ag-Cu", "Cu-Cu"}
    assert set(curves["msd"]) == {"Ag", "Cu"}
    parity = curves["force_parity"]
    labels = np.concatenate([a.get_forces().ravel() for a in reference])
    assert np.allclose(parity["reference"], labels.round(5), atol=1e-4)
    for name, words in (("curves", "displacement and forces"), ("rdf", "radial distribution")):
        for which in HELD_OUT:
            drawn = ElementTree.parse(begun.here / f"model_eval/plots/{which}-{name}.svg").getroot()
            assert drawn.tag.endswith("}svg")
            assert drawn.get("aria-label").startswith(f"{which}: ")
            assert words in drawn.get("aria-label")


@pytest.mark.parametrize("which", ["both", "twin"])
def test_an_early_stop_is_told_with_its_class_and_time(
    begun: Bench, which: str, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    begun.configure(md={"engine": engine})
    if which == "both":
        begun.configure(model_eval={"grade": 1e-3}, watchdog={"grade": 1e9})
    else:  # where a sample would stop does not matter
        begun.configure(model_eval={"grade": 1e9}, watchdog={"grade": 1e-3})
        monkeypatch.setattr(md, "run", stopping(md.run, lambda protocol: protocol.seed == 3))
    for seen in evaluate(begun).values():
        assert (seen.status, seen.stop) == ("early_stop", "grade")
        assert seen.picoseconds == (0.0 if which == "both" else pytest.approx(0.16))
    begun.finalize()
    (record,) = begun.campaign.state().evaluations
    assert set(record.failed) == {"copper", "alloy"}


@pytest.mark.parametrize("agree", [True, False])
def test_a_limit_that_the_reference_leaves_too_is_no_early_stop(
    begun: Bench, reference: Reference, monkeypatch: pytest.MonkeyPatch, agree: bool, engine: str
) -> None:
    """A band of energies that any MD at 300 K leaves."""
    begun.configure(md={"engine": engine})
    monkeypatch.setattr(prediction, "agree", lambda row, targets, role: agree)

    def narrow(job: Job, atoms: Atoms, *_: Any) -> Limits:
        start = atoms.get_potential_energy() / len(atoms)
        return Limits(energy=(start - 0.016, start + 0.016))

    monkeypatch.setattr(Job, "limits", narrow)
    monkeypatch.setattr(md, "run", judging(md.run))
    found = evaluate(begun, fresh_frames=8)
    for seen in found.values():
        assert (seen.status, seen.stop) == (("ok", None) if agree else ("early_stop", "energy"))
        assert bool(seen.false_alarms) == agree
    assert begun.result().reference_calls == reference.calls <= 8 * len(HELD_OUT)
    begun.finalize()
    state = begun.campaign.state()
    assert all(bool(s.widened) == agree for s in state.subsystems if s.evaluated_model)


@pytest.mark.parametrize(("most", "drifting"), [(400, False), (60, True)])
def test_a_run_that_still_drifts_goes_on_and_is_labelled_at_its_end(
    begun: Bench, monkeypatch: pytest.MonkeyPatch, most: int, drifting: bool
) -> None:
    steady = SteadyState.__call__

    def drifts_for_80_steps(self: SteadyState, moving: Atoms) -> bool:
        steady(self, moving)
        self.holds = len(self._energies) > 80
        return self.holds

    monkeypatch.setattr(SteadyState, "__call__", drifts_for_80_steps)
    found = evaluate(begun, most_steps=most)
    events = {event.event for event in begun.result().events()}
    assert ("evaluation: still drifting" in events) == drifting
    for name, seen in found.items():
        runs = begun.here / "model_eval/runs"
        last = dataset.read(runs / f"{name}.h5")[-1].info["step"]
        assert last == min(most, 80)
        assert seen.picoseconds == pytest.approx(last * 0.004)
        assert seen.drifting == drifting
        fresh = dataset.read(runs / f"{name}.fresh.h5")
        assert min(a.info["step"] for a in fresh) > last - 40


def judging(run: Callable) -> Callable:
    """md.run with the limits of the long run alone."""

    def judged(
        atoms: Atoms, calculator: Any, protocol: md.Protocol, watchdog: Any, **how: Any
    ) -> md.Outcome:
        limits = watchdog if isinstance(watchdog, JudgedWatchdog) else None
        return run(atoms, calculator, protocol, limits, **how)

    return judged


def stopping(run: Callable, wanted: Callable) -> Callable:
    """md.run with a limit on the grade that only some protocols reach."""

    def stopped(
        atoms: Atoms, calculator: Any, protocol: md.Protocol, watchdog: Any, **how: Any
    ) -> md.Outcome:
        if wanted(protocol):
            limits = watchdog.limits
            watchdog = type(watchdog)(type(limits)(**{**vars(limits), "grade": 1e-3}))
        return run(atoms, calculator, protocol, watchdog, **how)

    return stopped


def test_a_fresh_label_that_fails_is_left_out_and_paid(begun: Bench, reference: Reference) -> None:
    reference.fail = lambda atoms, number: SCFError("no convergence") if number == 2 else None
    found = evaluate(begun)
    assert [found[name].fresh_frames for name in sorted(HELD_OUT)] == [1, 2]
    assert begun.result().reference_calls == reference.calls == 4


def test_no_fresh_label_at_all_fails_the_structure_alone(
    begun: Bench, reference: Reference
) -> None:
    reference.fail = lambda atoms, number: (
        SCFError("no convergence") if "Ag" in atoms.symbols else None
    )
    found = evaluate(begun)
    assert (found["alloy_held"].status, found["alloy_held"].stop) == ("failed", "unconverged")
    assert found["cu_held"].status == "ok"
    assert begun.result().reference_calls == reference.calls == 4


def test_what_is_on_disk_is_not_run_again(begun: Bench, reference: Reference) -> None:
    first = evaluate(begun)
    files = {p: p.read_bytes() for p in (begun.here / "model_eval").rglob("*") if p.is_file()}
    run(begun)
    assert collect(begun) == first
    assert reference.calls == 4
    assert {p: p.read_bytes() for p in files} == files
    for path in (begun.here / "model_eval/runs").glob("cu_held.*"):
        path.unlink()
    run(begun)
    assert collect(begun) == first
    assert {p: b for p, b in files.items() if p.suffix == ".h5"} == {
        p: p.read_bytes() for p in files if p.suffix == ".h5"
    }


@pytest.mark.parametrize("gone", ["001/reference_calc/runs/cu_held.h5", "003/train/model.almtp"])
def test_a_missing_file_is_one_line_and_nothing_is_written_off(begun: Bench, gone: str) -> None:
    begun.begin(plan())
    Path(begun.folder / "iterations" / gone).unlink()
    line = begun.fails("run")
    assert Path(gone).name in line
    assert not (begun.here / "model_eval").exists()


def test_an_item_without_a_trace_is_lost(begun: Bench) -> None:
    begun.begin(plan())
    begun.lose_every_job()
    assert {(s.status, s.stop) for s in collect(begun).values()} == {("failed", "lost")}
    assert structure(begun.folder, "cu_held").info["subsystem"] == "copper"


def test_layers_are_compared_one_by_one():
    """Two slabs of argon; the model's upper one is a tenth thinner than the reference's."""
    random = np.random.default_rng(1)
    lower, upper = random.uniform(0, 1, (400, 3)), random.uniform(0, 1, (400, 3))
    start = np.vstack([lower * (12, 12, 10), upper * (12, 12, 20) + (0, 0, 10)])
    layers = [PhaseLayer("solid", np.arange(400)), PhaseLayer("fluid", np.arange(400, 800))]

    def frames(height: float) -> list[Atoms]:
        atoms = Atoms("Ar800", start, cell=(12, 12, 40), pbc=True, info={"step": 1})
        atoms.positions[400:, 2] = 10 + (atoms.positions[400:, 2] - 10) * height
        atoms.calc = SinglePointCalculator(atoms, energy=0.0)
        return [atoms] * 4

    found = compare(frames(0.9), frames(1.0), 1.0, layers)
    solid, fluid = found.layers
    assert (solid["layer"], solid["density_deviation"], solid["rdf_overlap"]) == ("solid", 0, 1)
    assert fluid["density_deviation"] == pytest.approx(1 / 0.9 - 1)
    assert fluid["rdf_overlap"] < 0.99
    assert set(found.curves["layers"]) == {"solid", "fluid"}


def test_a_copy_of_the_job_has_names_of_its_own(begun: Bench, reference: Reference) -> None:
    begun.begin(plan(structures=["cu_held"]))
    others = begun.here / "model_eval/runs/cu_held.fresh.h5.tmp"
    others.parent.mkdir(parents=True)
    others.write_text("half of what another copy writes")
    run(begun)
    assert others.read_text() == "half of what another copy writes"
    assert len(dataset.read(others.with_name("cu_held.fresh.h5"))) == 2
    assert not [p for p in others.parent.iterdir() if "partial" in p.name]


def asked(**given: object) -> dict[str, object]:
    return {"structure": "cu_held", "kinds": ["lattice", "elastic", "cohesion"], **given}


def test_properties_by_both_stand_side_by_side_and_are_billed(begun: Bench) -> None:
    """EMT by way of the campaign is EMT by hand; the model beside it is the model by hand."""
    from campaign.actions.reference_calc import ReferenceCalc

    section = ReferenceCalc(
        structures=["cu_held", "alloy_held"],
        temperature=300,
        ensemble="nvt",
        steps=20,
        interval=4,
        seed=3,
        properties=[asked()],
    )
    begun.begin(section)
    begun.on_items("run")
    begun.call("collect")
    mine = next(r for r in begun.result().structures if r.structure == "cu_held").properties
    other = next(r for r in begun.result().structures if r.structure == "alloy_held")
    assert other.properties is None
    assert mine.value("a").reference == pytest.approx(3.59, abs=0.002)
    assert mine.value("c11").reference == pytest.approx(172.6, abs=1.5)
    calls = begun.result().reference_calls
    assert 2 * 21 + 26 < calls <= section.cost(begun.campaign.state()).reference_calls
    assert sum(c["reference_calls"] for c in begun.costs()) == calls
    begun.finalize()
    begun.begin(plan(structures=["cu_held"], properties=[asked(kinds=["eos", "cohesion"])]))
    begun.on_items("run")
    plots = begun.here / "model_eval/plots"
    begun.call("collect", plots=plots)
    seen = begun.result().structures[0].properties
    a = seen.value("a")
    assert a.reference == pytest.approx(3.59, abs=0.002)
    assert a.model == pytest.approx(a.reference, abs=0.1)
    assert a.model != a.reference
    # the same atoms alone for both, so the difference is that of the crystals' energies
    cohesive, energy = seen.value("cohesive_energy"), seen.value("energy")
    gain = energy.reference - energy.model
    assert cohesive.model - cohesive.reference == pytest.approx(gain, abs=1e-6)
    assert seen.value("c11").model is None  # not asked of the model
    assert any(note.startswith("model: lattice: space group") for note in seen.notes)
    begun.finalize()
    from campaign.report.document import write_now

    page = write_now(begun.campaign, begun.folder / "page").read_text()
    assert "<td>cohesive energy</td>" in page
    assert "cu_held: equation of state and phonons" in page
    assert "phonons, vacancy energies" in page  # what was not measured is said
    card = (begun.folder / "page/model_card.md").read_text()
    assert "bulk modulus" in card


@pytest.mark.parametrize("drift", [0.0, 100.0])
@pytest.mark.parametrize(
    ("liquid", "pressure", "expected"),
    [(0, 0.0, 0.1), (4, 0.0, 0.4), (4, 2.0, 0.1), (4, 0.5, 1 / 6.5), (2, 0.0, 0.2)],
)
def test_compressibility_is_that_of_the_volumes_or_of_a_liquid(
    liquid: int, pressure: float, expected: float, drift: float
) -> None:
    """Volumes drawn with the variance of 10 GPa, about a drift that is no fluctuation; of four
    molecules none, all or half leave their places, as in a crystal, a liquid or a stack."""
    volume, kelvin = 8000.0, 300
    spread = np.sqrt(0.1 / units.GPa * units.kB * kelvin * volume)
    volumes = volume + spread * np.tile([1.0, -1.0], 300) + drift * np.linspace(-2, 1, 600)
    molecules = np.repeat([[2.0, 5, 5], [7, 5, 5], [12, 5, 5], [17, 5, 5]], 2, axis=0)
    molecules[1::2, 0] += 0.74
    way = np.zeros((8, 3))
    way[: 2 * liquid, 1] = np.repeat([4.0, -4, 4, -4], 2)[: 2 * liquid]
    frames = [
        Atoms("H8", molecules + way * n / 600, cell=[v / 400, 20, 20], pbc=True)
        for n, v in enumerate(volumes)
    ]
    protocol = md.Protocol("npt", kelvin, 1000, 1.0, pressure=pressure)
    soft = script("model_eval").softness(frames, protocol)
    assert soft.sum() == pytest.approx(max(expected, 0.1), rel=2e-3)


def test_a_stack_answers_along_its_height_and_its_slab_for_its_own_bonds() -> None:
    """A bar of two atoms in a liquid whose height alone breathes: forces f on a bar of length d
    make d f of virial, and the liquid feels none of it."""
    module, generator = script("model_eval"), np.random.default_rng(7)
    volume, kelvin, kappa = 8000.0, 300, 0.5
    spread = np.sqrt(kappa / units.GPa * units.kB * kelvin / volume)
    frames = []
    for strain in spread * generator.standard_normal(4000):
        atoms = Atoms("Xe4", cell=[20, 20, 20 * np.exp(strain)], pbc=True)
        atoms.positions = [[5, 5, 19], [5, 5, 21], [9, 9, 8], [9, 9, 12]]
        frames.append(atoms)
    frames[-1].positions[2:] += [[4, 0, 0], [0, 4, 0]]
    layers = [PhaseLayer("bar", np.array([0, 1])), PhaseLayer("liquid", np.array([2, 3]))]
    protocol = md.Protocol("npt", kelvin, 1000, 1.0, barostat="height")
    response = module.VolumeResponse.of(frames, protocol, layers)
    assert response.soft == pytest.approx([0, 0, kappa], rel=0.06)
    heavy = 4 * atomic_masses[54] / units.mol * 1e24 / volume
    assert response.density == pytest.approx(heavy, rel=0.01)
    assert [layer.name for layer in response.rigid] == ["bar"]
    pull = np.zeros((4, 3))
    pull[:2, 2] = -3.0, 3.0
    pressure = np.array([0.0, 0.0, 2 * 3.0 / volume / units.GPa])
    rows = [
        prediction.Residuals(0.0, pull, np.append(-pressure - [9, 0, liquid], [0, 0, 0]), pull)
        for liquid in (0.1, 0.1, 0.1)
    ]
    bias = response.bias(frames[:3], rows)
    assert bias["pressure_bias"] == pytest.approx(0.1, rel=0.02)
    assert bias["density_bias"] == pytest.approx(-0.1 * kappa, rel=0.06)
    assert replace(response, rigid=[]).bias(frames[:3], rows)["pressure_bias"] > 0.15
