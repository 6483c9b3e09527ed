"""What a server at its worst does, by the name that the planner must give to it.

A fault here is kept up: the name is what a decision ends in that meets nothing else.
"""

import gzip
import json
from collections.abc import Callable
from typing import Any

from tests.llm.server import (
    Fault,
    Handler,
    changed,
    drip,
    edited,
    fails,
    hang_up,
    raw,
    reports,
    reset,
    rewritten,
    says,
    stall,
    wire,
)

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
    wire(b"f\r\nevent: ping\r\n\r\n\r\n", 0.2, 9999)(handler, proper)


FAULTS: dict[str, tuple[Fault, ...]] = {
    "model": (
        changed(usage=None),
        changed(model=["x"]),
        changed(usage={"input_tokens": 10**30, "output_tokens": "7"}),
    ),
    "refusal": (changed(stop_reason="refusal", content=[]),),
    "truncated": (changed(stop_reason="max_tokens"),),
    "context_overflow": (
        changed(stop_reason="model_context_window_exceeded"),
        fails(413),
        fails(400, "prompt is too long"),
        fails(400, "input length and max_tokens exceed context length: \x1b[2J" * 9000),
    ),
    "unexpected_stop": (
        changed(stop_reason="tool_use"),
        changed(stop_reason=7),
        changed(stop_reason=["end_turn"]),
    ),
    "invalid_answer": (
        raw(
            b'{"type":"message","content":[{"type":"text","text":"{\\"action\\":\\"\\ud800\\"}"}]}'
        ),
        changed(content=[]),
        changed(content=[{"type": "text", "text": None}]),
        changed(content=[None, 7, {"type": "text"}]),
        changed(content=[{"type": "text", "text": "9" * 10_000}] * 300),
        says("{}"),
        says("[1]"),
        says("NaN"),
        says('{"a":' * 5000),
        says(BAD),
        says("rm -rf / ; `id`"),
        edited(lambda told: {**told, "command": "rm -rf /"}),
        edited(lambda told: [told]),
        edited(lambda told: None),
        edited(dict.fromkeys),
        edited(_every_number(float("inf"))),
        edited(_every_number(10**400)),
        edited(_every_number(-1)),
        edited(_every_number("1; id")),
        rewritten(lambda text: '{"action": "end"} or rather ' + text),
        rewritten(lambda text: '{"evidence": [], "evidence": [], ' + text[1:]),
        rewritten(lambda text: "<think>" * 9000 + "{" * 9000),
    ),
    "rate_limited": (
        fails(429, retry_after="4294967"),
        fails(429, retry_after="nan"),
        fails(429, retry_after="Wed, 21 Oct 2099 07:28:00 GMT"),
        fails(429, retry_after="inf"),
        reports("invalid_request_error", status=429),
    ),
    "overloaded": (
        fails(503),
        reports("overloaded_error"),
        raw(b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'),
        raw(b'{"error": "the model is overloaded"}'),
        raw(b'{"error": {"type": "overloaded_error"}, "content": []}'),
        raw(b'{"error": {"message": "busy", "code": 503}}'),
        lambda h, _: h.error(500, "overloaded_error", "Overloaded"),
        fails(529, retry_after="-1"),
        fails(529, retry_after="99999999999"),
        lambda h, _: h.give({"error": 7}, 529, retry_after="1e308"),
    ),
    "server_error": (
        fails(408),
        fails(500),
        fails(504),
        lambda h, _: h.give(b"<html>Bad Gateway</html>", 502, content_type="text/html"),
        reports("full_moon_error"),
    ),
    "malformed_reply": (
        raw(b""),
        raw(b"\xff\xfe"),
        raw(b"data: {}\n\n", content_type="text/event-stream"),
        raw(b"[" + b"0," * 3_000_000 + b"0]"),
        raw(b"<?xml version='1.0'?><Error>AccessDenied</Error>", content_type="text/xml"),
        lambda h, _: h.give(b"", 204),
        changed(content={"text": "{}"}),
        wire(STREAM.replace(b"chunked", b"chunked\r\ncontent-encoding: gzip") + BOMB),
        edited(lambda told: {**told, "evidence": ["x" * 10**6] * 50}),
        changed(usage={"input_tokens": 10**30, "output_tokens": float("nan")}),
    ),
    "broken_reply": (hang_up, reset, wire(STREAM + b'6\r\n{"id":\r\n'), wire(STREAM)),
    "unreachable": (wire(b""), wire(b"\0\n\n"), wire(b"HTTP/1.1 200 OK\r\n")),
    "deadline": (
        drip,
        stall(3600.0),
        _pings,
        wire(b"HTTP/1.1 200 OK\r\nx-a: b\r\n", 0.3, 9999),
        wire(b"HTTP/1.1 100 Continue\r\n\r\n", 0.1, 9999),
    ),
    "proxy": (
        fails(407),
        fails(511),
        lambda h, _: h.give(b"<html>Proxy Authentication</html>", 407, content_type="text/html"),
        lambda h, _: h.give(b"<!DOCTYPE html><html>Blocked</html>", 403, content_type="text/html"),
        raw(b"\xef\xbb\xbf<!doctype HTML><HTML>Log in</HTML>", content_type="text/html"),
        reports("invalid_request_error", status=407),
    ),
    "redirected": (lambda h, _: h.give(b"", 302, location="http://127.0.0.1:9/v1/messages"),),
    "authentication": (
        fails(401),
        reports("authentication_error"),
        reports("invalid_request_error", status=401),  # as chat completions word it
    ),
    "billing": (fails(402), fails(400, "Your credit balance is too low"), reports("billing_error")),
    "permission": (fails(403),),
    "not_found": (fails(404),),
    "bad_request": (fails(400), fails(422)),
}
