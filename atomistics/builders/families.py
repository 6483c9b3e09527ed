"""Parameters of every structure builder: the ten families of the paper's Table 1, and stacks.

`Parameters` is the union on `family`; atomistics.builders.build makes the structure. Lengths in Å,
densities in g/cm3, temperatures in K; every random number comes from the seed given to build.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, model_validator

from atomistics.builders.crystal_parameters import Cluster, Crystal, Slab, Solid, SolidSurface
from atomistics.builders.terms import (
    Angstrom,
    Component,
    Count,
    Density,
    Gap,
    Mixture,
    OpenSmiles,
    Repeats,
    Substance,
    Thickness,
    UserFile,
    Vacuum,
    exactly_one,
)
from atomistics.contract import Name, Strict
from atomistics.md.protocol import MeltQuench

__all__ = [
    "FAMILIES", "PARAMETERS", "Amorphous", "Cluster", "Crystal", "LiquidLiquid", "Molecule",
    "Other", "Parameters", "Polymer", "Solid", "SolidMolecule", "SolidSolid", "SolidSurface",
    "Stack", "table_family",
]  # fmt: skip


class Box(Mixture):
    """A mixture in a periodic box of its own."""

    box_ratio: list[Annotated[float, Field(gt=0, le=20)]] = Field(
        default=[1, 1, 1], min_length=3, max_length=3, description="edges relative to each other"
    )

    @model_validator(mode="after")
    def _sized(self) -> "Box":
        if getattr(self, "vacuum_angstrom", None) is None and self.density_g_cm3 is None:
            raise ValueError("density_g_cm3: required")
        return self


class Quench(MeltQuench):
    """MD with the campaign's reference: melt, cool at a constant rate, settle (K, ps)."""

    stage: Literal["melt-quench"] = "melt-quench"
    timestep: float = Field(default=1.0, gt=0, le=10, description="fs")


class Amorphous(Box):
    """Glass or disordered inorganic: packed at a density, melt-quenched where asked."""

    family: Literal["amorphous"] = "amorphous"
    melt_quench: Quench | None = Field(default=None, description="needs a reference")


class Molecule(Box):
    """Liquid, mixture, salt melt, or (vacuum_angstrom) molecules alone, not periodic."""

    family: Literal["molecule"] = "molecule"
    vacuum_angstrom: Vacuum | None = Field(default=None, description="around it; no density then")

    @model_validator(mode="after")
    def _density_or_vacuum(self) -> "Molecule":
        exactly_one(self, "density_g_cm3", "vacuum_angstrom")
        if self.vacuum_angstrom is not None and not self.counted:
            raise ValueError("components: give counts with vacuum_angstrom")
        return self


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


class AmorphousFilm(Mixture):
    """A packed layer on a slab: its amounts, or its thickness, at a density."""

    density_g_cm3: Density
    thickness_angstrom: Thickness | None = None

    @model_validator(mode="after")
    def _sized(self) -> "AmorphousFilm":
        if self.counted == (self.thickness_angstrom is not None):
            raise ValueError("give thickness_angstrom, or counts of all components")
        return self


class LiquidFilm(AmorphousFilm):
    """A liquid layer: its amounts, or its thickness, at a density."""


class SolidSolid(Strict):
    """Interface of two solids: lattice-matched crystals, amorphous on crystal, particle on it."""

    family: Literal["solid-solid"] = "solid-solid"
    substrate: Slab
    film: Slab | None = Field(
        default=None, description="a second crystal; width and repeat are the substrate's"
    )
    amorphous: AmorphousFilm | None = None
    particle: Cluster | Name | None = Field(default=None, description="a cluster, or its id")
    gap_angstrom: Gap = 2.5
    vacuum_angstrom: Vacuum = Field(default=0.0, description="0: two interfaces a cell")
    max_strain_percent: float = Field(default=5.0, gt=0, le=20, description="of the film")
    max_area_angstrom2: float = Field(default=200.0, gt=1, le=2000, description="of the match")
    max_atoms: int = Field(default=400, ge=10, le=5000, description="refuse larger interfaces")

    @model_validator(mode="after")
    def _one_film(self) -> "SolidSolid":
        exactly_one(self, "film", "amorphous", "particle")
        return self


class Adsorption(Substance):
    """Molecules on sites of a surface; first atom down, or its plane's lowest atom."""

    site: Literal["ontop", "bridge", "hollow"] = "ontop"
    height_angstrom: float = Field(default=2.0, ge=0.5, le=10, description="above the top atom")
    count: Count = Field(default=1, description="molecules, on different sites, seeded")
    bound_atom: int | None = Field(
        default=None, ge=0, le=500, description="index in the molecule that points down"
    )


class SolidMolecule(Strict):
    """A slab with adsorbed molecules, or under a liquid (a fluid film of given thickness)."""

    family: Literal["solid-molecule"] = "solid-molecule"
    surface: Slab
    adsorbate: Adsorption | None = None
    liquid: LiquidFilm | None = None
    gap_angstrom: Gap = 2.2
    vacuum_angstrom: Vacuum = Field(default=0.0, description="above; 0: liquid meets both faces")

    @model_validator(mode="after")
    def _one_phase(self) -> "SolidMolecule":
        exactly_one(self, "adsorbate", "liquid")
        if self.adsorbate and self.vacuum_angstrom < 1:
            raise ValueError("vacuum_angstrom: give the vacuum above an adsorbate")
        return self


class LiquidLiquid(Strict):
    """Two to four liquids in layers along z, periodic: the last meets the first."""

    family: Literal["liquid-liquid"] = "liquid-liquid"
    phases: list[LiquidFilm] = Field(min_length=2, max_length=4)
    width_angstrom: Angstrom = Field(description="edge of the square cross-section, Å")
    gap_angstrom: Gap = 1.5


class Region(Strict):
    """Where soaked molecules may go: a sphere, or a slice along z; everywhere if absent."""

    shape: Literal["sphere", "slice"]
    centre: list[Annotated[float, Field(ge=0, le=1)]] = Field(
        default=[0.5, 0.5, 0.5], min_length=3, max_length=3, description="fractional"
    )
    size_angstrom: Angstrom = Field(description="radius of the sphere, width of the slice, Å")


class Soak(Mixture):
    """Molecules put into the free room of a host, by counts."""

    region: Region | None = None

    @model_validator(mode="after")
    def _counts_only(self) -> "Soak":
        if not self.counted or self.density_g_cm3 is not None:
            raise ValueError("components: give counts, and no density_g_cm3")
        return self


class Other(Strict):
    """The user's file (or an earlier structure, or an empty box), soaked where asked."""

    family: Literal["other"] = "other"
    file: UserFile | None = None
    structure: Name | None = None
    box_angstrom: list[Angstrom] | None = Field(
        default=None, min_length=3, max_length=3, description="an empty periodic box, Å"
    )
    supercell: list[Repeats] = Field(default=[1, 1, 1], min_length=3, max_length=3)
    soak: Soak | None = None

    @model_validator(mode="after")
    def _one_host(self) -> "Other":
        exactly_one(self, "file", "structure", "box_angstrom")
        if self.box_angstrom and not self.soak:
            raise ValueError("soak: an empty box needs something in it")
        return self


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
    vacuum_angstrom: Vacuum = Field(default=0.0, description="0: the last meets the first")
    max_strain_percent: float = Field(default=6.0, gt=0, le=20, description="of strained layers")


def _sized(parameters: Strict) -> Strict:
    """A box by itself needs a number of atoms, where a layer of a stack takes its thickness."""
    if isinstance(parameters, Box) and not parameters.counted and parameters.atoms is None:
        raise ValueError("atoms: required where amounts are ratios or molarities")
    return parameters


Parameters = Annotated[
    Solid | Amorphous | Molecule | SolidSurface | Cluster | SolidSolid | SolidMolecule
    | LiquidLiquid | Polymer | Other | Stack,
    Field(discriminator="family"),
    AfterValidator(_sized),
]  # fmt: skip
PARAMETERS: TypeAdapter[Parameters] = TypeAdapter(Parameters)
FAMILIES: dict[str, type[Strict]] = {
    model.model_fields["family"].default: model
    for model in (
        Solid, Amorphous, Molecule, SolidSurface, Cluster, SolidSolid, SolidMolecule,
        LiquidLiquid, Polymer, Other, Stack,
    )
}  # fmt: skip


def table_family(parameters: Parameters) -> str:
    """The family of Table 1 a structure is listed under; a stack counts by what meets in it."""
    if not isinstance(parameters, Stack):
        return parameters.family
    kinds = {layer.content.family if layer.content else "solid" for layer in parameters.layers}
    if not kinds & {"molecule", "polymer"}:
        return "solid-solid"
    return "solid-molecule" if kinds & {"solid", "solid-surface", "amorphous"} else "liquid-liquid"
