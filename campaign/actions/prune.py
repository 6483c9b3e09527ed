"""What later trainings leave out; nothing is deleted."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field, model_validator

from campaign.actions.section import Change, Cost, Fault, Section
from campaign.identifiers import DatasetId, ModelId
from campaign.results import FrameSet, Result
from campaign.situation import Situation
from campaign.state import State, SubsystemState

FEW = 6
MOST_OUTLIERS = 0.05  # of a data set


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
        if not self.restore:
            yield from self._too_much(sit)

    def _too_much(self, sit: Situation) -> Iterator[Fault]:
        """A model and labels of every subsystem stay; outliers are few."""
        datasets = {d.id: d for d in sit.state.datasets}
        usable = [m.id for m in sit.state.usable_models]
        if usable and set(usable) <= set(self.models):
            yield "deny", "models: no model would be left; prune data, or train another first"
        for name in self.emptied(sit.state):
            yield "deny", f"frames, datasets: no label of {name} would be left"
        for frames in self.frames:
            labels = datasets[frames.dataset].labels if frames.dataset in datasets else 0
            if labels and len(frames.frames) > max(FEW, MOST_OUTLIERS * labels):
                counted = f"{len(frames.frames)} of {labels} frames of {frames.dataset}"
                yield "warn", f"frames: {counted} are no outliers but a class of configurations"

    def emptied(self, state: State) -> list[str]:
        """Subsystems of which no label would certainly be left."""
        out = {f.dataset: set(f.frames) for f in self.frames}
        left: dict[str, int] = {}
        for record in state.datasets:
            if not record.active:
                continue
            gone = set(record.excluded) | out.get(record.id, set())
            unordered = f"s{record.id[1:]}" in {s.id for s in state.samples}
            begin = 0
            for group in record.groups:
                # of a selection frames stand by subsystem; of a sampling by run
                own = set(range(begin, begin + group.labels))
                begin += group.labels
                lost = len(gone) if unordered and len(record.groups) > 1 else len(gone & own)
                kept = 0 if record.id in self.datasets else max(0, group.labels - lost)
                left[group.subsystem] = left.get(group.subsystem, 0) + kept
        had = {g.subsystem for d in state.datasets if d.active for g in d.groups if g.labels}
        return sorted(name for name in had if not left.get(name))

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
        pruned = state.model_copy(update={"models": models, "datasets": datasets})
        standing = {"subsystems": [_by_what_stands(pruned, s) for s in state.subsystems]}
        return Change(pruned.model_copy(update=standing if result.models else {}), "ok", note)

    def project(self, iteration: int, sit: Situation, bound: Cost, well: bool) -> PruneResult:
        """What is asked for."""
        del iteration, sit, bound, well
        return PruneResult(**self.model_dump(exclude={"restore"}), restored=self.restore)


def _by_what_stands(state: State, s: SubsystemState) -> SubsystemState:
    """A subsystem by its last fit and its last evaluation of those that are not rolled back."""
    usable = {m.id: m for m in state.usable_models}
    if not usable:
        return s
    shown: dict[str, object] = {
        f"{e.split}_force_mae": e.force_mae
        for e in list(usable.values())[-1].errors
        if e.subsystem == s.name
    }
    judged = [e for e in state.evaluations if e.model in usable and s.name in e.passed + e.failed]
    shown |= {"evaluation": None, "evaluated_model": None}
    for last in judged[-1:]:
        shown["evaluation"] = "passed" if s.name in last.passed else "failed"
        shown["evaluated_model"] = last.model
    return s.model_copy(update=shown)
