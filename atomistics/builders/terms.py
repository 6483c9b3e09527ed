"""The words structure parameters are made of: strict patterns, bounded numbers with units.

Parameters may come from a model: nothing here can hold a path, a command or code. A file is named
below files/ of the task folder only, an earlier built structure by its id only.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from atomistics.contract import Strict

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
Beyond = Annotated[
    float, Field(ge=-0.5, le=5, description="of van der Waals faces: added to the gap by radii, Å")
]
Vacuum = Annotated[float, Field(ge=0, le=100, description="Å; 0: periodic without vacuum")]
Thickness = Annotated[float, Field(ge=2, le=200, description="Å")]
Repeats = Annotated[int, Field(ge=1, le=20)]
Fractional = Annotated[float, Field(ge=-1, le=2)]
MoleculeCount = Annotated[int, Field(ge=1, le=5000)]
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
