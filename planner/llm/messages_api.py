"""The one place that speaks to a server: the Anthropic SDK, with a clock of our own.

The SDK obeys any Retry-After, its timeouts are per read, so that a trickle never ends, and it takes
proxies for loopback addresses. Hence its retries are off, each request runs in a thread that is
left behind at the deadline, and the HTTP client is built here. Keys come from the environment.
"""

import ipaddress
import json
import math
import os
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import anthropic
import httpx2

from campaign.config import Llm
from campaign.errors import UserError
from campaign.terminal import plain
from planner.llm.consult import Reply
from planner.llm.prices import money, tokens
from planner.llm.requests import Request

OFFICIAL = "https://api.anthropic.com"
LARGEST_REPLY = 4_000_000
CONNECT = 20.0
KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
LOST = {  # nothing a planner could do about it: the campaign's owner must
    400: "bad_request",
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    422: "bad_request",
}
HALTING = (*dict.fromkeys(LOST.values()), "redirected")
RETRIED = (
    "rate_limited",
    "overloaded",
    "server_error",
    "unreachable",
    "broken_reply",
    "malformed_reply",
)
OVERFLOW = ("too long", "context window", "context length", "maximum context", "too many tokens")


def address(settings: Llm) -> str:
    """Base URL of the server."""
    return settings.base_url or os.environ.get("ANTHROPIC_BASE_URL") or OFFICIAL


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


def client(settings: Llm) -> anthropic.Anthropic:
    """The SDK's client; UserError when a key is needed and none is in the environment."""
    url = address(settings)
    key, token = (os.environ.get(name) or None for name in KEYS)
    if not (key or token):
        if (urlsplit(url).hostname or "").endswith("anthropic.com"):
            raise UserError(
                f"{KEYS[0]}: not set; export the key, or set planner: rules in config.yaml"
            )
        key = "none"
    http = httpx2.Client(
        trust_env=not loopback(url), follow_redirects=False, timeout=settings.deadline
    )
    return anthropic.Anthropic(
        api_key=key, auth_token=token, base_url=url, max_retries=0, http_client=http
    )


class Server:
    """Speaks for one decision: within its deadline, its attempts and what is left to spend."""

    def __init__(self, settings: Llm, tokens_left: int, money_left: float) -> None:
        self.settings, self.host = settings, host(settings)
        self.client = client(settings)
        self.tokens_left, self.money_left = tokens_left, money_left
        self.ends = time.monotonic() + settings.deadline
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
        bound = money(self.settings.model, self.host, request.tokens - written, written)
        if bound > self.money_left:
            return f"llm.money: {self.money_left:.4f} USD left, {bound:.4f} may be needed"
        return None

    def _once(self, request: Request, tries: list[dict[str, Any]]) -> tuple[Reply, float]:
        box: dict[str, Any] = {}
        began, left = time.monotonic(), self.ends - time.monotonic()
        if left <= 0:
            return Reply(failure="deadline", tries=tries), 0.0
        worker = threading.Thread(
            target=_post, args=(self.client, request.body, left, box), daemon=True
        )
        worker.start()
        worker.join(left)
        name, detail, message = _judged(box)
        if message is not None:
            self._book(request, message)
        tries.append({"status": box.get("status"), "failure": name})
        self.timing.append(
            {
                "role": request.role,
                "seconds": round(time.monotonic() - began, 3),
                "request_id": plain(str(box.get("headers", {}).get("request-id", "")), 80),
            }
        )
        if message is not None:
            return Reply(message=message, tries=tries), 0.0
        return Reply(failure=name, detail=self._scrubbed(detail), tries=tries), _asked_wait(box)

    def _book(self, request: Request, message: dict[str, Any]) -> None:
        read, written = tokens(message)
        self.tokens_left -= read + written or request.tokens
        self.money_left -= money(self.settings.model, self.host, read, written)

    def _scrubbed(self, text: str) -> str:
        for name in KEYS:
            if (key := os.environ.get(name, "")) and key in text:
                text = text.replace(key, "***")
        return plain(text, 200)

    def close(self) -> None:
        """Let go of the sockets; a request left behind ends with them."""
        self.client.close()


def _post(sdk: anthropic.Anthropic, body: dict[str, Any], left: float, box: dict[str, Any]) -> None:
    limits = httpx2.Timeout(left, connect=min(left, CONNECT))
    try:
        with sdk.messages.with_streaming_response.create(**body, timeout=limits) as reply:
            data = bytearray()
            for chunk in reply.iter_bytes():
                data += chunk
                if len(data) > LARGEST_REPLY:
                    break
            box |= {"headers": reply.headers, "data": bytes(data), "status": reply.status_code}
    except Exception as error:
        box["error"] = error


def _judged(box: dict[str, Any]) -> tuple[str | None, str, dict[str, Any] | None]:
    """Name of the failure, its detail, the message if there is one."""
    if error := box.get("error"):
        return *_named(error, box), None
    if "data" not in box:
        return "deadline", "", None
    try:
        message = json.loads(box["data"], parse_constant=_refuse)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return "malformed_reply", "the reply is no message", None
    return None, "", message


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _named(error: Exception, box: dict[str, Any]) -> tuple[str, str]:
    if isinstance(error, anthropic.APIStatusError):
        box |= {"status": error.status_code, "headers": error.response.headers}
        text = plain(str(error.message), 300)
        return _of_status(error.status_code, text), text
    if isinstance(error.__cause__, httpx2.ConnectTimeout):
        return "unreachable", "no connection in time"
    if isinstance(error, (anthropic.APITimeoutError, httpx2.TimeoutException)):
        return "deadline", ""
    if isinstance(error, anthropic.APIConnectionError):
        return "unreachable", type(error.__cause__ or error).__name__
    return "broken_reply", type(error).__name__


def _of_status(status: int, text: str) -> str:
    if status == 413 or (status == 400 and any(w in text.lower() for w in OVERFLOW)):
        return "context_overflow"
    if status in LOST:
        return LOST[status]
    if status < 400:
        return "redirected"
    if status == 429:
        return "rate_limited"
    if status in (503, 529):
        return "overloaded"
    return "server_error" if status in (408, 409, 425) or status >= 500 else "bad_request"


def _asked_wait(box: dict[str, Any]) -> float:
    try:
        seconds = float(box.get("headers", {}).get("retry-after", 0))
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
