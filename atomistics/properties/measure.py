"""All properties asked for of one structure, one after another; one that fails harms no other."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ase import Atoms
from ase.calculators.calculator import Calculator

from atomistics.properties import crystal, defects, liquid, parts, phonons
from atomistics.properties.asked import CRYSTAL, Kind, PropertiesAsked, calls
from atomistics.properties.measuring import (
    Capped,
    Measurement,
    PropertyError,
    PropertyValue,
    at_rest,
    on,
    require_crystal,
)
from atomistics.reference.convergence import LabelFailedError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Measured:
    """Values with how they came about by kind, classes of failures by kind, curves, calls."""

    values: list[PropertyValue] = field(default_factory=list)
    how: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    curves: dict[str, Any] = field(default_factory=dict)
    calls: int = 0


@dataclass
class MD:
    """Frames of MD with energies, and its temperature in K: what liquids are judged by."""

    frames: list[Atoms]
    kelvin: float


def measure(
    built: Atoms,
    asked: PropertiesAsked,
    calculator: Calculator,
    md: MD | None = None,
    atoms: dict[str, float] | None = None,
) -> Measured:
    """Everything asked of a structure as it was built.

    Parameters
    ----------
    built : Å, without calculator
    asked : kinds, and what each needs
    calculator : the reference, or a model
    md : of the same structure, for the enthalpy of vaporisation
    atoms : eV of isolated atoms by element that the reference gave, for `cohesion` by a model

    Returns
    -------
    values with bounds; a kind that fails, or would take more calls than `asked` allows, is in
    `failed`
    """
    capped, measured = Capped(calculator), Measured()
    relaxed: list[Atoms] = []

    def rest() -> Measurement:
        require_crystal(built)
        moving = on(built, capped)
        at_rest(moving, "free")
        relaxed.append(moving)
        return crystal.lattice(moving, built, capped)

    for kind in asked.needed:
        if kind in CRYSTAL and kind != "lattice" and not relaxed:
            measured.failed[kind] = "the crystal was not brought to rest"
            continue
        of: dict[Kind, Callable[[], Measurement]] = {
            "lattice": rest,
            "eos": lambda: crystal.equation_of_state(relaxed[0], asked, capped),
            "elastic": lambda: crystal.elastic(relaxed[0], asked, capped),
            "phonons": lambda: phonons.phonons(relaxed[0], asked, capped),
            "vacancy": lambda: defects.vacancy(relaxed[0], asked, capped),
            "surfaces": lambda: defects.surfaces(relaxed[0], asked, capped),
            "cohesion": lambda: defects.cohesion(relaxed[0], asked, capped, atoms or {}),
            "adsorption": lambda: parts.adsorption(built, capped),
            "adhesion": lambda: parts.adhesion(built, capped),
            "vaporisation": lambda: _liquid(md, capped),
        }
        capped.most = capped.calls + calls(kind, asked)
        try:
            result = of[kind]()
        except PropertyError as error:
            measured.failed[kind] = str(error)
            continue
        except LabelFailedError as error:  # its text is a program's, and may name a path
            measured.failed[kind] = f"a calculation failed ({error.kind})"
            continue
        measured.values += result.values
        measured.how[kind] = result.how
        measured.curves |= result.curves
    measured.calls = capped.calls
    return measured


def _liquid(md: MD | None, capped: Capped) -> Measurement:
    if md is None:
        raise PropertyError("there is no MD of it")
    return liquid.vaporisation(md.frames, md.kelvin, capped)
