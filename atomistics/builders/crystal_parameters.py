"""Contracts of everything cut from a crystal: solid, solid-surface, cluster."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from atomistics.builders.terms import (
    Angstrom,
    Atoms,
    Formula,
    Miller,
    Repeats,
    Site,
    Substitution,
    Thickness,
    UserFile,
    Vacuum,
    exactly_one,
)
from atomistics.contract import Name, Strict

Angle = Annotated[float, Field(gt=5, lt=175, description="degrees")]
Prototype = Literal[
    "sc", "fcc", "bcc", "hcp", "diamond", "zincblende", "rocksalt", "cesiumchloride", "fluorite",
    "wurtzite",
]  # fmt: skip
Provider = Literal["alexandria", "cod", "jarvis", "mp", "mpdd", "nmd", "odbx", "oqmd", "tcod"]


class Lattice(Strict):
    """Conventional lattice parameters; what a system fixes (b = a, 90 degrees) may be left out."""

    a_angstrom: Angstrom
    b_angstrom: Angstrom | None = None
    c_angstrom: Angstrom | None = None
    alpha_degrees: Angle | None = None
    beta_degrees: Angle | None = None
    gamma_degrees: Angle | None = None


class Crystal(Strict):
    """A crystal from exactly one source: space_group, prototype, file, structure or database."""

    space_group: int | None = Field(
        default=None, ge=1, le=230, description="number; with lattice and sites"
    )
    setting: Literal[1, 2] = Field(default=1, description="of the space group: origin, axes")
    lattice: Lattice | None = Field(default=None, description="with space_group or prototype")
    sites: list[Site] = Field(default=[], max_length=60, description="orbits of the space group")
    prototype: Prototype | None = Field(default=None, description="with formula and lattice")
    formula: Formula | None = Field(default=None, description="of the prototype: NaCl, Cu")
    file: UserFile | None = None
    structure: Name | None = Field(default=None, description="id of an earlier built structure")
    materials_project: Annotated[str, StringConstraints(pattern=r"^mp-[0-9]{1,9}$")] | None = Field(
        default=None, description="like mp-22862; needs MP_API_KEY and a network"
    )
    optimade: Provider | None = Field(default=None, description="with optimade_id and a network")
    optimade_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    scale: float = Field(default=1.0, ge=0.7, le=1.4, description="of all lattice lengths")
    substitutions: list[Substitution] = Field(
        default=[], max_length=10, description="in turn, in the finished body"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Crystal":
        exactly_one(self, "space_group", "prototype", "file", "structure", "materials_project",
                    "optimade")  # fmt: skip
        needs = {
            "space_group": ("lattice", "sites"),
            "prototype": ("lattice", "formula"),
            "optimade": ("optimade_id",),
        }
        for source, keys in needs.items():
            for key in keys if getattr(self, source) is not None else ():
                if not getattr(self, key):
                    raise ValueError(f"{source} needs {key}")
        return self


class Solid(Crystal):
    """Crystalline bulk, solid solutions included."""

    family: Literal["solid"] = "solid"
    cell: Literal["conventional", "primitive", "as-given"] = "conventional"
    supercell: list[Repeats] = Field(default=[1, 1, 1], min_length=3, max_length=3)
    min_length_angstrom: Angstrom | None = Field(
        default=None, description="repeat until every cell height has it (supercell is ignored)"
    )


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
