"""Fit of the potential to the labels."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from campaign.actions.section import Change, Cost, Fault, Section
from campaign.identifiers import DatasetId, ModelId, Seed
from campaign.results import Errors, Event, FrameSet, Result
from campaign.situation import Situation
from campaign.state import ModelRecord, State


class TrainResult(Result):
    """train/result.yaml; a diverged or NaN fit is refused and its model never used."""

    model: ModelId
    parent: ModelId | None = None
    effort: Literal["quick", "accurate"]
    status: Literal["ok", "refused"]
    failure: str | None = Field(default=None, description="class of the refusal")
    datasets: list[DatasetId]
    frames: int
    atoms: int
    iterations: int
    loss: float | None = None
    errors: list[Errors]
    outliers: list[FrameSet] = Field(description="robust: relative to the spread of a subsystem")
    level: int | None = Field(default=None, exclude_if=lambda value: value is None)
    radial_basis: int | None = Field(default=None, exclude_if=lambda value: value is None)
    cutoff: float | None = Field(default=None, exclude_if=lambda value: value is None)

    def events(self) -> list[Event]:
        """A refusal."""
        refused = Event("fit refused", "all", self.failure or "unknown", 1)
        return [refused] if self.status == "refused" else []


class Train(Section):
    """Fit of the potential to the labels."""

    result: ClassVar = TrainResult
    excuses_repetition: ClassVar = True

    start: Literal["scratch", "continue"]
    model: ModelId | None = Field(default=None, description="parent, required by continue")
    effort: Literal["quick", "accurate"]
    datasets: list[DatasetId] = Field(min_length=1)
    level: int | None = Field(
        default=None,
        ge=2,
        le=28,
        multiple_of=2,
        description="of the basis; absent: as the parent, or as configured",
        exclude_if=lambda value: value is None,
    )
    radial_basis: int | None = Field(
        default=None,
        ge=4,
        le=30,
        description="polynomials of a radial function",
        exclude_if=lambda value: value is None,
    )
    cutoff: float | None = Field(
        default=None, gt=0, le=20, description="Å", exclude_if=lambda value: value is None
    )
    seed: Seed

    @property
    def enlarges(self) -> bool:
        """Whether the plan says how large the potential is to be."""
        return any(v is not None for v in (self.level, self.radial_basis, self.cutoff))

    @model_validator(mode="after")
    def _parent(self) -> "Train":
        if (self.start == "continue") != (self.model is not None):
            raise ValueError("model: required by start 'continue', absent with 'scratch'")
        return self

    def preconditions(self, sit: Situation) -> Iterator[Fault]:
        """Data sets that are there and not pruned, with a label left."""
        records = {d.id: d for d in sit.state.datasets}
        for name in self.datasets:
            if name not in records:
                yield "deny", f"datasets: no data set {name}"
            elif not records[name].active:
                yield "deny", f"datasets: {name} was pruned; restore it first"
        if not any(d.id in self.datasets for d in sit.active):
            yield "deny", "datasets: no label is left in them"
        if len(set(self.datasets)) < len(self.datasets):
            yield "deny", "datasets: a data set is named twice"
        yield from self._sizes(sit)

    def _sizes(self, sit: Situation) -> Iterator[Fault]:
        """Within the configured bounds, and never smaller than what is continued."""
        config = sit.config.mlp
        parent = next((m for m in sit.state.models if m.id == self.model), None)
        for key in ("level", "radial_basis", "cutoff"):
            asked, usual = getattr(self, key), getattr(config, key)
            if asked is None:
                continue
            most = max(usual, getattr(config.bounds, key))
            least = (getattr(parent, key) or usual) if parent else 0
            if asked > most:
                yield "deny", f"{key}: {asked:g} is above mlp.bounds.{key} ({most:g})"
            elif asked < least:
                yield "deny", f"{key}: {asked:g}, but {self.model} has {least:g} already"

    def reduce(self, state: State, iteration: int, result: TrainResult) -> Change:
        """A model more; its errors stand with the subsystems unless it was refused."""
        del iteration
        shared = set(ModelRecord.model_fields) & set(TrainResult.model_fields)
        parent = next((m for m in state.models if m.id == result.parent), None)
        sizes = ("level", "radial_basis", "cutoff")
        inherited = {key: getattr(parent, key) for key in sizes} if parent else {}
        given = {name: getattr(result, name) for name in shared}
        own = {key: value for key, value in given.items() if value is not None}
        record = ModelRecord(id=result.model, **{**inherited, **own})
        update: dict[str, Any] = {"models": [*state.models, record]}
        if result.status == "refused":
            note = f"{result.model} refused: {result.failure}"
            return Change(state.model_copy(update=update), "failed", note)
        changes: dict[str, dict[str, Any]] = {}
        for error in result.errors:
            key = f"{error.split}_force_mae"
            changes.setdefault(error.subsystem, {})[key] = error.force_mae
        update["subsystems"] = state.subsystems_with(changes)
        mae = record.force_mae("train") or 0
        note = f"{result.model} from {result.frames} frames, training force MAE {mae:.4f} eV/Å"
        return Change(state.model_copy(update=update), "ok", note)

    def project(self, iteration: int, sit: Situation, bound: Cost, well: bool) -> TrainResult:
        """A fit that reaches half the targeted error."""
        del bound, well
        mae = sit.state.targets.force_mae / 2
        frames = sum(d.labels for d in sit.state.datasets if d.id in self.datasets)
        return TrainResult(
            model=f"m{iteration:03d}",
            parent=self.model,
            effort=self.effort,
            status="ok",
            datasets=self.datasets,
            frames=frames,
            atoms=0,
            iterations=1,
            errors=[
                Errors(
                    subsystem=s.name,
                    split="train",
                    frames=max(1, frames),
                    energy_mae=0.0,
                    energy_rmse=0.0,
                    force_mae=mae,
                    force_rmse=mae,
                )
                for s in sit.state.subsystems
            ],
            outliers=[],
        )
