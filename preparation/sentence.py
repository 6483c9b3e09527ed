"""What a sentence says without a model: substances, kinds, temperature, by a small visible table.

The table is config/sentences.yaml, the substances are those of config/substances.yaml. The result
is a proposal that a person takes or not; nothing is inferred that is not in one of the two tables.
"""

import re
from functools import cache
from typing import Any

from pydantic import Field

from atomistics.contract import Name, Strict
from atomistics.yaml_files import read_yaml
from campaign import TOOLKIT
from campaign.files import parse
from campaign.material import Phase, PhaseKind
from preparation import substances
from preparation.notation import plane, slug

TABLE = TOOLKIT / "config" / "sentences.yaml"
TEMPERATURE = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)\s*(K|°\s*C|C)\b")
FORMULA = re.compile(r"^(?:[A-Z][a-z]?[0-9]{0,3})+$")
ON, UNDER = re.compile(r"\b(?:on|over)\b"), re.compile(r"\bunder\b")
HEXAGON = 3**0.5 / 2  # area of a rhombus of 120 degrees and edge 1
DOPED = re.compile(r"\bdoped (?:with|by)\b", re.IGNORECASE)
ALONE, SOLVENTS = ("particle", "molecule", "crystal"), ("liquid", "polymer")
SHORT = 3  # letters; shorter names count only as they are written (Si, not si)


class System(Strict):
    """Words that name a whole system, and what it then consists of."""

    words: list[list[str]]
    phases: list[Phase]
    layers: list[Name] = Field(default=[])
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
    sheets: list[str] = Field(description="words that ask for one sheet of a layered crystal")
    properties: dict[str, list[str]] = Field(description="measured kind: words that ask for it")
    procedures: dict[str, list[str]] = Field(description="protocol: words that ask for it")
    systems: list[System]


@cache
def _table() -> Sentences:
    return parse(Sentences, read_yaml(TABLE), str(TABLE))


def meanings(text: str) -> set[str]:
    """Kinds of properties and names of protocols whose words stand in a text."""
    plain, table = text.lower(), _table()
    named = {**table.properties, **table.procedures}
    return {kind for kind, words in named.items() if any(word in plain for word in words)}


def kelvin_in(text: str) -> int | None:
    """The highest temperature that a text names (K, C), in K; None where it names none."""
    kelvins = [
        float(match[1]) + (0 if match[2] == "K" else 273.15) for match in TEMPERATURE.finditer(text)
    ]
    return round(max(kelvins)) if kelvins else None


def recognised(sentence: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Answers proposed from a sentence (empty where nothing is known), and questions by key."""
    words = set(re.findall(r"[\w-]+", sentence.lower()))
    record: dict[str, Any] = {}
    questions: dict[str, str] = {}
    for system in _table().systems:
        if any(all(_said(part, sentence, words) for part in one) for one in system.words):
            phases = [p.model_dump(mode="json", exclude_unset=True) for p in system.phases]
            record, questions = {"phases": phases}, dict(system.ask)
            if system.procedure:
                record["procedure"] = system.procedure
            if system.layers:
                record["layers"] = system.layers
            break
    else:
        kind = next((k for word, k in _table().kinds.items() if word in words), None)
        host, _, dopant = DOPED.sub("\0", sentence, count=1).partition("\0")
        if phases := _phases(_named(host), kind, host):
            record["phases"] = [_faced(_of_lattice(p, sentence), sentence) for p in phases]
            _meeting(record, sentence)
            if dopant and (crystals := [p["name"] for p in phases if p["kind"] == "crystal"]):
                key = f"phases.{crystals[0]}.substitutions"
                questions[key] = (
                    f"How much of which atoms is replaced by {dopant.split()[0]}? Like Ni by Li"
                    " 0.02 (a final fraction), or Ni by Li 1 atom"
                )
    if record and (kelvin := kelvin_in(sentence)):
        record["temperature"] = kelvin
    elif record and "room temperature" in sentence.lower():
        record["temperature"] = 300
    return record, questions


def _meeting(record: dict[str, Any], sentence: str) -> None:
    """A on B, A over B, B under A: layers from the bottom up; a molecule without a density of its
    own on a crystal is an adsorbate of its face."""
    phases, on = record["phases"], ON.search(sentence)
    if len(phases) != 2 or not (on or UNDER.search(sentence)):
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
    return next((one for one in (name, *entry.aliases) if FORMULA.match(one)), name)


def _of_lattice(phase: dict[str, Any], sentence: str) -> dict[str, Any]:
    """An element's crystal in the lattice that the sentence names, at its listed atomic volume."""
    entry = substances.substance(phase.get("crystal"))
    words = {word: made for word, made in _table().lattices.items() if word in sentence.lower()}
    if not words or not entry or not entry.crystal or len(entry.crystal.sites) != 1:
        return phase
    wanted, listed = next(iter(words.values())), entry.crystal
    cells = {made.spacegroup: made for made in _table().lattices.values()}
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


def _faced(phase: dict[str, Any], sentence: str) -> dict[str, Any]:
    """A crystal with the face written behind one of its names: Cu(111), rutile (1 1 0)."""
    if phase["kind"] != "crystal":
        return phase
    if any(word in sentence.lower() for word in _table().sheets):
        phase = {**phase, "surface": [0, 0, 1], "sheets": 1}
    own = [a for a, name in substances.names().items() if slug(name) == phase["name"]]
    for alias in own:
        match = re.search(rf"(?<![\w-]){re.escape(alias)}\s?\(([-\d\s]{{3,12}})\)", sentence)
        if match:
            return {**phase, "surface": plane(match[1])}
    return phase


def _said(part: str, sentence: str, words: set[str]) -> bool:
    return part in words if " " not in part else part in sentence.lower()


def _named(sentence: str) -> list[str]:
    """Listed substances in the order in which the sentence names them, the longest names first."""
    places: dict[str, int] = {}
    left = sentence
    for alias, name in sorted(substances.names().items(), key=lambda item: -len(item[0])):
        flags = re.IGNORECASE if len(alias) > SHORT else 0
        unit = r"(?<!\d\s)" if len(alias) == 1 else ""  # 300 K is not of potassium
        match = re.search(rf"(?<![\w-]){unit}{re.escape(alias)}(?![\w-])", left, flags)
        if match:
            places.setdefault(name, match.start())
            left = left[: match.start()] + " " * len(match[0]) + left[match.end() :]
    return sorted(places, key=places.__getitem__)


def _phases(names: list[str], kind: str | None, sentence: str) -> list[dict[str, Any]]:
    """A phase a substance; a crystal, particle or molecule is the first named, salts go into the
    liquids or polymer named too, which are then one mixture, as melts are."""
    made = [_phase(name, None if n and kind in ALONE else kind) for n, name in enumerate(names)]
    if len(made) > 1 and {phase["kind"] for phase in made} == {"melt"}:
        parts = [part for phase in made for part in phase["substances"]]
        return [{**made[0], "name": "melt", "substances": parts}]
    salts = [n for n, phase in enumerate(made) if _salt(phase, names[n], sentence)]
    solvents = [p for n, p in enumerate(made) if p["kind"] in SOLVENTS and n not in salts]
    if not salts or not solvents:
        return made
    into = solvents[0]
    mixed = [p for p in solvents[1:] if into["kind"] == p["kind"] == "liquid"]
    parts = [part for phase in [into, *mixed] for part in phase.get("substances", [])]
    for name in (names[n] for n in salts):
        share = {"ratio": 0.1}  # of a repeat unit
        amount = share if into["kind"] == "polymer" else {"molarity": _molar(name, sentence) or 1.0}
        parts.append({"name": name, **amount})
    into["substances"] = parts
    return [p for n, p in enumerate(made) if n not in salts and p not in mixed]


def _salt(phase: dict[str, Any], name: str, sentence: str) -> bool:
    entry = substances.substance(name)
    ions = entry is not None and "." in (entry.smiles or "")
    return ions and (phase["kind"] == "liquid" or _molar(name, sentence) is not None)


def _molar(name: str, sentence: str) -> float | None:
    """mol/L written before or behind a name: 1.2 M LiPF6, NaCl 3 mol/L."""
    aliases = [alias for alias, one in substances.names().items() if one == name]
    names = "|".join(map(re.escape, aliases))
    amount = r"([0-9]+(?:\.[0-9]+)?)\s*(?:M|mol/[lL])"
    amount_of = re.search(rf"{amount}\s+(?:{names})\b|\b(?:{names})\s+{amount}\b", sentence)
    return float(amount_of[1] or amount_of[2]) if amount_of else None


def _phase(name: str, kind: str | None) -> dict[str, Any]:
    """A phase of one listed substance; of the kind said, as far as it can be."""
    entry = substances.substance(name)
    assert entry is not None  # `_named` gives listed names only
    own = "polymer" if entry.repeat else "crystal" if entry.crystal else "liquid"
    possible = {
        "melt": bool(entry.smiles),
        "liquid": bool(entry.smiles),
        "amorphous": bool(entry.smiles or entry.density),
        "crystal": True,
        "particle": bool(entry.crystal),
        "molecule": bool(entry.smiles) and "." not in (entry.smiles or "."),
    }
    kind = kind if kind and possible.get(kind) else own
    phase: dict[str, Any] = {"name": slug(name), "kind": kind}
    if kind == "polymer":
        return phase | {"repeat": name}
    if kind in ("crystal", "particle"):  # one that is not listed is asked for
        return phase | ({"crystal": name} if entry.crystal else {})
    part = {"name": name} if entry.smiles else {"name": name, "formula": _formula(name, entry)}
    return phase | {"substances": [part]}
