"""Crystal surfaces: parameters."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from atomistics.builders.crystals.parameters import Crystal
from atomistics.builders.terms import Angstrom, Miller, Repeats, Thickness, Vacuum, exactly_one

Shift = Annotated[float, Field(ge=0, lt=1)]


class Slab(Crystal):
    """A crystal cut along a plane, two-dimensionally periodic."""

    miller: Miller
    thickness_angstrom: Thickness | None = Field(
        default=None, description="least thickness of the material, Å"
    )
    sheets: int | None = Field(
        default=None, ge=1, le=12, description="of a layered crystal, instead of a thickness"
    )
    termination: int | None = Field(
        default=None, ge=0, le=50, description="which of the plane's; absent: first without dipole"
    )
    termination_in_turn: int = Field(
        default=0,
        ge=0,
        le=50,
        description="instead of a number: how far to go on from the first, around; molecules whole",
    )
    compensated: bool = Field(
        default=False,
        description="polar slabs: atoms of the top plane moved to the bottom until no dipole is"
        " left; others stay as they are",
    )
    passivated: bool = Field(
        default=False,
        description="broken bonds ended: H on covalent crystals, dissociated water (H on anions, OH"
        " on cations) on ionic ones",
    )
    normal_scale: float = Field(
        default=1.0, ge=0.7, le=1.4, description="of lengths along the normal alone"
    )
    fault: list[Shift] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="stacking fault: the upper half moved by these fractions of a and b (of a and"
        " a + b where those are at 120 degrees), or against them",
    )
    repeat: list[Repeats] = Field(
        default=[1, 1], min_length=2, max_length=2, description="of the surface cell"
    )
    min_width_angstrom: Angstrom | None = Field(
        default=None, description="repeat until both widths have it (repeat is ignored)"
    )
    further_repeats: int = Field(
        default=0, ge=0, le=5, description="one by one, each along the lower of the two widths"
    )
    keep_molecules: bool = Field(
        default=True, description="molecules and ions like carbonate are never cut"
    )

    @model_validator(mode="after")
    def _one_thickness(self) -> "Slab":
        exactly_one(self, "thickness_angstrom", "sheets")
        return self


class SolidSurface(Slab):
    """A slab with vacuum along z."""

    family: Literal["solid-surface"] = "solid-surface"
    vacuum_angstrom: Vacuum = Field(default=15.0, description="Å")
