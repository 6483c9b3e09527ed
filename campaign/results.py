"""Records of results that the state keeps; the results themselves stand with their actions."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from atomistics.contract import Element, Name, Strict, Temperature
from campaign.identifiers import CampaignOutcome, DatasetId, ModelId


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


class Property(Strict):
    """A property by model and reference, with standard errors or bounds of numerical ones."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")
    unit: str = Field(max_length=12)
    model: float | None = None
    model_error: float | None = None
    reference: float | None = None
    reference_error: float | None = None
    note: str | None = Field(default=None, max_length=400, exclude_if=lambda note: note is None)


class Measurements(Strict):
    """Properties of one structure; notes say how each kind came about, or why it did not."""

    values: list[Property] = Field(default=[])
    notes: list[str] = Field(default=[], description="whose, kind, and in words how")

    def value(self, name: str) -> Property | None:
        """The property of that name."""
        return next((p for p in self.values if p.name == name), None)

    @property
    def failed(self) -> list[str]:
        """Notes on what has no value."""
        return [note for note in self.notes if ": no value: " in note]


class ReferenceRange(Strict):
    """Reference MD of one held-out structure: the ranges later used as gates."""

    structure: Name
    subsystem: Name
    status: Literal["ok", "failed"]
    failure: str | None = None
    species: list[Element] | None = Field(
        default=None, description="in it", exclude_if=lambda species: species is None
    )
    temperature: Temperature
    frames: int
    density: Range | None = Field(default=None, description="g/cm3")
    energy: Range | None = Field(default=None, description="eV/atom")
    min_distance: float | None = Field(default=None, description="Å")
    start_density: float | None = Field(default=None, description="as built and relaxed, g/cm3")
    start_energy: float | None = Field(default=None, description="eV/atom")
    visited_density: Range | None = Field(default=None, description="with equilibration, g/cm3")
    visited_energy: Range | None = Field(default=None, description="with equilibration, eV/atom")
    hottest: float | None = Field(default=None, description="instantaneous temperature, K")
    properties: Measurements | None = Field(
        default=None, description="where asked for", exclude_if=lambda records: records is None
    )
    md: Literal["reference", "explorer"] = Field(
        default="reference",
        description="whose MD; of an explorer's, `frames` are those that the reference labelled",
        exclude_if=lambda md: md == "reference",
    )

    @property
    def stopped_by(self) -> str:
        """Class of the early stop or failure; a word, whatever stands in the file."""
        return self.failure if re.fullmatch(r"[a-z_ -]{1,40}", self.failure or "") else "unknown"


class SettledStructure(Strict):
    """A structure relaxed and warmed by the reference: the start of every MD of it.

    Densities in g/cm3, None where the cell is not periodic in three directions. One that failed
    begins as it was built.
    """

    structure: Name
    subsystem: Name
    iteration: int = Field(default=0, description="whose folder holds its frames")
    status: Literal["ok", "failed"]
    failure: str | None = None
    crystal: bool = Field(default=False, description="its forces were small from the beginning")
    reference_calls: int
    explorer_calls: int = Field(
        default=0,
        description="of the explorer, which then settled it in place of the reference",
        exclude_if=lambda calls: not calls,
    )
    frames: int = Field(default=0, description="kept, the last is the start")
    temperature: Temperature
    force: float | None = Field(default=None, description="largest as built, eV/Å")
    gained: float | None = Field(default=None, description="energy given off, eV/atom")
    built_density: float | None = None
    relaxed_density: float | None = None
    density: float | None = Field(default=None, description="at the start of MD")


class MovingResult(Result):
    """Result of an action that starts MD: it settles what no action before it has used."""

    settled: list[SettledStructure] = Field(default=[], exclude_if=lambda records: not records)


class JudgedStops(Strict):
    """Early stops of one class held against the reference at their last sound frames.

    A false alarm: model and reference agree there within the targets, so what the watchdog
    stopped was physics.
    """

    kind: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    judged: int = Field(ge=1)
    false_alarms: int = Field(ge=0)


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
            remark = f" ({measured.note})" if measured.note else ""
            lines.append(f"{self.structure}: {measured.name} {shown} {measured.unit}{remark}")
        return lines


class Rung(Strict):
    """The runs of one temperature."""

    temperature: int
    runs: int = Field(description="with a trajectory")
    stops: int


class StoppedRun(Strict):
    """One early stop: where, when, and the limit that the watchdog held it to."""

    structure: Name
    ensemble: str = Field(pattern=r"^[a-z]{1,20}$")
    temperature: int
    kind: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    picoseconds: float
    limit: str = Field(max_length=160, description="the watchdog's words")


class SampleGroupResult(Strict):
    """One subsystem of a sampling."""

    subsystem: Name
    temperature_low: int = Field(description="K")
    temperature_high: int = Field(description="K")
    runs: int
    early_stops: int
    stops: list[Count] = Field(description="early stops by class")
    false_alarms: int = Field(
        default=0,
        description="of the early stops, by the labels bought from them",
        exclude_if=lambda count: not count,
    )
    failed_runs: int = Field(description="jobs that gave no trajectory")
    snapshots: int
    atoms: int
    max_grade: float | None = Field(default=None, description="highest extrapolation grade")
    rungs: list[Rung] = Field(
        default=[], description="by temperature", exclude_if=lambda records: not records
    )
    stopped_runs: list[StoppedRun] = Field(
        default=[], description="the earliest dozen", exclude_if=lambda records: not records
    )
    picoseconds: float | None = Field(
        default=None, description="MD of all runs", exclude_if=lambda length: length is None
    )

    @property
    def stopped(self) -> float | None:
        """Fraction of the runs with a trajectory that stopped early, false alarms apart."""
        kept = self.runs - self.failed_runs
        return (self.early_stops - self.false_alarms) / kept if kept > 0 else None


class Calibration(Strict):
    """Extrapolation grade of the frames just labelled against the model's true force error.

    The error of a frame is that of its worst atom, eV/Å; probability is that of a Spearman
    correlation as far from nought by chance.
    """

    frames: int = Field(ge=3)
    rank_correlation: float = Field(ge=-1, le=1, description="Spearman's")
    probability: float = Field(ge=0, le=1)
    lower_half: float = Field(description="mean error of the half with the lower grades, eV/Å")
    upper_half: float = Field(description="mean error of the half with the higher grades, eV/Å")

    @property
    def blind(self) -> bool:
        """Whether so many frames show that the grade tells nothing of the error."""
        return self.frames >= 30 and self.rank_correlation < 0.1


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
    stops: list[JudgedStops] = Field(default=[], exclude_if=lambda records: not records)
    calibration: Calibration | None = Field(
        default=None, exclude_if=lambda records: records is None
    )


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


MeanKey = Literal[
    "energy_mae", "force_mae", "fresh_energy_mae", "fresh_force_mae", "density", "density_deviation"
]


class EvaluatedStructure(Strict):
    """One held-out structure under the model's MD, against the reference trajectory."""

    structure: Name
    subsystem: Name
    status: Literal["ok", "early_stop", "failed"]
    stop: str | None = Field(default=None, description="class of the early stop or failure")
    picoseconds: float = Field(description="MD done, ps")
    drifting: bool = Field(
        default=False,
        description="density or energy still drifted when the run was as long as allowed",
        exclude_if=lambda drifting: not drifting,
    )
    temperature: Temperature
    max_grade: float | None = Field(default=None, description="highest of the kept snapshots")
    compared: bool = Field(
        default=True,
        description="held against reference MD; false: against labels alone",
        exclude_if=lambda compared: compared,
    )
    compared_ps: float | None = Field(
        default=None, description="length of the reference MD that density and RDF are held to, ps"
    )
    density: float | None = Field(
        default=None, description="mean of the model's MD over the time compared, g/cm3"
    )
    late_density: float | None = Field(
        default=None,
        description="mean over the end of the model's own NPT run, g/cm3",
        exclude_if=lambda density: density is None,
    )
    density_deviation: float | None = Field(default=None, description="fraction of the reference")
    bulk: bool = Field(default=True, description="periodic in x, y and z: has density and RDF")
    pressure_bias: float | None = Field(
        default=None,
        description="model minus reference over the fresh frames, GPa: soft axes weigh more, and of"
        " a stack what solid layers make up for themselves does not count",
    )
    density_bias: float | None = Field(
        default=None,
        description="what that makes of the density, as a fraction: times the compressibility of"
        " the model's own NPT run",
    )
    rdf_overlap: float | None = Field(default=None, description="least over all pairs, 1 is equal")
    rdf_pair: str | None = Field(
        default=None,
        pattern=r"^[A-Z][a-z]?-[A-Z][a-z]?$",
        description="the pair of that least overlap",
        exclude_if=lambda pair: pair is None,
    )
    diffusion: list[PairOfDiffusion] = Field(default=[])
    properties: Measurements | None = Field(
        default=None, description="where asked for", exclude_if=lambda records: records is None
    )
    layers: list[ComparedLayer] = Field(
        default=[],
        description="of a stack, from the bottom up",
        exclude_if=lambda layers: not layers,
    )
    energy_mae: float | None = Field(default=None, description="on the reference MD, eV/atom")
    force_mae: float | None = Field(default=None, description="on the reference MD, eV/Å")
    fresh_frames: int = 0
    fresh_energy_mae: float | None = Field(default=None, description="own MD, eV/atom")
    standard_errors: dict[MeanKey, float] = Field(
        default={}, description="of means, in their units", exclude_if=lambda errors: not errors
    )
    force_mae_by_element: dict[Element, float] = Field(
        default={}, description="on the reference MD, eV/Å", exclude_if=lambda errors: not errors
    )
    fresh_force_mae: float | None = Field(default=None, description="own MD, eV/Å")
    false_alarms: list[Count] = Field(
        default=[],
        description="times a limit of the class was left while model and reference agreed, each"
        " by a label; it was widened and the run went on",
        exclude_if=lambda alarms: not alarms,
    )


def unmeasured(structures: Sequence[ReferenceRange | EvaluatedStructure]) -> list[Event]:
    """Properties that were asked for and have no value."""
    return [
        Event("property without a value", s.subsystem, note.split(": ")[1], 1)
        for s in structures
        for note in (s.properties.failed if s.properties else ())
    ]


class Verdict(Result):
    """end/result.yaml: the verdict as code found it, not as it was asked for."""

    outcome: CampaignOutcome
    asked: CampaignOutcome
    reasons: list[str]
    model: ModelId | None = None
