"""Reference MD on held-out structures: the baseline of every later evaluation."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from atomistics.contract import Ensemble, Name, Temperature
from campaign.actions.section import (
    Change,
    Cost,
    Fault,
    Items,
    MeasuredStructure,
    Section,
    outcome_of,
    property_calls,
    protocol_items,
    protocol_steps,
    require_named,
)
from campaign.config import Config
from campaign.identifiers import ProtocolName, Seed
from campaign.protocol_files import ProtocolInfo
from campaign.results import Event, MovingResult, ProtocolRun, ReferenceRange, unmeasured
from campaign.situation import Situation
from campaign.state import State


class ReferenceCalcResult(MovingResult):
    """reference_calc/result.yaml."""

    structures: list[ReferenceRange]
    protocol_runs: list[ProtocolRun] | None = Field(default=None, description="if the plan had one")
    reference_calls: int
    explorer_calls: int = Field(default=0, exclude_if=lambda calls: not calls)
    md_steps: int

    def events(self) -> list[Event]:
        """Trajectories that failed."""
        failed = [r for r in self.structures if r.status == "failed"]
        return [
            Event("reference MD failed", r.subsystem, r.failure or "unknown", 1) for r in failed
        ] + unmeasured(self.structures)


class ReferenceCalc(Section):
    """Reference MD on held-out structures: the baseline of every later evaluation."""

    result: ClassVar = ReferenceCalcResult
    excuses_repetition: ClassVar = True  # an evaluation is held against longer MD
    held_out: ClassVar = True

    structures: list[Name] = Field(min_length=1, description="held-out structures")
    temperature: Temperature
    ensemble: Ensemble
    steps: int = Field(ge=2, le=1_000_000, description="MD steps, one reference call each")
    interval: int = Field(ge=1, le=100_000, description="MD steps between kept snapshots")
    least: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="steps after which a run ends once energy and density are steady; 0: never",
        exclude_if=lambda steps: not steps,
    )
    labels: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="above 0: the explorer moves the atoms, and the reference labels so many"
        " evenly spaced frames of each run",
        exclude_if=lambda number: not number,
    )
    protocol: ProtocolName = None
    properties: list[MeasuredStructure] = Field(
        default=[],
        description="measured besides, on structures named above",
        exclude_if=lambda measured: not measured,
    )
    seed: Seed

    @model_validator(mode="after")
    def _measured_are_named(self) -> "ReferenceCalc":
        require_named(self.properties, self.structures)
        return self

    def plain(self, ready: set[str]) -> list[str]:
        """Structures that need plain MD; beside a protocol, not those which have it already."""
        return [name for name in self.structures if not (self.protocol and name in ready)]

    def cost(self, state: State, protocols: Mapping[str, ProtocolInfo] | None = None) -> Cost:
        """Every MD step is a reference call, and so is every start."""
        plain = len(self.plain(state.with_reference))
        staged = len(self.structures) if self.protocol else 0
        steps = plain * self.steps + staged * protocol_steps(self.protocol, protocols)
        runs = plain + staged
        measured = property_calls(self.properties)
        snapshots = steps // self.interval + runs
        moved = Cost(md_steps=steps, runs=runs, snapshots=snapshots)
        if not self.labels:
            return moved.model_copy(update={"reference_calls": steps + runs + measured})
        calls = {"reference_calls": runs * self.labels + measured, "explorer_calls": steps + runs}
        return moved.model_copy(update=calls)

    def named_structures(self) -> list[tuple[str, str | None]]:
        """All of them."""
        return [(name, None) for name in self.structures]

    def named_protocols(self, sit: Situation) -> list[tuple[str | None, int]]:
        """The one protocol, at any temperature."""
        del sit
        return [(self.protocol, 0)]

    def preconditions(self, sit: Situation) -> Iterator[Fault]:
        """A trajectory that is there already is no reason for another."""
        if self.labels and sit.config.explorer is None:
            yield "deny", "labels: config.yaml names no explorer whose MD they would be of"
        if self.labels and self.protocol:
            yield "deny", "protocol: with the reference only; leave labels at 0"
        if not self.protocol and not (sit.config.explorer and not self.labels):
            for name in sorted(sit.state.with_reference & set(self.structures)):
                yield "warn", f"structures: {name} has its reference trajectory already"

    def items(self, state: State, config: Config) -> Items:
        """One trajectory a structure."""
        del config
        plain = {name: {"structure": name} for name in self.plain(state.with_reference)}
        return plain | protocol_items(self.structures, self.protocol)

    def reduce(self, state: State, iteration: int, result: ReferenceCalcResult) -> Change:
        """The newest range of each structure stands."""
        del iteration
        new = {r.structure for r in result.structures}
        kept = [r for r in state.reference if r.structure not in new]
        failed = sum(r.status == "failed" for r in result.structures)
        whose = "explorer" if any(r.md == "explorer" for r in result.structures) else "reference"
        spent = state.spent.plus(
            reference_calls=result.reference_calls,
            explorer_calls=result.explorer_calls,
            **{f"{whose}_md_steps": result.md_steps},
        )
        changed = {"reference": [*kept, *result.structures], "spent": spent}
        count, runs = len(result.structures), result.protocol_runs or []
        note = f"{whose} MD of {count - failed}/{count} held-out structures"
        if whose == "explorer":
            note += f", {sum(r.frames for r in result.structures)} frames labelled by the reference"
        stops = [
            f"{r.structure} stopped early ({r.failure})"
            for r in result.structures
            if r.status == "failed"
        ]
        failed += sum(run.stop is not None for run in runs)
        return Change(
            state.model_copy(update=changed),
            outcome_of(failed, count + len(runs)),
            "; ".join([note, *stops, *(line for run in runs for line in run.lines())]),
        )

    def project(
        self, iteration: int, sit: Situation, bound: Cost, well: bool
    ) -> ReferenceCalcResult:
        """Every trajectory comes."""
        del iteration, well
        places = {s.id: s.subsystem for s in sit.structures}
        return ReferenceCalcResult(
            structures=[
                ReferenceRange(
                    structure=name,
                    subsystem=places[name],
                    status="ok",
                    temperature=self.temperature,
                    frames=self.labels or self.steps // self.interval,
                    md="explorer" if self.labels else "reference",
                )
                for name in self.structures
            ],
            reference_calls=bound.reference_calls,
            explorer_calls=bound.explorer_calls,
            md_steps=bound.md_steps,
        )
