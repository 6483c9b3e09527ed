"""What a sentence says that no table knows, or that was read as something else: lines that tell."""

import re

from preparation import alloys, substances
from preparation.compounds import one_word
from preparation.quantities import AMOUNT, numbers_left, without
from preparation.sentence import (
    DEFECTS,
    DOPED,
    RATIO,
    TOKEN,
    aliases_in,
    alone,
    battery_of,
    begins,
    case_of,
    known_words,
    plain,
    recognised,
    reworded,
    slips,
    system_of,
    systems_said,
    table,
)

GAS = re.compile(r"(?<!hydrogen )(?<!nitrogen )(?<!oxygen )(?<!chlorine )\b(?:gas|vapou?r)\b", re.I)
IN_HOST = re.compile(r"\bin (?:an? |the )?(glass\w*|melts?|crystals?)(?![\w-])", re.IGNORECASE)


def left_out(sentence: str) -> list[str]:
    """What a sentence says that no table knows, a line each: words that change nothing here."""
    lines: list[str] = []
    if heavy := substances.HEAVY_WORDS.search(sentence):
        lines.append(
            f"{heavy[0]}: isotopes are not kept apart here; write water, and set the mass in your"
            " own MD (same potential)"
        )
    if gas := GAS.search(sentence):
        lines.append(f"{gas[0]}: packed as densely as a liquid; give its density, or vacuum")
    compounds = reworded(sentence)[1]
    read = {
        "read by their names": [f"{words} as {one}" for words, one in compounds.items() if one],
        "of several formulas, or of none here; write which": [
            words for words, one in compounds.items() if not one
        ],
        "read as slips of the pen": [
            f"{word} as {meant}" for word, meant in slips(reworded(sentence)[0]).items()
        ],
        "not understood, and left out": _unknown(sentence),
    }
    if (metal := battery_of(sentence)) and systems_said(sentence) and not system_of(sentence):
        lines.append(f"a battery of {metal}: not in config/sentences.yaml; name its phases")
    return lines + [f"{what}: {', '.join(dict.fromkeys(one))}" for what, one in read.items() if one]


def _unknown(sentence: str) -> list[str]:
    """Words and numbers that are in no table, with the nearest names that are listed."""
    text, compounds = plain(without(sentence))
    for words in compounds:
        text = text.replace(one_word(words), " ")
    beginnings = known_words()
    aliases = aliases_in(text)
    if _amounts_used(sentence):
        counted = "|".join([r"(?:\w+\s+)?vacanc\w*", *map(re.escape, aliases)])
        shares = (
            rf"{alloys.SHARE}\s+(?:of\s+)?(?:{counted})(?!\w)|(?<!\w)(?:{counted})\s+{alloys.SHARE}"
        )
        text = re.sub(shares, " ", text, flags=re.IGNORECASE)
    for alias in aliases:
        text = re.sub(alone(alias), " ", text, flags=case_of(alias))
    phrases = _put_into_voids(sentence)
    phrases += [re.escape(word) for word in beginnings if " " in word]
    for pattern in (*phrases, *DEFECTS.values(), DOPED.pattern):
        text = re.sub(pattern, " ", text, flags=re.IGNORECASE)
    hosts = [host[1] for host in IN_HOST.finditer(text)]
    text = RATIO.sub(" ", text)
    words = [
        f"{word}{substances.nearest(word)}"
        for word in TOKEN.findall(AMOUNT.sub(" ", text))
        if len(word.strip(".")) > 2
        and not any(begins(word.lower().strip("."), one) for one in beginnings)
    ]
    return [*hosts, *words, *numbers_left(text)]


def _put_into_voids(sentence: str) -> list[str]:
    """Words of atoms that the proposal has as interstitials."""
    phases = recognised(sentence)[0].get("phases", [])
    put = {one["element"] for phase in phases for one in phase.get("interstitials", [])}
    return [rf"\b{word}\b" for word, symbol in table().interstitials.items() if symbol in put]


def _amounts_used(sentence: str) -> bool:
    """Whether amounts of the sentence are in what is proposed: exchanged atoms, or solutes."""
    phases = recognised(sentence)[0].get("phases", [])
    return any(
        phase.get("substitutions") or any("molarity" in p for p in phase.get("substances", []))
        for phase in phases
    )
