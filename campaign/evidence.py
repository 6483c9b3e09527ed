"""State keys a decision rests on, resolved in the state so that no number is invented."""

import math
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from campaign.plan import Evidence
from campaign.state import State

IDENTITY = ("id", "name", "structure", "subsystem", "iteration", "dataset")


def evidence_value(state: State, key: str) -> str | bool | int | float:
    """Value at a dotted path such as `subsystems.oxide.rounds`, `models.m003.status`,
    `history.count` or `reference.count`; KeyError when there is none.

    Items of a list go by their id, name, structure, subsystem or iteration, else by position.
    """
    value = _at(state, key)
    if value is None:
        raise KeyError(key)
    return value


def has_value(state: State, key: str) -> bool:
    """Whether the state says something under this key."""
    try:
        return _at(state, key) is not None
    except KeyError:
        return False


def evidence_at(state: State, keys: Iterable[str]) -> list[Evidence]:
    """Evidence of a decision: of these keys the first 40 that have a value by now.

    KeyError for one that no state has: whoever names it has mistyped it.
    """
    values = {key: _at(state, key) for key in keys}
    return [Evidence(key=k, value=v) for k, v in values.items() if v is not None][:40]


def _at(state: State, key: str) -> Any:
    """Value at a path, None where it is not there yet; KeyError where it can never be."""
    value: Any = state
    for part in key.split("."):
        value = _step(value, part, key)
    if isinstance(value, (list, BaseModel)):
        raise KeyError(key)
    return value


def _step(value: Any, part: str, key: str) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        if part == "count":
            return len(value)
        for name in IDENTITY:
            for item in value:
                if str(getattr(item, name, None)) == part:
                    return item
        return value[int(part)] if part.isdigit() and int(part) < len(value) else None
    if isinstance(value, BaseModel) and part in type(value).model_fields:
        return getattr(value, part)
    raise KeyError(key)


def fault(state: State, evidence: Evidence) -> str | None:
    """What is wrong with a piece of evidence; numbers may be rounded to three digits."""
    try:
        value = evidence_value(state, evidence.key)
    except KeyError:
        return f"{evidence.key}: no such key in the state"
    numbers = all(
        isinstance(v, (int, float)) and not isinstance(v, bool) for v in (value, evidence.value)
    )
    if numbers and math.isclose(float(value), float(evidence.value), rel_tol=1e-3):
        return None
    if value == evidence.value and isinstance(value, bool) == isinstance(evidence.value, bool):
        return None
    return f"{evidence.key}: {evidence.value!r} is stated, the state says {value!r}"
