"""New configurations from MD with the reference (labels included) or with a model."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from atomistics.contract import Ensemble, Name, Scale, Strict, Temperature
from atomistics.properties.asked import KINDS, Kind
from campaign.actions.section import Change, Cost, Fault, Items, Section, outcome_of, protocol_steps
from campaign.config import Config
from campaign.identifiers import DatasetId, ModelId, ProtocolName, Seed
from campaign.protocol_files import ProtocolInfo
from campaign.results import Count, Event, MovingResult, SampleGroupResult, SelectGroupResult
from campaign.situation import Situation
from campaign.state import DatasetRecord, SampleRecord, State, SubsystemState

TEMPERATURE_MARGIN = 1.05  # of max_temperature, above which sampling is denied


class SampleResult(MovingResult):
    """sample/result.yaml; with the reference the snapshots are a data set already."""

    method: Literal["reference", "model", "explorer"]
    model: ModelId | None = None
    groups: list[SampleGroupResult]
    dataset: DatasetId | None = None
    reference_calls: int
    explorer_calls: int = Field(default=0, exclude_if=lambda calls: not calls)
    md_steps: int

    def labels_kept(self) -> int:
        """Snapshots of the reference are labels."""
        return sum(g.snapshots for g in self.groups) if self.method == "reference" else 0

    def events(self) -> list[Event]:
        """Early stops by class, and runs without a trajectory."""
        rows = []
        for group in self.groups:
            rows += [Event("early stop", group.subsystem, s.kind, s.count) for s in group.stops]
            if group.failed_runs:
                lost = group.failed_runs
                rows.append(Event("run without a trajectory", group.subsystem, "failed", lost))
        return rows


class SampleGroup(Strict):
    """What is sampled of one subsystem: every structure x ensemble x temperature is one run."""

    subsystem: Name
    structures: list[Name] = Field(min_length=1)
    temperatures: list[Temperature] = Field(max_length=20)
    ensembles: list[Ensemble] = Field(max_length=2)
    protocol: ProtocolName = None
    teach: list[Kind] = Field(
        default=[],
        max_length=len(KINDS),
        description="configurations near those that measure these, reference only",
        exclude_if=lambda kinds: not kinds,
    )


class Sample(Section):
    """New configurations from MD with the reference (labels included) or with a model."""

    result: ClassVar = SampleResult

    method: Literal["reference", "model", "explorer"] = Field(
        description="explorer: the cheap method of the configuration; its frames have no label yet"
    )
    model: ModelId | None = Field(default=None, description="required by method model")
    groups: list[SampleGroup] = Field(min_length=1)
    steps: int = Field(ge=0, le=10_000_000, description="MD steps of each run")
    interval: int = Field(ge=1, le=1_000_000, description="MD steps between kept snapshots")
    compression: list[Scale] = Field(
        default=[], max_length=20, description="linear scale factors of the cell; not of a model"
    )
    rattle: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="rattled and relaxed copies a structure; not of a model",
    )
    amplitude: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="of the rattle, Å; without relaxation at most, as heat would displace",
    )
    relax_steps: int = Field(default=2, ge=0, le=100, description="after a rattle")
    copies: int = Field(
        default=0,
        ge=0,
        le=200,
        description="of each structure for each kind of teach",
        exclude_if=lambda count: not count,
    )
    seed: Seed

    @model_validator(mode="after")
    def _method_and_model(self) -> "Sample":
        if (self.method == "model") != (self.model is not None):
            raise ValueError(
                f"model: give a model id with method 'model' and none with '{self.method}'"
            )
        if self.method == "model" and (self.compression or self.rattle):
            raise ValueError("compression, rattle: only with methods 'reference' and 'explorer'")
        taught = any(g.teach for g in self.groups)
        if taught and (self.method == "model" or not self.copies):
            raise ValueError("teach: only with method 'reference', and with copies")
        return self

    def runs(self) -> Items:
        """Every run by its name: structure, subsystem, kind, temperature (K, 0 if it has none)."""
        table: Items = {}
        for group in self.groups:
            for structure in group.structures:
                place = {"structure": structure, "subsystem": group.subsystem}
                for ensemble in group.ensembles:
                    for kelvin in group.temperatures:
                        run = {**place, "kind": ensemble, "temperature": kelvin}
                        table[f"{structure}-{ensemble}-{kelvin}k"] = run
                for kind in ("compression", "rattle"):
                    if getattr(self, kind):
                        table[f"{structure}-{kind}"] = {**place, "kind": kind, "temperature": 0}
                for kind in group.teach:
                    taught = {"kind": "teach", "property": kind, "temperature": 0}
                    table[f"{structure}-teach-{kind}"] = {**place, **taught}
                if name := group.protocol:
                    staged = {"kind": "protocol", "protocol": name, "temperature": 0}
                    table[f"{structure}+{name}"] = {**place, **staged}
        return table

    def cost(self, state: State, protocols: Mapping[str, ProtocolInfo] | None = None) -> Cost:
        """Every MD step with the reference is a call; every kept snapshot of it is a label."""
        del state
        runs = self.runs().values()
        kinds = [run["kind"] for run in runs]
        md = sum(kind in ("nvt", "npt") for kind in kinds)
        staged = [protocol_steps(run["protocol"], protocols) for run in runs if "protocol" in run]
        steps = md * self.steps + sum(staged)
        if self.method == "model":
            kept = [self.steps] * md + staged
            snapshots = sum(length // self.interval + 1 for length in kept)
            return Cost(md_steps=steps, runs=len(runs), snapshots=snapshots)
        frames = self.steps // self.interval + 1
        staged_frames = sum(length // self.interval + 1 for length in staged)
        scaled = kinds.count("compression") * len(self.compression)
        rattled = kinds.count("rattle") * self.rattle
        taught = kinds.count("teach") * self.copies
        calls = steps + md + len(staged) + scaled + taught + rattled * (self.relax_steps + 1)
        calls += 0 if self.relax_steps else 2 * kinds.count("rattle")  # how stiff it is
        snapshots = md * frames + staged_frames
        moved = Cost(md_steps=steps, runs=len(runs), snapshots=snapshots)
        if self.method == "explorer":
            return moved.model_copy(update={"explorer_calls": calls})
        labels = md * frames + staged_frames + scaled + taught
        labels += rattled * (2 if self.relax_steps else 1)
        labels += 0 if self.relax_steps else kinds.count("rattle")
        return moved.model_copy(update={"reference_calls": calls, "labels": labels})

    def labels_by_subsystem(self, state: State) -> dict[str, float]:
        """Labels of each subsystem at most, settling apart; none with a model."""
        own = {g.subsystem: self.model_copy(update={"groups": [g]}) for g in self.groups}
        return {name: plan.cost(state).labels for name, plan in own.items()}

    def named_structures(self) -> list[tuple[str, str | None]]:
        """Those of every group, of its subsystem."""
        return [(name, g.subsystem) for g in self.groups for name in g.structures]

    def named_protocols(self, sit: Situation) -> list[tuple[str | None, int]]:
        """Those of the groups, up to the temperature their subsystem allows."""
        ceilings = {s.name: s.max_temperature for s in sit.state.subsystems}
        return [(g.protocol, ceilings.get(g.subsystem, 0)) for g in self.groups]

    def preconditions(self, sit: Situation) -> Iterator[Fault]:
        """An explorer is the configuration's."""
        if self.method == "explorer" and sit.config.explorer is None:
            yield "deny", "method: config.yaml names no explorer"

    def physics(self, sit: Situation) -> Iterator[Fault]:
        """No temperature beyond what the subsystem allows; something must move."""
        ceilings = {s.name: s.max_temperature for s in sit.state.subsystems}
        for group in self.groups:
            highest = ceilings.get(group.subsystem, 10**6)
            for kelvin in group.temperatures:
                if kelvin > highest * TEMPERATURE_MARGIN:
                    yield "deny", f"temperatures: {kelvin} K, {group.subsystem} allows {highest} K"
        moves = self.steps and any(g.temperatures and g.ensembles for g in self.groups)
        staged = any(g.protocol for g in self.groups)
        taught = any(g.teach for g in self.groups)
        if not (moves or self.compression or self.rattle or staged or taught):
            yield "deny", "steps, temperatures, ensembles: nothing would be sampled"

    def items(self, state: State, config: Config) -> Items:
        """One item a run."""
        del state, config
        return self.runs()

    def items_per_job(self, config: Config) -> int:
        """MD with a model is cheap beside the start of a job."""
        return config.runs_per_job if self.method == "model" else config.reference_runs_per_job

    def gives_dataset(self) -> bool:
        """Snapshots of a model have no labels."""
        return self.method == "reference"

    def reduce(self, state: State, iteration: int, result: SampleResult) -> Change:
        """A sampling of a model is on offer; one of the reference is a data set already."""
        record = SampleRecord(
            id=f"s{iteration:03d}",
            method=result.method,
            model=result.model,
            groups=result.groups,
            selected_by=iteration if result.dataset else None,
        )
        update: dict[str, Any] = {"samples": [*state.samples, record]}
        update |= _consequences(state, result)
        runs = sum(g.runs for g in result.groups)
        stops = sum(g.early_stops for g in result.groups)
        snapshots = sum(g.snapshots for g in result.groups)
        failed = sum(g.failed_runs for g in result.groups)
        lost = f", {failed} of them without a trajectory" if failed else ""
        by = f"{result.model or result.method}{lost}"
        return Change(
            state.model_copy(update=update),
            outcome_of(failed, runs),
            f"{runs} runs by {by}, {stops} early stops, {snapshots} snapshots{_classes(result)}",
        )

    def project(self, iteration: int, sit: Situation, bound: Cost, well: bool) -> SampleResult:
        """No early stop, or half the runs of a model."""
        del sit
        runs, by_reference = self.runs().values(), self.method == "reference"
        frames = bound.labels // max(1, bound.runs) if by_reference else self.steps // self.interval
        groups = []
        for group in self.groups:
            count = sum(run["subsystem"] == group.subsystem for run in runs)
            stops = 0 if well or self.method != "model" else (count + 1) // 2
            kelvins = group.temperatures or [0]
            groups.append(
                SampleGroupResult(
                    subsystem=group.subsystem,
                    temperature_low=min(kelvins),
                    temperature_high=max(kelvins),
                    runs=count,
                    early_stops=stops,
                    stops=[Count(kind="projected", count=stops)] if stops else [],
                    failed_runs=0,
                    snapshots=count * frames,
                    atoms=0,
                )
            )
        return SampleResult(
            method=self.method,
            model=self.model,
            groups=groups,
            dataset=f"d{iteration:03d}" if by_reference else None,
            reference_calls=bound.reference_calls,
            explorer_calls=bound.explorer_calls,
            md_steps=bound.md_steps,
        )


def _classes(result: SampleResult) -> str:
    """Classes of the reference's own early stops: whatever they are, no model is at fault."""
    if result.method == "model":
        return ""  # they stand with the subsystem, and labels will judge them
    stop_words = [f"{g.subsystem} {s.kind} ({s.count})" for g in result.groups for s in g.stops]
    return f"; the reference itself stopped: {', '.join(stop_words)}" if stop_words else ""


def _consequences(state: State, result: SampleResult) -> dict[str, Any]:
    """What a sampling changes of subsystems and bill, by whoever moved the atoms."""
    if result.method == "reference":
        return _labels_of(state, result)
    if result.method == "explorer":
        spent = {"explorer_calls": result.explorer_calls, "explorer_md_steps": result.md_steps}
        return {"spent": state.spent.plus(**spent)}
    changes = {g.subsystem: _sampled(state.subsystem(g.subsystem), g) for g in result.groups}
    settled = {"reference_calls": result.reference_calls, "explorer_calls": result.explorer_calls}
    return {
        "subsystems": state.subsystems_with(changes),
        "spent": state.spent.plus(model_md_steps=result.md_steps, **settled),
    }


def _sampled(subsystem: SubsystemState, group: SampleGroupResult) -> dict[str, Any]:
    """What a sampling with a model says of its subsystem."""
    finished = group.runs - group.failed_runs
    before = subsystem.early_stop_fraction
    return {
        "rounds": subsystem.rounds + 1,
        "previous_early_stop_fraction": (
            subsystem.previous_early_stop_fraction if before is None else before
        ),
        # a job that gave no trajectory says nothing about the model
        "early_stop_fraction": group.early_stops / finished if finished > 0 else None,
        "sampled_temperature": (
            # 0: nothing but protocols, whose temperatures are no rung of the curriculum
            (group.temperature_high if finished > 0 else 0) or subsystem.sampled_temperature
        ),
        "selection": None,
    }


def _labels_of(state: State, result: SampleResult) -> dict[str, Any]:
    """What the reference's snapshots change: a data set, labels, what they have cost."""
    groups = [
        SelectGroupResult(
            subsystem=g.subsystem,
            candidates=g.snapshots,
            rejected=[],
            reference_calls=0,
            labels=g.snapshots,
            failed=[],
        )
        for g in result.groups
    ]
    datasets = [DatasetRecord(id=result.dataset, groups=groups)] if result.dataset else []
    spent = state.spent.plus(
        labels=result.labels_kept(),
        reference_calls=result.reference_calls,
        reference_md_steps=result.md_steps,
        explorer_calls=result.explorer_calls,
    )
    return {
        "datasets": [*state.datasets, *datasets],
        "subsystems": state.subsystems_with(state.labels_with(groups)),
        "spent": spent,
    }
