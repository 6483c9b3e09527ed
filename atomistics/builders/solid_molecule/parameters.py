"""Molecules at solids: parameters."""

from typing import Literal

from pydantic import Field, model_validator

from atomistics.builders.mixtures.parameters import Film, Substance
from atomistics.builders.solid_surface.parameters import Slab
from atomistics.builders.terms import Gap, MoleculeCount, Vacuum, exactly_one
from atomistics.contract import Strict


class Adsorption(Substance):
    """Molecules on sites of a surface; first atom down, or its plane's lowest atom."""

    site: Literal["ontop", "bridge", "hollow"] = "ontop"
    height_angstrom: float = Field(
        default=2.0, ge=0.5, le=10, description="above the site's atoms, or as the radii need"
    )
    count: MoleculeCount = Field(default=1, description="molecules, on different sites, seeded")
    bound_atom: int | None = Field(
        default=None, ge=0, le=500, description="index in the molecule that points down"
    )


class SolidMolecule(Strict):
    """A slab with adsorbed molecules, or under a liquid (a fluid film of given thickness)."""

    family: Literal["solid-molecule"] = "solid-molecule"
    surface: Slab
    adsorbate: Adsorption | None = None
    liquid: Film | None = None
    gap_angstrom: Gap = 2.2
    vacuum_angstrom: Vacuum = Field(default=0.0, description="above; 0: liquid meets both faces")

    @model_validator(mode="after")
    def _one_phase(self) -> "SolidMolecule":
        exactly_one(self, "adsorbate", "liquid")
        if self.adsorbate and self.vacuum_angstrom < 1:
            raise ValueError("vacuum_angstrom: give the vacuum above an adsorbate")
        return self
