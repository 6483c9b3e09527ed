"""The decision benchmark: sound in itself, passed by the rules, the same from a record."""

from pathlib import Path

import pytest

from campaign.plan import Plan
from evals import __main__ as runner
from evals.judge import fits, verdict, wilson
from evals.states import Scenario, everything, paper, scenarios
from evals.transforms import TRANSFORMS, same_decision
from planner.policy import rules
from tests.llm.server import serve

ALL = list(everything())


def test_there_are_enough_of_them() -> None:
    assert len(paper()) == 21
    assert len(scenarios()) >= 60
    assert len({s.name for s in ALL}) == len(ALL)
    assert all(s.why and s.acceptable for s in ALL)


@pytest.mark.parametrize("scenario", ALL, ids=lambda s: s.name)
def test_rules_decide_acceptably(scenario: Scenario) -> None:
    plan = rules.decide(scenario.situation)
    assert verdict(scenario, plan) == "acceptable", (plan.rule, plan.action, plan.reason)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_names_order_and_scale_do_not_matter(name: str) -> None:
    for scenario in ALL:
        own = rules.decide(scenario.situation)
        other = rules.decide(TRANSFORMS[name](scenario.situation))
        assert same_decision(name, scenario.situation, own, other), scenario.name


def test_no_plan_is_both_acceptable_and_forbidden() -> None:
    for scenario in ALL:
        plan = rules.decide(scenario.situation)
        assert not any(fits(plan, wanted) for wanted in scenario.forbidden), scenario.name


def test_a_bad_decision_is_told_from_a_good_one() -> None:
    scenario = next(s for s in ALL if s.name == "error-blown-up")
    own = rules.decide(scenario.situation)
    section = own.parameters.model_dump(mode="json")
    bad = Plan.model_validate(
        {
            **own.model_dump(mode="json", exclude_none=True),
            "train": {**section, "start": "continue", "model": "m006"},
        }
    )
    assert verdict(scenario, bad) == "other"
    unknown = {**section, "start": "continue", "model": "m777"}
    gone = own.model_copy(update={"train": type(own.train).model_validate(unknown)})
    assert verdict(scenario, gone) == "denied"


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"), [(0, 10, 0.0, 0.278), (9, 10, 0.596, 0.982)]
)
def test_wilson_by_the_book(hits: int, total: int, low: float, high: float) -> None:
    assert wilson(hits, total) == pytest.approx((low, high), abs=0.001)


def test_live_and_replayed_runs_agree(tmp_path: Path, capsys, monkeypatch) -> None:
    live = runner.Decider._live
    record = tmp_path / "answers.jsonl"
    with serve() as double:

        def told(self, situation):
            double.situation = situation
            return live(self, situation)

        monkeypatch.setattr(runner.Decider, "_live", told)
        words = [
            "--only",
            "paper-0",
            "--record",
            str(record),
            "--base-url",
            double.url,
            "--repeats",
            "2",
            "--effort",
            "none",
        ]
        assert runner.main(["--backend", "anthropic", *words]) == 0
    first = capsys.readouterr().out
    assert runner.main(["--backend", "replay", *words]) == 0
    assert _shares(first) == _shares(capsys.readouterr().out)
    assert "acceptable                 18  100.0%" in first
    assert "same when renamed" in first


def _shares(text: str) -> list[str]:
    return [line for line in text.splitlines() if "latency" not in line]


def test_the_command_fails_on_bad_words(capsys) -> None:
    assert runner.main(["--only", "no such thing"]) == 1
    assert runner.main(["--backend", "replay"]) == 1
    assert capsys.readouterr().err.count("\n") == 2
