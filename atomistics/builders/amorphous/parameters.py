"""Disordered inorganic solids: parameters."""

from typing import Literal

from pydantic import Field

from atomistics.builders.mixtures.parameters import Box
from atomistics.md.protocol import MeltQuench

Quencher = Literal["reference", "pedone", "guillot-sator", "stillinger-weber", "tersoff"]


class Quench(MeltQuench):
    """MD by the campaign's reference or a published potential: melt, cool, settle (K, ps)."""

    stage: Literal["melt-quench"] = "melt-quench"
    timestep: float = Field(default=1.0, gt=0, le=10, description="fs")
    potential: Quencher = Field(
        default="reference",
        description="pedone: oxides of Li Na K Mg Ca Al Si Ge P; guillot-sator: of Na K Mg Ca Al B"
        " Si Ti; stillinger-weber: Si or Ge; tersoff: C, SiC, SiGe",
    )


class Amorphous(Box):
    """Glass or disordered inorganic: packed at a density, melt-quenched where asked."""

    family: Literal["amorphous"] = "amorphous"
    melt_quench: Quench | None = Field(default=None, description="needs a reference")
