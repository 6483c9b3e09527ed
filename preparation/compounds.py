"""Compounds by their names in words: silver iodide, titanium dioxide, lithium iron phosphate.

An element's name is no element where it is a part of a compound's. Where the charges allow one
formula only, that is read; any other name becomes one word that no list knows, and is told.
"""

import re
from functools import cache
from math import gcd

from ase.data import chemical_symbols
from pymatgen.core import Element

from preparation import substances

ANIONS = {
    "oxide": ("O", 2),
    "sulfide": ("S", 2),
    "selenide": ("Se", 2),
    "telluride": ("Te", 2),
    "fluoride": ("F", 1),
    "chloride": ("Cl", 1),
    "bromide": ("Br", 1),
    "iodide": ("I", 1),
    "nitride": ("N", 3),
    "phosphide": ("P", 3),
    "arsenide": ("As", 3),
    "antimonide": ("Sb", 3),
    "hydride": ("H", 1),
    "carbide": ("C", 0),  # 0: by its prefix alone, as charges do not tell its formula
    "boride": ("B", 0),
    "silicide": ("Si", 0),
}
PREFIXES = {"mono": 1, "di": 2, "tri": 3, "tetra": 4, "penta": 5, "pent": 5, "hexa": 6}
ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6}
SEVERAL = ("Cu", "U", "V", "H")  # oxides of several formulas are as common
BRITISH = {"sulphur": "S", "aluminium": "Al", "caesium": "Cs"}
# words that end as names of anions do, and are none; what oxoanions' names begin with
PLAIN = r"(?:\w*side|wide|\w*guide|\w*slide|\w*divide)"
OXO = (
    "carbon|sulf|sulph|phosph|nitr|silic|bor|alumin|titan|zircon|chlor|brom|iod|tungst|molybd|vanad|"
    "chrom|mangan|niob|tantal|arsen|selen|tellur|acet|oxal|form|citr|ferr|stann|hafn|cobalt|nickel|"
    "cupr|bismuth|imid"
)


@cache
def _elements() -> dict[str, str]:
    named = {Element(s).long_name.lower(): s for s in chemical_symbols[1:104]}
    return named | BRITISH


@cache
def _pattern() -> re.Pattern[str]:
    element = "|".join(sorted(_elements(), key=len, reverse=True))
    # an ion or an oxoanion in words, with what may follow it; several metals before it
    return re.compile(
        rf"(?<![\w-])(?P<metals>(?:{element})(?:[\s-]+(?:{element}))*)"
        r"(?:\s?\((?P<roman>[IV]{1,3})\))?[\s-]+"
        rf"(?P<anion>(?!{PLAIN}s?\b)\w*(?:ide|(?:{OXO})(?:ate|ite))(?:s|\b)(?:[\s-]+(?:chloride|fluoride|"
        r"bromide|iodide|hydrate|\w+hydrate))*)(?![\w-])",
        re.IGNORECASE,
    )


def one_word(words: str) -> str:
    """A compound's name as one word, in which no element stands by itself."""
    return re.sub(r"[\s()-]+", "-", words)


def in_formulas(sentence: str) -> tuple[str, dict[str, str | None]]:
    """A sentence with the names of its compounds as formulas, and what was read as which.

    Parameters
    ----------
    sentence : as it was typed

    Returns
    -------
    the text, in which a name that stands for no one formula is one word with hyphens, and the
    formulas by the words they were read from, None of such a name; names that are listed stay
    """
    read: dict[str, str | None] = {}

    def replaced(match: re.Match[str]) -> str:
        words = match[0]
        if substances.substance(words) or substances.substance(words.removesuffix("s")):
            return words
        read[words] = _formula(match["metals"], match["roman"], match["anion"])
        return read[words] or one_word(words)

    return _pattern().sub(replaced, sentence), read


def _formula(metals: str, roman: str | None, anion: str) -> str | None:
    """The formula of a binary compound; None where words and charges leave none or several."""
    symbol = _elements().get(metals.lower())
    root = anion.lower().removesuffix("s").replace("sulph", "sulf")
    if symbol and (formula := substances.salt_named(symbol, root)):
        return formula
    name = next((one for one in ANIONS if root.endswith(one)), None)
    if symbol is None or name is None:
        return None
    other, charge = ANIONS[name]
    prefix = root.removesuffix(name)
    if prefix in PREFIXES:
        number = PREFIXES[prefix]
        if number == 5 and charge == 2:  # phosphorus pentoxide: of two atoms
            return f"{symbol}2{other}5"
        return _written(symbol, 1, other, number)
    states = [q for q in Element(symbol).common_oxidation_states if q > 0]
    state = ROMAN.get(roman or "") or (
        states[0] if len(states) == 1 and symbol not in SEVERAL else 0
    )
    if prefix or not state or not charge or Element(symbol).is_noble_gas:
        return None
    common = gcd(state, charge)
    return _written(symbol, charge // common, other, state // common)


def _written(one: str, ones: int, other: str, others: int) -> str:
    return f"{one}{ones if ones > 1 else ''}{other}{others if others > 1 else ''}"
