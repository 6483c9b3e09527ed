"""Interfaces of liquids: parameters."""

from typing import Literal

from pydantic import Field

from atomistics.builders.mixtures.parameters import Film
from atomistics.builders.terms import Angstrom, Gap
from atomistics.contract import Strict


class LiquidLiquid(Strict):
    """Two to four liquids in layers along z, periodic: the last meets the first."""

    family: Literal["liquid-liquid"] = "liquid-liquid"
    phases: list[Film] = Field(min_length=2, max_length=4)
    width_angstrom: Angstrom = Field(description="edge of the square cross-section, Å")
    gap_angstrom: Gap = 1.5
