"""Crystalline bulk and solid solutions: parameters."""

from typing import Annotated, Literal

from pydantic import Field

from atomistics.builders.crystals.parameters import Crystal
from atomistics.builders.terms import Angstrom, Atoms, Repeats

StrainPercent = Annotated[float, Field(ge=-20, le=20, description="%")]


class Solid(Crystal):
    """Crystalline bulk, solid solutions included."""

    family: Literal["solid"] = "solid"
    cell: Literal["conventional", "primitive", "as-given"] = "conventional"
    supercell: list[Repeats] = Field(default=[1, 1, 1], min_length=3, max_length=3)
    min_length_angstrom: Angstrom | None = Field(
        default=None, description="repeat until every cell height has it (supercell is ignored)"
    )
    atoms: Atoms | None = Field(
        default=None,
        description="then repeat along the lowest height: the compact cell nearest to this number",
    )
    further_repeats: int = Field(
        default=0, ge=0, le=5, description="one by one, each along the lowest cell height"
    )
    strain_percent: list[StrainPercent] = Field(
        default=[0.0] * 6,
        min_length=6,
        max_length=6,
        description="xx yy zz yz xz xy of the finished cell; molecules keep their shape",
    )
