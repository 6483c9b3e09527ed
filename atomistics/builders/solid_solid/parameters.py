"""Interfaces of solids: parameters."""

from typing import Literal

from pydantic import Field, model_validator

from atomistics.builders.cluster.parameters import Cluster
from atomistics.builders.mixtures.parameters import Film
from atomistics.builders.solid_surface.parameters import Shift, Slab
from atomistics.builders.terms import Beyond, Gap, Vacuum, exactly_one
from atomistics.contract import Name, Strict


class SolidSolid(Strict):
    """Interface of two solids: lattice-matched crystals, amorphous on crystal, particle on it."""

    family: Literal["solid-solid"] = "solid-solid"
    substrate: Slab
    film: Slab | None = Field(
        default=None, description="a second crystal; width and repeat are the substrate's"
    )
    grain: Literal["turned", "mirrored"] | None = Field(
        default=None,
        description="a second grain of the substrate instead of a film; one mirrored lies where"
        " the two come nearest, before `registry`",
    )
    registry: list[Shift] = Field(
        default=[0.0, 0.0], min_length=2, max_length=2, description="film moved, of a and b"
    )
    contact: Literal["bonded", "van-der-waals"] = Field(
        default="bonded",
        description="van-der-waals: gap at least the sum of those radii; so are two faces that no"
        " bond leaves, whatever is said here",
    )
    amorphous: Film | None = None
    particle: Cluster | Name | None = Field(default=None, description="a cluster, or its id")
    gap_angstrom: Gap = 2.5
    beyond_radii_angstrom: Beyond = 0.0
    vacuum_angstrom: Vacuum = Field(default=0.0, description="0: two interfaces a cell")
    max_strain_percent: float = Field(default=5.0, gt=0, le=20, description="of the film")
    max_area_angstrom2: float = Field(default=200.0, gt=1, le=2000, description="of the match")
    max_atoms: int = Field(default=400, ge=10, le=5000, description="refuse larger interfaces")

    @model_validator(mode="after")
    def _one_film(self) -> "SolidSolid":
        exactly_one(self, "film", "grain", "amorphous", "particle")
        return self
