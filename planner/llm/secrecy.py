"""Credentials of the environment, blotted out of whatever a server says before it is kept.

A gateway echoes a key as it stands, in pieces, with whatever strewn in, escaped for JSON, a URL, a
page or a mail, in base64 or hexadecimal; pieces of a dozen letters are as telling as the whole.
"""

import base64
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

KEY, TOKEN = "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"
BLOT = "***"
SHORTEST = 6  # a key of fewer characters would blot out words
PIECE = 12  # letters and digits of a spelling in a row
STRIDE = 4
HEX = "([0-9a-f]{2})"
ESCAPE = re.compile(
    rf"\\+(?:x|u00){HEX}|&#x0*{HEX};|[%=]{HEX}|\b0x{HEX}\b|\\+([0-7]{{3}})|&#0*(\d{{2,3}});", re.I
)
STREWN = re.compile(r"[\W_]+")


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
        if _holds(whole, hidden):
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


def _holds(text: str, hidden: tuple[str, ...]) -> bool:
    """Whether letters and digits of a text spell a long piece of a credential."""
    letters = STREWN.sub("", ESCAPE.sub(_read, text)).lower()
    return any(w in letters for spelling in hidden for w in _windows(spelling, STRIDE))


def _hide(text: str, hidden: tuple[str, ...]) -> str:
    """A text with every run of a spelling blotted out, and what is strewn in."""
    if not _holds(text, hidden):
        return text
    letters = list(_letters(text))
    marked = _marks("".join(letter for letter, _, _ in letters), hidden)
    shown, end = "", 0
    for place in sorted(marked):
        _, start, stop = letters[place]
        if place - 1 not in marked:
            shown += text[end:start] + BLOT
        end = stop
    return shown + text[end:]


def _letters(text: str) -> Iterator[tuple[str, int, int]]:
    """Letters and digits that a text stands for, each with the places that spell it."""
    end = 0
    for escape in [*ESCAPE.finditer(text), None]:
        for place in range(end, escape.start() if escape else len(text)):
            yield from _letter(text[place], place, place + 1)
        if escape:
            yield from _letter(_read(escape), escape.start(), escape.end())
            end = escape.end()


def _letter(character: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    if not STREWN.match(character):
        low = character.lower()
        yield (low if len(low) == 1 else character), start, end


def _read(escape: re.Match[str]) -> str:
    octal, decimal = escape[5], escape[6]
    code = (
        int(octal, 8)
        if octal
        else int(decimal or escape[escape.lastindex or 0], 10 if decimal else 16)
    )
    return chr(code)


def _marks(letters: str, hidden: tuple[str, ...]) -> set[int]:
    """Places among letters that belong to a spelling, or to a long piece of one."""
    places: set[int] = set()
    for spelling in hidden:
        if any(w in letters for w in _windows(spelling, STRIDE)):
            for window in _windows(spelling, 1):
                for start in _places(window, letters):
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
    forms = {form for secret in secrets for form in _forms(secret)}
    forms |= {ESCAPE.sub(_read, form) for form in forms}  # a key that looks like an escape
    forms = {STREWN.sub("", form).lower() for form in forms}
    return tuple(sorted(form for form in forms if len(form) >= SHORTEST))


@cache
def _forms(secret: str) -> tuple[str, ...]:
    """A credential as it stands, in hexadecimal, and in base64 wherever in a longer text it
    begins."""
    data = secret.encode(errors="surrogateescape")
    forms = [secret, data.hex()]
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + data).decode().rstrip("=")
        forms.append(coded[-(-8 * shift // 6) : len(coded) - bool((shift + len(data)) % 3)])
    return tuple(forms)
