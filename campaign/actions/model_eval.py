"""MD with a model on held-out structures against the reference trajectories."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from atomistics.contract import Name, Temperature
from campaign.actions.section import (
    Change,
    Cost,
    Fault,
    Items,
    MeasuredStructure,
    Section,
    outcome_of,
    protocol_items,
    protocol_steps,
    require_named,
)
from campaign.config import Config
from campaign.identifiers import ModelId, ProtocolName, Seed
from campaign.protocol_files import ProtocolInfo
from campaign.results import EvaluatedStructure, Event, MovingResult, ProtocolRun, unmeasured
from campaign.situation import Situation
from campaign.state import EvaluationRecord, State
from campaign.verdict import property_targets, shortfalls


class ModelEvalResult(MovingResult):
    """model_eval/result.yaml."""

    model: ModelId
    structures: list[EvaluatedStructure]
    protocol_runs: list[ProtocolRun] | None = Field(default=None, description="if the plan had one")
    reference_calls: int
    explorer_calls: int = Field(default=0, exclude_if=lambda calls: not calls)
    md_steps: int

    def events(self) -> list[Event]:
        """Evaluations that stopped early or failed."""
        stops = [
            Event(f"evaluation: {s.status.replace('_', ' ')}", s.subsystem, s.stop or "unknown", 1)
            for s in self.structures
            if s.status != "ok"
        ]
        stops += [
            Event("evaluation: still drifting", s.subsystem, f"{s.picoseconds:g} ps", 1)
            for s in self.structures
            if s.drifting
        ]
        left = [
            Event("left its limit, as the reference does", s.subsystem, alarm.kind, alarm.count)
            for s in self.structures
            for alarm in s.false_alarms
        ]
        return stops + left + unmeasured(self.structures)


class ModelEval(Section):
    """MD with a model on held-out structures against the reference trajectories."""

    result: ClassVar = ModelEvalResult
    held_out: ClassVar = True

    model: ModelId
    structures: list[Name] = Field(min_length=1)
    temperature: Temperature
    steps: int = Field(ge=2, le=10_000_000)
    most_steps: int = Field(
        default=0,
        ge=0,
        le=10_000_000,
        description="so many where density or energy still drift after `steps`",
        exclude_if=lambda count: not count,
    )
    interval: int = Field(ge=1, le=1_000_000)
    fresh_frames: int = Field(
        ge=0,
        le=1000,
        description="snapshots of the model's own MD, each checked by a reference call",
    )
    fresh_most: int = Field(
        default=0,
        ge=0,
        le=4000,
        description="so many where fewer leave the bias of the density vaguer than its target",
        exclude_if=lambda count: not count,
    )
    protocol: ProtocolName = None
    properties: list[MeasuredStructure] = Field(
        default=[],
        description="measured besides, on structures named above",
        exclude_if=lambda measured: not measured,
    )
    seed: Seed

    @model_validator(mode="after")
    def _measured_are_named(self) -> "ModelEval":
        require_named(self.properties, self.structures)
        return self

    def cost(self, state: State, protocols: Mapping[str, ProtocolInfo] | None = None) -> Cost:
        """Reference calls on fresh frames; MD with the model."""
        del state
        runs, longest = len(self.structures), max(self.steps, self.most_steps)
        return Cost(
            reference_calls=runs * max(self.fresh_frames, self.fresh_most),
            md_steps=runs * (longest + protocol_steps(self.protocol, protocols)),
            runs=2 * runs if self.protocol else runs,
            snapshots=runs * (longest // self.interval + 1),
        )

    def repeated_steps(self, sit: Situation) -> int:
        """The reference run that each structure is held against, repeated with the model."""
        usual = sit.config.reference_calc
        frames = {r.structure: r.frames for r in sit.state.reference}
        return sum(
            max(usual.steps, frames.get(s, 0) * usual.interval)
            for s in self.structures
            if s not in sit.state.labels_only
        )

    def named_structures(self) -> list[tuple[str, str | None]]:
        """All of them."""
        return [(name, None) for name in self.structures]

    def named_protocols(self, sit: Situation) -> list[tuple[str | None, int]]:
        """The one protocol, at any temperature."""
        del sit
        return [(self.protocol, 0)]

    def preconditions(self, sit: Situation) -> Iterator[Fault]:
        """A reference trajectory at the same temperature; MD as long as the targets ask for, and as
        many labels on it as configured where calls are left: no verdict without a look at its own.
        """
        references = {r.structure: r for r in sit.state.reference if r.status == "ok"}
        for name in self.structures:
            if name not in references:
                yield "deny", f"structures: {name} has no reference trajectory"
            elif references[name].temperature != self.temperature:
                kelvin = references[name].temperature
                yield "deny", f"temperature: the reference of {name} ran at {kelvin} K"
        targets = {name for s in sit.targets for name in sit.held_out(s.name)}
        reach = self.steps * sit.config.md.timestep / 1000
        if reach < sit.state.targets.stable_ps * (1 - 1e-9) and targets & set(self.structures):
            yield "warn", f"steps: {reach:g} ps cannot show {sit.state.targets.stable_ps:g} ps"
        calls = sit.config.limits.reference_calls - sit.state.spent.reference_calls
        asked = min(sit.config.model_eval.fresh_frames, max(0, calls) // len(self.structures))
        if self.fresh_frames < asked and targets & set(self.structures):
            frames = f"{self.fresh_frames} of the {asked} that config.yaml asks for"
            yield "deny", f"fresh_frames: {frames}; a target is judged on the model's own MD too"

    def items(self, state: State, config: Config) -> Items:
        """One evaluation a structure."""
        del state, config
        plain = {name: {"structure": name} for name in self.structures}
        return plain | protocol_items(self.structures, self.protocol)

    def reduce(self, state: State, iteration: int, result: ModelEvalResult) -> Change:
        """A subsystem passes if none of its structures misses a target."""
        missed: dict[str, list[str]] = {}
        for evaluated in result.structures:
            subsystem = state.subsystem(evaluated.subsystem)
            asked = property_targets(subsystem, state.targets)
            misses = shortfalls(evaluated, subsystem.role, state.targets, asked)
            missed.setdefault(evaluated.subsystem, []).extend(misses)
        record = EvaluationRecord(
            iteration=iteration,
            model=result.model,
            structures=result.structures,
            passed=[name for name, why in missed.items() if not why],
            failed=[name for name, why in missed.items() if why],
        )
        changes = {
            name: {
                "evaluation": "failed" if why else "passed",
                "evaluated_model": result.model,
                "widened": _widened(state, name, result.structures),
            }
            for name, why in missed.items()
        }
        changed = state.model_copy(
            update={
                "evaluations": [*state.evaluations, record],
                "subsystems": state.subsystems_with(changes),
                "spent": state.spent.plus(
                    reference_calls=result.reference_calls,
                    explorer_calls=result.explorer_calls,
                    model_md_steps=result.md_steps,
                ),
            }
        )
        broken = sum(s.status == "failed" for s in result.structures)
        note = f"{result.model}: passed {len(record.passed)}/{len(missed)} subsystems"
        lines = [
            f"{s.structure} left its limit of {alarm.kind} {alarm.count} times, and so does the"
            " reference"
            for s in result.structures
            for alarm in s.false_alarms
        ]
        lines += [line for run in result.protocol_runs or [] for line in run.lines()]
        return Change(
            changed, outcome_of(broken, len(result.structures)), "; ".join([note, *lines])
        )

    def project(self, iteration: int, sit: Situation, bound: Cost, well: bool) -> ModelEvalResult:
        """Half of every error that is allowed, or twice of it in any role."""
        del iteration
        targets, places = sit.state.targets, {s.id: s.subsystem for s in sit.structures}
        factor = 0.5 if well else 2.0 * targets.component_factor
        longer = any(h.rule == "R14-longer" for h in sit.state.history)
        return ModelEvalResult(
            model=self.model,
            structures=[
                EvaluatedStructure(
                    structure=name,
                    subsystem=places[name],
                    status="ok",
                    picoseconds=targets.stable_ps,
                    temperature=self.temperature,
                    compared=next((r.md for r in sit.state.reference if r.structure == name), "")
                    == "reference",
                    compared_ps=targets.compared_ps if longer else None,
                    density_deviation=factor * targets.density_deviation,
                    rdf_overlap=1.0,
                    force_mae=factor * targets.force_mae,
                    energy_mae=factor * targets.energy_mae,
                    fresh_frames=self.fresh_frames,
                    fresh_force_mae=factor * targets.force_mae,
                )
                for name in self.structures
            ],
            reference_calls=bound.reference_calls,
            md_steps=bound.md_steps,
        )


def _widened(state: State, name: str, structures: list[EvaluatedStructure]) -> dict[str, int]:
    """Limits of a subsystem after an evaluation that found some of them wrong."""
    before = state.subsystem(name).widened
    kinds = {a.kind for s in structures if s.subsystem == name for a in s.false_alarms}
    return before | {kind: before.get(kind, 0) + 1 for kind in sorted(kinds)}
