"""What a sentence says without a model: substances, kinds, temperature, by a small visible table.

The table is config/sentences.yaml, the substances are those of config/substances.yaml. The result
is a proposal that a person takes or not; nothing is inferred that is not in one of the two tables.
"""

import re
from bisect import bisect_right
from functools import cache
from typing import Any

from ase.data import atomic_numbers
from pydantic import Field

from atomistics.contract import Name, Strict
from atomistics.yaml_files import read_yaml
from campaign import TOOLKIT
from campaign.files import parse
from campaign.material import Ingredient, Phase, PhaseKind
from preparation import alloys, substances
from preparation.compounds import in_formulas
from preparation.notation import plane, slug
from preparation.quantities import NUMBER, gigapascal_in, kelvin_in, without

TABLE = TOOLKIT / "config" / "sentences.yaml"
GROUPED = re.compile(  # Mg(NO3)2, (NH4)2SO4, CaSO4·2H2O: one formula, no element and a face
    r"(?<![\w(])(?:\([A-Z][A-Za-z0-9]+\)[0-9]+[A-Z][A-Za-z0-9]*|"
    r"[A-Z][A-Za-z0-9]*(?:\((?![IVX]+\))[A-Z][A-Za-z0-9]*\)[0-9]*)+[A-Za-z0-9]*|"
    r"[A-Z][A-Za-z0-9]+\s?[·•*]\s?[0-9.]*H2O)"
)
FORMULA = re.compile(r"^(?:[A-Z][a-z]?[0-9]{0,3})+$")
APART = re.compile(r"\b(?:on|over|under|against|interface|contact)\b")
MEET = re.compile(r"\b(?:interfaces?|in contact|against)\b|(?<=\w)/(?=\w)", re.I)
ON, UNDER = re.compile(r"\b(?:on|over)\b"), re.compile(r"\bunder\b")
HEXAGON = 3**0.5 / 2  # area of a rhombus of 120 degrees and edge 1
DOPED = re.compile(r"\bdoped (?:with|by)\b", re.IGNORECASE)
MIXED = re.compile(r"\b(?:mixture|mixed|blend)", re.IGNORECASE)
ALONE, SOLVENTS = ("particle", "molecule", "crystal"), ("liquid", "polymer")
WATER = 0.997  # g/cm3
LONG = 5  # letters of a known word, whose endings may then be any
SHORT = 3  # letters; shorter names count only as they are written (Si, not si)
SOLID = re.compile(
    r"\b(?:crystal\w*|surfaces?|faces?|interfaces?|contact|slabs?|particles?|grains?|solid)\b", re.I
)
PARTS = re.compile(r"\b(?:on|over|under|and|with|in|against|between)\b|[/|,;]")
TOKEN = re.compile(r"(?<![\[\w])[A-Za-z][A-Za-z0-9.]*(?:-[A-Za-z0-9.]+)*")
COMPANY = r"(?![\s-]*(?:ion\b|batter|cells?\b))"  # a lithium-ion battery is no piece of lithium
RATIO = re.compile(
    r"(?P<parts>\d+(?:\.\d+)?(?:\s*:\s*\d+(?:\.\d+)?)+)(?P<basis>[\s,(]*(?:by\s+)?"
    r"(?:v(?:ol(?:ume)?)?\b|v/v|w(?:eigh)?t\b|w/w|mass\b|mol(?:e|es|ar)?\b))?",
    re.IGNORECASE,
)
SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%\s*(?:of\s+)?(?:\w+\s+)?vacanc")
DEFECTS = {
    "grain-boundary": r"grain[\s-]boundar\w*",
    "stacking-fault": r"stacking[\s-]faults?",
    "antisite": r"anti-?sites?",
    "interstitial": r"interstitials?",
    "vacancy": r"vacanc\w*",
}


class System(Strict):
    """Words that name a whole system, and what it then consists of."""

    words: list[list[str]]
    ion: str | None = Field(default=None, description="metal of the battery that it is of")
    phases: list[Phase]
    layers: list[Name] = Field(default=[])
    named: dict[PhaseKind, Name] = Field(
        default={}, description="phase that the first named phase of that kind takes the place of"
    )
    procedure: str | None = None
    ask: dict[str, str] = Field(default={}, description="key: question, once it is taken")


class Lattice(Strict):
    """A lattice of an element by its name."""

    spacegroup: int
    atoms: int = Field(description="of the conventional (hcp: hexagonal) cell")
    site: str
    ratio: float | None = Field(default=None, description="c/a")


class Sentences(Strict):
    """config/sentences.yaml."""

    kinds: dict[str, PhaseKind]
    lattices: dict[str, Lattice]
    sheets: dict[str, int] = Field(description="word: sheets of a layered crystal")
    interstitials: dict[str, str] = Field(description="word: element in the voids of another's")
    polymorphs: list[str] = Field(description="before a name: another crystal than the listed one")
    systems_of_crystals: dict[str, list[int]] = Field(description="word: space groups, or the one")
    rewritten: dict[str, str] = Field(description="words -> the words they are read as")
    passed: list[str] = Field(description="beginnings of words that say nothing of the structures")
    properties: dict[str, list[str]] = Field(description="measured kind: words that ask for it")
    procedures: dict[str, list[str]] = Field(description="protocol: words that ask for it")
    ions: dict[str, list[str]] = Field(description="metal of a battery: its other names")
    systems: list[System]


@cache
def table() -> Sentences:
    """The table of sentences."""
    return parse(Sentences, read_yaml(TABLE), str(TABLE))


def meanings(text: str) -> set[str]:
    """Kinds of properties and names of protocols whose words stand in a text."""
    words_of = table()
    plain, named = text.lower(), {**words_of.properties, **words_of.procedures}
    return {kind for kind, words in named.items() if any(word in plain for word in words)}


def recognised(sentence: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Answers proposed from a sentence (empty where nothing is known), and questions by key."""
    text = without(plain(sentence)[0])
    host, _, dopant = DOPED.sub("\0", text, count=1).partition("\0")
    places = _named(host)
    record: dict[str, Any] = {}
    questions: dict[str, str] = {}
    phases = [_of_sentence(p, text) for p in _phases(places, host)]
    phases = [{**p, **_in_voids(p, text)} for p in phases] if len(phases) == 1 else phases
    if system := system_of(text):
        record, questions = _system(system, phases), dict(system.ask)
    elif alloy := alloys.of(phases, text):
        record["phases"], questions = [alloy[0]], alloy[1]
    elif phases:
        record["phases"] = phases
        _meeting(record, text)
        questions = _open(phases, text, dopant)
    if record and (kelvin := kelvin_in(sentence)):
        record["temperature"] = kelvin
    elif record and "room temperature" in text.lower():
        record["temperature"] = 300
    if record and (pressure := gigapascal_in(sentence)):
        record["pressure"] = pressure
    return record, questions


def reworded(sentence: str) -> tuple[str, dict[str, str]]:
    """The sentence with compounds as formulas (and which those were), the table's rewordings, and
    without isotopes."""
    text, compounds = in_formulas(substances.HEAVY_WORDS.sub(" ", sentence))
    for words, meant in table().rewritten.items():
        text = re.sub(alone(words), meant, text, flags=re.IGNORECASE)
    return text, compounds


def plain(sentence: str) -> tuple[str, dict[str, str]]:
    """The sentence reworded, slips of the pen mended; and the compounds that were read by name."""
    text, compounds = reworded(sentence)
    for word, meant in slips(text).items():
        text = re.sub(alone(word), meant, text)
    return TOKEN.sub(_pair, text), compounds


def _pair(token: re.Match[str]) -> str:
    """Zr-Cu as Zr + Cu, where both are listed and the whole is not."""
    parts = token[0].split("-")
    whole = len(parts) == 1 or substances.substance(token[0])
    return token[0] if whole or not all(map(substances.substance, parts)) else " + ".join(parts)


def slips(text: str) -> dict[str, str]:
    """Formulas spelt with the same signs as one that is listed: LiFP6, LiPF6."""
    listed = substances.names()
    slips: dict[str, str] = {}
    for word in TOKEN.findall(without(text)):
        near = substances.anagrams(word) if FORMULA.match(word) else []
        if len(near) == 1 and word not in listed and not _is_formula(word):
            slips[word] = near[0]
    return slips


def _is_formula(word: str) -> bool:
    """Whether a word that no list knows may be a compound: elements in an order that is written."""
    if substances.salt(word):
        return True
    symbols = re.findall(r"[A-Z][a-z]?", word)
    return (
        len(set(symbols)) > 1
        and all(s in atomic_numbers for s in symbols)
        and any(c.isdigit() or c.islower() for c in word)
        and not substances.anagrams(word)
    )


def aliases_in(text: str) -> list[str]:
    """Names and aliases that stand in a text, and formulas that were taken for crystals."""
    listed = [a for a in substances.names() if _stands(a, text)]
    grouped = [match[0] for match in GROUPED.finditer(text)]
    listed.sort(key=len, reverse=True)
    return grouped + listed + [word for word in TOKEN.findall(text) if _is_formula(word)]


def _system(system: System, phases: list[dict[str, Any]]) -> dict[str, Any]:
    """A named system's phases, those that the sentence names in the place of the table's own."""
    made = [p.model_dump(mode="json", exclude_unset=True) for p in system.phases]
    for kind, place in system.named.items():
        said = next((phase for phase in phases if phase["kind"] == kind), None)
        own = next(phase for phase in made if phase["name"] == place)
        if not said:
            continue
        named = said.get("substances", [])
        if all("." in (substances.smiles_of(Ingredient(**part)) or "") for part in named):
            solvents = [part for part in own.get("substances", []) if "molarity" not in part]
            named = [*solvents, *({"molarity": 1.0, **part} for part in named)] if named else []
        face = own.get("surface") if own.get("crystal") == said.get("crystal") else None
        own.clear()
        own.update({**({"surface": face} if face else {}), **said, "name": place})
        own.update({"substances": named} if named else {})
    record: dict[str, Any] = {"phases": made}
    if system.procedure:
        record["procedure"] = system.procedure
    if system.layers:
        record["layers"] = system.layers
    return record


def system_of(text: str) -> System | None:
    """The system that a sentence names; of a battery, that of its metal."""
    metal = battery_of(text)
    return next((one for one in systems_said(text) if metal in (None, one.ion)), None)


def systems_said(text: str) -> list[System]:
    """Systems whose words a sentence has, whatever metal it speaks of."""
    words = set(re.findall(r"[\w-]+", text.lower()))
    return [
        one
        for one in table().systems
        if any(all(_said(part, text, words) for part in parts) for parts in one.words)
    ]


def battery_of(text: str) -> str | None:
    """The metal of a battery, by its name or by the salts that stand there; lithium first."""
    words = set(re.findall(r"[a-z]+", text.lower().replace("-", " ")))
    salts = "".join(filter(None, map(substances.salt, TOKEN.findall(text))))
    named = [
        metal
        for metal, short in table().ions.items()
        if {metal, *short} & words or any(f"[{one.title()}+" in salts for one in short)
    ]
    return named[0] if named else None


def _open(phases: list[dict[str, Any]], sentence: str, dopant: str) -> dict[str, str]:
    """What the sentence leaves open of phases that it names, by key."""
    questions: dict[str, str] = {}
    for phase in phases:
        if put := phase.get("interstitials"):
            questions[f"phases.{phase['name']}.interstitials"] = (
                f"How many {put[0]['element']} atoms are in a cell of the crystal? Like"
                f" {put[0]['element']} 1 atom, of some hundred"
            )
        solutes = [p["name"] for p in phase.get("substances", []) if "molarity" in p]
        if unsaid := [name for name in solutes if _molar(name, sentence) is None]:
            questions[f"phases.{phase['name']}.substances"] = (
                f"How much {' and '.join(unsaid)} is dissolved? In mol/L, like {unsaid[0]} 1 mol/L"
            )
    if dopant and (crystals := [p["name"] for p in phases if p["kind"] == "crystal"]):
        questions[f"phases.{crystals[0]}.substitutions"] = (
            f"How much of which atoms is replaced by {dopant.split(maxsplit=1)[0]}? Like Ni by Li"
            " 0.02 (a final fraction), or Ni by Li 1 atom"
        )
    for phase in phases:
        if phase["kind"] == "crystal" and "substitutions" not in phase and SHARE.search(sentence):
            questions[f"phases.{phase['name']}.substitutions"] = (
                "Which atoms are missing, and what share of them? Like O by nothing 2 %"
            )
        amounts = [p for p in phase.get("substances", []) if "molarity" not in p]
        ratio = RATIO.search(sentence)
        if len(amounts) > 1 and not (ratio and ratio["basis"]):
            questions[f"phases.{phase['name']}.substances"] = (
                f"In which ratio is {phase['name']} mixed? By moles as shown, or like A 1 vol, B 1"
                " vol; A 3 wt, B 7 wt"
            )
    return questions


def _of_sentence(phase: dict[str, Any], sentence: str) -> dict[str, Any]:
    """A crystal with the lattice, the face and the defects that the sentence gives it."""
    phase = _faced(_of_polymorph(_of_lattice(phase, sentence), sentence), sentence)
    if phase["kind"] != "crystal":
        return phase
    defects = [name for name, words in DEFECTS.items() if re.search(words, sentence, re.IGNORECASE)]
    source = substances.crystal_of(Phase.model_validate(phase))
    if (share := SHARE.search(sentence)) and source and len(source.sites) == 1:
        missing = {"element": source.sites[0].split()[0], "fraction": float(share[1]) / 100}
        return {**phase, "substitutions": [missing]}
    return {**phase, "defects": defects} if defects else phase


def _meeting(record: dict[str, Any], sentence: str) -> None:
    """A on B, A over B, B under A: layers from the bottom up; a molecule without a density of its
    own on a crystal is an adsorbate of its face."""
    phases, on = record["phases"], ON.search(sentence)
    if len(phases) != 2:
        return
    kinds = [phase["kind"] for phase in phases]
    if MEET.search(sentence) and not (on or {"particle", "molecule"} & set(kinds)):
        solids = sorted(phases, key=lambda phase: phase["kind"] not in ("crystal", "amorphous"))
        record["layers"] = [phase["name"] for phase in solids]
    if not (on or UNDER.search(sentence)):
        return
    lower, upper = phases[::-1] if on else phases
    gas = upper["kind"] == "liquid" and not any(
        entry and entry.density
        for entry in map(substances.substance, (p["name"] for p in upper["substances"]))
    )
    if gas and lower["kind"] == "crystal":
        record["phases"] = [{**lower, "adsorbates": upper["substances"]}]
    elif "molecule" not in (lower["kind"], upper["kind"]):
        record["layers"] = [lower["name"], upper["name"]]


def _formula(name: str, entry: substances.ListedSubstance) -> str:
    """The name or alias that is a formula: Si of silicon, TiO2 of rutile."""
    formulas = (one for one in (name, *entry.aliases) if FORMULA.match(one))
    elements = {site.split()[0] for site in entry.crystal.sites} if entry.crystal else set()
    element = next(iter(elements)) if len(elements) == 1 else name
    return entry.formula or next(formulas, element)


def _of_lattice(phase: dict[str, Any], sentence: str) -> dict[str, Any]:
    """An element's crystal in the lattice that the sentence names, at its listed atomic volume."""
    entry = substances.substance(phase.get("crystal"))
    words = {word: made for word, made in table().lattices.items() if word in sentence.lower()}
    if not words or not entry or not entry.crystal or len(entry.crystal.sites) != 1:
        return phase
    wanted, listed = next(iter(words.values())), entry.crystal
    cells = {made.spacegroup: made for made in table().lattices.values()}
    if wanted.spacegroup == listed.spacegroup or listed.spacegroup not in cells:
        return phase
    own = cells[listed.spacegroup]
    a, c = listed.lattice[0], listed.lattice[-1]
    shape = HEXAGON if own.ratio else 1.0  # of the cell's base, of a squared
    volume = shape * a * a * c / own.atoms * wanted.atoms
    a = (volume / (HEXAGON * wanted.ratio if wanted.ratio else 1.0)) ** (1 / 3)
    lattice = [round(a, 3), *([round(wanted.ratio * a, 3)] if wanted.ratio else [])]
    sites = [f"{listed.sites[0].split()[0]} {wanted.site}"]
    made = {"spacegroup": wanted.spacegroup, "lattice": lattice, "sites": sites}
    return {**phase, "crystal": made}


def _in_voids(phase: dict[str, Any], sentence: str) -> dict[str, Any]:
    """Light atoms that a sentence puts into an element's crystal: hydrogen in iron."""
    source = (
        substances.crystal_of(Phase.model_validate(phase)) if phase["kind"] == "crystal" else None
    )
    if not source or len({site.split()[0] for site in source.sites}) != 1:
        return {}
    words = _words(phase["crystal"]) if isinstance(phase.get("crystal"), str) else phase["name"]
    symbols = [
        symbol
        for word, symbol in table().interstitials.items()
        if re.search(
            rf"\b{word}\b(?:\s+\w+)?\s+(?:in|through)\s+(?:\w+\s+)?(?:{words})\b|"
            rf"\b(?:{words})\s+with\s+(?:[\d.]+\s*(?:wt|at)?\.?\s*%\s*)?{word}\b",
            sentence,
            re.IGNORECASE,
        )
    ]
    return {"interstitials": [{"element": s, "count": 1} for s in symbols]} if symbols else {}


def _of_polymorph(phase: dict[str, Any], sentence: str) -> dict[str, Any]:
    """A crystal that is asked for where the sentence names another polymorph than is listed."""
    if phase["kind"] not in ("crystal", "particle") or not isinstance(phase.get("crystal"), str):
        return phase
    kinds = "|".join([*table().polymorphs, *table().systems_of_crystals])
    words = _words(phase["crystal"])
    match = re.search(
        rf"\b({kinds})[\s-]+(?:{words})\b|\b(?:{words})[\s-]+({kinds})\b", sentence, re.I
    )
    if not match:
        return phase
    word = (match[1] or match[2]).lower()
    source = substances.crystal_of(Phase.model_validate(phase))
    groups = table().systems_of_crystals.get(word, [])
    if source and source.spacegroup and groups and groups[0] <= source.spacegroup <= groups[-1]:
        return phase
    kept = {key: value for key, value in phase.items() if key != "crystal"}
    return {**kept, "name": slug(f"{word}-{phase['name']}")}


def _faced(phase: dict[str, Any], sentence: str) -> dict[str, Any]:
    """A crystal with the face written behind one of its names: Cu(111), rutile (1 1 0)."""
    if phase["kind"] != "crystal":
        return phase
    own = [a for a, name in substances.names().items() if slug(name) == phase["name"]]
    part = next((p for p in PARTS.split(sentence) if any(_stands(a, p) for a in own)), sentence)
    for word, count in table().sheets.items():
        if word in part.lower():
            phase = {**phase, "surface": [0, 0, 1], "sheets": count}
    for alias in own:
        match = re.search(rf"(?<![\w-]){re.escape(alias)}\s?\(([-\d\s]{{3,12}})\)", sentence)
        if match:
            return {**phase, "surface": plane(match[1])}
    return phase


def _said(part: str, sentence: str, words: set[str]) -> bool:
    return part in words if " " not in part else part in sentence.lower().replace("-", " ")


def _stands(alias: str, text: str) -> bool:
    """Whether a name stands in a text by itself; short ones as they are written."""
    return bool(re.search(alone(alias), text, case_of(alias)))


def case_of(alias: str) -> re.RegexFlag:
    """Short names count only as they are written."""
    return re.IGNORECASE if len(alias) > SHORT else re.NOFLAG


def _words(name: str) -> str:
    """A pattern for any name or alias of a listed substance."""
    aliases = [alias for alias, one in substances.names().items() if one == name]
    return "|".join(map(re.escape, aliases or [name]))


def alone(words: str) -> str:
    """A pattern for words that are no part of a longer one."""
    return rf"(?<![\w-]){re.escape(words)}(?![\w-])"


def _named(sentence: str) -> dict[str, int]:
    """Listed substances, and formulas that are not, with the place where the sentence names them;
    the longest names first."""
    places: dict[str, int] = {}
    left = sentence
    for match in GROUPED.finditer(left):
        if match[0] not in substances.names():
            places[match[0]] = match.start()
            left = left[: match.start()] + " " * len(match[0]) + left[match.end() :]
    for alias, name in sorted(substances.names().items(), key=lambda item: -len(item[0])):
        unit = r"(?<!\d\s)" if len(alias) == 1 else ""  # 300 K is not of potassium
        pattern = rf"(?<![\w-]){unit}{re.escape(alias)}(?![\w-]){COMPANY}"
        match = re.search(pattern, left, case_of(alias))
        if match:
            places.setdefault(name, match.start())
            left = left[: match.start()] + " " * len(match[0]) + left[match.end() :]
    for match in TOKEN.finditer(left):
        if _is_formula(match[0]):
            places.setdefault(match[0], match.start())
    return dict(sorted(places.items(), key=lambda item: item[1]))


def _kinds(places: dict[str, int], sentence: str) -> dict[str, str | None]:
    """The kind that the sentence gives to each name: by a word in its own part of it, else by one
    in a part without names, else by that of a substance of its like (molten NaCl and KCl)."""
    words_of = table().kinds
    starts = [0, *(match.end() for match in PARTS.finditer(sentence))]
    ends = [*starts[1:], len(sentence)]
    said = []
    for start, end in zip(starts, ends, strict=True):
        words = re.findall(r"[\w-]+", sentence[start:end].lower())
        said.append(next((kind for word, kind in words_of.items() if word in words), None))
    part = {name: bisect_right(starts, place) - 1 for name, place in places.items()}
    others = [
        _free(sentence[starts[n] : ends[n]]) for n in range(len(said)) if n not in part.values()
    ]
    free = next((kind for kind in others if kind in (*ALONE, "liquid")), None)
    kinds = {name: said[n] or (free if _may_be(name, free) else None) for name, n in part.items()}
    usual = {name: _phase(name, None)["kind"] for name in places}
    for name in places:
        like = [
            kinds[n]
            for n in places
            if usual[n] == usual[name]
            and kinds[n] not in (None, *ALONE)
            and not APART.search(
                sentence[min(places[n], places[name]) : max(places[n], places[name])]
            )
        ]
        said_of_like = next(iter(like), None)
        if not kinds[name] and _may_be(name, said_of_like):
            kinds[name] = said_of_like
    return kinds


def _free(part: str) -> str | None:
    """The kind said in a part without names, unless it is of a word that nothing here knows: urea
    crystal with water makes no crystal of the water."""
    words = re.findall(r"[\w-]+", part.lower())
    at = next((n for n, word in enumerate(words) if word in table().kinds), None)
    if at is None or (at and not any(begins(words[at - 1], one) for one in (*known_words(), "a"))):
        return None
    return table().kinds[words[at]]


def known_words() -> list[str]:
    """Words that the tables of sentences have, and beginnings of words."""
    of = table()
    lists = [*of.properties.values(), *of.procedures.values()]
    lists += [one for system in of.systems for one in system.words]
    named = [*of.kinds, *of.lattices, *of.sheets, *of.passed, *of.polymorphs]
    return [*named, *of.systems_of_crystals, *(word for words in lists for word in words)]


def begins(word: str, listed: str) -> bool:
    """Whether a word is a known one or made from it: by an ending, of long ones whatever it is."""
    return word.startswith(listed) and (
        len(listed) >= LONG or word.removeprefix(listed) in ("", "s", "es", "ed", "ing", "y")
    )


def _may_be(name: str, free: str | None) -> bool:
    """Whether a word of another part may be of this name: no liquid of a mineral."""
    entry = substances.substance(name)
    return free != "liquid" or not (entry and entry.crystal) or substances.dissolves(name)


def _ratios(places: dict[str, int], sentence: str) -> dict[str, float]:
    """Parts by moles of the names before (or else behind) a ratio like 3:7 by weight."""
    match, names = RATIO.search(sentence), list(places)
    if not match:
        return {}
    parts = [float(part) for part in match["parts"].split(":")]
    before = [name for name in names if places[name] < match.start()][-len(parts) :]
    behind = [name for name in names if places[name] > match.start()][: len(parts)]
    ends = [
        places[n] + len(a)
        for n in before
        for a, one in substances.names().items()
        if n == one and _stands(a, sentence)
    ]
    near = before and not re.search(r"\w", sentence[max(ends, default=0) : match.start()])
    chosen = before if len(before) == len(parts) and (near or len(behind) < len(parts)) else behind
    if len(chosen) != len(parts):
        return {}
    basis = (match["basis"] or "").strip(" ,(").lower().removeprefix("by").strip()[:1]
    by = {"v": "vol", "w": "wt"}.get(basis, "wt" if "mass" in (match["basis"] or "") else None)
    if not by:
        return dict(zip(chosen, parts, strict=True))
    if not all(map(substances.substance, chosen)):
        return {}
    mixed = [Ingredient(name=name) for name in chosen]
    return dict(zip(chosen, substances.by_moles(mixed, parts, [by] * len(parts)), strict=True))


def _dissolved(name: str, sentence: str) -> bool:
    """Whether a sentence puts a salt into a liquid, and no face or grain of it: NaCl in water."""
    into = rf"\b(?:{_words(name)})(?:\s*(?:,|\band\b)\s*\w+)*\s+(?:dissolved\s+)?in\b"
    return bool(
        substances.dissolves(name) and re.search(into, sentence) and not SOLID.search(sentence)
    )


def _phases(places: dict[str, int], sentence: str) -> list[dict[str, Any]]:
    """A phase a substance; a crystal, particle or molecule is the first named, salts go into the
    liquids or polymer named too, which are then one mixture, as melts are."""
    places = {n: at for n, at in places.items() if not _moving(n, places, sentence)}
    kinds, names, ratio = _kinds(places, sentence), list(places), _ratios(places, sentence)
    alone = {name: kind in ALONE and n for n, (name, kind) in enumerate(kinds.items())}
    made = [_phase(name, None if alone[name] else kinds[name]) for name in names]
    for name, phase in zip(names, made, strict=True):
        glass = phase["kind"] == "amorphous" and "formula" in phase["substances"][0]
        if name in ratio and (glass or phase["kind"] in ("liquid", "melt")):
            phase["substances"] = [{**phase["substances"][0], "ratio": ratio[name]}]
    if len(made) > 1 and (
        {p["kind"] for p in made} == {"melt"} or _alloyed(made, " + " in sentence or bool(ratio))
    ):
        parts = [part for phase in made for part in phase["substances"]]
        return [
            {**made[0], "name": made[0]["kind"].replace("amorphous", "glass"), "substances": parts}
        ]
    salts = [n for n, phase in enumerate(made) if _salt(phase, names[n], sentence)]
    solvents = [p for n, p in enumerate(made) if p["kind"] in SOLVENTS and n not in salts]
    if not solvents and any(_molar(names[n], sentence) for n in salts):
        solvents = [_phase("water", None)]  # what is given by molarity is dissolved
        names.insert(salts[0], "water")
        made.insert(salts[0], solvents[0])
        salts = [n + 1 for n in salts]
    others = "|".join(_words(n) for n, p in zip(names, made, strict=True) if p in solvents[1:])
    dissolved = others and re.search(rf"\bin (?:{others})(?![\w-])", sentence, re.IGNORECASE)
    mixed_up = len(ratio) > 1 or dissolved or MIXED.search(sentence)
    if not solvents or not (salts or mixed_up):
        return made
    into = solvents[0]
    mixed = [
        p
        for p in solvents[1:]
        if into["kind"] == p["kind"] == "liquid"
        and (salts or not ratio or "ratio" in p["substances"][0])
    ]
    parts = [part for phase in [into, *mixed] for part in phase.get("substances", [])]
    for name in (names[n] for n in salts):
        molar = _molar(name, sentence)
        polymer = into["kind"] == "polymer"
        amount = _share(into, molar) if polymer else {"molarity": molar or 1.0}
        parts.append({"name": name, **amount})
    into["substances"] = parts
    return [p for n, p in enumerate(made) if n not in salts and p not in mixed]


def _share(polymer: dict[str, Any], molar: float | None) -> dict[str, float]:
    """Salt per repeat unit: of the molarity said, in the room of the polymer alone, or 0.1."""
    phase = Phase.model_validate(polymer)
    unit, density = substances.repeat_of(phase), substances.density_of(phase)
    if not molar or not unit or not density:
        return {"ratio": 0.1}
    grams = substances.mass(substances.composition(unit)[0])
    return {"ratio": round(molar * grams / (1000 * density), 3)}


def _moving(name: str, places: dict[str, int], sentence: str) -> bool:
    """Whether an element is only what moves, or is missing, in a compound that is named too."""
    symbol = _formula(name, entry) if (entry := substances.substance(name)) else ""
    if not any(symbol in re.findall(r"[A-Z][a-z]?", other) for other in places if other != name):
        return False
    words = _words(name)
    moves = r"(?:diffus|migrat|mobil|transport|conduct|vacanc|interstitial|ion\b|ions\b)\w*"
    said = rf"\b{moves} of (?:{words})\b|\b(?:{words})\+?[\s-]+{moves}"
    return bool(re.search(said, sentence, re.IGNORECASE))


def _alloyed(made: list[dict[str, Any]], joined: bool) -> bool:
    """Whether all are of one glass: elements as Zr-Cu is written, oxides with their parts."""
    return joined and all(
        p["kind"] == "amorphous" and "formula" in p["substances"][0] for p in made
    )


def _salt(phase: dict[str, Any], name: str, sentence: str) -> bool:
    if _molar(name, sentence) is not None:
        return bool(substances.smiles_of(Ingredient(name=name)))
    return _ionic(name) and (phase["kind"] == "liquid" or _dissolved(name, sentence))


def _ionic(name: str) -> bool:
    entry = substances.substance(name)
    return entry is not None and "." in (entry.smiles or "")


def _molar(name: str, sentence: str) -> float | None:
    """mol/L written before or behind a name: 1.2 M LiPF6, NaCl 3 mol/L, 5 wt% NaCl; of what is by
    weight or molal, in water. The one amount of a sentence is of its one salt, wherever it stands.
    """
    names = _words(name)
    amount = rf"({NUMBER})\s*(mM|M|mol/[lL]|molal|mol/kg|(?:wt\.?[\s-]*)?%)"
    match = re.search(
        rf"{amount}\s+(?:(?:of|aqueous)\s+)?(?:{names})\b|\b(?:{names})\s+{amount}", sentence
    )
    if not match:
        salts = [n for n in _named(sentence) if _ionic(n)]
        bare = re.findall(rf"(?<![\w.])({NUMBER})\s*(?:M|mol/[lL])(?![\w/])", sentence)
        return float(bare[0]) if salts == [name] and len(bare) == 1 else None
    value, unit = float(match[1] or match[3]), match[2] or match[4]
    if unit[0] == "M" or (unit[:4] == "mol/" and unit[-1] != "g"):
        return value
    if unit == "mM":
        return value / 1000
    entry = substances.substance(name)
    if not entry or not entry.smiles or ("wt" not in unit and "%" in unit):
        return None
    grams = substances.mass(substances.composition(entry.smiles)[0])
    # g/cm3 of the solution as density_of has it: that of water and half of the solute's mass
    share = value / 100 if "%" in unit else value * grams / (1000 + value * grams)
    return round(1000 * WATER * share / (1 - share / 2) / grams, 3)


def _phase(name: str, kind: str | None) -> dict[str, Any]:
    """A phase of one substance; of the kind said, as far as it can be. One that is not listed is a
    crystal or a glass, and asked for."""
    entry = substances.substance(name)
    if entry is None:
        glass = {"kind": "amorphous", "substances": [{"name": name, "formula": name}]}
        if kind in ("amorphous", "melt"):
            return {"name": slug(name), **glass, "kind": kind}
        return {"name": slug(name), "kind": "particle" if kind == "particle" else "crystal"}
    own = "polymer" if entry.repeat else "crystal" if entry.crystal else "liquid"
    own = "amorphous" if entry.formula else own
    element = bool(entry.crystal and len({s.split()[0] for s in entry.crystal.sites}) == 1)
    possible = {
        "melt": bool(entry.smiles or FORMULA.match(_formula(name, entry))) or element,
        "liquid": bool(entry.smiles),
        "amorphous": bool(entry.smiles or entry.density or FORMULA.match(_formula(name, entry)))
        or element,
        "crystal": True,
        "particle": bool(entry.crystal),
        "molecule": bool(entry.smiles) and "." not in (entry.smiles or "."),
    }
    if kind == "liquid" and not possible["liquid"] and possible["melt"]:
        kind = "melt"  # liquid aluminium
    kind = kind if kind and possible.get(kind) else own
    phase: dict[str, Any] = {"name": slug(name), "kind": kind}
    if kind == "polymer":
        return phase | {"repeat": name}
    if kind in ("crystal", "particle"):  # one that is not listed is asked for
        return phase | ({"crystal": name} if entry.crystal else {})
    part = {"name": name} if entry.smiles else {"name": name, "formula": _formula(name, entry)}
    return phase | {"substances": [part]}
