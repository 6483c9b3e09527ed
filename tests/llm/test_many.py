"""Many decisions against a server at its worst: plan, named fallback or halt; none hangs."""

import gzip
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.backends import HaltError
from planner.campaign import Campaign
from planner.decide import next_plan
from planner.gates import check
from planner.llm.claude import HALTING
from planner.record import load
from planner.replay import replay
from tests.llm.scene import folder, sealed
from tests.llm.server import (
    Double,
    Handler,
    changed,
    drip,
    edited,
    fails,
    hang_up,
    raw,
    reset,
    says,
    serve,
    stall,
    wire,
)  # fmt: skip
from tests.planner.simulation import World

DECISIONS = int(os.environ.get("MTPILOT_DECISIONS", "60"))
DEADLINE = 1.0
SLACK = 6.0  # files, gates and a busy machine; the faults below last for ever
BAD = json.dumps({"parameters": {"steps": -1}, "objection": None})
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\n"
ZEROS = gzip.compress(b"0" * 10**8)
BOMB = f"{len(ZEROS):x}\r\n".encode() + ZEROS + b"\r\n0\r\n\r\n"


def _every_number(value: Any) -> Callable[[Any], Any]:
    """Every number of an answer replaced."""

    def change(told: Any) -> Any:
        if isinstance(told, dict):
            return {key: change(item) for key, item in told.items()}
        if isinstance(told, list):
            return [change(item) for item in told]
        return value if isinstance(told, (int, float)) else told

    return change


def _pings(handler: Handler, proper: dict[str, Any]) -> None:
    """An event stream that keeps alive and says nothing."""
    wire(STREAM)(handler, proper)
    wire(b"f\r\nevent: ping\r\n\r\n\r\n", 0.2, 99)(handler, proper)


FAULTS = (
    changed(stop_reason="refusal", content=[]),
    changed(stop_reason="max_tokens"),
    changed(stop_reason="model_context_window_exceeded"),
    changed(stop_reason="tool_use"),
    changed(stop_reason=7),
    changed(content=[]),
    changed(content=[{"type": "text", "text": None}]),
    changed(usage=None),
    says("{}"), says("[1]"), says("NaN"), says('{"a":' * 5000), says(BAD), says("rm -rf / ; `id`"),
    fails(400, "prompt is too long"), fails(408), fails(413), fails(429, retry_after="4294967"),
    fails(429, retry_after="Wed, 21 Oct 2099 07:28:00 GMT"), fails(429, retry_after="nan"),
    fails(500), fails(503), fails(504), fails(529, retry_after="-1"),
    raw(b""), raw(b"\xff\xfe"), raw(b"data: {}\n\n", content_type="text/event-stream"),
    raw(b'{"type":"message","content":[{"type":"text","text":"{\\"action\\":\\"\\ud800\\"}"}]}'),
    hang_up, drip, stall(60.0), reset, wire(b""), wire(b"\0\n\n"), wire(b"HTTP/1.1 200 OK\r\n"),
    wire(STREAM + b"6\r\n{\"id\":\r\n"), wire(STREAM),
    wire(b"HTTP/1.1 200 OK\r\nx-a: b\r\n", 0.3, 99),
    wire(b"HTTP/1.1 100 Continue\r\n\r\n", 0.1, 99),
    _pings,
    wire(STREAM.replace(b"chunked", b"chunked\r\ncontent-encoding: gzip") + BOMB),
    raw(b"[" + b"0," * 3_000_000 + b"0]"), raw(b"<html>504</html>", content_type="text/html"),
    lambda h, _: h.give(b"<html>Bad Gateway</html>", 502, content_type="text/html"),
    lambda h, _: h.give(b"", 204), lambda h, _: h.give({"error": 7}, 529, retry_after="1e308"),
    fails(529, retry_after="99999999999"), fails(429, retry_after="inf"),
    fails(400, "input length and max_tokens exceed context length: \x1b[2J" * 9000),
    edited(lambda told: {**told, "command": "rm -rf /"}), edited(lambda told: [told]),
    edited(lambda told: {**told, "evidence": ["x" * 10**6] * 50}), edited(lambda told: None),
    edited(dict.fromkeys), edited(_every_number(float("inf"))),
    edited(_every_number(10**400)), edited(_every_number(-1)), edited(_every_number("1; id")),
    changed(content=[{"type": "text", "text": "9" * 10_000}] * 300),
    changed(content={"text": "{}"}), changed(content=[None, 7, {"type": "text"}]),
    changed(stop_reason=["end_turn"]),
    changed(usage={"input_tokens": 10**30, "output_tokens": float("nan")}), changed(model=["x"]),
)  # fmt: skip
LOSSES = (fails(400), fails(401), fails(402), fails(403), fails(404))


@pytest.mark.parametrize("on_failure", ["rules", "halt"])
def test_each_ends_in_a_plan_or_a_name(tmp_path: Path, monkeypatch, on_failure: str) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    rng, names, done, number = random.Random(on_failure), [], 0, 0
    with serve() as double:
        while done < DECISIONS // 2:
            number += 1
            done += _campaign(tmp_path / str(number), double, rng, on_failure, names)
    assert len(set(names)) > (6 if DECISIONS >= 60 else 2), set(names)
    assert {"model"} < set(names)
    halts = {n.removeprefix("halt:") for n in names if n.startswith("halt:")}
    assert on_failure == "halt" or halts <= set(HALTING)


def _campaign(path: Path, double: Double, rng, on_failure: str, names: list[str]) -> int:
    llm = {"base_url": double.url, "deadline": DEADLINE, "retry_after": 0.02, "effort": None,
           "on_failure": on_failure, "calls": rng.choice([1, 2])}  # fmt: skip
    folder(path, {"planner": "anthropic", "llm": llm})
    world, decisions = World(seed=rng.randrange(99), unstable=0.5), 0
    while decisions < 12 and not Campaign.at(path).state().verdict:
        here = Campaign.at(path)
        double.situation = here.situation()
        double.keeps(_faults(rng))
        began = time.monotonic()
        try:
            next_plan(here)
            names.append(load(here.iteration(here.last))["source"])
        except HaltError as halt:
            names.append(halt.decision.source)
        took = time.monotonic() - began
        assert took < DEADLINE + SLACK, (names[-1], took)
        decisions += 1
        if plan := Campaign.at(path).pending:
            gates = check(plan, here.situation())
            assert not [v for v in gates if v.verdict == "deny"]
            sealed(Campaign.at(path), world)
    found = replay(Campaign.at(path))
    assert not [f for f in found if f.faults or f.notes], found
    return decisions


def _faults(rng: random.Random):
    share = rng.choice([0.0, 0.3, 0.8, 1.0])
    while True:
        yield rng.choice(FAULTS) if rng.random() < share else None
        if rng.random() < 0.02:
            yield rng.choice(LOSSES)


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
