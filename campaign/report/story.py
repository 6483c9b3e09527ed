"""One reading of a whole campaign: every plan and result up to a verdict, and what follows."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from atomistics.properties.asked import unit_of
from campaign.actions.select_data import SelectDataResult
from campaign.config import PropertyTarget, Targets
from campaign.errors import UserError
from campaign.files import read
from campaign.folder import Campaign
from campaign.plan import Plan
from campaign.results import (
    Calibration,
    EvaluatedStructure,
    Property,
    Result,
    StoppedRun,
    Verdict,
)
from campaign.state import HistoryEntry, ModelRecord, State, SubsystemState
from campaign.verdict import criteria, held, open_targets, property_targets


@dataclass(frozen=True)
class Standing:
    """In a verdict's place while a campaign goes on: what is open, of the model evaluated last."""

    model: str | None
    reasons: list[str]
    outcome: str = "unfinished"
    asked: str = "unfinished"


def standing(state: State) -> Verdict | Standing:
    """The verdict of a campaign, or how it stands without one."""
    if state.verdict:
        return state.verdict
    fitted = [m.id for m in state.models if m.status == "ok"]
    model = state.evaluations[-1].model if state.evaluations else (fitted or [None])[-1]
    missed = open_targets(state, model) if model else ["no model has been fitted yet"]
    return Standing(model, missed or [f"{model}: every target met on every target subsystem"])


@dataclass(frozen=True)
class Story:
    """A campaign up to its verdict; what could not be read is named, never guessed."""

    campaign: Campaign
    state: State
    verdict: Verdict | Standing
    plans: dict[int, Plan]
    results: dict[int, Result]
    unreadable: list[str]

    @property
    def model(self) -> ModelRecord | None:
        """The potential the verdict is about."""
        return next((m for m in self.state.models if m.id == self.verdict.model), None)

    def evaluated(self) -> dict[str, tuple[int, EvaluatedStructure]]:
        """Last evaluation of each structure with the verdict's model, and its iteration."""
        return {
            evaluation.structure: (record.iteration, evaluation)
            for record in self.state.evaluations
            if record.model == self.verdict.model
            for evaluation in record.structures
        }


def tell(campaign: Campaign, state: State, verdict: Verdict | Standing) -> Story:
    """Read the plans and results of all iterations of `state`, and the plan of the end."""
    story = Story(campaign, state, verdict, {}, {}, [])
    ending = state.verdict is None and isinstance(verdict, Verdict)
    last = state.iteration + ending
    for number in range(1, last + 1):
        folder = campaign.iteration(number)
        if number > state.iteration and not (folder / "plan.yaml").is_file():
            break
        try:
            plan = story.plans[number] = campaign.plan(number)
            if plan.action != "end":
                path = folder / plan.action / "result.yaml"
                story.results[number] = read(plan.parameters.result, path)
        except UserError as error:
            story.unreadable.append(str(error).replace(f"{campaign.folder}/", ""))
    return story


class Measure(NamedTuple):
    """A quantity held against a target, with the unit and factor it is shown in."""

    key: str
    title: str
    unit: str
    factor: float = 1.0


MEASURES = (
    Measure("force_mae", "Force MAE, reference MD", "eV/Å"),
    Measure("fresh_force_mae", "Force MAE, fresh frames", "eV/Å"),
    Measure("energy_mae", "Energy MAE, reference MD", "meV/atom", 1000.0),
    Measure("density_deviation", "Density deviation", "%", 100.0),
    Measure("rdf_overlap", "Least RDF overlap", ""),
    Measure("diffusion_deviation", "Diffusion, worst element", "%", 100.0),
    Measure("picoseconds", "MD without early stop", "ps"),
)


def measures(targets: Targets) -> list[Measure]:
    """Those that the task asks for."""
    optional = {"diffusion_deviation": targets.diffusion_deviation}
    return [m for m in MEASURES if optional.get(m.key, 0.0) is not None]


class Check(NamedTuple):
    """One target: value reached and bound in the unit of its measure; met is None if not asked."""

    measure: Measure
    value: float | None
    bound: float | None
    met: bool | None


def checks(evaluated: EvaluatedStructure, role: str, targets: Targets) -> list[Check]:
    """The criteria of the verdict in the order and units of MEASURES."""
    table, held = [], {criterion.key: criterion for criterion in criteria(evaluated, role, targets)}
    for measure in measures(targets):
        _, value, bound, met = held[measure.key]
        shown = value if value is None or met is None else abs(value) * measure.factor
        limit = None if bound is None else bound * measure.factor
        table.append(Check(measure, shown, limit, met))
    return table


class TargetRow(NamedTuple):
    """Targets of one held-out structure, or a note where the model was never evaluated."""

    subsystem: SubsystemState
    evaluation: EvaluatedStructure | None
    checks: list[Check]
    note: str


def target_rows(story: Story) -> list[TargetRow]:
    """Every subsystem's held-out structures against the targets, as reached by the model."""
    latest = [evaluation for _, evaluation in story.evaluated().values()]
    rows = []
    for subsystem in story.state.subsystems:
        of_it = [evaluation for evaluation in latest if evaluation.subsystem == subsystem.name]
        rows += [
            TargetRow(
                subsystem, evaluation, checks(evaluation, subsystem.role, story.state.targets), ""
            )
            for evaluation in of_it
        ]
        if not of_it:
            rows.append(TargetRow(subsystem, None, [], _never_evaluated(story, subsystem)))
    return rows


class PropertyRow(NamedTuple):
    """A property by model and reference; `target` in words, met None where it is none."""

    structure: str
    measured: Property
    difference: float | None
    target: str
    source: str
    met: bool | None


def property_rows(story: Story) -> list[PropertyRow]:
    """Every property measured of the model, or that a target asks for, by structure."""
    rows = []
    for _, structure in story.evaluated().values():
        subsystem = story.state.subsystem(structure.subsystem)
        slack = story.state.targets.slack(subsystem.role)
        asked = {t.name: t for t in property_targets(subsystem, story.state.targets)}
        values = list(structure.properties.values) if structure.properties else []
        names = {p.name for p in values}
        values += [Property(name=n, unit=unit_of(n) or "1") for n in asked if n not in names]
        rows += [_property_row(structure, p, asked.get(p.name), slack) for p in values]
    return sorted(rows, key=lambda row: row.structure)


def _property_row(
    structure: EvaluatedStructure, measured: Property, target: PropertyTarget | None, slack: float
) -> PropertyRow:
    truth, source, met, bound = measured.reference, "reference", None, ""
    if target:
        judged = held(structure, target, slack)
        met = judged.met
        bound = f"{judged.bound:.3g} {measured.unit}" if target.absolute else f"{judged.bound:.1%}"
        if target.value is not None:
            truth, source = target.value, target.source or ""
    if truth is not None:
        measured = measured.model_copy(update={"reference": truth})
    both = measured.model is not None and truth is not None
    difference = measured.model - truth if both else None
    return PropertyRow(structure.structure, measured, difference, bound, source, met)


def _never_evaluated(story: Story, subsystem: SubsystemState) -> str:
    note = f"never evaluated with {story.verdict.model or 'a final potential'}"
    if subsystem.evaluated_model:
        note += f"; {subsystem.evaluation} with {subsystem.evaluated_model}"
    return note


class SubsystemEffort(NamedTuple):
    """Ledger of one subsystem: MD runs with a model and how they ended."""

    subsystem: SubsystemState
    runs: int
    early_stops: int
    failed_runs: int
    classes: dict[str, int]


def efforts(story: Story) -> list[SubsystemEffort]:
    """What each subsystem has cost and how stable its MD with the models was."""
    rows = []
    for subsystem in story.state.subsystems:
        groups = [group for _, group in story.state.samplings(subsystem.name)]
        classes: dict[str, int] = {}
        for stop in (s for g in groups for s in g.stops):
            classes[stop.kind] = classes.get(stop.kind, 0) + stop.count
        stops, failed = sum(g.early_stops for g in groups), sum(g.failed_runs for g in groups)
        rows.append(SubsystemEffort(subsystem, sum(g.runs for g in groups), stops, failed, classes))
    return rows


class DecisionRow(NamedTuple):
    """One iteration: what was decided, on what, and what came of it."""

    number: int
    plan: Plan | None
    entry: HistoryEntry


def decisions(story: Story) -> list[DecisionRow]:
    """Every iteration up to the verdict, in order."""
    entries = {entry.iteration: entry for entry in story.state.history}
    end = story.plans.get(story.state.iteration + 1)
    if end is not None:
        note = f"{story.verdict.outcome}: {'; '.join(story.verdict.reasons)}"
        entries[end.iteration] = HistoryEntry(
            iteration=end.iteration, action=end.action, rule=end.rule, outcome="ok", note=note
        )
    return [DecisionRow(n, story.plans.get(n), entry) for n, entry in sorted(entries.items())]


class Failure(NamedTuple):
    """How often one class of failure came up, where, and what it means for the data."""

    event: str
    subsystem: str
    kind: str
    count: int
    iterations: list[int]


def failures(story: Story) -> list[Failure]:
    """Early stops, gate rejections, quarantined labels, failed runs, refused fits, by class."""
    table: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for number, result in story.results.items():
        for event in result.events():
            table.setdefault(event[:3], []).append((number, event.count))
    return [
        Failure(*key, sum(count for _, count in occurrences), sorted({n for n, _ in occurrences}))
        for key, occurrences in sorted(table.items())
    ]


class CalibrationRow(NamedTuple):
    """What the grade said of the true error, on the labels one selection bought."""

    iteration: int
    subsystem: str
    calibration: Calibration


def calibrations(story: Story) -> list[CalibrationRow]:
    """Every selection's, by subsystem."""
    return [
        CalibrationRow(number, group.subsystem, group.calibration)
        for number, result in story.results.items()
        if isinstance(result, SelectDataResult)
        for group in result.groups
        if group.calibration
    ]


def first_stops(story: Story) -> list[tuple[str, str, StoppedRun]]:
    """The earliest stops of each subsystem's last sampling with a model, and which that is."""
    rows = []
    for subsystem in story.state.subsystems:
        for record, group in story.state.samplings(subsystem.name)[-1:]:
            rows += [(subsystem.name, record.id, stop) for stop in group.stopped_runs[:3]]
    return rows


def files_of_potential(folder: Path) -> list[Path]:
    """The potential's files handed over in `folder`."""
    return sorted(p for p in folder.glob("*") if p.suffix in {".almtp", ".mtp"})
