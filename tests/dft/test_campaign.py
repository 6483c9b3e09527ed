"""From nothing to a verdict with labels by DFT: GFN1-xTB explores, Quantum ESPRESSO labels."""

import json
from pathlib import Path

import pytest

from atomistics import dataset
from campaign.folder import Campaign
from campaign.ledger import totals
from tests.campaign.conftest import planner
from tests.dft.hydrogen import make_source


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """The campaign after `planner run`."""
    folder = tmp_path_factory.mktemp("dft")
    make_source(folder / "source")
    assert planner("init", str(folder / "source"), "h2", cwd=folder).returncode == 0
    done = planner("run", cwd=folder / "h2")
    assert done.returncode in (0, 5), done.stdout + done.stderr
    return Campaign.at(folder / "h2")


def test_a_campaign_comes_to_its_verdict(ended: Campaign) -> None:
    state = ended.state()
    assert state.verdict is not None
    assert state.verdict.outcome == "converged", state.verdict.reasons
    assert any("not covered" in reason for reason in state.verdict.reasons)
    report = (ended.result / "report.html").read_text()
    assert "no reference MD of h2_held" in report
    assert "explorer calls" in report


def test_the_reference_labels_only_a_choice(ended: Campaign) -> None:
    state, config = ended.state(), ended.config
    sampled, chosen = state.samples[0], state.datasets[0]
    assert sampled.method == "explorer"
    offered = sum(g.snapshots for g in sampled.groups)
    assert chosen.labels <= config.explorer_sample.labels < offered
    assert state.spent.explorer_calls > 5 * state.spent.reference_calls
    frames = dataset.read(ended.iteration(3) / "select_data/dataset.h5")
    energies = [a.get_potential_energy() / len(a) for a in frames]
    assert all(-16.5 < e < -13 for e in energies), "pw.x's energies of H2, not xTB's"


def test_both_stand_apart_on_the_bill(ended: Campaign) -> None:
    state = ended.state()
    bill = totals(ended.iteration(state.iteration) / "ledger.jsonl")
    assert bill["explorer_calls"] == state.spent.explorer_calls
    assert bill["reference_calls"] == state.spent.reference_calls
    assert bill["by_action"]["settle"]["reference_calls"] == 0
    labels = ended.iteration(3) / "select_data/labels"
    costs = [json.loads(path.read_text()) for path in labels.glob("*.cost.json")]
    assert sum(c["reference_calls"] for c in costs) == len(costs)


def test_held_out_frames_carry_labels_of_the_reference(ended: Campaign) -> None:
    runs = ended.iteration(1) / "reference_calc/runs"
    labelled, moved = (dataset.read(runs / f"h2_held{end}.h5") for end in ("", ".explorer"))
    assert len(labelled) == ended.config.reference_calc.labels < len(moved)
    by_step = {a.info["step"]: a for a in moved}
    for frame in labelled:
        twin = by_step[frame.info["step"]]
        assert abs(frame.positions - twin.positions).max() < 1e-12
        assert abs(frame.get_forces() - twin.get_forces()).max() > 1e-3, "another method's forces"


def test_audit_prices_the_explorer_apart(ended: Campaign, tmp_path: Path) -> None:
    del tmp_path
    record = json.loads((ended.iteration(2) / "audit.json").read_text())
    assert record["explorer_calls"] > 0
    assert record["reference_calls"] == 0
