"""Units by the names people write, as factors to eV, Å, eV/Å and eV/Å^3."""

import re

from ase import units

from mtp.errors import MTPError

_ENERGY = {
    "ev": 1.0,
    "mev": 1e-3,
    "ha": units.Hartree,
    "hartree": units.Hartree,
    "eh": units.Hartree,
    "au": units.Hartree,
    "a.u.": units.Hartree,
    "ry": units.Rydberg,
    "rydberg": units.Rydberg,
    "kcal/mol": units.kcal / units.mol,
    "kj/mol": units.kJ / units.mol,
}
_LENGTH = {"a": 1.0, "ang": 1.0, "angs": 1.0, "angst": 1.0, "angstrom": 1.0, "angstroms": 1.0}
_LENGTH |= {"å": 1.0, "bohr": units.Bohr, "a0": units.Bohr, "nm": 10.0, "pm": 0.01}
_PRESSURE = {"gpa": units.GPa, "mpa": units.GPa * 1e-3, "kpa": units.GPa * 1e-6}
_PRESSURE |= {"pa": units.Pascal, "bar": units.bar, "kbar": 1e3 * units.bar, "kb": 1e3 * units.bar}
OWN = {"energy": "eV", "virial": "eV", "length": "Å", "forces": "eV/Å", "stress": "eV/Å^3"}


def factor(quantity: str, name: str) -> float | None:
    """What a number of this quantity in the named unit is to be multiplied by; None: no such unit.

    quantity: energy, virial, length, forces or stress. "au" is Hartree and Bohr. A minus before the
    unit of what pulls or pushes turns its sign: stresses of VASP, gradients.
    """
    if name.startswith("-") and quantity in {"forces", "stress", "virial"}:
        positive = factor(quantity, name[1:])
        return None if positive is None else -positive
    word = "".join(name.split()).lower().replace("angstrom", "ang").replace("å", "ang")
    if word in {"au", "a.u.", "atomic"}:
        powers = {"length": (0, 1), "forces": (1, -1), "stress": (1, -3)}.get(quantity, (1, 0))
        return units.Hartree ** powers[0] * units.Bohr ** powers[1]
    if quantity == "length":
        return _LENGTH.get(word)
    if quantity == "stress" and word in _PRESSURE:
        return _PRESSURE[word]
    if quantity in {"energy", "virial"}:
        return _ENERGY.get(word)
    return _ratio(word, 3 if quantity == "stress" else 1)


def _ratio(word: str, power: int) -> float | None:
    """Energy per length to a power: ev/a, hartree/bohr, ev/ang^3, ry/bohr3, ev/a**3."""
    for energy, per in _ENERGY.items():
        match = re.fullmatch(re.escape(energy) + r"[/_]([a-zå]+0?)(?:\^|\*\*)?(\d?)", word)
        if match and match[1] in _LENGTH and (match[2] or "1") == str(power):
            return per / _LENGTH[match[1]] ** power
    return None


def required(quantity: str, name: str, where: str) -> float:
    """As `factor`; MTPError for a unit that is not known."""
    value = factor(quantity, name)
    if value is None:
        raise MTPError(
            f"{where}: unit {name!r:.40} of {quantity} is not known; give one with "
            f"--units={quantity}=UNIT, e.g. {OWN[quantity]}"
        )
    return value
