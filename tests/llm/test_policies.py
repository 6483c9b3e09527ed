"""Policies of the closed-loop comparison: chance stays within the gates, and all of them end."""

import argparse
import random
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from benchmarks.closed_loop import score as scoring
from benchmarks.closed_loop import system
from benchmarks.closed_loop.__main__ import begun, lead
from benchmarks.closed_loop.policies import DECISIONS, POLICIES
from benchmarks.closed_loop.score import draw, newest, table
from campaign.gates import check
from campaign.reduce import after
from campaign.situation import Situation
from campaign.state import start
from tests.planner.simulation import SMALL, World, config_of, structures_of, task_of


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(4))
def test_every_policy_ends_within_its_limits(policy: str, seed: int) -> None:
    task = task_of(SMALL)
    decisions = DECISIONS.get(policy, 40)
    config = config_of(limits={"labels": 300, "reference_calls": 9000, "decisions": decisions})
    world, structures, state = World(seed=seed, unstable=0.5), structures_of(task), start(task)
    actions = []
    while state.verdict is None:
        sit = Situation(state, task, config, structures, 0.0, f"{state.iteration:064x}")
        plan = POLICIES[policy](sit, random.Random(f"{seed}/{sit.iteration}"))
        assert not [v for v in check(plan, sit) if v.verdict == "deny"], plan
        actions.append(plan.action)
        state = after(state, plan, world.result(plan, sit), ("p", "s"))
        assert len(actions) <= 40
    assert state.spent.labels <= 300
    if policy == "fixed":
        assert actions == ["reference_calc", "sample", "train", "model_eval", "end"]
    if policy == "random" and seed == 0:
        assert len(set(actions)) >= 4


def test_one_campaign_from_sampling_to_its_score(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(system.CONFIG, "mlp", {"level": 4, "accurate_iterations": 20})
    given = argparse.Namespace(out=tmp_path, labels=30, highest=900, llm={})
    here = lead(begun(given, "fixed", 1), "fixed", 1)
    assert [h.action for h in here.state().history][1:3] == ["sample", "train"]
    assert 20 <= here.state().spent.labels <= 30  # as many as are sure to fit
    brief = partial(system.stable_picoseconds, runs=1, steps=25)
    monkeypatch.setattr(scoring, "stable_picoseconds", brief)
    monkeypatch.setattr(system, "WARM_UP", 5)
    found = scoring.score(here, system.fresh_frames(900, 3))
    assert found["picoseconds"] == pytest.approx(0.1)
    assert found["outcome"] == "budget_exhausted"
    assert 0 < found["force_mae"] < 1.0
    assert newest(found["curve"], 30) == found["force_mae"]
    scores = {"fixed": {"1": found}}
    assert "| fixed | 1 |" in table(scores, 30)
    draw(scores, 30, tmp_path / "curves.svg")
    assert "fixed (1 seeds)" in (tmp_path / "curves.svg").read_text()
    _again_with_snakemake(here.folder, tmp_path / "again")


def _again_with_snakemake(folder: Path, copy: Path) -> None:
    """Reference MD as the toolkit runs it gives the same bytes."""
    shutil.copytree(folder, copy)
    for number in ("002", "003", "004", "005"):
        shutil.rmtree(copy / "iterations" / number)
    redone = copy / "iterations/001"
    shutil.rmtree(redone / "reference_calc")
    for name in ("state.yaml", "ledger.jsonl"):
        (redone / name).unlink()
    snakemake = Path(sys.executable).with_name("snakemake")
    subprocess.run([snakemake, "--cores", "2"], cwd=copy, check=True, capture_output=True)
    for name in ("reference_calc/result.yaml", "state.yaml"):
        assert (redone / name).read_bytes() == (folder / "iterations/001" / name).read_bytes()
