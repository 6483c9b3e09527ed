"""Which sampled snapshots get a label, and the labels."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from atomistics.contract import Name, Strict
from campaign.actions.section import Change, Cost, Fault, Items, Section, outcome_of
from campaign.config import Config
from campaign.identifiers import DatasetId, ModelId, SampleId
from campaign.protocol_files import ProtocolInfo
from campaign.results import Event, JudgedStops, Result, SelectGroupResult
from campaign.situation import Situation
from campaign.state import DatasetRecord, SampleRecord, State

MANY, NEARLY_ALL = 10, 0.9  # stops held against labels; share of false alarms among them


class SelectDataResult(Result):
    """select_data/result.yaml."""

    method: Literal["all", "error", "grade", "maxvol"]
    model: ModelId | None = None
    samples: list[str]
    groups: list[SelectGroupResult]
    dataset: DatasetId | None = Field(default=None, description="absent when no label was bought")

    def labels_kept(self) -> int:
        """Those of all groups."""
        return sum(g.labels for g in self.groups)

    def events(self) -> list[Event]:
        """Rejections and quarantined labels, by class."""
        rows = []
        for group in self.groups:
            name = group.subsystem
            rows += [
                Event("rejected before labelling", name, r.kind, r.count) for r in group.rejected
            ]
            rows += [Event("label quarantined", name, f.kind, f.count) for f in group.failed]
        return rows


class SelectGroup(Strict):
    """How much of one subsystem is labelled: a fraction of its candidates or a count."""

    subsystem: Name
    fraction: float | None = Field(default=None, gt=0, le=1)
    count: int | None = Field(default=None, ge=1, le=1_000_000)
    spaced: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="of these, taken evenly over the later halves of the runs whatever their"
        " grade: for what extrapolation cannot see, such as a density that drifts",
        exclude_if=lambda number: not number,
    )

    @model_validator(mode="after")
    def _one_measure(self) -> "SelectGroup":
        if (self.fraction is None) == (self.count is None):
            raise ValueError("give either fraction or count")
        return self

    def quota(self, candidates: int) -> int:
        """Labels it may have of so many candidates (at least one if there is any)."""
        if self.count is not None:
            return min(self.count, candidates)
        return min(max(1, round((self.fraction or 0) * candidates)), candidates)


class SelectData(Section):
    """Which sampled snapshots get a label."""

    result: ClassVar = SelectDataResult
    excuses_repetition: ClassVar = True

    method: Literal["all", "error", "grade", "maxvol"] = Field(
        description="error: a reference call per candidate; grade: none for what is not kept;"
        " maxvol: D-optimal among all candidates, before there is a model"
    )
    model: ModelId | None = Field(default=None, description="required by error and grade")
    samples: list[SampleId] = Field(min_length=1)
    groups: list[SelectGroup] = Field(min_length=1)
    max_labels: int = Field(ge=1, le=1_000_000, description="upper bound over all groups")

    @model_validator(mode="after")
    def _model_present(self) -> "SelectData":
        if (self.method in ("all", "maxvol")) != (self.model is None):
            raise ValueError("model: required by methods error and grade, absent with all, maxvol")
        return self

    def snapshots(self, state: State) -> dict[str, int]:
        """Snapshots on offer by subsystem."""
        offered: dict[str, int] = {}
        for record in state.samples:
            if record.id in self.samples:
                for group in record.groups:
                    offered[group.subsystem] = offered.get(group.subsystem, 0) + group.snapshots
        return offered

    def candidates(self, state: State) -> int:
        """Snapshots of the chosen subsystems: what ranking by error has to label."""
        offered = self.snapshots(state)
        return sum(offered.get(g.subsystem, 0) for g in self.groups)

    def labels_at_most(self, state: State) -> int:
        """Labels the selection keeps at most."""
        return round(sum(self.labels_by_subsystem(state).values()))

    def labels_by_subsystem(self, state: State) -> dict[str, float]:
        """Labels of each subsystem, its share where `max_labels` is less than all ask for."""
        offered = self.snapshots(state)
        wanted = {
            g.subsystem: offered.get(g.subsystem, 0)
            if self.method == "all"
            else g.quota(offered.get(g.subsystem, 0))
            for g in self.groups
        }
        total = sum(wanted.values())
        share = min(1.0, self.max_labels / total) if total else 0.0
        return {name: count * share for name, count in wanted.items()}

    def cost(self, state: State, protocols: Mapping[str, ProtocolInfo] | None = None) -> Cost:
        """A call a label, or by error a call a candidate."""
        del protocols
        labels = self.labels_at_most(state)
        calls = self.candidates(state) if self.method == "error" else labels
        return Cost(reference_calls=calls, labels=labels)

    def preconditions(self, sit: Situation) -> Iterator[Fault]:
        """Samples that are there, labelled from once only, with snapshots of every group."""
        records = {s.id: s for s in sit.state.samples}
        offered: set[str] = set()
        for name in self.samples:
            record = records.get(name)
            if record is None:
                yield "deny", f"samples: no sample {name}"
            elif record.selected_by is not None:
                yield "deny", f"samples: {name} was labelled from in iteration {record.selected_by}"
            else:
                offered |= {g.subsystem for g in record.groups if g.snapshots}
        for group in self.groups:
            if group.subsystem not in offered:
                yield "deny", f"groups: the samples hold no snapshot of {group.subsystem}"
        if len(set(self.samples)) < len(self.samples):
            yield "deny", "samples: a sample is named twice"

    def physics(self, sit: Situation) -> Iterator[Fault]:
        """Labels are for what is new."""
        del sit
        for group in self.groups:
            if (group.fraction or 0) > 0.5:
                yield "warn", f"fraction: {group.fraction:g} of {group.subsystem} is a lot"

    def items(self, state: State, config: Config) -> Items:
        """Parts of the choice: which frames there will be is not known before it is made."""
        parts = max(1, min(self.cost(state).reference_calls, config.label_jobs))
        return {f"part-{i:04d}": {"part": i, "parts": parts} for i in range(parts)}

    def items_per_job(self, config: Config) -> int:
        """Labels are divided into as many items as they shall have jobs."""
        del config
        return 1

    def gives_dataset(self) -> bool:
        """The labels that came, maybe none."""
        return True

    def reduce(self, state: State, iteration: int, result: SelectDataResult) -> Change:
        """Labels enter a data set; what came of a subsystem stands beside its sampling."""
        labels = result.labels_kept()
        failed = sum(c.count for g in result.groups for c in g.failed)
        calls = sum(g.reference_calls for g in result.groups)
        changes = state.labels_with(result.groups)
        samples = [_judged(s, result, iteration) for s in state.samples]
        for group in result.groups:
            changes[group.subsystem] |= {"selection": group} | _alarms(state, samples, group)
            if group.calibration:
                changes[group.subsystem]["calibration"] = group.calibration
        update: dict[str, Any] = {
            "samples": samples,
            "subsystems": state.subsystems_with(changes),
            "spent": state.spent.plus(labels=labels, reference_calls=calls),
        }
        if result.dataset:
            dataset = DatasetRecord(id=result.dataset, groups=result.groups)
            update["datasets"] = [*state.datasets, dataset]
        candidates = sum(g.candidates for g in result.groups)
        return Change(
            state.model_copy(update=update),
            outcome_of(failed, labels + failed),
            f"{labels} labels of {candidates} candidates by {result.method},"
            f" {calls} reference calls{_group_words(result)}",
        )

    def project(self, iteration: int, sit: Situation, bound: Cost, well: bool) -> SelectDataResult:
        """As many labels as may be, the groups served in turn."""
        del well
        offered, room, groups = self.snapshots(sit.state), bound.labels, []
        for number, group in enumerate(self.groups):
            share = room // (len(self.groups) - number)
            candidates = offered.get(group.subsystem, 0)
            labels = min(share, candidates)
            room -= labels
            groups.append(
                SelectGroupResult(
                    subsystem=group.subsystem,
                    candidates=candidates,
                    rejected=[],
                    reference_calls=labels,
                    labels=labels,
                    failed=[],
                )
            )
        return SelectDataResult(
            method=self.method,
            model=self.model,
            samples=self.samples,
            groups=groups,
            dataset=f"d{iteration:03d}" if bound.labels else None,
        )


def _judged(record: SampleRecord, result: SelectDataResult, iteration: int) -> SampleRecord:
    """A sampling with its false alarms: of each class the share that the labels found."""
    if record.id not in result.samples:
        return record
    groups = []
    for group in record.groups:
        judged = next((g.stops for g in result.groups if g.subsystem == group.subsystem), [])
        shares = {j.kind: j.false_alarms / j.judged for j in judged}
        false = round(sum(c.count * shares.get(c.kind, 0.0) for c in group.stops))
        groups.append(group.model_copy(update={"false_alarms": false}))
    return record.model_copy(update={"selected_by": iteration, "groups": groups})


def _alarms(
    state: State, samples: list[SampleRecord], selected: SelectGroupResult
) -> dict[str, Any]:
    """What judged stops change of a subsystem: its stability, and limits that were too narrow."""
    subsystem = state.subsystem(selected.subsystem)
    false = [j for j in selected.stops if j.false_alarms * 2 >= j.judged]
    if not false:
        return {}
    own = [g for s in samples if s.method == "model" for g in s.groups]
    last = next((g for g in reversed(own) if g.subsystem == selected.subsystem), None)
    widened = {j.kind: subsystem.widened.get(j.kind, 0) + _findings(j) for j in false}
    return {
        "widened": {**subsystem.widened, **widened},
        "early_stop_fraction": last.stopped if last else subsystem.early_stop_fraction,
    }


def _findings(stops: JudgedStops) -> int:
    """What a class counts for: grades, a scale of orders of magnitude, twice where nearly all of
    many were false alarms. Runs that last 0.1 ps show next to nothing, and each round is a fit."""
    many = stops.judged >= MANY and stops.false_alarms >= NEARLY_ALL * stops.judged
    return 2 if stops.kind == "grade" and many else 1


def _group_words(result: SelectDataResult) -> str:
    """Early stops and grades held against the reference, in words."""
    rows = [
        f"{j.false_alarms} of {j.judged} early stops by {j.kind} of {g.subsystem} false alarms"
        for g in result.groups
        for j in g.stops
    ]
    rows += [
        f"grade against error of {g.subsystem}: rank correlation {c.rank_correlation:.2f}"
        f" ({c.frames} labels)"
        for g in result.groups
        if (c := g.calibration)
    ]
    return f"; {', '.join(rows)}" if rows else ""
