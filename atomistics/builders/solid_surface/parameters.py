"""Crystal surfaces: parameters."""

from typing import Literal

from pydantic import Field

from atomistics.builders.crystals.parameters import Crystal
from atomistics.builders.terms import Angstrom, Miller, Repeats, Thickness, Vacuum


class Slab(Crystal):
    """A crystal cut along a plane, two-dimensionally periodic."""

    miller: Miller
    thickness_angstrom: Thickness = Field(description="least thickness of the material, Å")
    termination: int = Field(
        default=0, ge=0, le=50, description="which of the plane's terminations, in order"
    )
    repeat: list[Repeats] = Field(
        default=[1, 1], min_length=2, max_length=2, description="of the surface cell"
    )
    min_width_angstrom: Angstrom | None = Field(
        default=None, description="repeat until both widths have it (repeat is ignored)"
    )
    keep_molecules: bool = Field(
        default=True, description="molecules and ions like carbonate are never cut"
    )


class SolidSurface(Slab):
    """A slab with vacuum along z."""

    family: Literal["solid-surface"] = "solid-surface"
    vacuum_angstrom: Vacuum = Field(default=15.0, description="Å")
