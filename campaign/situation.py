"""What a decision is taken from: state, task, configuration, structures, cost so far."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from atomistics.contract import Name, Strict
from campaign.config import Config, Task
from campaign.protocol_files import ProtocolInfo
from campaign.results import EvaluatedStructure, SampleGroupResult
from campaign.state import DatasetRecord, ModelRecord, SampleRecord, State, SubsystemState

CostByAction = Mapping[str, Mapping[str, float]]  # totals by action: calls, MD steps, core-seconds


class StructureInfo(Strict):
    """What the planner knows of a structure of the campaign."""

    id: Name
    subsystem: Name
    held_out: bool
    description: str = Field(default="", description="somebody's words, never interpreted")
    single_point: Literal[True] | None = Field(
        default=None,
        description="labelled once as it stands, never a start of MD",
        exclude_if=lambda single: single is None,
    )


@dataclass(frozen=True)
class Rates:
    """What has been paid so far, in core-seconds; None where nothing was measured yet.

    A call of the reference; one of the explorer; an MD step with a model, by action; of a fit, one
    frame in one iteration.
    """

    reference_call: float | None = None
    explorer_call: float | None = None
    model_step: Mapping[str, float] = field(default_factory=dict)
    frame_iteration: float | None = None


@dataclass(frozen=True)
class EarlierDecision:
    """Who chose an action and why, and what a model meant it to achieve, in the chooser's words."""

    source: str
    reason: str
    intent: str = ""


@dataclass(frozen=True)
class Situation:
    """Everything rules and gates may look at; facts are derived, never stored."""

    state: State
    task: Task
    config: Config
    structures: Sequence[StructureInfo]
    core_seconds: float
    state_sha256: str
    protocols: Mapping[str, ProtocolInfo] = field(default_factory=dict)
    rates: Rates = Rates()
    wall_hours: float = 0.0
    bill: CostByAction = field(default_factory=dict)
    earlier_decision: Callable[[int], EarlierDecision | None] = lambda _: None

    @property
    def iteration(self) -> int:
        """Number of the plan to be written."""
        return self.state.iteration + 1

    @property
    def model(self) -> ModelRecord | None:
        """The newest fit that was neither refused nor rolled back."""
        return next(reversed(self.state.usable_models), None)

    @property
    def active(self) -> list[DatasetRecord]:
        """Data sets a training may use."""
        return [d for d in self.state.datasets if d.active and d.labels > len(d.excluded)]

    @property
    def unused(self) -> list[DatasetRecord]:
        """Active data sets the newest model has not seen."""
        trained_on = self.model.datasets if self.model else []
        return [d for d in self.active if d.id not in trained_on]

    @property
    def pending(self) -> list[SampleRecord]:
        """Trajectories of a model or an explorer that nothing was labelled from yet."""
        names = {s.name for s in self.state.subsystems}
        return [
            s
            for s in self.state.samples
            if s.method != "reference" and s.selected_by is None
            if any(g.snapshots and g.subsystem in names for g in s.groups)
        ]

    @property
    def refusals(self) -> int:
        """Fits refused since the last that succeeded."""
        models = [m for m in self.state.models if m.status != "rolled_back"]
        refused = [m.status == "refused" for m in reversed(models)]
        return ([*refused, False]).index(False)

    def last(self, action: str) -> int:
        """Iteration of the last such action, 0 if there was none."""
        return max((h.iteration for h in self.state.history if h.action == action), default=0)

    def outcomes(self, action: str) -> list[str]:
        """How every such action ended, oldest first."""
        return [h.outcome for h in self.state.history if h.action == action]

    def training(self, subsystem: str) -> list[str]:
        """Structures that may be sampled."""
        own = [s for s in self.structures if s.subsystem == subsystem and not s.single_point]
        return [s.id for s in own if not s.held_out]

    def held_out(self, subsystem: str) -> list[str]:
        """Structures kept for evaluation."""
        return [s.id for s in self.structures if s.subsystem == subsystem and s.held_out]

    def baselines(self, subsystem: str) -> list[str]:
        """Held-out structures whose reference trajectory stands."""
        return [s for s in self.held_out(subsystem) if s in self.state.with_reference]

    @property
    def targets(self) -> list[SubsystemState]:
        """Subsystems the verdict is about."""
        return [s for s in self.state.subsystems if s.role == "target"]

    def samplings(self, subsystem: str) -> list[tuple[SampleRecord, SampleGroupResult]]:
        """Samplings of one subsystem with a model, oldest first."""
        return self.state.samplings(subsystem)

    def evaluated(self, subsystem: str, model: str) -> list[EvaluatedStructure]:
        """Last evaluation of each structure of a subsystem with one model."""
        return self.state.evaluated(subsystem, model)


def unjudged(sit: Situation) -> list[str]:
    """Held-out structures of the targets without a reference trajectory to be judged by."""
    return [
        f"{name}: no reference trajectory"
        for s in sit.targets
        for name in sit.held_out(s.name)
        if name not in sit.state.with_reference
    ]
