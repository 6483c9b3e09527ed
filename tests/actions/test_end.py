"""end: the verdict is the code's, the potential is the model's, the papers are there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from campaign.actions.end import End
from campaign.actions.model_eval import ModelEval, ModelEvalResult
from campaign.actions.sample import Sample, SampleGroup, SampleResult
from campaign.finalize import publish
from campaign.results import EvaluatedStructure, Verdict
from tests.actions.conftest import HELD_OUT, ROOT, Bench, sampled

GOOD = {
    "status": "ok",
    "picoseconds": 0.4,
    "temperature": 300,
    "density": 9.0,
    "density_deviation": 0.01,
    "rdf_overlap": 0.9,
    "energy_mae": 0.01,
    "force_mae": 0.05,
    "fresh_frames": 2,
    "fresh_energy_mae": 0.01,
    "fresh_force_mae": 0.06,
}


def held_above_use(bench: Bench) -> None:
    """Iteration 4: m003 ran the alloy up to its margin, 1.2 times 300 K, without a stop."""
    group = SampleGroup(
        subsystem="alloy", structures=["alloy_a"], temperatures=[360], ensembles=["nvt"]
    )
    bench.begin(Sample(method="model", model="m003", groups=[group], steps=10, interval=5, seed=1))
    ran = sampled("alloy", 360, snapshots=2)
    bench.finalize(
        SampleResult(method="model", model="m003", groups=[ran], reference_calls=0, md_steps=10)
    )


def evaluated(bench: Bench, **alloy: object) -> None:
    """Iteration 4: m003 evaluated, every target met but for what is given of the alloy."""
    names = list(HELD_OUT)
    section = ModelEval(
        model="m003",
        structures=names,
        temperature=300,
        steps=100,
        interval=10,
        fresh_frames=2,
        seed=1,
    )
    bench.begin(section)
    rows = [
        EvaluatedStructure(
            structure=name, subsystem=HELD_OUT[name], **GOOD | (alloy if "alloy" in name else {})
        )
        for name in names
    ]
    bench.finalize(ModelEvalResult(model="m003", structures=rows, reference_calls=4, md_steps=240))


def end(bench: Bench, outcome: str, model: str | None = "m003") -> Verdict:
    section = End(outcome=outcome, model=model, recommendation="use it with care")
    bench.begin(section)
    bench.call("end")
    publish(bench.campaign)
    return bench.result()


def model_of(bench: Bench) -> Path:
    return bench.campaign.iteration(3) / "train/model.almtp"


def test_converged_with_every_target_met(begun: Bench) -> None:
    held_above_use(begun)
    evaluated(begun)
    verdict = end(begun, "converged")
    assert (verdict.outcome, verdict.asked, verdict.model) == ("converged", "converged", "m003")
    folder = begun.folder / "result"
    assert sorted(p.name for p in folder.iterdir()) == [
        "model_card.md",
        "potential.almtp",
        "report.html",
    ]
    assert (folder / "potential.almtp").read_bytes() == model_of(begun).read_bytes()
    card, report = ((folder / n).read_text() for n in ("model_card.md", "report.html"))
    assert "converged" in card
    assert "converged" in report
    assert "copper-silver" in report
    assert "http://" not in report.replace("http://www.w3.org", ""), "self-contained"
    begun.finalize()
    assert begun.campaign.state().verdict == verdict


@pytest.mark.parametrize(
    ("missed", "said"),
    [
        ({"force_mae": 0.11}, "force_mae"),
        ({"fresh_force_mae": 0.11}, "fresh_force_mae"),
        ({"energy_mae": 0.06}, "energy_mae"),
        ({"density_deviation": -0.06}, "density_deviation"),
        ({"rdf_overlap": 0.59}, "rdf_overlap"),
        ({"picoseconds": 0.3}, "ps of MD"),
        ({"status": "early_stop", "stop": "grade"}, "early_stop (grade)"),
        ({"force_mae": None}, "not measured"),
    ],
)
def test_converged_is_not_granted_with_an_open_target(
    begun: Bench, missed: dict, said: str
) -> None:
    evaluated(begun, **missed)
    verdict = end(begun, "converged")
    assert (verdict.outcome, verdict.asked) == ("failed", "converged")
    assert [reason for reason in verdict.reasons if said in reason]
    assert (begun.folder / "result/potential.almtp").read_bytes() == model_of(begun).read_bytes()


def test_another_outcome_stands_with_its_open_targets(begun: Bench) -> None:
    verdict = end(begun, "budget_exhausted")
    assert verdict.outcome == "budget_exhausted"
    assert "never evaluated" in verdict.reasons[0]


def test_without_a_model_there_are_papers_but_no_potential(begun: Bench) -> None:
    verdict = end(begun, "blocked", None)
    assert (verdict.outcome, verdict.model) == ("blocked", None)
    assert sorted(p.name for p in (begun.folder / "result").iterdir()) == [
        "model_card.md",
        "report.html",
    ]


def test_repeated_it_gives_the_same_bytes_and_leaves_nothing_half_made(begun: Bench) -> None:
    evaluated(begun)
    end(begun, "converged")
    first = {p.name: p.read_bytes() for p in (begun.folder / "result").iterdir()}
    (begun.folder / ".result.partial").mkdir()  # a kill while the papers were written
    (begun.folder / ".result.partial/report.html").write_text("half")
    shutil.rmtree(begun.folder / "result")
    (begun.here / "end/result.yaml").unlink()
    end(begun, "converged")
    assert {p.name: p.read_bytes() for p in (begun.folder / "result").iterdir()} == first
    assert not (begun.folder / ".result.partial").exists()


def test_a_missing_model_is_one_line_and_the_old_result_stays(begun: Bench) -> None:
    evaluated(begun)
    end(begun, "converged")
    before = (begun.folder / "result/report.html").read_bytes()
    model_of(begun).unlink()
    command = [sys.executable, str(ROOT / "scripts/end.py")]
    done = subprocess.run(
        [*command, *begun.words("end")],
        cwd=begun.here,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "model.almtp" in done.stderr
    assert (begun.folder / "result/report.html").read_bytes() == before
