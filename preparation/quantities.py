"""Quantities in a sentence: temperatures, pressures, amounts; numbers that are neither."""

import re

NUMBER = r"[0-9]+(?:\.[0-9]+)?"
TEMPERATURE = re.compile(
    rf"(?:\bat\s+)?(?:(?<![\w.-])-?{NUMBER}\s*(?:-|–|to|and)\s*)?(?P<value>-?{NUMBER})\s*"
    r"(?P<unit>K|°\s*C|C|(?i:kelvins?|celsius|deg(?:rees?)?\.?\s*C(?:elsius)?))\b"
)
GIGAPASCAL = {
    "GPa": 1.0,
    "MPa": 1e-3,
    "kPa": 1e-6,
    "kbar": 0.1,
    "Mbar": 100.0,
    "bar": 1e-4,
    "atm": 1.01325e-4,
}
PRESSURE = re.compile(rf"(?:\b(?:under|at|to)\s+)?({NUMBER})\s*({'|'.join(GIGAPASCAL)})\b")
LEFT_NUMBER = re.compile(
    rf"(?<![\w.-])-?{NUMBER}\s*(?:(?:wt|at|mol|vol)\.?\s*)?(?:%|[A-Za-z]{{1,3}}\b)?"
)
INDICES = re.compile(r"[(\[{][-\d\s]{3,12}[)\]}]")
AMOUNT = re.compile(rf"{NUMBER}\s*(?:mM|M|mol/[lL]|molal|mol/kg)(?![\w/])")


def kelvin_in(text: str) -> int | None:
    """The highest temperature that a text names (K, C), in K; None where it names none."""
    kelvins = [
        float(match["value"]) + (0 if match["unit"][0] in "Kk" else 273.15)
        for match in TEMPERATURE.finditer(text)
    ]
    return round(max(kelvins)) if kelvins else None


def gigapascal_in(text: str) -> float | None:
    """The highest pressure that a text names, in GPa; None where it names none."""
    pressures = [float(one[1]) * GIGAPASCAL[one[2]] for one in PRESSURE.finditer(text)]
    return max(pressures) if pressures else None


def without(text: str) -> str:
    """A text without its temperatures and pressures, whose units are no elements."""
    return PRESSURE.sub(" ", TEMPERATURE.sub(" ", text))


def numbers_left(text: str) -> list[str]:
    """Numbers with their units that are no temperature, pressure, face or amount of a solute."""
    plain = AMOUNT.sub(" ", INDICES.sub(" ", without(text)))
    return [match[0].strip() for match in LEFT_NUMBER.finditer(plain)]
