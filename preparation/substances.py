"""Substances by name: config/substances.yaml, and what their SMILES and formulas amount to."""

import difflib
import re
from collections import Counter
from functools import cache
from math import gcd

from pydantic import Field

from atomistics.contract import Strict
from atomistics.formulas import atoms_of_formula, composition, mass
from atomistics.yaml_files import read_yaml
from campaign import TOOLKIT
from campaign.errors import UserError
from campaign.files import parse
from campaign.material import CrystalSource, Ingredient, Phase

LIST = TOOLKIT / "config" / "substances.yaml"
IONS = TOOLKIT / "config" / "ions.yaml"
HEAVY = re.compile(r"^(?:[DT]2O|HDO|HTO)$|-d[0-9]+$|deuter|triti|heavy water")
HEAVY_WORDS = re.compile(
    r"\b(?:[DT]2O|HDO|HTO|heavy water|deuterated \w+|\w+-d[0-9]+)\b", re.IGNORECASE
)
SEVERAL_CHARGES = ("Cu", "Co", "Mn")  # a name without a numeral leaves their charge open
AVOGADRO = 0.602214076  # molecules per nm^3 at 1 mol per 1e-24 L; also g/cm3 to u/Å^3


class ListedSubstance(Strict):
    """What is known of a named substance."""

    aliases: list[str] = Field(default=[])
    smiles: str | None = None
    repeat: str | None = None
    formula: str | None = Field(default=None, description="of a glass packed as single atoms")
    density: float | None = Field(default=None, description="g/cm3; glass where there is a crystal")
    melt_density: float | None = Field(default=None, description="g/cm3 above the melting point")
    melting: int | None = Field(default=None, description="K")
    crystal: CrystalSource | None = None


class Anion(Strict):
    """An anion of salts, and what stands behind a metal's name in words."""

    smiles: str
    name: str | None = None


class Ions(Strict):
    """config/ions.yaml."""

    cations: dict[str, str]
    anions: dict[str, Anion]
    soluble: dict[str, list[str]]


@cache
def ions() -> Ions:
    """Ions whose salts are known by their formulas."""
    return parse(Ions, read_yaml(IONS), str(IONS))


@cache
def _salt_parts(formula: str) -> tuple[str, int, str, int] | None:
    """Cation, how many, anion, how many, of a neutral formula: K 1 OH 1; None for any other."""
    table = ions()
    one, other = (
        "|".join(sorted(of, key=len, reverse=True)) for of in (table.cations, table.anions)
    )
    written = rf"\(?(?P<one>{one})\)?(?P<ones>[2-4]?)\(?(?P<other>{other})\)?(?P<others>[2-4]?)"
    match = re.fullmatch(written, formula)
    if not match:
        return None
    number, others = int(match["ones"] or 1), int(match["others"] or 1)
    charge = number * composition(table.cations[match["one"]])[1]
    charge += others * composition(table.anions[match["other"]].smiles)[1]
    return None if charge else (match["one"], number, match["other"], others)


def salt(formula: str) -> str | None:
    """SMILES of a salt by its formula, of the ions of config/ions.yaml; None for any other."""
    if (parts := _salt_parts(formula)) is None:
        return None
    one, ones, other, others = parts
    return ".".join([ions().cations[one]] * ones + [ions().anions[other].smiles] * others)


def salt_named(cation: str, anion: str) -> str | None:
    """Formula of a salt by its cation and its anion's name (K, hydroxide); None for others."""
    table = ions()
    symbol = next((s for s, one in table.anions.items() if one.name == anion), None)
    if symbol is None or cation not in table.cations or cation in SEVERAL_CHARGES:
        return None
    charge = composition(table.cations[cation])[1]
    other = -composition(table.anions[symbol].smiles)[1]
    ones, others = other // gcd(charge, other), charge // gcd(charge, other)
    group = f"({symbol})" if others > 1 and len(re.findall("[A-Z]", symbol)) > 1 else symbol
    return f"{cation}{ones if ones > 1 else ''}{group}{others if others > 1 else ''}"


def dissolves(formula: str) -> bool:
    """Whether a salt is one of those that dissolve well in water, by config/ions.yaml."""
    parts = _salt_parts(formula)
    return parts is not None and parts[0] not in ions().soluble.get(parts[2], [parts[0]])


@cache
def _table() -> dict[str, ListedSubstance]:
    data = read_yaml(LIST)
    if not isinstance(data, dict):
        raise UserError(f"{LIST}: must be a mapping of substances")
    entries = {
        name: parse(ListedSubstance, entry, f"{LIST}: {name}") for name, entry in data.items()
    }
    for name, entry in entries.items():
        if not entry.smiles and (smiles := salt(name)):
            entries[name] = entry.model_copy(update={"smiles": smiles})
    named = {_key(alias): one for one in entries.values() for alias in one.aliases}
    return named | {_key(name): one for name, one in entries.items()}


def _key(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name).strip().lower()


def substance(name: str | None) -> ListedSubstance | None:
    """The entry of a name or alias, whatever its case, or of a salt's formula; None for others."""
    entry = _table().get(_key(name)) if name else None
    smiles = salt(name) if name and entry is None else None
    return ListedSubstance(smiles=smiles) if smiles else entry


def smiles_of(ingredient: Ingredient) -> str | None:
    """The SMILES given or listed; None for single atoms and for what nobody knows."""
    if ingredient.smiles or ingredient.formula:
        return ingredient.smiles
    entry = substance(ingredient.name)
    return entry.smiles if entry else None


def crystal_of(phase: Phase) -> CrystalSource | None:
    """The lattice given, or that of the name given, or that of the phase's own name."""
    if isinstance(phase.crystal, CrystalSource):
        return phase.crystal
    entry = substance(phase.crystal or phase.name)
    return entry.crystal if entry else None


def repeat_of(phase: Phase) -> str | None:
    """SMILES of a polymer's repeat unit with its ends as [*]."""
    entry = substance(phase.repeat or phase.name)
    text = entry.repeat if entry else phase.repeat
    return text.replace("[*]", "*").replace("*", "[*]") if text and "*" in text else None


def content(ingredient: Ingredient) -> tuple[Counter[str], int]:
    """Atoms by element and charge of one molecule or formula unit; UserError if unknown."""
    if ingredient.formula:
        return atoms_of_formula(ingredient.formula), 0
    smiles = smiles_of(ingredient)
    if smiles is None:
        if HEAVY.search(ingredient.name):
            raise UserError(
                f"{ingredient.name}: isotopes are not kept apart here; write it with H (water), and"
                " set the mass in your own MD (same potential)"
            )
        near = nearest(ingredient.name)
        raise UserError(
            f"{ingredient.name}: not in the list of substances{near}; give smiles or formula"
        )
    return composition(smiles)


def nearest(name: str) -> str:
    """Listed names spelt like this one, as part of a message; empty where none are."""
    key = _key(name)
    near = difflib.get_close_matches(key, _table(), n=3, cutoff=0.75)
    near += [one for one in _table() if sorted(one) == sorted(key) and one not in near]
    shown = [name for name in listed() if _key(name) in near] or near
    return f" (nearest: {', '.join(shown)})" if shown else ""


def anagrams(word: str) -> list[str]:
    """Listed names spelt with the same signs in another order."""
    return [one for one in names() if one != word and sorted(one) == sorted(word)]


def by_moles(mixed: list[Ingredient], parts: list[float], units: list[str | None]) -> list[float]:
    """Parts by volume (`vol`: pure liquids), weight (`wt`) or moles (None) as parts by moles.

    The smallest becomes 1 where any is not by moles. UserError for a density that is not listed.
    """
    moles = []
    for one, part, unit in zip(mixed, parts, units, strict=True):
        grams = mass(content(one)[0]) if unit else 1.0
        listed = substance(one.name)
        dense = listed.density if listed and unit == "vol" else None
        if unit == "vol" and not dense:
            raise UserError(
                f"{one.name}: no density is listed; give its part by weight (wt) or moles"
            )
        moles.append(part * (dense or 1.0) / grams)
    least = min(moles) if any(units) else 1.0
    return [round(amount / least, 4) for amount in moles]


def elements(phase: Phase) -> set[str]:
    """Elements of a phase, as far as they can be told without reading a file."""
    symbols: set[str] = set()
    for ingredient in [*phase.substances, *phase.adsorbates]:
        symbols |= set(content(ingredient)[0])
    if phase.kind in ("crystal", "particle") and (lattice := crystal_of(phase)):
        symbols |= {site.split()[0] for site in lattice.sites}
        pristine = any(x.by is None for x in phase.substitutions)
        for element in {x.element for x in phase.substitutions}:
            gone = sum(x.fraction or 0 for x in phase.substitutions if x.element == element)
            if gone > 1 - 1e-9 and not pristine:
                symbols -= {element}
        symbols |= {x.by for x in phase.substitutions if x.by}
        symbols |= {x.element for x in phase.interstitials}
    if phase.passivated:
        symbols |= {"H"} | ({"O"} if len(symbols) > 1 else set())
    if phase.kind == "polymer" and (repeat := repeat_of(phase)):
        symbols |= set(composition(repeat)[0]) | {"H"}
    return symbols


def melting(phase: Phase) -> int | None:
    """Highest listed melting point of a glass's oxides, K; the mean of a metal's elements."""
    points = [entry.melting for part in phase.substances if (entry := substance(part.name))]
    listed_highest = max((kelvin for kelvin in points if kelvin), default=None)
    return listed_highest or _mean_melting(phase)


def _mean_melting(phase: Phase) -> int | None:
    """K, of the elements of a metallic glass by their shares; None where any is no metal."""
    from pymatgen.core import Element

    shares: Counter[str] = Counter()
    for part in phase.substances:
        for symbol, number in content(part)[0].items():
            shares[symbol] += number * (part.ratio or 1.0)  # type: ignore[assignment]
    points = {s: float(Element(s).melting_point or 0) for s in shares if Element(s).is_metal}
    if not shares or len(points) < len(shares) or not all(points.values()):
        return None
    return round(sum(points[s] * share for s, share in shares.items()) / sum(shares.values()))


def density_of(phase: Phase) -> float | None:
    """g/cm3 as given, else of ideally mixed ingredients (volumes add, solutes are solvent-like).

    ListedSubstance to a few per cent for liquids; the reference's own MD settles it.
    """
    if phase.density is not None:
        return phase.density
    if phase.kind == "polymer":
        entry = substance(phase.repeat or phase.name)
        return entry.density if entry else None
    grams = volume = 0.0
    for ingredient in phase.substances:
        entry = substance(ingredient.name)
        listed = entry and ((phase.kind == "melt" and entry.melt_density) or entry.density)
        if ingredient.molarity is not None:
            continue
        if not listed:
            return None
        weight = (ingredient.ratio or 1.0) * mass(content(ingredient)[0])
        grams, volume = grams + weight, volume + weight / listed
    return round(grams / volume + _solutes(phase), 3) if volume else None


def _solutes(phase: Phase) -> float:
    """g/cm3 that solutes add: half their mass (they take the room of the other half)."""
    dissolved = [i for i in phase.substances if i.molarity is not None]
    return sum(0.5e-3 * i.molarity * mass(content(i)[0]) for i in dissolved if i.molarity)


@cache
def names() -> dict[str, str]:
    """Listed names and aliases as they are written, each with the name it is listed under."""
    entries = read_yaml(LIST)
    aliases = {a: name for name, entry in entries.items() for a in entry.get("aliases", [])}
    return aliases | {name: name for name in entries}


@cache
def listed() -> list[str]:
    """Names that need no further words."""
    return list(read_yaml(LIST))
