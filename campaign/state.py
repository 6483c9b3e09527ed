"""The state: what the campaign knows, reduced from one iteration to the next.

`after(state, plan, result)` is the only way a state comes about; the rule `finalize` writes it as
`state.yaml`. It holds no clock: spending in core-seconds stands in the ledger.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from atomistics.contract import Element, Name, Strict
from atomistics.properties.asked import PropertiesAsked
from campaign.actions import Action
from campaign.config import Subsystem, Targets, Task
from campaign.errors import UserError
from campaign.files import read
from campaign.identifiers import DatasetId, ModelId, SampleId
from campaign.results import (
    Calibration,
    Errors,
    EvaluatedStructure,
    FrameSet,
    ReferenceRange,
    SampleGroupResult,
    SelectGroupResult,
    SettledStructure,
    Verdict,
)


class SampleRecord(Strict):
    """Trajectories of one `sample`; `selected_by` is the iteration that labelled from them."""

    id: SampleId
    method: Literal["reference", "model", "explorer"]
    model: ModelId | None = None
    groups: list[SampleGroupResult]
    selected_by: int | None = None


class DatasetRecord(Strict):
    """Labelled frames of one iteration."""

    id: DatasetId
    groups: list[SelectGroupResult]
    active: bool = True
    excluded: list[int] = Field(default=[], description="frames pruned as outliers")
    sha256: str | None = Field(
        default=None,
        description="of the file, where it was imported",
        exclude_if=lambda digest: digest is None,
    )

    @property
    def labels(self) -> int:
        """Labels over all subsystems."""
        return sum(g.labels for g in self.groups)


class ModelRecord(Strict):
    """One fitted potential."""

    id: ModelId
    parent: ModelId | None = None
    effort: Literal["quick", "accurate"]
    status: Literal["ok", "refused", "rolled_back"]
    failure: str | None = None
    datasets: list[DatasetId]
    frames: int
    errors: list[Errors]
    outliers: list[FrameSet]
    level: int | None = Field(default=None, exclude_if=lambda value: value is None)
    radial_basis: int | None = Field(default=None, exclude_if=lambda value: value is None)
    cutoff: float | None = Field(
        default=None, description="Å", exclude_if=lambda value: value is None
    )

    def force_mae(
        self, split: Literal["train", "held_out"], beside: "ModelRecord | None" = None
    ) -> float | None:
        """Mean over the frames of all subsystems, eV/Å; `beside` another fit of those of both."""
        errors = [e for e in self.errors if e.split == split]
        if beside is not None:
            shared = {e.subsystem for e in beside.errors if e.split == split}
            errors = [e for e in errors if e.subsystem in shared]
        frames = sum(e.frames for e in errors)
        return sum(e.force_mae * e.frames for e in errors) / frames if frames else None


class EvaluationRecord(Strict):
    """One `model_eval`; `passed` lists the subsystems that met their targets."""

    iteration: int
    model: ModelId
    structures: list[EvaluatedStructure]
    passed: list[Name]
    failed: list[Name]


class SubsystemState(Strict):
    """What is known of one subsystem: effort spent, stability and errors reached."""

    name: Name
    stage: int
    role: Literal["component", "interface", "target"]
    max_temperature: int
    properties: PropertiesAsked | None = Field(default=None, exclude_if=lambda asked: asked is None)
    labels: int = 0
    rounds: int = Field(default=0, description="samplings with a model")
    early_stop_fraction: float | None = Field(default=None, description="of the last sampling")
    previous_early_stop_fraction: float | None = None
    sampled_temperature: int | None = Field(default=None, description="highest of the last, K")
    train_force_mae: float | None = None
    held_out_force_mae: float | None = None
    evaluation: Literal["passed", "failed"] | None = None
    evaluated_model: ModelId | None = None
    widened: dict[str, int] = Field(
        default={},
        description="findings of false alarms by class: its limit widens",
        exclude_if=lambda value: not value,
    )
    selection: SelectGroupResult | None = Field(
        default=None, description="what was bought from the last sampling, absent until selected"
    )
    calibration: Calibration | None = Field(
        default=None,
        description="of the grade, on the labels last bought by it",
        exclude_if=lambda kept: kept is None,
    )


class Spent(Strict):
    """What the campaign has cost in things that can be counted exactly."""

    labels: int = 0
    reference_calls: int = 0
    reference_md_steps: int = 0
    model_md_steps: int = 0
    explorer_calls: int = Field(default=0, exclude_if=lambda calls: not calls)
    explorer_md_steps: int = Field(default=0, exclude_if=lambda steps: not steps)

    @property
    def md_steps(self) -> int:
        """With reference, explorer and models."""
        return self.reference_md_steps + self.explorer_md_steps + self.model_md_steps

    def plus(self, **amounts: int) -> "Spent":
        """With these amounts added."""
        return self.model_copy(update={k: getattr(self, k) + n for k, n in amounts.items()})


class HistoryEntry(Strict):
    """One line of the campaign's story."""

    iteration: int
    action: Action
    rule: str | None = None
    outcome: Literal["ok", "partial", "failed"]
    note: str
    fingerprint: str | None = Field(default=None, description="of the plan without its seed")


class State(Strict):
    """state.yaml: everything a decision may rest on."""

    iteration: int
    campaign: Name
    temperature: int
    targets: Targets = Field(description="as they stood when the campaign began")
    species: list[Element] | None = Field(
        default=None,
        description="as they stood then: type 0, 1, ... of every potential",
        exclude_if=lambda species: species is None,
    )
    subsystems: list[SubsystemState]
    reference: list[ReferenceRange] = Field(default=[])
    settled: list[SettledStructure] = Field(default=[])
    samples: list[SampleRecord] = Field(default=[])
    datasets: list[DatasetRecord] = Field(default=[])
    models: list[ModelRecord] = Field(default=[])
    evaluations: list[EvaluationRecord] = Field(default=[])
    spent: Spent = Spent()
    verdict: Verdict | None = None
    history: list[HistoryEntry] = Field(default=[])
    files: dict[str, str] = Field(
        default={}, description="SHA-256 of models, data sets and trajectories by iteration/name"
    )
    structures: dict[Name, str] = Field(
        default={},
        description="SHA-256 of structure files by id, as they were when first used",
        exclude_if=lambda digests: not digests,
    )
    plan_sha256: str = "start"
    previous_sha256: str = "start"

    def unlike(self, other: "Task | State") -> list[str]:
        """Keys that a campaign keeps from its beginning and that are not as in `other`.

        Potentials know types, not elements: with species in another order they would move one as
        the other. States of older campaigns have none.
        """
        kept = ("targets", "temperature", "species")
        pairs = {key: (getattr(self, key), getattr(other, key)) for key in kept}
        return [k for k, (own, its) in pairs.items() if None not in (own, its) and own != its]

    def subsystem(self, name: str) -> SubsystemState:
        """The subsystem of that name."""
        return next(s for s in self.subsystems if s.name == name)

    def subsystems_with(self, changes: dict[str, dict[str, Any]]) -> list[SubsystemState]:
        """All subsystems, some of them with new values by name."""
        return [s.model_copy(update=changes.get(s.name, {})) for s in self.subsystems]

    def labels_with(self, groups: Iterable[SelectGroupResult]) -> dict[str, dict[str, Any]]:
        """Changes that add the labels of these groups to their subsystems."""
        return {
            g.subsystem: {"labels": self.subsystem(g.subsystem).labels + g.labels} for g in groups
        }

    def samplings(self, subsystem: str) -> list[tuple[SampleRecord, SampleGroupResult]]:
        """Samplings of one subsystem with a model, oldest first."""
        return [
            (record, group)
            for record in self.samples
            if record.method == "model"
            for group in record.groups
            if group.subsystem == subsystem
        ]

    def evaluated(self, subsystem: str, model: str | None) -> list[EvaluatedStructure]:
        """Last evaluation of each structure of a subsystem with one model."""
        latest = {
            s.structure: s
            for record in self.evaluations
            if record.model == model
            for s in record.structures
            if s.subsystem == subsystem
        }
        return list(latest.values())

    @property
    def labels_only(self) -> set[str]:
        """Held-out structures that an explorer moved: the reference labelled some of its frames."""
        return {r.structure for r in self.reference if r.md == "explorer"}

    @property
    def with_reference(self) -> set[str]:
        """Held-out structures whose reference trajectory stands."""
        return {r.structure for r in self.reference if r.status == "ok"}

    @property
    def usable_models(self) -> list[ModelRecord]:
        """Fits that were neither refused nor rolled back, oldest first."""
        return [m for m in self.models if m.status == "ok"]


def read_state(path: Path) -> State:
    """The state of a file; UserError where it is unsound or ends before its last line.

    Every list may be empty, so that half a file may be a state of less.
    """
    state = read(State, path)
    if state.iteration and state.plan_sha256 == "start":
        raise UserError(f"{path}: plan_sha256: missing, the file is cut short; put it back whole")
    return state


def start(task: Task) -> State:
    """The state before the first iteration."""
    return State(
        iteration=0,
        campaign=task.name,
        temperature=task.temperature,
        targets=task.targets,
        species=task.species,
        subsystems=[_fresh(s) for s in task.subsystems],
    )


def _fresh(subsystem: Subsystem) -> SubsystemState:
    return SubsystemState(**subsystem.model_dump())
