"""Molecules, ions and atoms packed at a density, for every family that has some: parameters."""

from typing import Annotated

from pydantic import Field, model_validator

from atomistics.builders.terms import (
    Atoms,
    Density,
    Formula,
    MoleculeCount,
    Smiles,
    Thickness,
    UserFile,
    exactly_one,
)
from atomistics.contract import Name, Strict


class Substance(Strict):
    """A molecule, an ion, a salt's formula unit, or loose atoms."""

    smiles: Smiles | None = None
    formula: Formula | None = Field(default=None, description="packed as single atoms: SiO2")
    file: UserFile | None = None
    structure: Name | None = Field(default=None, description="id of an earlier built structure")

    @model_validator(mode="after")
    def _one_source(self) -> "Substance":
        exactly_one(self, "smiles", "formula", "file", "structure")
        return self


class Component(Substance):
    """A substance and how much of it; a salt (dots in its SMILES) is counted by formula units."""

    count: MoleculeCount | None = Field(default=None, description="molecules or formula units")
    mole_ratio: float | None = Field(default=None, gt=0, le=1e4, description="parts by moles")
    molarity_mol_l: float | None = Field(
        default=None, gt=0, le=100, description="mol per litre of the finished mixture"
    )

    @model_validator(mode="after")
    def _one_amount(self) -> "Component":
        exactly_one(self, "count", "mole_ratio", "molarity_mol_l")
        return self


class Mixture(Strict):
    """Molecules, ions or atoms at a density. Ratios and molarities need a size (`atoms`)."""

    components: list[Component] = Field(min_length=1, max_length=12)
    density_g_cm3: Density | None = None
    atoms: Atoms | None = None
    min_distance_angstrom: float = Field(
        default=1.9,
        ge=0.8,
        le=4,
        description="of different molecules' atoms, Å; large ones stay farther apart",
    )

    @property
    def counted(self) -> bool:
        """Whether the amounts alone say how many molecules there are."""
        return all(c.count is not None for c in self.components)


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


class Film(Mixture):
    """A packed layer on a slab: its amounts, or its thickness, at a density."""

    density_g_cm3: Density
    thickness_angstrom: Thickness | None = None

    @model_validator(mode="after")
    def _sized(self) -> "Film":
        if self.counted == (self.thickness_angstrom is not None):
            raise ValueError("give thickness_angstrom, or counts of all components")
        return self
