"""Crystals from their source, shared by every family that is cut from one: parameters."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from atomistics.builders.terms import (
    Angstrom,
    Formula,
    Fractional,
    MoleculeCount,
    UserFile,
    exactly_one,
)
from atomistics.contract import Element, Name, Strict

Degrees = Annotated[float, Field(gt=5, lt=175, description="degrees")]


Prototype = Literal[
    "sc",
    "fcc",
    "bcc",
    "hcp",
    "diamond",
    "zincblende",
    "rocksalt",
    "cesiumchloride",
    "fluorite",
    "wurtzite",
]


Provider = Literal["alexandria", "cod", "jarvis", "mp", "mpdd", "nmd", "odbx", "oqmd", "tcod"]


class CellParameters(Strict):
    """Conventional lattice parameters; what a system fixes (b = a, 90 degrees) may be left out."""

    a_angstrom: Angstrom
    b_angstrom: Angstrom | None = None
    c_angstrom: Angstrom | None = None
    alpha_degrees: Degrees | None = None
    beta_degrees: Degrees | None = None
    gamma_degrees: Degrees | None = None


class CrystalSite(Strict):
    """One orbit of a space group by one of its points."""

    element: Element
    position: list[Fractional] = Field(min_length=3, max_length=3, description="fractional x y z")
    wyckoff: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}[a-zA]$")] | None = Field(
        default=None, description="like 4a; its multiplicity is checked"
    )


class Substitution(Strict):
    """Some atoms of one element replaced at random (seeded), or removed.

    Fractions are final ones, of the atoms that the crystal has before any substitution.
    """

    element: Element
    by: Element | None = Field(default=None, description="absent: a vacancy")
    fraction: float | None = Field(default=None, gt=0, le=1)
    count: MoleculeCount | None = None

    @model_validator(mode="after")
    def _one_amount(self) -> "Substitution":
        exactly_one(self, "fraction", "count")
        return self


class Interstitial(Strict):
    """Atoms put into the largest voids of the crystal, equal ones by the seed."""

    element: Element
    count: MoleculeCount = 1


class Ordering(Strict):
    """How a file's shared or partly occupied sites are filled: whole atoms, charge-balanced.

    The lowest electrostatic energies of `seed`'s random starts are ranked, 0 the lowest.
    """

    rank: int = Field(default=0, ge=0, le=15, description="0: lowest electrostatic energy")
    seed: int = Field(default=0, ge=0, lt=2**31)
    atoms: int = Field(
        default=100, ge=1, le=2000, description="about how many the supercell of whole atoms has"
    )


class Crystal(Strict):
    """A crystal from exactly one source: space_group, prototype, file, structure or database."""

    space_group: int | None = Field(
        default=None, ge=1, le=230, description="number; with lattice and sites"
    )
    setting: Literal[1, 2] = Field(default=1, description="of the space group: origin, axes")
    lattice: CellParameters | None = Field(
        default=None, description="with space_group or prototype"
    )
    sites: list[CrystalSite] = Field(
        default=[], max_length=60, description="orbits of the space group"
    )
    prototype: Prototype | None = Field(default=None, description="with formula and lattice")
    formula: Formula | None = Field(default=None, description="of the prototype: NaCl, Cu")
    file: UserFile | None = None
    structure: Name | None = Field(default=None, description="id of an earlier built structure")
    materials_project: Annotated[str, StringConstraints(pattern=r"^mp-[0-9]{1,9}$")] | None = Field(
        default=None, description="like mp-22862; needs MP_API_KEY and a network"
    )
    optimade: Provider | None = Field(default=None, description="with optimade_id and a network")
    optimade_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    ordering: Ordering | None = Field(
        default=None, description="of a file with shared or partly occupied sites; else refused"
    )
    scale: float = Field(
        default=1.0, ge=0.7, le=1.4, description="of all lattice lengths; molecules keep theirs"
    )
    substitutions: list[Substitution] = Field(
        default=[], max_length=10, description="all at once, in the finished body"
    )
    interstitials: list[Interstitial] = Field(
        default=[], max_length=4, description="after the substitutions"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Crystal":
        exactly_one(
            self, "space_group", "prototype", "file", "structure", "materials_project", "optimade"
        )
        needs = {
            "space_group": ("lattice", "sites"),
            "prototype": ("lattice", "formula"),
            "optimade": ("optimade_id",),
        }
        for source, keys in needs.items():
            for key in keys if getattr(self, source) is not None else ():
                if not getattr(self, key):
                    raise ValueError(f"{source} needs {key}")
        if self.ordering and not self.file:
            raise ValueError("ordering: only with file")
        return self

    @model_validator(mode="after")
    def _no_more_than_all(self) -> "Crystal":
        for element in {rule.element for rule in self.substitutions}:
            parts = [r.fraction or 0 for r in self.substitutions if r.element == element]
            if sum(parts) > 1 + 1e-9:
                raise ValueError(f"substitutions: fractions of {element} add up to {sum(parts):g}")
        return self
