"""Many decisions against a server at its worst: plan, named fallback or halt; none hangs."""

import json
import os
import random
import time
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest
import yaml

from campaign.folder import Campaign
from campaign.gates import check
from planner.decide import next_plan
from planner.decision import HaltError
from planner.llm.messages_api import HALTING
from planner.record import load
from planner.replay import replay
from tests.llm.faults import FAULTS
from tests.llm.scene import finalized, folder
from tests.llm.server import Double, Fault, fails, says, serve
from tests.llm.test_server import SCENE, ask
from tests.planner.simulation import World

DECISIONS = int(os.environ.get("MTPILOT_DECISIONS", "60"))
DEADLINE = 1.0
SLACK = 60.0  # files, gates and a machine busy with twenty others; endless faults last longer
PATIENT = 120.0
CALM = 3


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_has_its_name(name: str) -> None:
    for fault in FAULTS[name]:
        with serve(SCENE) as double:
            double.keeps(repeat(fault))
            talk = ask(double, deadline=DEADLINE if name == "deadline" else PATIENT)
        assert (talk.failure or "model", bool(talk.plan)) == (name, name == "model"), talk.detail


@pytest.mark.parametrize("on_failure", ["rules", "halt"])
def test_each_ends_in_a_plan_or_a_name(tmp_path: Path, monkeypatch, on_failure: str) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    chances, names = _Chances(random.Random(on_failure)), list[str]()
    with serve() as double:
        for number in range(DECISIONS):
            if len(names) >= DECISIONS // 2:
                break
            names += _campaign(tmp_path / str(number), double, chances, on_failure, not number)
    assert names[:CALM] == ["model"] * CALM
    assert len(chances.met) >= min(len(FAULTS), DECISIONS // 2 - CALM)
    assert {n.removeprefix(f"{on_failure}:").removeprefix("halt:") for n in names} <= {*FAULTS}
    halts = {n.removeprefix("halt:") for n in names if n.startswith("halt:")}
    assert on_failure == "halt" or halts <= set(HALTING)


class _Chances:
    """What the server does next. The first request of a decision meets one class after another, so
    that each is met however many requests a machine has time for; the later ones meet any."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.met = rng, set[str]()
        self.first = chain.from_iterable(rng.sample([*FAULTS], len(FAULTS)) for _ in repeat(0))

    def script(self) -> Iterator[Fault | None]:
        """Faults of one decision."""
        yield self._of(next(self.first))
        share = self.rng.choice([0.0, 0.3, 0.8, 1.0])
        while True:
            faulty = self.rng.random() < share
            yield self._of(self.rng.choice([*FAULTS])) if faulty else None

    def _of(self, name: str) -> Fault:
        self.met.add(name)
        return self.rng.choice(FAULTS[name])


def _campaign(path: Path, double: Double, chances: _Chances, on_failure: str, calm: bool):
    """Names of the decisions of one campaign; a calm one meets no fault and ends early."""
    deadline = PATIENT if calm else DEADLINE
    llm = {
        "base_url": double.url,
        "deadline": deadline,
        "retry_after": 0.02,
        "effort": None,
        "on_failure": on_failure,
        "calls": chances.rng.choice([1, 2]),
    }
    folder(path, {"planner": "anthropic", "llm": llm})
    world, names = World(seed=chances.rng.randrange(99), unstable=0.5), []
    while len(names) < (CALM if calm else 12) and not Campaign.at(path).state().verdict:
        here = Campaign.at(path)
        double.situation = here.situation()
        double.keeps(repeat(None) if calm else chances.script())
        began = time.monotonic()
        try:
            next_plan(here)
            names.append(load(here.iteration(here.last))["source"])
        except HaltError as halt:
            names.append(halt.decision.source)
        took = time.monotonic() - began
        assert took < deadline + SLACK, (names[-1], took)
        if plan := Campaign.at(path).pending:
            gates = check(plan, here.situation())
            assert not [v for v in gates if v.verdict == "deny"]
            finalized(Campaign.at(path), world)
    found = replay(Campaign.at(path))
    assert not [f for f in found if f.faults or f.notes], found
    return names


def test_auth_never_degrades_to_rules(tmp_path: Path) -> None:
    with serve() as double:
        llm = {"base_url": double.url, "on_failure": "rules"}
        here = folder(tmp_path / "c", {"planner": "anthropic", "llm": llm})
        double.situation = here.situation()
        double.will(fails(401))
        with pytest.raises(HaltError, match=r"authentication .*ANTHROPIC_API_KEY"):
            next_plan(here)
        assert Campaign.at(here.folder).pending is None
        line = json.loads((here.iteration(1) / "halts.jsonl").read_text())
        assert line["source"] == "halt:authentication"
        assert next_plan(here).action == "reference_calc"


def test_what_halts_cost_counts(tmp_path: Path) -> None:
    with serve() as double:
        llm = {"base_url": double.url, "on_failure": "halt", "tokens": 30_000}
        here = folder(tmp_path / "c", {"planner": "anthropic", "llm": llm})
        double.situation = here.situation()
        double.keeps([says("no")] * 3 + [None] * 9)
        for name in ("invalid_answer", "budget"):
            with pytest.raises(HaltError, match=name):
                next_plan(Campaign.at(here.folder))
        (here.folder / "config.yaml").write_text(
            yaml.safe_dump({"planner": "anthropic", "llm": {**llm, "tokens": 90_000}})
        )
        next_plan(Campaign.at(here.folder))
    used = load(here.iteration(1))["spent"]
    assert used["tokens"] == 6 * 5700  # three bad answers, one before the limit, two of the plan
