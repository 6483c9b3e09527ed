"""Protocols in the actions: sampled with, compared between model and reference, never run twice."""

import json
from pathlib import Path

import pytest
import yaml
from ase.calculators.calculator import SCFError

from atomistics import dataset
from campaign.actions.model_eval import ModelEval
from campaign.actions.reference_calc import ReferenceCalc
from campaign.actions.sample import Sample, SampleGroup
from campaign.create import create
from mtpilot.cli import main
from tests.actions import test_model_eval, test_reference_calc, test_sample
from tests.actions.conftest import HELD_OUT, TRAINING, Bench, Reference
from tests.campaign.conftest import make_source

PULL = {
    "timestep": 4.0,
    "stages": [
        {"stage": "hold", "temperature": 50, "picoseconds": 0.04},
        {
            "stage": "strain",
            "direction": "x",
            "strain": 0.02,
            "rate": 0.1,
            "others": "fixed",
            "temperature": 50,
        },
    ],
}
STEPS = 10 + 50


def write_protocol(bench: Bench, name: str = "pull", approve: bool = True) -> Path:
    path = bench.folder / f"protocols/{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(PULL))
    if approve:
        assert main(["protocol", "approve", str(path), "--campaign", str(bench.folder)]) == 0
    return path


def sample(method: str, **changes: object) -> Sample:
    groups = [
        SampleGroup(subsystem=s, structures=[n], temperatures=[], ensembles=[], protocol="pull")
        for n, s in TRAINING.items()
    ]
    given = {
        "method": method,
        "model": "m003" if method == "model" else None,
        "groups": groups,
        "steps": 0,
        "interval": 20,
        "seed": 8,
    }
    return Sample(**given | changes)


def test_a_protocol_samples_with_the_reference(new: Bench, reference: Reference) -> None:
    write_protocol(new)
    new.begin(sample("reference"))
    test_sample.run(new)
    test_sample.collect(new)
    result = new.result()
    assert result.reference_calls == reference.calls == 2 * (STEPS + 1)
    assert result.md_steps == 2 * STEPS
    frames = dataset.read(new.here / "sample/dataset.h5")
    assert [a.info["step"] for a in frames] == [20, 40, 60] * 2
    assert {a.info["source"] for a in frames} == {f"{n}+pull" for n in TRAINING}
    assert frames[2].cell.lengths()[0] > 1.019 * frames[2].cell.lengths()[1]
    report = json.loads((new.here / "sample/runs/cu_small+pull.report.json").read_text())
    assert report["properties"][0]["name"] == "tensile_modulus_x"
    before = (new.here / "sample/dataset.h5").read_bytes()
    test_sample.run(new, 1)
    assert reference.calls == 2 * (STEPS + 1), "what is on disk is not run again"
    for path in new.here.glob("sample/runs/alloy_a+pull*"):
        path.unlink()
    test_sample.run(new)
    test_sample.collect(new)
    assert reference.calls == 3 * (STEPS + 1)
    assert (new.here / "sample/dataset.h5").read_bytes() == before


def test_a_protocol_samples_with_a_model_and_stops_early(begun: Bench) -> None:
    write_protocol(begun)
    begun.begin(sample("model"))
    path = begun.here / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["watchdog"]["density_margin"] = 0.01
    path.write_text(yaml.safe_dump(config))
    test_sample.run(begun)
    test_sample.collect(begun)
    copper = begun.result().groups[0]
    assert (copper.runs, copper.failed_runs, copper.temperature_high) == (1, 0, 0)
    assert not copper.early_stops, "the strain asked for is no breach of the density band"
    assert begun.result().md_steps > STEPS
    assert begun.result().reference_calls == 0
    before = begun.campaign.state(3).subsystem("copper").sampled_temperature
    begun.finalize()
    assert begun.campaign.state().subsystem("copper").sampled_temperature == before


def test_a_trial_tells_steps_temperatures_and_the_price(
    begun: Bench, capsys: pytest.CaptureFixture
) -> None:
    path = str(write_protocol(begun, approve=False))
    words = ["--campaign", str(begun.folder), "--steps", "6"]
    for more in ([], ["--model", "m003"]):
        assert main(["protocol", "try", path, "cu_small", *words, *more]) == 0
        hold, strain, total = capsys.readouterr().out.splitlines()
        assert "10 steps" in hold
        assert "50 steps" in strain
        assert "6 steps tried at" in strain
        assert "core-min" in total
        assert "planner protocol approve" in total
    for wrong in (["nope", *words], ["cu_small", *words, "--model", "m009"]):
        assert main(["protocol", "try", path, *wrong]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert not list(begun.folder.glob("protocols/*.json")), "a trial approves nothing"


def test_a_new_campaign_takes_protocols_along_unapproved(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source")
    (source / "protocols").mkdir()
    (source / "protocols/pull.yaml").write_text(yaml.safe_dump(PULL))
    (source / "protocols/pull.approval.json").write_text("{}")
    campaign = create(str(source), tmp_path / "campaign")
    assert [p.name for p in (campaign.folder / "protocols").iterdir()] == ["pull.yaml"]
    assert "not approved" in campaign.situation().protocols["pull"].fault


@pytest.mark.parametrize("spoil", ["approval", "edit", "file"])
def test_a_job_refuses_what_nobody_approved(begun: Bench, spoil: str) -> None:
    path = write_protocol(begun, approve=spoil != "approval")
    if spoil == "edit":
        path.write_text(path.read_text().replace("50", "5000"))
    elif spoil == "file":
        path.unlink()
    begun.begin(sample("model"))
    line = begun.fails("run")
    assert "pull.yaml" in line
    assert "planner protocol" in line
    assert not list(begun.here.glob("sample/runs/*"))


def reference_plan(protocol: str | None) -> ReferenceCalc:
    return ReferenceCalc(
        structures=list(HELD_OUT),
        temperature=300,
        ensemble="nvt",
        steps=20,
        interval=4,
        protocol=protocol,
        seed=3,
    )


def evaluation(protocol: str | None) -> ModelEval:
    return ModelEval(
        model="m003",
        structures=list(HELD_OUT),
        temperature=300,
        steps=40,
        interval=10,
        fresh_frames=1,
        protocol=protocol,
        seed=6,
    )


def test_model_and_reference_are_compared_by_what_the_protocol_measures(
    begun: Bench, reference: Reference
) -> None:
    path = write_protocol(begun)
    begun.begin(evaluation("pull"))
    test_model_eval.run(begun)
    test_model_eval.collect(begun)
    alone = {r.structure: r for r in begun.result().protocol_runs}
    assert set(alone) == set(HELD_OUT)
    assert alone["cu_held"].properties[0].model_error > 0
    assert alone["cu_held"].properties[0].reference is None
    assert [s.structure for s in begun.result().structures] == sorted(HELD_OUT)
    begun.finalize()
    paid = reference.calls
    begun.begin(reference_plan("pull"))
    test_reference_calc.run(begun)
    test_reference_calc.collect(begun)
    assert reference.calls - paid == 2 * (STEPS + 1), "the baseline's own MD is not repeated"
    true = {r.structure: r for r in begun.result().protocol_runs}
    assert begun.result().structures == []
    begun.finalize()
    assert {r.structure for r in begun.campaign.state().reference} == set(HELD_OUT)
    begun.begin(evaluation("pull"))
    test_model_eval.run(begun)
    test_model_eval.collect(begun)
    both = {r.structure: r for r in begun.result().protocol_runs}
    assert both["alloy_held"].stop == "temperature", "not relaxed: its heat is above 2.5 x 50 K"
    (found,) = both["cu_held"].properties
    (theirs,) = true["cu_held"].properties
    assert found.model == pytest.approx(alone["cu_held"].properties[0].model)
    assert found.reference == theirs.reference == pytest.approx(172, rel=0.2), "GPa, EMT's C11"
    assert found.reference_error == theirs.reference_error > 0
    begun.finalize()
    note = begun.campaign.state().history[-1].note
    assert "tensile_modulus_x" in note
    path.write_text(path.read_text() + "# other bytes\n")
    assert main(["protocol", "approve", str(path), "--campaign", str(begun.folder)]) == 0
    begun.begin(evaluation("pull"))
    test_model_eval.run(begun)
    test_model_eval.collect(begun)
    (found,) = begun.result().protocol_runs[1].properties
    assert found.reference is None, "another protocol"


def test_a_reference_that_fails_in_a_protocol_is_a_stop_and_paid(
    new: Bench, reference: Reference
) -> None:
    write_protocol(new)
    reference.fail = lambda atoms, number: SCFError("no convergence") if number > 60 else None
    new.begin(reference_plan("pull"))
    test_reference_calc.run(new)
    test_reference_calc.collect(new)
    result = new.result()
    assert len(result.structures) == len(result.protocol_runs) == 2
    assert "calculator" in {r.stop for r in result.protocol_runs}
    assert result.reference_calls == reference.calls


def test_without_a_protocol_results_say_nothing_of_it(begun: Bench, reference: Reference) -> None:
    begun.begin(evaluation(None))
    test_model_eval.run(begun)
    test_model_eval.collect(begun)
    assert "protocol" not in (begun.here / "model_eval/result.yaml").read_text()
