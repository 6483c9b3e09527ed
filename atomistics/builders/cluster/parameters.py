"""Finite particles: parameters."""

from typing import Literal

from pydantic import Field, model_validator

from atomistics.builders.crystals.parameters import Crystal
from atomistics.builders.terms import Angstrom, Atoms, Miller, Vacuum, exactly_one
from atomistics.contract import Strict


class Facet(Strict):
    """Surface energy of a plane and all equivalent ones."""

    miller: Miller
    energy_j_m2: float = Field(gt=0, le=20, description="surface energy, J/m2")


class Cluster(Crystal):
    """A finite particle, not periodic."""

    family: Literal["cluster"] = "cluster"
    shape: Literal["cubic", "spherical", "wulff"]
    diameter_angstrom: Angstrom | None = Field(
        default=None, description="edge of the cube, diameter of the sphere or equal-volume sphere"
    )
    atoms: Atoms | None = Field(default=None, description="about how many atoms, not diameter")
    facets: list[Facet] = Field(default=[], max_length=20, description="with shape wulff")
    centre: Literal["atom", "cell"] = Field(default="atom", description="where the cut is centred")
    stoichiometric: bool = Field(
        default=True, description="outermost surplus atoms removed to keep the crystal's formula"
    )
    vacuum_angstrom: Vacuum = Field(default=8.0, description="around it, Å")

    @model_validator(mode="after")
    def _size_and_shape(self) -> "Cluster":
        exactly_one(self, "diameter_angstrom", "atoms")
        if (self.shape == "wulff") != bool(self.facets):
            raise ValueError("facets: required by shape wulff, absent with the others")
        return self
