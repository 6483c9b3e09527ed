"""Isolated atoms and dimers: parameters."""

from typing import Literal

from pydantic import Field, model_validator

from atomistics.builders.terms import Angstrom, Vacuum
from atomistics.contract import Element, Strict


class Isolated(Strict):
    """One atom, or two at a distance, alone: a single point, no start of MD."""

    family: Literal["isolated"] = "isolated"
    elements: list[Element] = Field(min_length=1, max_length=2)
    distance_angstrom: Angstrom | None = Field(default=None, description="of two atoms")
    vacuum_angstrom: Vacuum = Field(default=8.0, description="around them, Å; not periodic")

    @model_validator(mode="after")
    def _distance_of_two(self) -> "Isolated":
        if (len(self.elements) == 2) != (self.distance_angstrom is not None):
            raise ValueError("distance_angstrom: of two elements, and of two only")
        return self
