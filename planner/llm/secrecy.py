"""Credentials of the environment, blotted out of whatever a server says before it is kept.

A gateway echoes a key as it stands, in pieces, escaped for JSON or a URL, in base64 or
hexadecimal; pieces of a dozen characters are as telling as the whole.
"""

import base64
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any
from urllib.parse import quote

KEY, TOKEN = "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"
BLOT = "***"
SHORTEST = 6  # a key of fewer characters would blot out words
PIECE = 12  # characters of a spelling in a row
STRIDE = 4
ESCAPED = re.compile(r"\\u00(2[013-9a-f]|[346][0-9a-f]|5[0-9abd-f]|7[0-9a-e])", re.I)
SPACING = re.compile("[\\s\u00ad\u200b-\u200f\u2060\ufeff]+")


def blotted(value: Any) -> Any:
    """A server's answer without any credential, also one that is whole only where the answer's
    pieces of text are put together."""
    hidden = _spellings()
    if not hidden:
        return value
    blocks = value.get("content") if isinstance(value, dict) else None
    for key in ("text", "thinking"):
        pieces = [b for b in blocks or () if isinstance(b, dict) and isinstance(b.get(key), str)]
        whole = "".join(block[key] for block in pieces)
        if _marks(ESCAPED.sub(_unescaped, whole), hidden):
            others = [block for block in blocks or () if block not in pieces]
            blocks = [*others, {"type": key, key: whole}]
            value = {**value, "content": blocks}
    return _without(value, hidden)


def _without(value: Any, hidden: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return _hide(value, hidden)
    if isinstance(value, dict):
        return {_without(k, hidden): _without(v, hidden) for k, v in value.items()}
    return [_without(item, hidden) for item in value] if isinstance(value, list) else value


def _hide(text: str, hidden: tuple[str, ...]) -> str:
    """A text with every run of a spelling blotted out; blanks strewn in do not save one."""
    read = ESCAPED.sub(_unescaped, text)  # the same to who reads JSON
    close = SPACING.sub("", read)
    places, reading = max(
        ((_marks(reading, hidden), reading) for reading in (text, read, close)),
        key=lambda marked: len(marked[0]),
    )
    if not places:
        return text
    shown = "".join("\0" if i in places else c for i, c in enumerate(reading))
    return re.sub("\0+", BLOT, shown)


def _marks(text: str, hidden: tuple[str, ...]) -> set[int]:
    """Places of a text that belong to a spelling, or to a long piece of one."""
    low = text.lower()
    if len(low) != len(text):
        low = text  # a letter that two stand for
    places: set[int] = set()
    for spelling in hidden:
        if any(w in low for w in _windows(spelling, STRIDE)):
            for window in _windows(spelling, 1):
                for start in _places(window, low):
                    places |= set(range(start, start + len(window)))
    return places


def _windows(spelling: str, stride: int) -> Iterator[str]:
    last = max(0, len(spelling) - PIECE)
    for start in {*range(0, last, stride), last}:
        yield spelling[start : start + PIECE]


def _places(piece: str, text: str) -> Iterator[int]:
    start = text.find(piece)
    while start >= 0:
        yield start
        start = text.find(piece, start + 1)


def _spellings() -> tuple[str, ...]:
    values = (os.environ.get(name, "") for name in (KEY, TOKEN))
    return _spelt({t for value in values for t in (value, value.strip()) if len(t) >= SHORTEST})


def _spelt(secrets: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({form.lower() for secret in secrets for form in _forms(secret)}))


@cache
def _forms(secret: str) -> tuple[str, ...]:
    """A credential as it stands, as a URL has it, in hexadecimal, and in base64 wherever in a
    longer text it begins."""
    data = secret.encode(errors="surrogateescape")
    forms = [secret, quote(data, safe=""), data.hex()]
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + data).decode().rstrip("=")
        own = coded[-(-8 * shift // 6) : len(coded) - bool((shift + len(data)) % 3)]
        forms += [own, own.replace("+", "-").replace("/", "_")]
    return tuple(form for form in forms if len(form) >= SHORTEST)


def _unescaped(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16))
