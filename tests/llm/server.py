"""A Messages-API server that answers from the rules, with faults on demand.

It reads the request as a real server would; the plan it answers with is that of the rules for the
situation it was told of. A fault is a function of the handler and the proper answer.
"""

import http.server
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from campaign.plan import Plan
from campaign.situation import Situation
from planner.policy import rules

Fault = Callable[["Handler", dict[str, Any]], None]


def role_of(body: dict[str, Any]) -> str:
    """Which of our prompts a request carries."""
    system = body["system"]
    if "specialist for the action" in system:
        return system.split("`")[1]
    return "single" if "all its parameters" in system else "decision_maker"


def answer(plan: Plan, role: str) -> dict[str, Any]:
    """What a model that decides like the rules would answer."""
    section = plan.parameters.model_dump(mode="json", exclude={"seed"})
    head = {
        "reason": plan.reason,
        "evidence": [e.key for e in plan.evidence][:20] or ["iteration"],
        "confidence": "high",
    }
    if role == "decision_maker":
        return {**head, "action": plan.action, "intent": "as the guidance says"}
    if role == "single":
        return {**head, "step": {"action": plan.action, "parameters": section}}
    return {"parameters": section, "objection": None}


def message(text: str, **changes: Any) -> dict[str, Any]:
    """A message as the API gives it, thinking first."""
    return {
        "id": "msg_test",
        "type": "message",
        "role": "assistant",
        "model": "rules-as-a-model",
        "content": [
            {"type": "thinking", "thinking": "", "signature": "x"},
            {"type": "text", "text": text},
        ],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 5000, "output_tokens": 700},
        **changes,
    }


class Handler(http.server.BaseHTTPRequestHandler):
    """One request: the next fault of the script, or the proper answer."""

    protocol_version = "HTTP/1.1"
    double: "Double"

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.double.requests.append(body)
        self.double.headers.append(dict(self.headers))
        proper = self.double.proper(body)
        fault = next(self.double.script, None)
        with suppress(BrokenPipeError, ConnectionResetError):
            (fault or Handler.give)(self, proper)

    def do_GET(self) -> None:
        """The list of models: empty, or what the script of faults does next."""
        with suppress(BrokenPipeError, ConnectionResetError):
            fault = next(self.double.lookups, None)
            fault(self, {}) if fault else self.error(404)

    def give(self, data: Any, status: int = 200, **headers: str) -> None:
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "request-id": "req_1",
            "content-length": str(len(raw)),
            **headers,
        }.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(raw)

    def error(self, status: int, kind: str = "api_error", text: str = "no", **headers: str) -> None:
        data = {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_1"}
        self.give(data, status, **headers)

    def trickle(self, raw: bytes, pause: float = 0.05) -> None:
        """Bytes one by one, for ever as far as a client is concerned."""
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "100000")
        self.end_headers()
        for byte in raw * 1000:
            if self.double.closed:
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(pause)


class Double:
    """The server's memory: what it was asked, what it will do next."""

    def __init__(self, situation: Situation | None) -> None:
        self.situation = situation
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.script: Iterator[Fault | None] = iter(())
        self.lookups: Iterator[Fault] = iter(())
        self.closed = False
        self.url = ""

    def proper(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.situation is None:
            return message("{}")
        return message(json.dumps(answer(rules.decide(self.situation), role_of(body))))

    def will(self, *faults: Fault | None) -> None:
        """What to do with the next requests (None: answer properly)."""
        self.script = iter(faults)

    def keeps(self, faults: Iterable[Fault | None]) -> None:
        self.script = iter(faults)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *args: Any) -> None:
        """A client that hangs up is what the tests are about."""


@contextmanager
def serve(situation: Situation | None = None) -> Iterator[Double]:
    """A server on a free port of this machine."""
    double = Double(situation)
    handler = type("Bound", (Handler,), {"double": double})
    server = _Server(("127.0.0.1", 0), handler)
    double.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    ).start()
    try:
        yield double
    finally:
        double.closed = True
        server.shutdown()
        server.server_close()


def says(text: str, **changes: Any) -> Fault:
    """Answer with this text."""
    return lambda handler, _: handler.give(message(text, **changes))


def fails(status: int, text: str = "no", **headers: str) -> Fault:
    """Answer with an error."""
    return lambda handler, _: handler.error(status, text=text, **headers)


def changed(**changes: Any) -> Fault:
    """The proper answer with some fields changed."""
    return lambda handler, proper: handler.give({**proper, **changes})


def raw(data: bytes, **headers: str) -> Fault:
    """Answer 200 with these bytes."""
    return lambda handler, _: handler.give(data, **headers)


def stall(seconds: float) -> Fault:
    """Say nothing for a while."""

    def silent(handler: Handler, _: dict[str, Any]) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not handler.double.closed:
            time.sleep(0.05)

    return silent


def hang_up(handler: Handler, _: dict[str, Any]) -> None:
    """Close the connection in the middle of the answer."""
    handler.send_response(200)
    handler.send_header("content-length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"id":')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def reset(handler: Handler, proper: dict[str, Any]) -> None:
    """Half of the proper answer, then a reset instead of the end of a connection."""
    data = json.dumps(proper).encode()
    handler.send_response(200)
    handler.send_header("content-length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.wfile.flush()
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True


def wire(data: bytes, pause: float = 0.0, again: int = 1) -> Fault:
    """Write these bytes as they are, HTTP or not, so many times, and hang up."""

    def write(handler: Handler, _: dict[str, Any]) -> None:
        for _ in range(again):
            if handler.double.closed:
                break
            handler.wfile.write(data)
            handler.wfile.flush()
            time.sleep(pause)
        handler.close_connection = True

    return write


def edited(change: Callable[[dict[str, Any]], Any]) -> Fault:
    """The proper answer with its JSON changed."""

    def give(handler: Handler, proper: dict[str, Any]) -> None:
        told = json.loads(proper["content"][-1]["text"])
        handler.give({**proper, "content": [{"type": "text", "text": json.dumps(change(told))}]})

    return give


def rewritten(change: Callable[[str], str]) -> Fault:
    """The proper answer with its text changed."""

    def give(handler: Handler, proper: dict[str, Any]) -> None:
        text = change(proper["content"][-1]["text"])
        handler.give({**proper, "content": [{"type": "text", "text": text}]})

    return give


def reports(kind: str, text: str = "no", status: int = 200) -> Fault:
    """An error by its body, whatever the status says."""
    return lambda handler, _: handler.error(status, kind, text)


def drip(handler: Handler, proper: dict[str, Any]) -> None:
    """The answer, a byte at a time."""
    handler.trickle(json.dumps(proper).encode())
