"""Records of results that the state keeps; the results themselves stand with their actions."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from atomistics.contract import Name, Strict, Temperature
from campaign.identifiers import DatasetId, ModelId, Outcome


class Event(NamedTuple):
    """Something that went wrong, for the report: what, of which subsystem, class, how often."""

    event: str
    subsystem: str
    kind: str
    count: int


class Result(Strict):
    """What an action reports when its jobs are done: `<action>/result.yaml`.

    Results hold no clock and no path outside the iteration: two machines that compute the same
    campaign write the same bytes. Cost by the clock stands in ledger.jsonl.
    """

    def labels_kept(self) -> int:
        """Labelled frames that entered a data set."""
        return 0

    def events(self) -> list[Event]:
        """Early stops, rejections and failures, by class."""
        return []


class Count(Strict):
    """How often a class of event came up (early-stop class, failure class, rejection class)."""

    kind: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    count: int = Field(ge=1)


class Range(Strict):
    """Least and greatest value seen."""

    low: float
    high: float


class ReferenceRange(Strict):
    """Reference MD of one held-out structure: the ranges later used as gates."""

    structure: Name
    subsystem: Name
    status: Literal["ok", "failed"]
    failure: str | None = None
    temperature: Temperature
    frames: int
    density: Range | None = Field(default=None, description="g/cm3")
    energy: Range | None = Field(default=None, description="eV/atom")
    min_distance: float | None = Field(default=None, description="Å")


class Property(Strict):
    """What a stage of a protocol measured, by model and reference, with standard errors."""

    name: str = Field(pattern=r"^[a-z_]{1,40}$")
    unit: Literal["GPa", "W/m/K", "mPa s"]
    model: float | None = None
    model_error: float | None = None
    reference: float | None = None
    reference_error: float | None = None


class ProtocolRun(Strict):
    """One run of a protocol; only runs of the very same file are compared."""

    structure: Name
    protocol: Name
    protocol_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    steps: int = Field(default=0, description="MD steps done")
    stop: str | None = Field(default=None, description="class of an early stop or failure")
    properties: list[Property] = Field(default=[])

    def lines(self) -> list[str]:
        """An early stop and the properties, in words."""
        lines = [f"{self.structure}+{self.protocol}: stopped ({self.stop})"] if self.stop else []
        for measured in self.properties:
            values = [
                f"{value:.3g} ± {error or 0:.2g} by {who}"
                for who, value, error in (
                    ("model", measured.model, measured.model_error),
                    ("reference", measured.reference, measured.reference_error),
                )
                if value is not None
            ]
            shown = ", ".join(values) or "unknown"
            lines.append(f"{self.structure}: {measured.name} {shown} {measured.unit}")
        return lines


class SampleGroupResult(Strict):
    """One subsystem of a sampling."""

    subsystem: Name
    temperature_low: int = Field(description="K")
    temperature_high: int = Field(description="K")
    runs: int
    early_stops: int
    stops: list[Count] = Field(description="early stops by class")
    failed_runs: int = Field(description="jobs that gave no trajectory")
    snapshots: int
    atoms: int
    max_grade: float | None = Field(default=None, description="highest extrapolation grade")


class SelectGroupResult(Strict):
    """One subsystem of a selection: what was looked at, what it cost, what was bought."""

    subsystem: Name
    candidates: int
    rejected: list[Count] = Field(description="by the sanity gate, before any label is paid")
    reference_calls: int
    labels: int
    failed: list[Count] = Field(description="labels quarantined, by class")
    energy_mae: float | None = Field(default=None, description="of the model on them, eV/atom")
    force_mae: float | None = Field(default=None, description="of the model on them, eV/Å")


class Errors(Strict):
    """Errors of a model on the frames of one subsystem."""

    subsystem: Name
    split: Literal["train", "held_out"]
    frames: int
    energy_mae: float = Field(description="eV/atom")
    energy_rmse: float = Field(description="eV/atom")
    force_mae: float = Field(description="eV/Å per component")
    force_rmse: float = Field(description="eV/Å per component")
    stress_mae: float | None = Field(default=None, description="GPa per component")


class FrameSet(Strict):
    """Frames of one dataset."""

    dataset: DatasetId
    frames: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)


class ComparedLayer(Strict):
    """One layer of a layered structure by model and reference."""

    layer: Name
    density: float = Field(description="of the model's MD, g/cm3")
    density_deviation: float = Field(description="fraction of the reference's")
    rdf_overlap: float | None = Field(default=None, description="least over the layer's own pairs")


class PairOfDiffusion(Strict):
    """Self-diffusion of one element by model and reference, with its standard error."""

    element: str
    model: float = Field(description="cm2/s")
    model_error: float
    reference: float
    reference_error: float


class EvaluatedStructure(Strict):
    """One held-out structure under the model's MD, against the reference trajectory."""

    structure: Name
    subsystem: Name
    status: Literal["ok", "early_stop", "failed"]
    stop: str | None = Field(default=None, description="class of the early stop or failure")
    picoseconds: float = Field(description="MD done, ps")
    temperature: Temperature
    max_grade: float | None = Field(default=None, description="highest of the kept snapshots")
    compared_ps: float | None = Field(
        default=None, description="length of the reference MD that density and RDF are held to, ps"
    )
    density: float | None = Field(default=None, description="mean of the model's MD, g/cm3")
    density_deviation: float | None = Field(default=None, description="fraction of the reference")
    rdf_overlap: float | None = Field(default=None, description="least over all pairs, 1 is equal")
    diffusion: list[PairOfDiffusion] = Field(default=[])
    layers: list[ComparedLayer] = Field(
        default=[],
        description="of a stack, from the bottom up",
        exclude_if=lambda layers: not layers,
    )
    energy_mae: float | None = Field(default=None, description="on the reference MD, eV/atom")
    force_mae: float | None = Field(default=None, description="on the reference MD, eV/Å")
    fresh_frames: int = 0
    fresh_energy_mae: float | None = Field(default=None, description="own MD, eV/atom")
    fresh_force_mae: float | None = Field(default=None, description="own MD, eV/Å")


class Verdict(Result):
    """end/result.yaml: the verdict as code found it, not as it was asked for."""

    outcome: Outcome
    asked: Outcome
    reasons: list[str]
    model: ModelId | None = None
