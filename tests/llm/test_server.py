"""The real SDK against a faulty server: every fault has a name and an end."""

import json
import time

import pytest

from campaign.files import dump_yaml
from planner.llm.consult import consult
from planner.llm.messages_api import Server
from planner.policy import rules
from tests.llm.scene import situations
from tests.llm.server import (
    Double,
    changed,
    drip,
    fails,
    hang_up,
    message,
    raw,
    says,
    serve,
    stall,
)

QUICK = {"deadline": 8.0, "retry_after": 0.2, "effort": None}
SCENES = situations({**QUICK})
SCENE = SCENES[2]


def ask(double: Double, situation=SCENE, **llm):
    settings = situation.config.llm.model_copy(update={"base_url": double.url, **llm})
    config = situation.config.model_copy(update={"llm": settings})
    here = type(situation)(**{**vars(situation), "config": config})
    server = Server(settings, settings.tokens, settings.money)
    try:
        return consult(here, server)
    finally:
        server.close()


@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize("scene", range(0, len(SCENES), 3))
def test_a_proper_server_gives_the_plan_it_means(calls: int, scene: int) -> None:
    situation = SCENES[scene]
    own = rules.decide(situation)
    with serve(situation) as double:
        talk = ask(double, situation, calls=calls)
    assert talk.failure is None, (talk.failure, talk.detail)
    assert talk.plan.fingerprint == own.fingerprint
    assert len(talk.exchanges) == calls
    same = talk.plan.model_copy(update={"rule": own.rule, "evidence": own.evidence})
    assert dump_yaml(same) == dump_yaml(own)


FAULTS = {
    "refusal": [changed(stop_reason="refusal", content=[], stop_details={"category": "cyber"})],
    "truncated": [changed(stop_reason="max_tokens")] * 2,
    "context_overflow": [fails(400, "prompt is too long: 300000 tokens > 200000 maximum")] * 2,
    "overloaded": [fails(529)] * 3,
    "rate_limited": [fails(429, retry_after="4294967")] * 3,
    "server_error": [fails(500)] * 3,
    "authentication": [fails(401)],
    "billing": [fails(402)],
    "permission": [fails(403)],
    "not_found": [fails(404)],
    "bad_request": [fails(400, "effort is not supported")],
    "redirected": [raw(b"", location="http://127.0.0.1:9/")],
    "broken_reply": [hang_up] * 3,
    "malformed_reply": [raw(b"<html>welcome</html>"), raw(b"[" * 100_000), raw(b'{"content": 1}')],
    "unexpected_stop": [changed(stop_reason="pause_turn")],
    "invalid_answer": [says("not JSON")] * 3,
}


@pytest.mark.parametrize("name", [n for n in FAULTS if n != "redirected"])
def test_every_fault_is_named(name: str) -> None:
    with serve(SCENE) as double:
        double.will(*FAULTS[name])
        talk = ask(double)
    assert (talk.failure, talk.plan) == (name, None), talk.detail
    assert len(double.requests) == len(FAULTS[name])


def test_redirect_is_not_followed() -> None:
    with serve(SCENE) as double, serve(SCENE) as elsewhere:
        double.will(lambda h, _: h.give(b"", 302, location=f"{elsewhere.url}/v1/messages"))
        assert ask(double).failure == "redirected"
    assert not elsewhere.requests


def test_nobody_listens() -> None:
    with serve(SCENE) as double:
        pass
    assert ask(double, attempts=2).failure == "unreachable"


@pytest.mark.parametrize("fault", [drip, stall(600.0), fails(529, retry_after="600")])
def test_nothing_hangs_past_the_deadline(fault) -> None:
    with serve(SCENE) as double:
        double.keeps([fault] * 10)
        began = time.monotonic()
        talk = ask(double, deadline=1.5, retry_after=600.0)
        took = time.monotonic() - began
    assert talk.failure == "deadline"
    assert took < 60.0  # a busy machine; left alone they would take ten minutes


def test_loopback_takes_no_proxy(monkeypatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serve(SCENE) as double:
        assert ask(double).plan


def test_truncated_once_is_asked_again_with_more_room() -> None:
    with serve(SCENE) as double:
        double.will(changed(stop_reason="max_tokens"))
        assert ask(double).plan
    assert [r["max_tokens"] for r in double.requests] == [8000, 16000, 8000]


def test_overflow_once_is_asked_again_with_less_state() -> None:
    late = SCENES[-1]
    with serve(late) as double:
        double.will(fails(413))
        assert ask(double, late, prompt_tokens=9000).plan
    first, second = (len(r["messages"][0]["content"][0]["text"]) for r in double.requests[:2])
    assert second < 0.75 * first


def test_repair_sends_the_faults_back_and_stops_after_two() -> None:
    with serve(SCENE) as double:
        double.will(says(json.dumps({"action": "fly"})), None, None)
        assert ask(double).plan
    told = json.loads(double.requests[1]["messages"][0]["content"][-1]["text"])
    assert any(f.startswith("action:") for f in told["faults"])
    states = [r["messages"][0]["content"][0] for r in double.requests[:2]]
    assert states[0] == states[1]


def test_gate_denial_is_a_fault_of_the_answer() -> None:
    plan = rules.decide(SCENE)
    section = plan.parameters.model_dump(mode="json", exclude={"seed"})
    denied = json.dumps({"parameters": {**section, "model": "m999"}, "objection": None})
    assert plan.action in ("sample", "train", "model_eval")
    with serve(SCENE) as double:
        double.will(None, says(denied))
        talk = ask(double)
    assert talk.plan
    assert "m999" in talk.exchanges[1].faults[0]


def test_objection_goes_back_to_the_decision_maker() -> None:
    with serve(SCENE) as double:
        double.will(None, says(json.dumps({"parameters": None, "objection": "no such data"})))
        talk = ask(double)
    assert talk.plan
    assert [e.request.role == "decision_maker" for e in talk.exchanges] == [
        True,
        False,
        True,
        False,
    ]


def test_no_token_beyond_the_limit() -> None:
    with serve(SCENE) as double:
        talk = ask(double, tokens=1000)
    assert (talk.failure, len(double.requests)) == ("budget", 0)


def test_key_stays_out_of_details(monkeypatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret-1234")
    with serve(SCENE) as double:
        double.will(fails(400, "key sk-secret-1234 is bad"))
        talk = ask(double)
    assert "is bad" in talk.detail
    assert "sk-secret" not in talk.detail
    assert any("sk-secret-1234" in value for value in double.headers[0].values())


def test_lone_surrogates_and_odd_usage_do_no_harm() -> None:
    odd = message("{}", usage={"input_tokens": -5, "output_tokens": True}, model="\ud800")
    with serve(SCENE) as double:
        double.will(lambda h, _: h.give(odd))
        assert ask(double).plan
