"""Crystalline bulk and solid solutions: parameters."""

from typing import Literal

from pydantic import Field

from atomistics.builders.crystals.parameters import Crystal
from atomistics.builders.terms import Angstrom, Repeats


class Solid(Crystal):
    """Crystalline bulk, solid solutions included."""

    family: Literal["solid"] = "solid"
    cell: Literal["conventional", "primitive", "as-given"] = "conventional"
    supercell: list[Repeats] = Field(default=[1, 1, 1], min_length=3, max_length=3)
    min_length_angstrom: Angstrom | None = Field(
        default=None, description="repeat until every cell height has it (supercell is ignored)"
    )
