"""The real SDK against a faulty server: every fault has a name and an end."""

import base64
import gzip
import json
import time
import tracemalloc
from contextlib import suppress

import pytest

from campaign.errors import UserError
from campaign.files import dump_yaml
from planner.decide import next_plan
from planner.decision import HaltError
from planner.llm.answer import AnswerError, choice
from planner.llm.consult import consult
from planner.llm.messages_api import Server, address, credential
from planner.llm.requests import request
from planner.policy import rules
from planner.record import request_costs
from tests.llm.scene import folder, situations
from tests.llm.server import (
    Double,
    changed,
    drip,
    edited,
    fails,
    hang_up,
    message,
    raw,
    reports,
    rewritten,
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
    "proxy": [fails(407)],
    "redirected": [raw(b"", location="http://127.0.0.1:9/")],
    "broken_reply": [hang_up] * 3,
    "malformed_reply": [raw(b"welcome"), raw(b"[" * 100_000), raw(b'{"content": 1}')],
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


def streamed(handler, proper):
    """The proper answer as a stream of events, which nobody asked for."""
    text = proper["content"][-1]["text"]
    start = {"type": "message_start", "message": {**proper, "content": [], "stop_reason": None}}
    block = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": ""},
    }
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
        for piece in (text[:40], text[40:])
    ]
    close = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}}
    events = [start, block, *deltas, close, {"type": "message_stop"}]
    data = "".join(f"event: {e['type']}\r\ndata: {json.dumps(e)}\r\n\r\n" for e in events)
    handler.give(f"{data}data: [DONE]\r\n\r\n".encode(), content_type="text/event-stream")


def test_a_stream_that_nobody_asked_for_is_read() -> None:
    with serve(SCENE) as double:
        double.keeps([streamed] * 9)
        talk = ask(double)
    assert talk.plan.fingerprint == rules.decide(SCENE).fingerprint


def test_of_an_error_the_beginning_is_read() -> None:
    bomb = gzip.compress(b"0" * 10**8)
    with serve(SCENE) as double:
        double.keeps([lambda h, _: h.give(bomb, 500, content_encoding="gzip")] * 9)
        tracemalloc.start()
        talk = ask(double, attempts=1)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert talk.failure == "server_error"
    assert most < 5e7


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


def test_what_gateways_make_of_a_whole_answer_costs_no_call() -> None:
    """Stop reasons of chat completions passed on, or none; a content that is but text."""
    bare = lambda h, proper: h.give({**proper, "content": proper["content"][-1]["text"]})  # noqa: E731
    for fault in (changed(stop_reason="stop"), changed(stop_reason=None), bare):
        with serve(SCENE) as double:
            double.will(fault)
            talk = ask(double)
        assert (talk.failure, len(talk.exchanges)) == (None, 2)
    with serve(SCENE) as double:
        double.will(changed(stop_reason="length"))
        talk = ask(double)
    assert (talk.failure, len(talk.exchanges)) == (None, 3)


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


KEY = "sk-ant-secret-1234"
SPELT = (
    base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    KEY.encode().hex(),
    " ".join(KEY),
    KEY.upper(),
    KEY[:15],
    KEY[:4] + "\u200b" + KEY[4:],
    KEY.encode().hex(":"),
    "".join(f"%{ord(c):02x}" for c in KEY),
    "".join(f"&#{ord(c)};" for c in KEY),
    "....".join(KEY[i : i + 4] for i in range(0, len(KEY), 4)),
)


def split(handler, proper):
    """The key in two pieces of text that are one once they are read."""
    text = proper["content"][-1]["text"].replace("as the guidance says", f"use {KEY}")
    at = text.find(KEY) + 8
    pieces = [{"type": "text", "text": text[:at]}, {"type": "text", "text": text[at:]}]
    handler.give({**proper, "content": pieces})


@pytest.mark.parametrize(
    "fault",
    [
        edited(lambda told: {**told, "reason": f"your key is {KEY}"}),
        rewritten(lambda text: text.replace("as the guidance", r"sk-ant-\u0073ecret-1234")),
        changed(model=KEY),
        changed(id=f"msg_{KEY}", content=[{"type": KEY, KEY: KEY}]),
        split,
        fails(500, f"bad key {KEY}"),
        reports("authentication_error", f"key {KEY}"),
        lambda h, _: h.give(f"<html>{KEY}</html>".encode(), 403),
        *(edited(lambda told, form=form: {**told, "reason": f"use {form}"}) for form in SPELT),
        lambda h, proper: h.give(proper, request_id=KEY),
        fails(500, f"bad key {SPELT[0]}", request_id=SPELT[0]),
    ],
)
def test_a_key_echoed_in_a_reply_is_never_written(fault, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", f" {KEY}\n")
    with serve() as double:
        llm = {"base_url": double.url, "deadline": 30.0, "retry_after": 0.1, "effort": None}
        here = folder(tmp_path / "c", {"planner": "anthropic", "llm": llm})
        double.situation = here.situation()
        double.keeps([fault] * 9)
        with suppress(HaltError):
            next_plan(here)
    assert any(value.split()[-1] == KEY for value in double.headers[0].values())
    written = [path for path in here.folder.rglob("*") if path.is_file()]
    assert len(written) >= 5
    for path in written:
        text = path.read_text()
        assert KEY not in text
        assert KEY not in text.encode().decode("unicode_escape", "replace")
        assert not any(form in text for form in SPELT)


@pytest.mark.parametrize(
    ("url", "header", "value"),
    [
        ("https://api.anthropic.com", "api_key", "key"),
        ("http://127.0.0.1:1", "auth_token", "token"),
    ],
)
def test_of_two_credentials_one_goes(monkeypatch, url: str, header: str, value: str) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token")
    assert credential(url) == {header: value}


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://127.0.0.1:99999", "javascript:1", "http://", "http://a:b@c"]
)
def test_what_is_no_address_is_named(monkeypatch, url: str) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
    with pytest.raises(UserError, match=r"^ANTHROPIC_BASE_URL: no address of a server"):
        address(SCENE.config.llm)


def test_both_credentials_set_is_no_error(monkeypatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-key-1234")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token-1234")
    with serve(SCENE) as double:
        assert ask(double).plan
    assert "Bearer token-1234" in double.headers[0].values()
    assert not any("sk-key-1234" in value for value in double.headers[0].values())


@pytest.mark.parametrize("key", ["sk 1", "sk-\n1", "sk-\xe4", "sk-\u200b1"])
def test_a_key_that_can_be_none_is_named(monkeypatch, key: str) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    with serve(SCENE) as double, pytest.raises(UserError, match="ANTHROPIC_API_KEY: holds a blank"):
        ask(double)


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_a_blank_key_is_none(monkeypatch, blank: str) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", blank)
    with pytest.raises(UserError, match="ANTHROPIC_API_KEY: not set"):
        credential("https://api.anthropic.com")


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 10**9, "output_tokens": 10**9},
        {"input_tokens": 5000, "output_tokens": 999_999},
    ],
)
def test_one_false_usage_does_not_end_the_model(usage) -> None:
    with serve(SCENE) as double:
        double.will(changed(usage=usage))
        talk = ask(double, tokens=100_000, money=1.0)
    assert talk.plan
    first, second = talk.exchanges
    used = request_costs([first, second], "m", "127.0.0.1")
    assert used["tokens"] <= 2 * first.request.tokens


@pytest.mark.parametrize(
    "around",
    [
        lambda text: f"Here is my plan:\n\n{text}\n\nI hope that helps {{really}}.",
        lambda text: f"```json\n{text}\n```",
        lambda text: f"Thinking {{aloud}}.\n```\n{text}\n```\nDone.",
        lambda text: f'<think>{{"action": "end"}} no, rather</think>\n{text}',
        lambda text: f'{{"action": "end"}} perhaps?</think>{text}',
        lambda text: f"<thinking>hm</thinking>Answer: {text}",
        lambda text: f"\ufeff{text}",
        lambda text: f"{text}\n{text}",
        lambda text: f"{text}<think>{{}}, or rather not?</think>",
        lambda text: f"<reasoning>{{}}</reasoning> <think>{{}}</think>{text}",
        lambda text: f"[THINK]{{'a'}} {text[:-9]}[/THINK]{text}",
        lambda text: f'<analysis lang="en">{{"action": "end"}}</analysis>{text}',
        lambda text: (
            f'<|channel|>analysis<|message|>{{"action": 1}}<|channel|>final<|message|>{text}'
        ),
        lambda text: text.replace("as the guidance", "as the\nguidance"),
        lambda text: f"```json\n{{}}\n```\nrather\n```json\n{text}\n```",
        json.dumps,
    ],
)
def test_json_behind_words_costs_no_repair(around) -> None:
    with serve(SCENE) as double:
        double.keeps([rewritten(around)] * 2)
        talk = ask(double)
    assert talk.plan, talk.detail
    assert len(double.requests) == 2


@pytest.mark.parametrize("piece", ["[", "{", "<think>", "</think>", "```\n", '{"a":', "```json"])
def test_no_answer_takes_long_to_read(piece: str) -> None:
    began = time.monotonic()
    with suppress(AnswerError):
        choice(piece * (190_000 // len(piece)))
    assert time.monotonic() - began < 5.0


def test_true_is_no_number_and_no_key_stands_twice() -> None:
    plan = rules.decide(SCENE)
    section = plan.parameters.model_dump(mode="json", exclude={"seed"})
    number = next(k for k, v in section.items() if type(v) in (int, float))
    flag = json.dumps({"parameters": {**section, number: True}, "objection": None})
    twice = json.dumps({"parameters": section, "objection": None})[:-1] + ', "objection": null}'
    with serve(SCENE) as double:
        double.will(None, says(flag), says(twice))
        talk = ask(double)
    faults = [fault for exchange in talk.exchanges for fault in exchange.faults]
    assert faults[0] == f"{plan.action}.{number}: true or false is no number"
    assert faults[1] == "not JSON: key objection is given twice" or "twice" in faults[1]


def test_the_deadline_counts_from_the_beginning_of_the_decision() -> None:
    settings = SCENE.config.llm.model_copy(update={"base_url": "http://127.0.0.1:9"})
    server = Server(settings, 10**6, 1.0, began=time.monotonic() - settings.deadline)
    assert server(request(SCENE, "decision_maker", [], 8000)).failure == "deadline"
    server.close()


def test_a_bug_of_ours_is_no_fault_of_the_server(monkeypatch) -> None:
    def broken(_: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("planner.llm.messages_api.judged", broken)
    with serve(SCENE) as double, pytest.raises(ZeroDivisionError):
        ask(double)


def test_lone_surrogates_and_odd_usage_do_no_harm() -> None:
    odd = message("{}", usage={"input_tokens": -5, "output_tokens": True}, model="\ud800")
    with serve(SCENE) as double:
        double.will(lambda h, _: h.give(odd))
        assert ask(double).plan
