"""Collective variables that metadynamics may push: a closed list, numbers and elements only."""

from typing import Annotated, Literal

from pydantic import Field

from atomistics.contract import Element, Strict

Index = Annotated[int, Field(ge=0, description="atom of the structure, counted from 0 as in ASE")]
Axis = Literal["x", "y", "z"]


class Distance(Strict):
    """Distance of two atoms, nearest image, Å."""

    variable: Literal["distance"]
    atoms: list[Index] = Field(min_length=2, max_length=2)
    width: float = Field(gt=0, le=10, description="of the Gaussians, Å")


class Angle(Strict):
    """Angle at the second of three atoms, rad."""

    variable: Literal["angle"]
    atoms: list[Index] = Field(min_length=3, max_length=3)
    width: float = Field(gt=0, le=3, description="of the Gaussians, rad")


class Torsion(Strict):
    """Dihedral angle of four atoms, rad."""

    variable: Literal["torsion"]
    atoms: list[Index] = Field(min_length=4, max_length=4)
    width: float = Field(gt=0, le=3, description="of the Gaussians, rad")


class Coordination(Strict):
    """Number of `others` around the atoms of `element`, summed over these, by a smooth switch."""

    variable: Literal["coordination"]
    element: Element
    others: Element
    radius: float = Field(gt=0, le=20, description="where a pair counts half, Å")
    width: float = Field(gt=0, le=1000, description="of the Gaussians, neighbours")


class Position(Strict):
    """A Cartesian coordinate of one atom, not wrapped, Å (an ion on its way through a layer)."""

    variable: Literal["position"]
    atom: Index
    axis: Axis
    width: float = Field(gt=0, le=10, description="of the Gaussians, Å")


Variable = Annotated[
    Distance | Angle | Torsion | Coordination | Position, Field(discriminator="variable")
]
