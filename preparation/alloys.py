"""Alloys in a sentence: one crystal with its atoms exchanged, never a crystal an element."""

import re
from collections import Counter
from typing import Any

from ase.data import atomic_masses, atomic_numbers
from pymatgen.core import Element

from campaign.material import Phase
from preparation import substances
from preparation.notation import slug
from preparation.quantities import NUMBER

SHARE = rf"{NUMBER}\s*(?:(?:at|wt|mol)\.?[\s-]*)?%"
WORDS = re.compile(r"\b(?:alloys?|solid solutions?|high[\s-]entropy|intermetallics?)\b", re.I)
EQUAL = re.compile(r"\b(?:equimolar|equiatomic|high[\s-]entropy)\b", re.I)
PIECE = re.compile(r"([A-Z][a-z]?)([0-9]*\.?[0-9]*)")
GRADE = re.compile(rf"([A-Z][a-z]?)(?:-{NUMBER}[A-Z][a-z]?)+")
LAYERED = re.compile(r"\b(?:on|over|under|against|interface|contact|in contact)\b", re.I)
KINDS = ("crystal", "particle")
Questions = dict[str, str]


def of(phases: list[dict[str, Any]], text: str) -> tuple[dict[str, Any], Questions] | None:
    """The one crystal that a sentence on an alloy means, and what it leaves open; None for others.

    Parameters
    ----------
    phases : as the substances of the sentence make them, each by itself
    text : the sentence

    Returns
    -------
    a crystal with its exchanges as final atomic fractions, and questions by key
    """
    if len(phases) == 1 and "crystal" not in phases[0] and phases[0]["kind"] in KINDS:
        return _by_formula(phases[0], text)
    symbols = [_symbol(phase) for phase in phases]
    if len(phases) < 2 or None in symbols or LAYERED.search(text):
        return None
    shares = {s: _share(s, phase, text) for s, phase in zip(symbols, phases, strict=True) if s}
    if not (WORDS.search(text) or " + " in text or any(shares.values())):
        return None
    host = phases[0]
    for symbol, phase in zip(symbols, phases, strict=True):
        if shares[str(symbol)] is None:
            host = phase  # the element without a share is what the others are in
            break
    own = str(_symbol(host))
    host = {**host, "kind": "particle" if "particle" in (p["kind"] for p in phases) else "crystal"}
    fractions = _fractions(own, shares, text)
    if fractions is None:
        key = f"phases.{host['name']}.substitutions"
        others = ", ".join(s for s in shares if s != own)
        return host, {
            key: f"How much of {own} is replaced by {others}? Like {own} by"
            f" {others.split(', ')[0]} 0.1 (final atomic fractions)"
        }
    return {**host, "substitutions": _exchanges(own, fractions)}, {}


def _by_formula(phase: dict[str, Any], text: str) -> tuple[dict[str, Any], Questions] | None:
    """CrMnFeCoNi, Cu0.7Zn0.3: metals by a formula that is not listed; the lattice is asked for."""
    words = re.findall(r"[A-Z][A-Za-z0-9.-]+", text)
    formula = next((word for word in words if slug(word) == phase["name"]), "")
    if by_weight := GRADE.fullmatch(formula):
        return _by_grade(phase, by_weight[1], re.findall(f"({NUMBER})([A-Z][a-z]?)", formula))
    amounts: Counter[str] = Counter()
    for symbol, number in PIECE.findall(formula.strip(".")):
        if symbol not in atomic_numbers or not Element(symbol).is_metal:
            return None
        amounts[symbol] += float((number.strip(".") and number) or 1)  # type: ignore[assignment]
    if len(amounts) < 2 or not (WORDS.search(text) or "." in formula or len(amounts) > 3):
        return None
    host, total = next(iter(amounts)), sum(amounts.values())
    fractions = {s: round(n / total, 4) for s, n in amounts.items() if s != host}
    made = {**phase, "substitutions": _exchanges(host, fractions)}
    return made, {
        f"phases.{phase['name']}.crystal": f"Which lattice has {formula}? Space group; lattice;"
        f" sites of {host} alone, the others take their places: 225; 3.6; {host} 0 0 0 (fcc), 229;"
        f" 3.2; {host} 0 0 0 (bcc)"
    }


def _by_grade(
    phase: dict[str, Any], host: str, parts: list[tuple[str, str]]
) -> tuple[dict[str, Any], Questions] | None:
    """Ti-6Al-4V: the host's own crystal, the others in per cent by weight."""
    name = substances.names().get(host)
    shares: dict[str, tuple[float, bool] | None] = {host: None}
    shares |= {symbol: (float(number), True) for number, symbol in parts}
    fractions = _fractions(host, shares, "")
    if not name or not fractions or any(s not in atomic_numbers for s in fractions):
        return None
    return {**phase, "crystal": name, "substitutions": _exchanges(host, fractions)}, {}


def _symbol(phase: dict[str, Any]) -> str | None:
    """The metal or metalloid that a crystal is made of; None for a compound or another kind."""
    if phase["kind"] not in KINDS or "sheets" in phase or not phase.get("crystal"):
        return None
    source = substances.crystal_of(Phase.model_validate(phase))
    present = {site.split()[0] for site in source.sites} if source else set()
    symbol = next(iter(present)) if len(present) == 1 else ""
    kind = Element(symbol) if symbol else None
    return symbol if kind and (kind.is_metal or kind.is_metalloid) else None


def _share(symbol: str, phase: dict[str, Any], text: str) -> tuple[float, bool] | None:
    """Per cent written before or behind an element's name, and whether it is by weight."""
    names = "|".join(
        re.escape(alias)
        for alias, one in substances.names().items()
        if one == phase["crystal"] or alias == symbol
    )
    match = re.search(
        rf"({NUMBER})\s*(wt|at|mol)?\.?[\s-]*%\s+(?:of\s+)?(?:{names})\b|"
        rf"\b(?:{names})\s+({NUMBER})\s*(wt|at|mol)?\.?[\s-]*%",
        text,
    )
    if not match:
        return None
    return float(match[1] or match[3]), (match[2] or match[4]) == "wt"


def _fractions(
    host: str, shares: dict[str, tuple[float, bool] | None], text: str
) -> dict[str, float] | None:
    """Atomic fractions of the others; None where the sentence leaves them open."""
    others = {s: share for s, share in shares.items() if s != host}
    if EQUAL.search(text) and not any(others.values()):
        return {s: round(1 / len(shares), 4) for s in others}
    if not all(others.values()):
        return None
    by_weight = any(share[1] for share in others.values() if share)
    parts = {s: share[0] / 100 for s, share in others.items() if share}
    if not 0 < (rest := 1 - sum(parts.values())) < 1:
        return None
    if by_weight:
        parts = {s: part / atomic_masses[atomic_numbers[s]] for s, part in parts.items()}
        total = sum(parts.values()) + rest / atomic_masses[atomic_numbers[host]]
        parts = {s: part / total for s, part in parts.items()}
    return {s: round(part, 4) for s, part in parts.items()}


def _exchanges(host: str, fractions: dict[str, float]) -> list[dict[str, Any]]:
    return [{"element": host, "by": s, "fraction": share} for s, share in fractions.items()]
