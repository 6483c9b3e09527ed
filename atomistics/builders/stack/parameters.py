"""Layers of any kind in one cell: parameters."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from atomistics.builders.amorphous.parameters import Amorphous
from atomistics.builders.molecule.parameters import Molecule
from atomistics.builders.polymer.parameters import Polymer
from atomistics.builders.solid_surface.parameters import Shift, SolidSurface
from atomistics.builders.terms import Beyond, Gap, Thickness, Vacuum, exactly_one
from atomistics.contract import Name, Strict

LayerContent = Annotated[
    SolidSurface | Amorphous | Molecule | Polymer, Field(discriminator="family")
]


class Layer(Strict):
    """One layer of a stack: a family's parameters, or the id of an earlier built structure."""

    name: Name
    content: LayerContent | None = None
    structure: Name | None = Field(default=None, description="strained to the stack's cell")
    thickness_angstrom: Thickness | None = Field(
        default=None, description="of a packed layer given by ratios or molarities"
    )

    @model_validator(mode="after")
    def _one_content(self) -> "Layer":
        exactly_one(self, "content", "structure")
        return self


class Stack(Strict):
    """Layers along z in one cell; the first crystal or built structure sets the cross-section."""

    family: Literal["stack"] = "stack"
    layers: list[Layer] = Field(min_length=2, max_length=12, description="from the bottom up")
    gap_angstrom: Gap = 2.2
    beyond_radii_angstrom: Beyond = 0.0
    registry: list[Shift] = Field(
        default=[0.0, 0.0],
        min_length=2,
        max_length=2,
        description="each further crystal moved by this once more, of a and b",
    )
    vacuum_angstrom: Vacuum = Field(default=0.0, description="0: the last meets the first")
    max_strain_percent: float = Field(default=6.0, gt=0, le=20, description="of strained layers")
