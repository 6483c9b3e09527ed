"""Every structure builder: the ten families of the paper's Table 1, stacks, and isolated atoms.

A family is a folder here, `parameters.py` (its schema, which loads nothing heavy) beside `build.py`
(its builder), and one line below. `Parameters` is the union on `family`. Lengths in Å, densities in
g/cm3, temperatures in K; every random number comes from the seed given to build.
"""

from typing import Annotated, get_args

from pydantic import AfterValidator, Field, TypeAdapter

from atomistics.builders.amorphous.parameters import Amorphous
from atomistics.builders.cluster.parameters import Cluster
from atomistics.builders.isolated.parameters import Isolated
from atomistics.builders.liquid_liquid.parameters import LiquidLiquid
from atomistics.builders.mixtures.parameters import Box
from atomistics.builders.molecule.parameters import Molecule
from atomistics.builders.other.parameters import Other
from atomistics.builders.polymer.parameters import Polymer
from atomistics.builders.solid.parameters import Solid
from atomistics.builders.solid_molecule.parameters import SolidMolecule
from atomistics.builders.solid_solid.parameters import SolidSolid
from atomistics.builders.solid_surface.parameters import SolidSurface
from atomistics.builders.stack.parameters import Stack
from atomistics.contract import Strict

AnyFamily = (
    Solid
    | Amorphous
    | Molecule
    | SolidSurface
    | Cluster
    | SolidSolid
    | SolidMolecule
    | LiquidLiquid
    | Polymer
    | Other
    | Stack
    | Isolated
)


def _sized(parameters: Strict) -> Strict:
    """A box by itself needs a number of atoms, where a layer of a stack takes its thickness."""
    if isinstance(parameters, Box) and not parameters.counted and parameters.atoms is None:
        raise ValueError("atoms: required where amounts are ratios or molarities")
    return parameters


Parameters = Annotated[AnyFamily, Field(discriminator="family"), AfterValidator(_sized)]
PARAMETERS: TypeAdapter[Parameters] = TypeAdapter(Parameters)
FAMILIES: dict[str, type[Strict]] = {
    model.model_fields["family"].default: model for model in get_args(AnyFamily)
}


def table_family(parameters: Parameters) -> str:
    """The family of Table 1 a structure is listed under; a stack counts by what meets in it."""
    if isinstance(parameters, Isolated):
        return "cluster"
    if not isinstance(parameters, Stack):
        return parameters.family
    kinds = {layer.content.family if layer.content else "solid" for layer in parameters.layers}
    if not kinds & {"molecule", "polymer"}:
        return "solid-solid"
    return "solid-molecule" if kinds & {"solid", "solid-surface", "amorphous"} else "liquid-liquid"
