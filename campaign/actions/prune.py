"""What later trainings leave out; nothing is deleted."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field, model_validator

from campaign.actions.section import Change, Cost, Fault, Section
from campaign.identifiers import DatasetId, ModelId
from campaign.results import FrameSet, Result
from campaign.situation import Situation
from campaign.state import State


class PruneResult(Result):
    """prune/result.yaml: what is left out from now on (or taken back in)."""

    models: list[ModelId]
    datasets: list[DatasetId]
    frames: list[FrameSet]
    restored: bool


class Prune(Section):
    """What later trainings leave out; nothing is deleted, `restore` takes it back in."""

    result: ClassVar = PruneResult
    excuses_repetition: ClassVar = True
    always_asks: ClassVar = True

    models: list[ModelId] = Field(default=[], description="rolled back: never continued from")
    datasets: list[DatasetId] = Field(default=[])
    frames: list[FrameSet] = Field(default=[])
    restore: bool = False

    @model_validator(mode="after")
    def _something(self) -> "Prune":
        if not (self.models or self.datasets or self.frames):
            raise ValueError("name at least one model, dataset or frame")
        return self

    def preconditions(self, sit: Situation) -> Iterator[Fault]:
        """What is named is there and not left out already; something stays to train on."""
        models = {m.id: m for m in sit.state.models}
        datasets = {d.id: d for d in sit.state.datasets}
        for name in self.models:
            wanted = "rolled_back" if self.restore else "ok"
            if name not in models:
                yield "deny", f"models: no model {name}"
            elif models[name].status != wanted:
                yield "deny", f"models: {name} is {models[name].status.replace('_', ' ')}"
        for name in [*self.datasets, *(f.dataset for f in self.frames)]:
            if name not in datasets:
                yield "deny", f"datasets: no data set {name}"
        for frames in self.frames:
            if frames.dataset in datasets and max(frames.frames) >= datasets[frames.dataset].labels:
                yield "deny", f"frames: {frames.dataset} has no frame {max(frames.frames)}"
        out = set() if self.restore else set(self.datasets)
        if sit.active and all(d.id in out for d in sit.active):
            yield "deny", "datasets: nothing would be left to train on"

    def reduce(self, state: State, iteration: int, result: PruneResult) -> Change:
        """Marks in the state; files stay where they are."""
        del iteration
        back = result.restored
        frames = {f.dataset: set(f.frames) for f in result.frames}
        models = [
            m.model_copy(update={"status": "ok" if back else "rolled_back"})
            if m.id in result.models and m.status != "refused"
            else m
            for m in state.models
        ]
        datasets = []
        for dataset in state.datasets:
            named, excluded = frames.get(dataset.id, set()), set(dataset.excluded)
            changed = {
                "active": back if dataset.id in result.datasets else dataset.active,
                "excluded": sorted(excluded - named if back else excluded | named),
            }
            datasets.append(dataset.model_copy(update=changed))
        note = (
            f"{'restored' if back else 'left out'}: {len(result.models)} models,"
            f" {len(result.datasets)} datasets, {sum(map(len, frames.values()))} frames"
        )
        update = {"models": models, "datasets": datasets}
        return Change(state.model_copy(update=update), "ok", note)

    def project(self, iteration: int, sit: Situation, bound: Cost, well: bool) -> PruneResult:
        """What is asked for."""
        del iteration, sit, bound, well
        return PruneResult(**self.model_dump(exclude={"restore"}), restored=self.restore)
