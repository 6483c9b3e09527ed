"""What a person says of a material: phases, how they meet, conditions, reference, properties.

`Answers` is one record for the dialogue, the form and the answers file; everything in it may be
absent until `preparation.missing` finds nothing missing. Free text is short, kept for people, never
interpreted. Lengths in Å, densities in g/cm3, temperatures in K, pressures in GPa.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    JsonValue,
    StringConstraints,
    field_serializer,
    field_validator,
    model_validator,
)

from atomistics.builders.crystals.parameters import Interstitial, Substitution
from atomistics.builders.terms import Density
from atomistics.contract import Name, Strict, Temperature

Title = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ()+_.,-]{0,63}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
PhaseKind = Literal[
    "crystal", "amorphous", "liquid", "melt", "polymer", "particle", "molecule", "other"
]
Defect = Literal["vacancy", "interstitial", "antisite", "stacking-fault", "grain-boundary"]
MethodName = Literal["gfn1-xtb", "gfn2-xtb", "chgnet", "vasp", "cp2k", "espresso", "orca", "ase"]
OF_ASE = {"emt": "ase.calculators.emt:EMT", "lj": "ase.calculators.lj:LennardJones"}
_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
ImportPath = Annotated[
    str,
    StringConstraints(
        pattern=rf"^{_IDENTIFIER}(?:\.{_IDENTIFIER})*:{_IDENTIFIER}(?:\.{_IDENTIFIER})*$"
    ),
]
SiteText = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Z][a-z]?(?: +-?[0-9]{0,3}[./]?[0-9]{1,6}){3}$"),
    Field(description="element and fractional x y z: Ti 0 0 0, C 1/3 2/3 0.25"),
]


class ReferenceChoice(Strict):
    """Which calculator labels: a file of a person's says so, never a plan or a model's text."""

    method: MethodName
    calculator: ImportPath | None = Field(
        default=None,
        description="of method ase: package.module:Name of an ASE calculator, or of a function that"
        " returns one; installed, or a file in the campaign's folder",
        exclude_if=lambda path: path is None,
    )
    options: dict[str, JsonValue] = Field(
        default={},
        description="handed to the calculator; texts that begin with ./ are paths from the"
        " campaign's folder",
    )
    reuse: bool | None = Field(
        default=None,
        description="one calculator for all geometries, or (false) a new one for each; default:"
        " what the method needs to give the same label whatever was computed before",
        exclude_if=lambda reuse: reuse is None,
    )

    @model_validator(mode="before")
    @classmethod
    def _short_name(cls, given: Any) -> Any:
        """`method: emt` and `lj`, as older campaigns have it, are ASE's calculators."""
        plain = isinstance(given, Mapping) and not given.get("calculator")
        path = OF_ASE.get(str(given.get("method"))) if plain else None
        return {**given, "method": "ase", "calculator": path} if path else given

    @field_serializer("options")
    def _as_given(self, options: dict[str, JsonValue]) -> dict[str, JsonValue]:
        return options  # null is a value here, kept where a record's own absent keys are left out

    @model_validator(mode="after")
    def _calculator_of_ase(self) -> "ReferenceChoice":
        if self.method == "ase" and self.calculator is None:
            raise ValueError("calculator: missing; method ase needs package.module:Name")
        if self.method != "ase" and self.calculator is not None:
            raise ValueError(f"calculator: method {self.method} takes none; set method: ase")
        return self

    @property
    def title(self) -> str:
        """The method's name, or the calculator's import path."""
        return self.calculator or self.method


class Ingredient(Strict):
    """One substance of a mixture and how much of it."""

    name: Title = Field(description="EC, LiPF6, water; known names need nothing else")
    smiles: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9@+\-\[\]()=#%/\\.]{1,400}$",
        description="one molecule or formula unit, ions separated by dots",
    )
    formula: str | None = Field(
        default=None,
        pattern=r"^(?:[A-Z][a-z]?[0-9]{0,3}){1,16}$",
        description="packed as single atoms (glasses): SiO2",
    )
    ratio: float | None = Field(default=None, gt=0, le=1e4, description="parts by moles")
    molarity: float | None = Field(default=None, gt=0, le=50, description="mol/L of the mixture")

    @model_validator(mode="after")
    def _one_amount(self) -> "Ingredient":
        if self.ratio is not None and self.molarity is not None:
            raise ValueError("give ratio or molarity, not both")
        if self.smiles and self.formula:
            raise ValueError("give smiles or formula, not both")
        return self


class CrystalSource(Strict):
    """A crystal by space group, by file, or by its id in the Materials Project."""

    spacegroup: int | None = Field(default=None, ge=1, le=230)
    setting: Literal[1, 2] = Field(default=1, description="origin choice")
    lattice: list[Annotated[float, Field(gt=0, le=500)]] = Field(
        default=[], max_length=6, description="a; a c; or a b c alpha beta gamma (Å, degrees)"
    )
    sites: list[SiteText] = Field(default=[], max_length=60)
    file: str | None = Field(
        default=None,
        pattern=r"^files/[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.(?:cif|vasp|poscar|extxyz|xyz)$",
        description="a structure file below files/ of the folder",
    )
    shared_sites: bool = Field(
        default=False,
        description="file: shared or partly occupied sites are filled with whole atoms, charges"
        " balanced, another of the lowest electrostatic energies for each structure",
    )
    materials_project: str | None = Field(default=None, pattern=r"^mp-[0-9]{1,9}$")

    @model_validator(mode="after")
    def _one_source(self) -> "CrystalSource":
        given = [self.spacegroup is not None, self.file is not None, bool(self.materials_project)]
        if sum(given) != 1:
            raise ValueError("give exactly one of spacegroup, file, materials_project")
        if self.spacegroup and not (self.lattice and self.sites):
            raise ValueError("spacegroup: needs lattice and sites")
        if len(self.lattice) not in (0, 1, 2, 6):
            raise ValueError("lattice: 1 (a), 2 (a c) or 6 numbers (a b c alpha beta gamma)")
        return self


class Phase(Strict):
    """One homogeneous material of the system."""

    name: Name
    kind: PhaseKind
    substances: list[Ingredient] = Field(
        default=[],
        max_length=12,
        description="what is mixed or packed; in a polymer: what is added, by repeat unit",
    )
    density: Density | None = None
    crystal: CrystalSource | Title | None = Field(
        default=None, description="of crystal and particle: a known name or its lattice"
    )
    substitutions: list[Substitution] = Field(
        default=[], max_length=10, description="in the crystal"
    )
    interstitials: list[Interstitial] = Field(
        default=[], max_length=4, description="in the crystal's largest voids, C in iron"
    )
    surface: list[Annotated[int, Field(ge=-9, le=9)]] | None = Field(
        default=None, description="h k l or h k i l of a crystal's face; []: none is wanted"
    )
    sheets: int | None = Field(
        default=None, ge=1, le=6, description="of a layered crystal in vacuum: 1 is a monolayer"
    )
    defects: list[Defect] = Field(default=[], max_length=5, description="of a crystal, each tried")
    passivated: bool = Field(
        default=False,
        description="broken bonds of its face ended: H on covalent, H and OH on ionic crystals",
    )
    adsorbates: list[Ingredient] = Field(
        default=[], max_length=4, description="molecules on the face of a crystal, one at a time"
    )
    diameter: float | None = Field(default=None, gt=2, le=60, description="of a particle, Å")
    repeat: Title | str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9@+\-\[\]()=#%/\\* ]{1,400}$",
        description="polymer's repeat unit: a known name, or SMILES with its ends marked *: *CCO*",
    )
    units: int | None = Field(default=None, ge=1, le=200, description="repeat units a chain")
    file: str | None = Field(
        default=None,
        pattern=r"^files/[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.(?:cif|vasp|poscar|extxyz|xyz)$",
        description="of kind other: a structure file below files/ of the folder",
    )

    @model_validator(mode="before")
    @classmethod
    def _former_key(cls, data: Any) -> Any:
        """`exchanges` was the name of `substitutions`; such files are still read."""
        if isinstance(data, dict) and "exchanges" in data and "substitutions" not in data:
            data = {("substitutions" if k == "exchanges" else k): v for k, v in data.items()}
        return data

    @field_validator("surface")
    @classmethod
    def _plane(cls, value: list[int] | None) -> list[int] | None:
        if value is None or value == []:
            return value
        if len(value) not in (3, 4) or not any(value):
            raise ValueError("three (h k l) or four (h k i l) indices, not all zero")
        if len(value) == 4 and sum(value[:3]) != 0:
            raise ValueError(f"h + k + i must be 0 in {value}")
        return value


class Material(Strict):
    """task.yaml, key material: what the structures are planned from."""

    objective: Text | None = Field(default=None, description="what the potential is for")
    phases: list[Phase] = Field(default=[], max_length=12)
    layers: list[Name] | None = Field(
        default=None, max_length=8, description="phases of the whole system from the bottom up"
    )
    interfaces: list[list[Name]] | None = Field(
        default=None, max_length=20, description="pairs of phases that meet; default: of the layers"
    )
    pressure: float = Field(default=0.0, ge=-50, le=1000, description="GPa")
    reference: MethodName = Field(
        default="gfn1-xtb", description="method of every label; ase: the calculator of config.yaml"
    )
    procedure: Text | None = Field(default=None, description="how it will be simulated, in words")
    properties: list[Title] = Field(default=["structure", "density"], max_length=20)
    isolated: bool = Field(
        default=True,
        description="isolated atoms and dimers of all elements, one reference call each",
    )
    atoms: int = Field(
        default=100, ge=20, le=2000, description="about how many atoms a component's structure has"
    )

    def phase(self, name: str) -> Phase:
        """The phase of that name."""
        return next(p for p in self.phases if p.name == name)

    @property
    def meetings(self) -> list[tuple[str, str]]:
        """Pairs of phases that meet, each once, in the order of the layers."""
        layers = self.layers or []
        stated = [tuple(pair) for pair in self.interfaces or []]
        closing = [(layers[0], layers[-1])] if len(layers) > 2 else []  # periodic along z
        pairs = stated or [*pairwise(layers), *closing]
        unordered: dict[frozenset[str], tuple[str, str]] = {}
        for pair in pairs:
            if len(pair) == 2:
                unordered.setdefault(frozenset(pair), (pair[0], pair[1]))
        return list(unordered.values())


class Answers(Material):
    """What is known so far; also the answers file."""

    sentence: Text | None = Field(default=None, description="the task in one sentence")
    name: Name | None = None
    temperature: Temperature | None = Field(default=None, description="of the intended use, K")


class AnswersFile(Answers):
    """The answers of `planner prepare --answers`: the same, and a reference with its options."""

    reference: MethodName | ReferenceChoice = "gfn1-xtb"
