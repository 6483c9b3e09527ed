"""The words structure parameters are made of: strict patterns, bounded numbers with units.

Parameters may come from a model: nothing here can hold a path, a command or code. A file is named
below files/ of the task folder only, an earlier built structure by its id only.
"""

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from atomistics.contract import Element, Name, Strict

Smiles = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9@+\-\[\]()=#%/\\.]{1,400}$"),
    Field(description="SMILES of one molecule, ion or salt: O, [Li+], [Li+].F[P-](F)(F)(F)(F)F"),
]
OpenSmiles = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9@+\-\[\]()=#%/\\*]{4,400}$")]
Formula = Annotated[
    str,
    StringConstraints(pattern=r"^(?:[A-Z][a-z]?[0-9]{0,3}){1,16}$"),
    Field(description="like SiO2, without brackets"),
]
UserFile = Annotated[
    str,
    StringConstraints(
        pattern=r"^files/[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.(?:cif|vasp|poscar|extxyz|xyz)$"
    ),
    Field(description="a structure file below files/ of the task folder"),
]
Angstrom = Annotated[float, Field(gt=0, le=500)]
Gap = Annotated[
    float, Field(ge=0.5, le=20, description="between two materials, Å; more where atoms need it")
]
Vacuum = Annotated[float, Field(ge=0, le=100, description="Å; 0: periodic without vacuum")]
Thickness = Annotated[float, Field(ge=2, le=200, description="Å")]
Repeats = Annotated[int, Field(ge=1, le=20)]
Fractional = Annotated[float, Field(ge=-1, le=2)]
Count = Annotated[int, Field(ge=1, le=5000)]
Atoms = Annotated[int, Field(ge=2, le=5000, description="about how many atoms")]
Density = Annotated[float, Field(ge=0.001, le=25, description="g/cm3")]
Miller = Annotated[
    list[Annotated[int, Field(ge=-9, le=9)]],
    Field(
        min_length=3, max_length=4, description="h k l of the conventional cell, or h k i l (hex.)"
    ),
]


def exactly_one(record: Strict, *keys: str) -> None:
    """ValueError unless one and only one of the keys is given."""
    given = [key for key in keys if getattr(record, key) is not None]
    if len(given) != 1:
        raise ValueError(f"give exactly one of {', '.join(keys)} (given: {given or 'none'})")


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

    count: Count | None = Field(default=None, description="molecules or formula units")
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


class Site(Strict):
    """One orbit of a space group by one of its points."""

    element: Element
    position: list[Fractional] = Field(min_length=3, max_length=3, description="fractional x y z")
    wyckoff: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}[a-zA]$")] | None = Field(
        default=None, description="like 4a; its multiplicity is checked"
    )


class Substitution(Strict):
    """Some atoms of one element replaced at random (seeded), or removed."""

    element: Element
    by: Element | None = Field(default=None, description="absent: a vacancy")
    fraction: float | None = Field(default=None, gt=0, le=1)
    count: Count | None = None

    @model_validator(mode="after")
    def _one_amount(self) -> "Substitution":
        exactly_one(self, "fraction", "count")
        return self
