"""What one run at constant conditions is asked to do."""

from dataclasses import dataclass
from typing import Literal, get_args

from atomistics.errors import UserError

PlainEnsemble = Literal["nvt", "npt", "nve"]
Barostat = Literal["isotropic", "axes", "height"]
MdEngine = Literal["ase", "lammps"]


@dataclass(frozen=True)
class Protocol:
    """One MD run: temperature in K, timestep in fs, pressure in GPa (positive compresses).

    A frame is kept every `interval` steps, the start left out. `barostat` says whether an NPT
    cell keeps its shape (liquids too), its three axes breathe apart (solids), or its third alone
    does, along which layers are stacked.
    """

    ensemble: PlainEnsemble
    temperature: float
    steps: int
    timestep: float = 1.0
    interval: int = 10
    pressure: float = 0.0
    seed: int = 0
    barostat: Barostat = "isotropic"

    def __post_init__(self) -> None:
        for key, allowed in (("ensemble", PlainEnsemble), ("barostat", Barostat)):
            if getattr(self, key) not in get_args(allowed):
                choice = ", ".join(get_args(allowed))
                raise UserError(f"{key}: {getattr(self, key)!r} is unknown; use one of {choice}")
        for key in ("temperature", "steps", "timestep", "interval"):
            if not getattr(self, key) > 0:
                raise UserError(f"{key}: {getattr(self, key)!r} must be above 0")
