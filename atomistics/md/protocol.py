"""The contract of an MD protocol: known stages in a row, bounded numbers, nothing to execute.

`protocols/NAME.yaml` in a campaign's folder. Stages beyond a plain ensemble (ramps, strain, bias,
imposed fluxes) are composed here by people or models; `atomistics.md.stages` is what runs them.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from atomistics.contract import Ensemble, Strict, Temperature
from atomistics.md.collective import Variable

MOST_STEPS = 10_000_000
STRAIN_PER_STEP = 1e-3
Picoseconds = Annotated[float, Field(gt=0, le=1e6, description="ps")]
Rate = Annotated[float, Field(gt=0, le=1e6, description="K/ps")]
Pressure = Annotated[float, Field(ge=-100, le=1000, description="GPa, positive compresses")]
Knots = list[tuple[int, float]]


def _steps(picoseconds: float, timestep: float) -> int:
    return max(1, round(picoseconds * 1000 / timestep))


class Thermal(Strict):
    """What every stage with an ensemble may say."""

    ensemble: Ensemble = "nvt"
    pressure: Pressure = Field(default=0.0, description="GPa, npt only")
    barostat: Literal["isotropic", "axes", "height"] = Field(
        default="isotropic",
        description="npt only; axes: the cell's three lengths breathe apart; height: the third",
    )

    @model_validator(mode="after")
    def _pressure_needs_npt(self) -> "Thermal":
        if self.ensemble != "npt" and (self.pressure or self.barostat != "isotropic"):
            raise ValueError("pressure, barostat: only with ensemble npt")
        return self


class Steady(Strict):
    """A while at one temperature."""

    temperature: Temperature
    picoseconds: Picoseconds

    def knots(self, timestep: float) -> Knots:
        """Target temperature (K) against the step, linear in between."""
        return [(0, self.temperature), (_steps(self.picoseconds, timestep), self.temperature)]


class Hold(Thermal, Steady):
    """Time at one temperature; with nve the temperature is that of the velocities, if first."""

    stage: Literal["hold"]
    ensemble: Literal["nvt", "npt", "nve"] = "nvt"


class Anneal(Thermal):
    """Heating from `low` to `high`, a while there, cooling back; `cycles` times."""

    stage: Literal["anneal"]
    low: Temperature
    high: Temperature
    rate: Rate = Field(description="heating and cooling, K/ps")
    picoseconds: Picoseconds = Field(description="at `high`, each time, ps")
    cycles: int = Field(default=1, ge=1, le=100)

    @model_validator(mode="after")
    def _upwards(self) -> "Anneal":
        if self.low >= self.high:
            raise ValueError(f"low: {self.low} K must be below high ({self.high} K)")
        return self

    def knots(self, timestep: float) -> Knots:
        """Target temperature (K) against the step, linear in between."""
        ramp = _steps((self.high - self.low) / self.rate, timestep)
        held = _steps(self.picoseconds, timestep)
        path: Knots = [(0, self.low)]
        for start in range(0, self.cycles * (2 * ramp + held), 2 * ramp + held):
            path += [
                (start + ramp, self.high),
                (start + ramp + held, self.high),
                (start + 2 * ramp + held, self.low),
            ]
        return path


class MeltQuench(Thermal):
    """A while in the melt, cooling at a constant rate, a while at the end."""

    stage: Literal["melt-quench"]
    melt: Temperature
    picoseconds: Picoseconds = Field(description="in the melt, ps")
    rate: Rate = Field(description="cooling, K/ps")
    final: Temperature
    settle: Picoseconds = Field(description="at `final`, ps")

    @model_validator(mode="after")
    def _downwards(self) -> "MeltQuench":
        if self.final >= self.melt:
            raise ValueError(f"final: {self.final} K must be below melt ({self.melt} K)")
        return self

    def knots(self, timestep: float) -> Knots:
        """Target temperature (K) against the step, linear in between."""
        held = _steps(self.picoseconds, timestep)
        cooled = held + _steps((self.melt - self.final) / self.rate, timestep)
        end = cooled + _steps(self.settle, timestep)
        return [(0, self.melt), (held, self.melt), (cooled, self.final), (end, self.final)]


class Strain(Strict):
    """Uniaxial (x, y, z) or shear (xy: x grows with y) strain at a constant rate, thermostatted.

    Property: stress against strain, and the modulus at its beginning.
    """

    stage: Literal["strain"]
    direction: Literal["x", "y", "z", "xy", "xz", "yz"]
    strain: float = Field(ge=-0.5, le=0.5, description="at the end; negative x, y, z compress")
    rate: float = Field(gt=0, le=1, description="strain per time, 1/ps")
    others: Literal["fixed", "free"] = Field(
        description="free: the lengths along the other axes follow `pressure`"
    )
    temperature: Temperature
    pressure: Pressure = Field(default=0.0, description="GPa, with others: free")

    @model_validator(mode="after")
    def _something(self) -> "Strain":
        if not self.strain:
            raise ValueError("strain: must not be 0")
        if self.others == "fixed" and self.pressure:
            raise ValueError("pressure: only with others: free")
        return self

    def knots(self, timestep: float) -> Knots:
        """Target temperature (K) against the step, linear in between."""
        return [
            (0, self.temperature),
            (_steps(abs(self.strain) / self.rate, timestep), self.temperature),
        ]


class Metadynamics(Steady):
    """Gaussians along collective variables by PLUMED, nvt; well-tempered with `bias_factor`.

    Frames are labelled without the bias.
    """

    stage: Literal["metadynamics"]
    variables: list[Variable] = Field(min_length=1, max_length=3)
    height: float = Field(gt=0, le=1, description="of the first Gaussian, eV")
    every: float = Field(gt=0, le=1e5, description="time between Gaussians, fs")
    bias_factor: float | None = Field(default=None, gt=1, le=1000, description="well-tempered")


class ReverseMd(Steady):
    """Reverse non-equilibrium MD: a flux imposed by swaps of velocities, its gradient measured.

    The stage is nve; `temperature` is what the stages before it have led to.
    Property: thermal conductivity (exchange: heat) or shear viscosity (exchange: momentum).
    """

    stage: Literal["rnemd"]
    exchange: Literal["heat", "momentum"]
    axis: Literal["a", "b", "c"] = Field(description="cell vector across the slabs")
    slabs: int = Field(ge=6, le=200, multiple_of=2)
    every: float = Field(gt=0, le=1e5, description="time between swaps, fs")
    settle: Picoseconds = Field(description="left out of the averages at the beginning, ps")

    @model_validator(mode="after")
    def _long_enough(self) -> "ReverseMd":
        if self.settle >= self.picoseconds:
            raise ValueError(f"settle: {self.settle:g} ps leaves nothing of {self.picoseconds:g}")
        return self


Stage = Annotated[
    Hold | Anneal | MeltQuench | Strain | Metadynamics | ReverseMd, Field(discriminator="stage")
]


class StagedProtocol(Strict):
    """protocols/NAME.yaml: stages in a row, each from where the last one ended."""

    description: str = Field(default="", max_length=2000, description="for people")
    timestep: float = Field(gt=0, le=10, description="fs")
    stages: list[Stage] = Field(min_length=1, max_length=20)

    @model_validator(mode="after")
    def _bounded(self) -> "StagedProtocol":
        if self.steps > MOST_STEPS:
            raise ValueError(f"stages: {self.steps} steps in all, at most {MOST_STEPS} are allowed")
        for number, stage in enumerate(self.stages, 1):
            if isinstance(stage, Strain) and stage.rate * self.timestep / 1000 > STRAIN_PER_STEP:
                raise ValueError(
                    f"stage {number}: rate: strains by more than {STRAIN_PER_STEP:g} a step; lower"
                )
        return self

    @property
    def steps(self) -> int:
        """MD steps of all stages."""
        return sum(self.lengths)

    @property
    def lengths(self) -> list[int]:
        """MD steps of each stage."""
        return [stage.knots(self.timestep)[-1][0] for stage in self.stages]

    @property
    def highest(self) -> int:
        """Highest target temperature, K."""
        return int(max(kelvin for s in self.stages for _, kelvin in s.knots(self.timestep)))
