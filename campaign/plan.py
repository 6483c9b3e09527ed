"""The plan: one action with its parameters, its reason and the state keys it rests on.

`planner next` writes it, a person may edit it, the Snakefile materializes it. Nothing in it but
enums, bounded numbers and names from a strict pattern can reach a shell or a path.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from atomistics.contract import Ensemble, Name, Scale, Strict, Temperature
from campaign.files import canonical_json, sha256

SampleId = Annotated[str, StringConstraints(pattern=r"^s\d{3,4}$")]
DatasetId = Annotated[str, StringConstraints(pattern=r"^d\d{3,4}$")]
ModelId = Annotated[str, StringConstraints(pattern=r"^m\d{3,4}$")]
ProtocolName = Annotated[
    Name | None,
    Field(
        description="an approved file of protocols/ to run besides; null for none",
        exclude_if=lambda name: name is None,  # a plan without one stays what it was
    ),
]
Action = Literal["reference_calc", "sample", "select_data", "train", "model_eval", "prune", "end"]
ACTIONS: tuple[Action, ...] = (
    "reference_calc", "sample", "select_data", "train", "model_eval", "prune", "end",
)  # fmt: skip
Outcome = Literal["converged", "budget_exhausted", "blocked", "failed"]
Seed = Annotated[
    int, Field(ge=0, lt=2**31, description="seed of every random number of the action")
]


class ReferenceCalc(Strict):
    """Reference MD on held-out structures: the yardstick of every later evaluation."""

    structures: list[Name] = Field(min_length=1, description="held-out structures")
    temperature: Temperature
    ensemble: Ensemble
    steps: int = Field(ge=2, le=1_000_000, description="MD steps, one reference call each")
    interval: int = Field(ge=1, le=100_000, description="MD steps between kept snapshots")
    protocol: ProtocolName = None
    seed: Seed

    def plain(self, ready: set[str]) -> list[str]:
        """Structures that need plain MD; beside a protocol, not those which have it already."""
        return [name for name in self.structures if not (self.protocol and name in ready)]


class SampleGroup(Strict):
    """What is sampled of one subsystem: every structure x ensemble x temperature is one run."""

    subsystem: Name
    structures: list[Name] = Field(min_length=1)
    temperatures: list[Temperature] = Field(max_length=20)
    ensembles: list[Ensemble] = Field(max_length=2)
    protocol: ProtocolName = None


class Sample(Strict):
    """New configurations from MD with the reference (labels included) or with a model."""

    method: Literal["reference", "model"]
    model: ModelId | None = Field(default=None, description="required by method model")
    groups: list[SampleGroup] = Field(min_length=1)
    steps: int = Field(ge=0, le=10_000_000, description="MD steps of each run")
    interval: int = Field(ge=1, le=1_000_000, description="MD steps between kept snapshots")
    compression: list[Scale] = Field(
        default=[], max_length=20, description="linear scale factors of the cell, reference only"
    )
    rattle: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="rattled and relaxed copies a structure, reference only",
    )
    amplitude: float = Field(default=0.1, gt=0, le=1, description="of the rattle, Å")
    relax_steps: int = Field(default=2, ge=0, le=100, description="after a rattle")
    seed: Seed

    @model_validator(mode="after")
    def _method_and_model(self) -> "Sample":
        if (self.method == "model") != (self.model is not None):
            raise ValueError("model: give a model id with method 'model' and none with 'reference'")
        if self.method == "model" and (self.compression or self.rattle):
            raise ValueError("compression, rattle: only with method 'reference'")
        return self

    def runs(self) -> dict[str, dict[str, str | int]]:
        """The jobs of this plan by name: leaves that the rules hand over as params."""
        table: dict[str, dict[str, str | int]] = {}
        for group in self.groups:
            for structure in group.structures:
                leaf = {"structure": structure, "subsystem": group.subsystem}
                for ensemble in group.ensembles:
                    for kelvin in group.temperatures:
                        name = f"{structure}-{ensemble}-{kelvin}k"
                        table[name] = {**leaf, "kind": ensemble, "temperature": kelvin}
                if self.compression:
                    table[f"{structure}-compression"] = {
                        **leaf, "kind": "compression", "temperature": 0,
                    }  # fmt: skip
                if self.rattle:
                    table[f"{structure}-rattle"] = {**leaf, "kind": "rattle", "temperature": 0}
                if group.protocol:
                    table[f"{structure}+{group.protocol}"] = {
                        **leaf, "kind": "protocol", "protocol": group.protocol, "temperature": 0,
                    }  # fmt: skip
        return table


class SelectGroup(Strict):
    """How much of one subsystem is labelled: a fraction of its candidates or a count."""

    subsystem: Name
    fraction: float | None = Field(default=None, gt=0, le=1)
    count: int | None = Field(default=None, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _one_measure(self) -> "SelectGroup":
        if (self.fraction is None) == (self.count is None):
            raise ValueError("give either fraction or count")
        return self


class SelectData(Strict):
    """Which sampled snapshots get a label."""

    method: Literal["all", "error", "grade"] = Field(
        description="error: a reference call per candidate; grade: none for what is not kept"
    )
    model: ModelId | None = Field(default=None, description="required by error and grade")
    samples: list[SampleId] = Field(min_length=1)
    groups: list[SelectGroup] = Field(min_length=1)
    max_labels: int = Field(ge=1, le=1_000_000, description="upper bound over all groups")

    @model_validator(mode="after")
    def _model_present(self) -> "SelectData":
        if (self.method == "all") != (self.model is None):
            raise ValueError("model: required by methods error and grade, absent with all")
        return self


class Train(Strict):
    """Fit of the potential to the labels."""

    start: Literal["scratch", "continue"]
    model: ModelId | None = Field(default=None, description="parent, required by continue")
    effort: Literal["quick", "accurate"]
    datasets: list[DatasetId] = Field(min_length=1)
    seed: Seed

    @model_validator(mode="after")
    def _parent(self) -> "Train":
        if (self.start == "continue") != (self.model is not None):
            raise ValueError("model: required by start 'continue', absent with 'scratch'")
        return self


class ModelEval(Strict):
    """MD with a model on held-out structures against the reference trajectories."""

    model: ModelId
    structures: list[Name] = Field(min_length=1)
    temperature: Temperature
    steps: int = Field(ge=2, le=10_000_000)
    interval: int = Field(ge=1, le=1_000_000)
    fresh_frames: int = Field(
        ge=0,
        le=1000,
        description="snapshots of the model's own MD, each checked by a reference call",
    )
    protocol: ProtocolName = None
    seed: Seed


class FrameSet(Strict):
    """Frames of one dataset."""

    dataset: DatasetId
    frames: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)


class Prune(Strict):
    """What later trainings leave out; nothing is deleted, `restore` takes it back in."""

    models: list[ModelId] = Field(default=[], description="rolled back: never continued from")
    datasets: list[DatasetId] = Field(default=[])
    frames: list[FrameSet] = Field(default=[])
    restore: bool = False

    @model_validator(mode="after")
    def _something(self) -> "Prune":
        if not (self.models or self.datasets or self.frames):
            raise ValueError("name at least one model, dataset or frame")
        return self


class End(Strict):
    """The verdict asked for; code holds it against the targets before it stands."""

    outcome: Outcome
    model: ModelId | None = Field(default=None, description="the potential handed over")
    recommendation: str = Field(default="", max_length=2000, description="for people")


class Evidence(Strict):
    """A state key and the value the decision saw there."""

    key: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.-]{1,128}$")]
    value: str | bool | int | float


class Plan(Strict):
    """One iteration's action. Exactly the section named by `action` is present."""

    iteration: int = Field(ge=1, le=9999)
    action: Action
    reason: str = Field(max_length=600, description="why, for people; never interpreted")
    rule: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")] | None = None
    evidence: list[Evidence] = Field(max_length=40)
    state_sha256: str = Field(pattern=r"^([0-9a-f]{64}|start)$", description="state decided from")
    reference_calc: ReferenceCalc | None = None
    sample: Sample | None = None
    select_data: SelectData | None = None
    train: Train | None = None
    model_eval: ModelEval | None = None
    prune: Prune | None = None
    end: End | None = None

    @model_validator(mode="after")
    def _one_section(self) -> "Plan":
        present = [action for action in ACTIONS if getattr(self, action) is not None]
        if present != [self.action]:
            raise ValueError(
                f"sections {present}: exactly the section '{self.action}' must be given"
            )
        return self

    @property
    def parameters(self) -> Strict:
        """The section of the action."""
        return getattr(self, self.action)

    @property
    def fingerprint(self) -> str:
        """Hash of action and parameters without the seed: equal for a repetition."""
        section = self.parameters.model_dump(mode="json", exclude={"seed"})
        return sha256(canonical_json({self.action: section}))[:16]
