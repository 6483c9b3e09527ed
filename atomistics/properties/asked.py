"""Which properties are asked for, what they are called, what they may cost; reads no structure."""

import re
from typing import Annotated, Literal, get_args

from pydantic import Field

from atomistics.contract import Strict

Kind = Literal[
    "lattice",
    "eos",
    "elastic",
    "phonons",
    "vacancy",
    "surfaces",
    "cohesion",
    "adsorption",
    "adhesion",
    "vaporisation",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
# calls of the calculator at most; a kind that would need more is given up with its class
CALLS: dict[Kind, int] = {
    "lattice": 150,
    "eos": 150,
    "elastic": 300,
    "phonons": 120,
    "vacancy": 200,
    "surfaces": 100,  # a plane
    "cohesion": 10,
    "adsorption": 400,
    "adhesion": 500,
    "vaporisation": 200,
}
PARTS: frozenset[Kind] = frozenset({"adsorption", "adhesion"})
CRYSTAL: frozenset[Kind] = frozenset(KINDS) - PARTS - {"vaporisation"}
TAUGHT: frozenset[Kind] = CRYSTAL | PARTS
UNITS = {"density": "g/cm3"}
# names of values: the kind that measures them, their unit
_NAMES: tuple[tuple[str, Kind, str], ...] = (
    (r"a|b|c", "lattice", "Å"),
    (r"alpha|beta|gamma", "lattice", "degree"),
    (r"volume", "lattice", "Å3/atom"),
    (r"energy", "lattice", "eV/atom"),
    (r"above_[a-z0-9][a-z0-9_-]{0,63}", "lattice", "meV/atom"),
    (r"eos_volume", "eos", "Å3/atom"),
    (r"bulk_modulus", "eos", "GPa"),
    (r"bulk_modulus_derivative", "eos", "1"),
    (r"c[1-6][1-6]|elastic_bulk_modulus|shear_modulus|young_modulus|stability", "elastic", "GPa"),
    (r"poisson_ratio", "elastic", "1"),
    (r"phonon_(highest|lowest|mean)", "phonons", "THz"),
    (r"(vacancy|schottky)(_unrelaxed)?", "vacancy", "eV"),
    (r"surface_(-?[0-9]){3}(_unrelaxed)?", "surfaces", "J/m2"),
    (r"cohesive_energy", "cohesion", "eV/atom"),
    (r"atom_[A-Z][a-z]?", "cohesion", "eV"),
    (r"adsorption(_unrelaxed)?", "adsorption", "eV"),
    (r"work_of_separation(_unrelaxed)?", "adhesion", "J/m2"),
    (r"heat_of_vaporisation", "vaporisation", "kJ/mol"),
)
PlaneIndices = Annotated[
    list[Annotated[int, Field(ge=-9, le=9)]],
    Field(min_length=3, max_length=3, description="indices of the conventional cell"),
]


class PropertiesAsked(Strict):
    """Properties of a structure, by kind."""

    kinds: list[Kind] = Field(default=[], max_length=len(KINDS))
    planes: list[PlaneIndices] = Field(
        default=[[1, 0, 0], [1, 1, 0], [1, 1, 1]],
        min_length=1,
        max_length=12,
        description="whose surface energies",
    )
    length: float = Field(
        default=9.0, ge=4, le=40, description="least length of supercells, thickness of slabs, Å"
    )

    @property
    def needed(self) -> list[Kind]:
        """The kinds in their order; whatever is asked of a crystal, it is relaxed first."""
        wanted = {*self.kinds, *(["lattice"] if set(self.kinds) & CRYSTAL else [])}
        return [kind for kind in KINDS if kind in wanted]

    def calls(self) -> int:
        """Reference calls at most."""
        return sum(calls(kind, self) for kind in self.needed)


def calls(kind: Kind, asked: PropertiesAsked) -> int:
    """Calls of one kind at most."""
    return CALLS[kind] * (len(asked.planes) if kind == "surfaces" else 1)


def kind_of(name: str) -> Kind | None:
    """The kind that measures the value of this name."""
    return next((kind for pattern, kind, _ in _NAMES if re.fullmatch(pattern, name)), None)


def unit_of(name: str) -> str | None:
    """The unit of the value of this name."""
    units = (unit for pattern, _, unit in _NAMES if re.fullmatch(pattern, name))
    return UNITS.get(name) or next(units, None)
