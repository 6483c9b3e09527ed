"""The user's own structure, with molecules soaked into it where asked: parameters."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from atomistics.builders.mixtures.parameters import Mixture
from atomistics.builders.terms import Angstrom, Repeats, UserFile, exactly_one
from atomistics.contract import Name, Strict


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
