"""The one place that speaks to a server: the Anthropic SDK, with a clock of our own.

The SDK obeys any Retry-After, its timeouts are per read, so that a trickle never ends, and it takes
proxies for loopback addresses. Hence its retries are off, each request runs in a thread that is
left behind at the deadline, with the reading of the answer, and the HTTP client is built here. Keys
come from the environment; what a server says of them is blotted out before anybody reads it.
"""

import ipaddress
import json
import math
import os
import re
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import anthropic
import httpx2

from campaign.config import Llm
from campaign.errors import UserError
from campaign.terminal import plain
from planner.llm.consult import Reply
from planner.llm.prices import counted, money
from planner.llm.requests import Request
from planner.llm.secrecy import KEY, TOKEN, blotted

OFFICIAL = "https://api.anthropic.com"
LARGEST_REPLY = 4_000_000
LARGEST_ERROR = 100_000
CONNECT = 20.0
HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<(?:!doctype\s+)?"
    rb"(?:html|head|body|script|meta|title)",
    re.I | re.S,
)
STREAM = re.compile(rb"\s*(?:event:|data:|:)")
OF_STATUS = {  # nothing a planner could do about it: the campaign's owner must
    400: "bad_request",
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    407: "proxy",
    422: "bad_request",
    511: "proxy",
}
OF_TYPE = {  # of an error as the Messages API words it, whatever the status it comes with
    "invalid_request_error": "bad_request",
    "authentication_error": "authentication",
    "billing_error": "billing",
    "permission_error": "permission",
    "not_found_error": "not_found",
    "request_too_large": "context_overflow",
    "rate_limit_error": "rate_limited",
    "timeout_error": "server_error",
    "api_error": "server_error",
    "overloaded_error": "overloaded",
}
LOST = (anthropic.AnthropicError, httpx2.HTTPError, httpx2.StreamError, OSError)
HALTING = (*dict.fromkeys(OF_STATUS.values()), "redirected")
RETRIED = (
    "rate_limited",
    "overloaded",
    "server_error",
    "unreachable",
    "broken_reply",
    "malformed_reply",
)
OVERFLOW = ("too long", "context window", "context length", "maximum context", "too many tokens")
UNPAID = ("credit balance", "billing", "payment", "insufficient_quota", "insufficient credit")
PAGE = "a web page came back, not the API: is a proxy or a portal in between?"


def address(settings: Llm) -> str:
    """Base URL of the server; UserError where it is none."""
    of_environment = os.environ.get("ANTHROPIC_BASE_URL", "").strip()
    url = settings.base_url or of_environment or OFFICIAL
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or "@" in url or re.search(r"\s", url):
        name = "llm.base_url" if settings.base_url else "ANTHROPIC_BASE_URL"
        raise UserError(f"{name}: no address of a server, which is https://HOST[:PORT][/PATH]")
    return url


def host(settings: Llm) -> str:
    """Host and port of the server, without credentials."""
    parts = urlsplit(address(settings))
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def loopback(url: str) -> bool:
    """Whether a URL names this machine."""
    name = urlsplit(url).hostname or ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def official(url: str) -> bool:
    """Whether a URL is Anthropic's own."""
    name = urlsplit(url).hostname or ""
    return name == "anthropic.com" or name.endswith(".anthropic.com")


def credential(url: str) -> dict[str, str]:
    """The one credential that goes to this address, as an argument of the SDK's client.

    With both variables set, Anthropic's own address gets the key and any other the token, which is
    what gateways ask for; two at once are refused by the SDK.
    """
    names = (KEY, TOKEN) if official(url) else (TOKEN, KEY)
    for name in names:
        if value := _of_environment(name):
            return {"api_key" if name == KEY else "auth_token": value}
    if official(url):
        raise UserError(f"{KEY}: not set; export the key, or set planner: rules in config.yaml")
    return {"api_key": "none"}


def _of_environment(name: str) -> str:
    """A credential without the blanks and line ends that copying leaves around it."""
    value = os.environ.get(name, "").strip()
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise UserError(f"{name}: holds a blank or another character no key has; export it again")
    return value


def client(settings: Llm) -> anthropic.Anthropic:
    """The SDK's client; UserError when a key is needed and none is in the environment."""
    url = address(settings)
    given = credential(url)
    http = httpx2.Client(
        trust_env=not loopback(url),
        follow_redirects=False,
        timeout=settings.deadline,
        event_hooks={"response": [_shortened]},
    )
    return anthropic.Anthropic(**given, base_url=url, max_retries=0, http_client=http)  # type: ignore[arg-type]


class _Beginning(httpx2.SyncByteStream):
    """The first bytes of a body as they came over the wire."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[bytes]:
        length = 0
        for chunk in self.stream:
            yield chunk
            length += len(chunk)
            if length > LARGEST_ERROR:
                return

    def close(self) -> None:
        self.stream.close()


def _shortened(response: httpx2.Response) -> None:
    """Of an error the beginning is read, not unpacked: the SDK reads all of it into memory."""
    if response.status_code >= 300:
        response.headers.pop("content-encoding", None)
        response.stream = _Beginning(response.stream)


class Server:
    """Speaks for one decision: within its deadline, its attempts and what is left to spend.

    `began` (time.monotonic) is when the decision was begun, where that was before this.
    """

    def __init__(
        self, settings: Llm, tokens_left: int, money_left: float, began: float | None = None
    ) -> None:
        self.ends = (time.monotonic() if began is None else began) + settings.deadline
        self.settings, self.host = settings, host(settings)
        self.client = client(settings)
        self.tokens_left, self.money_left = tokens_left, money_left
        self.timing: list[dict[str, Any]] = []

    def __call__(self, request: Request) -> Reply:
        """Ask, and ask again while the server is overloaded or out of reach."""
        tries: list[dict[str, Any]] = []
        for attempt in range(self.settings.attempts):
            if text := self._unaffordable(request):
                return Reply(failure="budget", detail=text, tries=tries)
            reply, wait = self._once(request, tries)
            if reply.failure not in RETRIED:
                return reply
            pause = min(max(0.5 * 2**attempt, wait), self.settings.retry_after)
            last = attempt + 1 == self.settings.attempts
            if not last and time.monotonic() + pause >= self.ends:
                return Reply(failure="deadline", detail=reply.failure or "", tries=tries)
            if not last:
                time.sleep(pause)
        return reply

    def _unaffordable(self, request: Request) -> str | None:
        if request.tokens > self.tokens_left:
            return f"llm.tokens: {self.tokens_left} left, {request.tokens} may be needed"
        written = request.body["max_tokens"]
        bound = money(self.settings.model, self.host, request.tokens_read, written)
        if bound > self.money_left:
            return f"llm.money: {self.money_left:.4f} USD left, {bound:.4f} may be needed"
        return None

    def _once(self, request: Request, tries: list[dict[str, Any]]) -> tuple[Reply, float]:
        outcome: dict[str, Any] = {}
        began, left = time.monotonic(), self.ends - time.monotonic()
        if left <= 0:
            return Reply(failure="deadline", tries=tries), 0.0
        worker = threading.Thread(
            target=_post, args=(self.client, request.body, left, outcome), daemon=True
        )
        worker.start()
        worker.join(left)
        if bug := outcome.get("bug"):
            raise bug
        name, detail, message = outcome.get("judged", ("deadline", "", None))
        tries.append({"status": outcome.get("status"), "failure": name})
        self.timing.append(
            {
                "role": request.role,
                "seconds": round(time.monotonic() - began, 3),
                "request_id": _safe(str(outcome.get("headers", {}).get("request-id", "")))[:80],
            }
        )
        if message is None:
            return Reply(failure=name, detail=detail, tries=tries), _asked_wait(outcome)
        read, written = counted(request, message)
        self.tokens_left -= read + written
        self.money_left -= money(self.settings.model, self.host, read, written)
        return Reply(message=message, tries=tries), 0.0

    def close(self) -> None:
        """Let go of the sockets; a request left behind ends with them."""
        self.client.close()


def _post(
    sdk: anthropic.Anthropic, body: dict[str, Any], left: float, outcome: dict[str, Any]
) -> None:
    """Ask, and read the answer, all of it in this thread; an error of ours goes to the asker."""
    limits = httpx2.Timeout(left, connect=min(left, CONNECT))
    try:
        try:
            with sdk.messages.with_streaming_response.create(**body, timeout=limits) as reply:
                data = bytearray()
                for chunk in reply.iter_bytes():
                    data += chunk
                    if len(data) > LARGEST_REPLY:
                        break
                status, headers = reply.status_code, reply.headers
            outcome |= {"headers": headers, "status": status, "judged": judged(bytes(data))}
        except anthropic.APIStatusError as error:
            outcome |= {"status": error.status_code, "headers": error.response.headers}
            outcome["judged"] = (*_of_error(error), None)
        except LOST as error:
            outcome["judged"] = (*_of_connection(error), None)
    except Exception as error:  # raised again by who asked, in the thread that may
        outcome["bug"] = error


def judged(data: bytes) -> tuple[str | None, str, dict[str, Any] | None]:
    """Name of the failure, its detail, the message if any, of an answer with status 200."""
    message = _json(data)
    if isinstance(message, dict) and (failure := _reported(message)):
        return *failure, None
    if HTML.match(data):
        return "proxy", PAGE, None
    if isinstance(message, dict) and isinstance(text := message.get("content"), str):
        message = {**message, "content": [{"type": "text", "text": text}]}
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return "malformed_reply", "the reply is no message", None
    return None, "", blotted(message)


def _json(data: bytes) -> Any:
    """JSON, or the message of a stream that nobody asked for; None where it is neither."""
    try:
        if STREAM.match(data):
            lines = [line[5:] for line in data.splitlines() if line.startswith(b"data:")]
            events = [line for line in lines if line.strip() != b"[DONE]"]  # of chat completions
            return _streamed([json.loads(line, parse_constant=_refuse) for line in events])
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _streamed(events: list[Any]) -> Any:
    """The message that the events of a stream make up; where they make none, the last of them.

    A stream without its `message_stop` was cut, and is none.
    """
    kinds = [event.get("type") if isinstance(event, dict) else None for event in events]
    if kinds[:1] != ["message_start"] or kinds[-1:] != ["message_stop"]:
        return events[-1] if events else None
    try:
        message, blocks = events[0]["message"], {}
        for event in events:
            if event["type"] == "content_block_start":
                blocks[event["index"]] = dict(event["content_block"])
            elif event["type"] == "content_block_delta" and event["delta"]["type"] == "text_delta":
                blocks[event["index"]]["text"] += event["delta"]["text"]
            elif event["type"] == "message_delta":
                usage = {**message.get("usage", {}), **event.get("usage", {})}
                message = {**message, **event["delta"], "usage": usage}
        return {**message, "content": list(blocks.values())}
    except (KeyError, TypeError, AttributeError):
        return None


def _reported(body: dict[str, Any]) -> tuple[str, str] | None:
    """Name and text of the error that a body reports; None where it reports none."""
    error = body.get("error")
    if error is None or body.get("content"):
        return None
    if not isinstance(error, dict):
        error = {"message": error}
    kind, text = str(error.get("type", "")), _safe(str(error.get("message", "")))
    name = _of_words(f"{kind} {text}".lower()) or OF_TYPE.get(kind)
    code = error.get("code", body.get("status"))
    if name is None and isinstance(code, int) and 400 <= code < 600:
        name = _of_status(code, text)
    return name or "server_error", text


def _of_words(text: str) -> str | None:
    """What servers say in words, under whatever type and status."""
    if any(word in text for word in OVERFLOW):
        return "context_overflow"
    if any(word in text for word in UNPAID):
        return "billing"
    return "overloaded" if "overload" in text or "at capacity" in text else None


def _safe(text: str) -> str:
    """A server's words, short and without credentials."""
    return plain(blotted(text[:10_000]), 200)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _of_error(error: anthropic.APIStatusError) -> tuple[str, str]:
    """Name and detail of an answer with an error's status."""
    status, text = error.status_code, _safe(str(error.message))
    if isinstance(error.body, dict) and (reported := _reported(error.body)):
        name, said = reported
        # a gateway's own status says more than the general types that it wraps
        general = name == "server_error" or (name == "bad_request" and status != 500)
        return _of_status(status, text) if general else name, said or text
    page = HTML.match(error.response.content) is not None
    if page and status in (401, 403, 407, 451):
        return "proxy", f"{status}: {PAGE}"
    return _of_status(status, text), f"{status}: {PAGE}" if page else text


def _of_connection(error: Exception) -> tuple[str, str]:
    """Name and detail of a request that got no whole answer."""
    cause = error.__cause__ or error
    if isinstance(cause, httpx2.ProxyError):
        return "proxy", _safe(str(cause) or "the proxy refuses the connection")
    if isinstance(cause, httpx2.ConnectTimeout):
        return "unreachable", "no connection in time"
    if isinstance(error, (anthropic.APITimeoutError, httpx2.TimeoutException)):
        return "deadline", ""
    if isinstance(error, anthropic.APIConnectionError):
        return "unreachable", f"{type(cause).__name__}: {_safe(str(cause))}"
    return "broken_reply", type(error).__name__


def _of_status(status: int, text: str) -> str:
    if status == 413 or (status == 400 and any(w in text.lower() for w in OVERFLOW)):
        return "context_overflow"
    if status in OF_STATUS:
        return OF_STATUS[status]
    if status < 400:
        return "redirected"
    if status == 429:
        return "rate_limited"
    if status in (503, 529):
        return "overloaded"
    return "server_error" if status in (408, 409, 425) or status >= 500 else "bad_request"


def _asked_wait(outcome: dict[str, Any]) -> float:
    try:
        seconds = float(outcome.get("headers", {}).get("retry-after", 0))
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
