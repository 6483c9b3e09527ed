"""Polymers: parameters."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from atomistics.builders.mixtures.parameters import Component
from atomistics.builders.terms import Density, OpenSmiles
from atomistics.contract import Strict


class Polymer(Strict):
    """Chains of one repeat unit in a periodic box, with other molecules or salt where asked."""

    family: Literal["polymer"] = "polymer"
    repeat_unit: OpenSmiles = Field(description="SMILES with two attachment points: [*]CCO[*]")
    degree_of_polymerisation: int = Field(ge=1, le=200, description="repeat units a chain")
    chains: int = Field(default=1, ge=1, le=50)
    tacticity: Literal["isotactic", "syndiotactic", "atactic"] | None = Field(
        default=None, description="only where the repeat unit has one stereocentre in its backbone"
    )
    head: OpenSmiles = Field(default="[*][H]", description="end group with one attachment point")
    tail: OpenSmiles = Field(default="[*][H]", description="end group with one attachment point")
    additives: list[Component] = Field(
        default=[], max_length=10, description="mole_ratio: per repeat unit of all chains"
    )
    density_g_cm3: Density
    box_ratio: list[Annotated[float, Field(gt=0, le=20)]] = Field(
        default=[1, 1, 1], min_length=3, max_length=3, description="edges relative to each other"
    )
    min_distance_angstrom: float = Field(
        default=1.9, ge=0.8, le=4, description="least distance of atoms not bound together, Å"
    )

    @model_validator(mode="after")
    def _attachments(self) -> "Polymer":
        for key, points in (("repeat_unit", 2), ("head", 1), ("tail", 1)):
            text = getattr(self, key)
            if text.count("[*]") != points or text.count("*") != points:
                raise ValueError(f"{key}: needs {points} attachment point(s) [*]")
        return self
