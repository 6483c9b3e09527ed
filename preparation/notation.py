"""Answers as people type them on one line: each key's notation, read strictly.

Nothing typed is ever interpreted as anything but these notations; what does not fit one is refused
with a line that shows how it should look.
"""

import re
from collections.abc import Callable
from typing import Any, get_args

from campaign.errors import UserError
from campaign.material import Defect, Ingredient, PhaseKind
from preparation import substances

KINDS = get_args(PhaseKind)
DEFECTS = get_args(Defect)
AS_ATOMS = " as atoms"
NAME = re.compile(r"[^a-z0-9_-]+")
AMOUNT = re.compile(r"^([0-9.]+)\s*(mol/l|mol/L|M|vol|wt)?$")
SHARES = ("vol", "wt")  # parts of a mixture by what, besides moles
NONE = ("none", "no", "-")


class NotationError(UserError):
    """A typed answer that fits no notation."""


def read(key: str, text: str) -> Any:
    """The value that a line stands for under the key; NotationError shows the notation."""
    reader = READERS[key.rpartition(".")[2]]
    try:
        return reader(text.strip())
    except ValueError as error:
        raise NotationError(f"{key}: {text.strip()[:60]!r}: {error}") from None


def slug(text: str) -> str:
    """A name made of a label: lower case, words joined by a hyphen."""
    return NAME.sub("-", text.strip().lower()).strip("-_")[:60]


def phases(text: str) -> list[dict[str, Any]]:
    """`graphite: crystal; electrolyte: liquid`."""
    entries = []
    for part in filter(None, map(str.strip, text.split(";"))):
        label, _, kind = map(str.strip, part.partition(":"))
        if kind not in KINDS or not slug(label):
            raise ValueError(f"write NAME: KIND; NAME: KIND with kinds {', '.join(KINDS)}")
        entries.append({"name": slug(label), "kind": kind})
    if not entries:
        raise ValueError("name at least one, like water: liquid")
    return entries


def layers(text: str) -> dict[str, Any]:
    """`a / b / c` from the bottom up, pairs `a / b, b / c`, or `none`."""
    if text.lower() in NONE:
        return {"layers": [], "interfaces": []}
    stacks = [[slug(n) for n in part.split("/")] for part in text.split(",")]
    if any(len(stack) < 2 or not all(stack) for stack in stacks):
        raise ValueError("write a / b / c, or a / b, b / c, or none")
    if len(stacks) == 1:
        return {"layers": stacks[0]}
    if any(len(stack) != 2 for stack in stacks):
        raise ValueError("write either one stack a / b / c or pairs a / b, b / c")
    return {"interfaces": stacks}


def mixture(text: str) -> list[dict[str, Any]]:
    """`EC 1, DMC 1, LiPF6 1.0 mol/L, NAME=SMILES 2, As2S3 as atoms`; `EC 3 wt, EMC 7 wt` by weight,
    `EC 1 vol, DMC 1 vol` by the volumes of the pure liquids."""
    components, units = [], []
    for part in filter(None, map(str.strip, text.split(","))):
        words = part.split()
        amount = None
        for size in (2, 1):
            if len(words) > size and (amount := AMOUNT.match(" ".join(words[-size:]))):
                words = words[:-size]
                break
        text_left = " ".join(words)
        label, _, smiles = text_left.removesuffix(AS_ATOMS).partition("=")
        entry: dict[str, Any] = {"name": label.strip()}
        if smiles:
            entry["smiles"] = smiles.strip()
        elif text_left.endswith(AS_ATOMS):
            entry["formula"] = label.strip()
        unit = amount[2] if amount else None
        units.append(unit)
        key = "molarity" if unit and unit not in SHARES else "ratio"
        components.append({**entry, key: float(amount[1]) if amount else 1.0})
    if not components:
        raise ValueError("write NAME AMOUNT, NAME AMOUNT mol/L, NAME=SMILES, or SiO2 as atoms")
    parts = [n for n, part in enumerate(components) if "ratio" in part]
    if any(units[n] for n in parts):
        if len({units[n] for n in parts}) > 1:
            raise ValueError("give all parts in the same measure: moles, vol or wt")
        mixed = [
            Ingredient(name=components[n]["name"], smiles=components[n].get("smiles"))
            for n in parts
        ]
        ratios = substances.by_moles(
            mixed, [components[n]["ratio"] for n in parts], [units[n] for n in parts]
        )
        for n, ratio in zip(parts, ratios, strict=True):
            components[n]["ratio"] = ratio
    return components


def crystal(text: str) -> Any:
    """A known name, a file, a Materials Project id, or `group; lattice; sites`."""
    if text.startswith("files/"):
        return {"file": text}
    if re.match(r"^mp-\d+$", text):
        return {"materials_project": text}
    if ";" not in text:
        if not text:
            raise ValueError("name a crystal")
        return text
    parts = [part.strip() for part in text.split(";")]
    if len(parts) != 3:
        raise ValueError("write space group; lattice; sites: 225; 5.64; Na 0 0 0, Cl 0.5 0.5 0.5")
    return {
        "spacegroup": int(parts[0]),
        "lattice": [float(word) for word in parts[1].replace(",", " ").split()],
        "sites": [" ".join(site.split()) for site in parts[2].split(",")],
    }


def plane(text: str) -> list[int]:
    """`1 0 -1 0`, `(10-10)`, `none`."""
    if text.lower() in NONE:
        return []
    inner = text.strip("()[]{} ").replace(",", " ")
    words = inner.split() if " " in inner else re.findall(r"-?\d", inner)
    if not words or re.sub(r"[-\d\s]", "", inner):
        raise ValueError("write Miller indices like 1 1 0 or 1 0 -1 0, or none")
    return [int(word) for word in words]


def number(text: str) -> float:
    """A number without its unit."""
    match = re.match(r"^([-+]?[0-9.]+(?:[eE][-+]?\d+)?)\s*(?:K|GPa|g/cm3|Å|A)?$", text)
    if not match:
        raise ValueError("write a number")
    return float(match[1])


KELVIN = re.compile(
    r"^([-+]?[0-9.]+(?:[eE][-+]?\d+)?)\s*(K|°\s*C|C|degC|degrees C|kelvin|celsius)?$", re.IGNORECASE
)


def kelvin(text: str) -> int:
    """`300`, `300 K`, `25 C`, `25 °C`: whole kelvin."""
    match = KELVIN.match(text)
    if not match:
        raise ValueError("write a number, in K or with C after it")
    unit = (match[2] or "K").lower()
    value = float(match[1])
    if unit in ("k", "kelvin"):
        return whole(match[1])
    return round(value + 273.15)


def substitutions(text: str) -> list[dict[str, Any]]:
    """`Cu by Ag 0.5, O by nothing 0.02`, final fractions; a whole number with `atoms` counts."""
    rules: list[dict[str, Any]] = []
    if text.lower() in NONE:
        return rules
    for part in filter(None, map(str.strip, text.split(","))):
        match = re.match(r"^([A-Z][a-z]?) (?:by|->) (\w+) ([0-9.]+)( ?%| atoms?)?$", part)
        if not match:
            raise ValueError("write Cu by Ag 0.5, or O by nothing 2 %, or Mg by Ca 1 atom")
        rule: dict[str, Any] = {"element": match[1]}
        if match[2] not in ("nothing", "vacancy"):
            rule["by"] = match[2]
        unit = (match[4] or "").strip()
        if unit.startswith("atom"):
            rule["count"] = int(float(match[3]))
        else:
            rule["fraction"] = float(match[3]) / (100 if unit == "%" else 1)
        rules.append(rule)
    return rules


def interstitials(text: str) -> list[dict[str, Any]]:
    """`C 1 atom, H 2 atoms`."""
    atoms: list[dict[str, Any]] = []
    for part in [] if text.lower() in NONE else filter(None, map(str.strip, text.split(","))):
        match = re.match(r"^([A-Z][a-z]?)(?: ([0-9]{1,3})(?: atoms?)?)?$", part)
        if not match:
            raise ValueError("write C 1 atom, or H 2 atoms, or none")
        atoms.append({"element": match[1], "count": int(match[2] or 1)})
    return atoms


def defects(text: str) -> list[str]:
    """`vacancy, stacking faults`, in singular or plural."""
    named = []
    for part in filter(None, map(str.strip, text.lower().split(","))):
        plain = part.replace(" ", "-").replace("boundaries", "boundary")
        plain = plain.replace("ancies", "ancy")
        plain = plain.removesuffix("s") if plain.removesuffix("s") in DEFECTS else plain
        if plain not in DEFECTS:
            raise ValueError(f"write one or more of {', '.join(DEFECTS)}")
        named.append(plain)
    return named


def truth(text: str) -> bool:
    """`yes`, `no`."""
    if text.lower() not in ("yes", "no", "true", "false"):
        raise ValueError("write yes or no")
    return text.lower() in ("yes", "true")


def remark(text: str) -> str | None:
    """Words as they are; `none` for none."""
    return None if text.lower() in NONE else text


def whole(text: str) -> int:
    """A whole number without its unit."""
    value = number(text)
    if value != int(value):
        raise ValueError("write a whole number")
    return int(value)


def words(text: str) -> list[str]:
    """`density, diffusion`."""
    return [part.strip() for part in text.split(",") if part.strip()]


READERS: dict[str, Callable[[str], Any]] = {
    "phases": phases,
    "layers": layers,
    "interfaces": layers,
    "substances": mixture,
    "crystal": crystal,
    "surface": plane,
    "density": number,
    "diameter": number,
    "pressure": number,
    "temperature": kelvin,
    "substitutions": substitutions,
    "interstitials": interstitials,
    "adsorbates": mixture,
    "defects": defects,
    "isolated": truth,
    "sheets": whole,
    "passivated": truth,
    "units": whole,
    "properties": words,
    "repeat": str,
    "file": str,
    "objective": str,
    "procedure": remark,
    "reference": lambda text: text.lower(),
    "atoms": whole,
    "name": slug,
    "kind": str,
}


TEXTS = ("objective", "repeat", "file", "procedure", "reference", "name", "kind")


def as_typed(answers: dict[Any, Any]) -> dict[Any, Any]:
    """An answers file with what it says as the form takes it, read so: `surface: 1 1 1`,
    `temperature: 300 K`, `crystal: 225; 5.64; Na 0 0 0, Cl 0.5 0.5 0.5`.

    Raises
    ------
    NotationError
        For text that fits no notation, under its key.
    """
    record = _read_texts(answers, "")
    entries = record.get("phases")
    if isinstance(entries, list):
        record["phases"] = [
            _read_texts(phase, f"phases.{number}.") if isinstance(phase, dict) else phase
            for number, phase in enumerate(entries)
        ]
    return record


def _read_texts(entry: dict[Any, Any], at: str) -> dict[Any, Any]:
    record = {**entry}
    for key, text in entry.items():
        if isinstance(text, str) and key in READERS and key not in TEXTS:
            del record[key]
            taken = read(f"{at}{key}", text)
            record = {**record, key: taken} if at else put(record, key, taken)
    return record


def put(record: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """`known` with a value under a key; `phases.NAME.KEY` addresses a phase by its name."""
    changed = {**record}
    if key in ("layers", "interfaces"):
        return {k: v for k, v in changed.items() if k not in ("layers", "interfaces")} | value
    if key == "phases":
        before = {phase["name"]: phase for phase in record.get("phases", [])}
        return {**changed, "phases": [{**before.get(p["name"], {}), **p} for p in value]}
    if not key.startswith("phases."):
        return {**changed, key: value}
    _, name, field = key.split(".", 2)
    if name not in {phase["name"] for phase in record.get("phases", [])}:
        raise NotationError(f"{key}: no phase {name}")
    changed["phases"] = [
        {**phase, field: value} if phase["name"] == name else phase for phase in record["phases"]
    ]
    return changed


def shown(record: dict[str, Any], key: str) -> str | None:
    """The value under a key as a person would type it; None where there is no such phase or the
    value has a form of its own."""
    value: Any = record
    for part in key.split("."):
        if isinstance(value, list):
            value = next((phase for phase in value if phase["name"] == part), None)
        elif isinstance(value, dict):
            value = value.get(part, [] if part == "substitutions" else None)
    field = key.rpartition(".")[2]
    if field in ("substances", "adsorbates") and isinstance(value, list):
        return ", ".join(map(_amount, value)) or None
    if field == "interstitials" and isinstance(value, list):
        return ", ".join(f"{one['element']} {one.get('count', 1)} atoms" for one in value) or None
    if isinstance(value, list):
        return {"layers": " / ", "surface": " "}.get(field, ", ").join(map(str, value)) or "none"
    return value if isinstance(value, str) else None


def _amount(part: dict[str, Any]) -> str:
    """A component as `mixture` reads it."""
    name = part["name"] + (f"={part['smiles']}" if part.get("smiles") else "")
    name += AS_ATOMS if part.get("formula") else ""
    if part.get("molarity"):
        return f"{name} {part['molarity']:g} mol/L"
    return f"{name} {part.get('ratio') or 1:g}"


def correction(line: str) -> tuple[str, str] | None:
    """Key and text of a line `KEY: VALUE`; None where it is none."""
    key, colon, text = line.partition(":")
    key = key.strip()
    is_key = key.startswith("phases.") or key in READERS
    return (key, text) if colon and is_key and key.rpartition(".")[2] in READERS else None


def take(record: dict[str, Any], line: str) -> dict[str, Any]:
    """A correction `KEY: VALUE` laid over what is known."""
    given = correction(line)
    if given is None:
        raise NotationError(
            "write KEY: VALUE with a key of the summary, like temperature: 350, or yes; ? shows"
            " what else can be said"
        )
    return put(record, given[0], read(*given))


# what may be said beside what is asked: key, how it is written, kinds of phases it is for
FURTHER = (
    ("substitutions", "Ni by Co 0.2, O by nothing 2 %, Mg by Ca 1 atom", ("crystal", "particle")),
    ("interstitials", "C 1 atom, H 2 atoms (in the largest voids)", ("crystal",)),
    ("defects", ", ".join(DEFECTS), ("crystal",)),
    ("adsorbates", "water, CO=[C-]#[O+] (molecules on the face)", ("crystal",)),
    ("passivated", "yes (broken bonds of the face ended by H, or by H and OH)", ("crystal",)),
    ("sheets", "1 (a monolayer or a few in vacuum)", ("crystal",)),
    (
        "substances",
        "EC 1, LiPF6 1 mol/L, X=CCO 2, SiO2 as atoms; or EC 1 vol, DMC 1 vol; or wt",
        ("amorphous", "liquid", "melt"),
    ),
    ("substances", "LiTFSI 0.05 (by repeat unit)", ("polymer",)),
    ("density", "1.3 (g/cm3)", ("amorphous", "liquid", "melt", "polymer")),
    ("units", "20 (repeat units a chain)", ("polymer",)),
)


def further(record: dict[str, Any]) -> list[str]:
    """Lines that can be typed at any prompt, for the phases that are known."""
    lines = [
        f"phases.{phase['name']}.{key}: {how}"
        for phase in record.get("phases", [])
        for key, how, kinds in FURTHER
        if phase["kind"] in kinds
    ]
    return [
        *lines,
        "layers: a / b / c",
        "atoms: 80 (about, of a structure)",
        "procedure: annealed at 800 K (anneal, melt-quench, strain, ... draft a protocol)",
        "properties: density, elastic constants, diffusion, viscosity; or: usual properties",
        "isolated: no (without isolated atoms and dimers)",
    ]
