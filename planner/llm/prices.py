"""What answers cost: tokens by the server's count, money by the dated list of prices."""

from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import Field

from atomistics.contract import Strict
from atomistics.yaml_files import read_yaml
from campaign import TOOLKIT
from campaign.files import parse, sha256

if TYPE_CHECKING:
    from planner.llm.requests import Request

LIST = TOOLKIT / "config" / "prices.yaml"
COUNTED = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)
MOST = 10**9
SLACK = 10_000  # tokens a server may add of its own: a system prompt, another way to count


class Price(Strict):
    """USD per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class Prices(Strict):
    """config/prices.yaml."""

    date: str
    source: str
    models: dict[str, Price]


@cache
def prices() -> Prices:
    """The list of prices."""
    return parse(Prices, read_yaml(LIST), str(LIST))


def fingerprint() -> str:
    """Hash of the list."""
    return sha256(LIST.read_text(encoding="utf-8"))


def tokens(message: dict[str, Any]) -> tuple[int, int]:
    """Tokens read and written by the server's own count; cached ones count as read."""
    usage = message.get("usage")
    counts = {k: usage.get(k) if isinstance(usage, dict) else None for k in COUNTED}
    sound = {
        k: v if isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= MOST else 0
        for k, v in counts.items()
    }
    return sum(v for k, v in sound.items() if k != "output_tokens"), sound["output_tokens"]


def counted(request: "Request", message: dict[str, Any]) -> tuple[int, int]:
    """Tokens read and written of one answer: the server's count, or the request's bounds where it
    tells none or what cannot be; one false `usage` must not end the model for good."""
    bounds = request.tokens_read, int(request.body["max_tokens"])
    counts = tokens(message)
    if not sum(counts):
        return bounds
    read, written = (
        count if count <= 2 * bound + SLACK else bound
        for count, bound in zip(counts, bounds, strict=True)
    )
    return read, written


def money(model: str, host: str, read: int, written: int) -> float:
    """USD; servers of one's own are free, an unlisted model costs the highest price listed."""
    listed = prices().models
    if model not in listed and not host.endswith("anthropic.com"):
        return 0.0
    most_expensive = max(listed.values(), key=lambda p: p.output)
    price = listed.get(model, most_expensive)
    return (read * price.input + written * price.output) / 1e6
