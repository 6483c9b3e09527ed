"""Molecular systems: parameters."""

from typing import Literal

from pydantic import Field, model_validator

from atomistics.builders.mixtures.parameters import Box
from atomistics.builders.terms import Vacuum, exactly_one


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
