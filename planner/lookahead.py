"""`planner audit --lookahead K`: the rules rolled forward, if all goes well and if much goes ill.

A projection to plan budgets with, not a forecast: results are made up, at the most and the least
favourable, and folded into the state as real ones are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from campaign.cost import Cost, cost, snapshots
from campaign.folder import Campaign
from campaign.plan import Plan, Prune, ReferenceCalc, Sample, SelectData, Train
from campaign.reduce import after
from campaign.results import (
    Count,
    Errors,
    EvaluatedStructure,
    ModelEvalResult,
    PruneResult,
    ReferenceCalcResult,
    ReferenceRange,
    Result,
    SampleGroupResult,
    SampleResult,
    SelectDataResult,
    SelectGroupResult,
    TrainResult,
)
from campaign.situation import Situation
from campaign.verdict import conclude
from planner.policy import rules

OUTLOOKS = ("optimistic", "pessimistic")


@dataclass(frozen=True)
class Step:
    """One projected decision."""

    action: str
    rule: str | None
    labels: int
    reference_calls: int


def lookahead(campaign: Campaign, plan: Plan, most: int) -> dict[str, list[Step]]:
    """Decisions after `plan`, by outlook, until the projected end or `most` of them."""
    return {outlook: _rolled(campaign.situation(), plan, most, outlook) for outlook in OUTLOOKS}


def _rolled(sit: Situation, plan: Plan, most: int, outlook: str) -> list[Step]:
    steps: list[Step] = []
    for _ in range(most + 1):
        bound = cost(plan, sit)
        steps.append(Step(plan.action, plan.rule, bound.labels, bound.reference_calls))
        result = _result(plan, sit, bound, outlook == "optimistic")
        state = after(sit.state, plan, result, ("projected", "projected"))
        if state.verdict:
            break
        seconds = sit.core_seconds + bound.core_seconds
        sit = replace(sit, state=state, core_seconds=seconds, state_sha256=f"{plan.iteration:064x}")
        plan = rules.decide(sit)
    return steps[1:]


def _result(plan: Plan, sit: Situation, bound: Cost, well: bool) -> Result:
    if plan.action == "end":
        return conclude(sit.state, plan.parameters)
    return PROJECTED[plan.action](plan, sit, bound, well)


def _places(sit: Situation) -> dict[str, str]:
    return {s.id: s.subsystem for s in sit.structures}


def _reference(plan: Plan, sit: Situation, bound: Cost, _: bool) -> ReferenceCalcResult:
    section: ReferenceCalc = plan.parameters
    lines = [
        ReferenceRange(structure=name, subsystem=_places(sit)[name], status="ok",
                       temperature=section.temperature, frames=section.steps // section.interval)
        for name in section.structures
    ]  # fmt: skip
    return ReferenceCalcResult(
        structures=lines, reference_calls=bound.reference_calls, md_steps=bound.md_steps
    )


def _sampled(plan: Plan, _: Situation, bound: Cost, well: bool) -> SampleResult:
    section: Sample = plan.parameters
    table = section.runs().values()
    groups = []
    for group in section.groups:
        runs = sum(leaf["subsystem"] == group.subsystem for leaf in table)
        stops = 0 if well or section.method == "reference" else (runs + 1) // 2
        frames = (
            bound.labels // max(1, bound.runs)
            if section.method == "reference"
            else section.steps // section.interval
        )
        kelvin = group.temperatures or [0]
        groups.append(
            SampleGroupResult(
                subsystem=group.subsystem, temperature_low=min(kelvin),
                temperature_high=max(kelvin), runs=runs, early_stops=stops,
                stops=[Count(kind="projected", count=stops)] if stops else [], failed_runs=0,
                snapshots=runs * frames, atoms=0,
            )
        )  # fmt: skip
    bought = section.method == "reference"
    return SampleResult(
        method=section.method, model=section.model, groups=groups,
        dataset=f"d{plan.iteration:03d}" if bought else None,
        reference_calls=bound.reference_calls, md_steps=bound.md_steps,
    )  # fmt: skip


def _selected(plan: Plan, sit: Situation, bound: Cost, _: bool) -> SelectDataResult:
    section: SelectData = plan.parameters
    offered, room, groups = snapshots(section, sit.state), bound.labels, []
    for number, group in enumerate(section.groups):
        share = room // (len(section.groups) - number)
        labels = min(share, offered.get(group.subsystem, 0))
        room -= labels
        groups.append(
            SelectGroupResult(
                subsystem=group.subsystem, candidates=offered.get(group.subsystem, 0), rejected=[],
                reference_calls=labels, labels=labels, failed=[],
            )
        )  # fmt: skip
    return SelectDataResult(
        method=section.method, model=section.model, samples=section.samples, groups=groups,
        dataset=f"d{plan.iteration:03d}" if bound.labels else None,
    )  # fmt: skip


def _trained(plan: Plan, sit: Situation, _: Cost, __: bool) -> TrainResult:
    section: Train = plan.parameters
    mae = sit.state.targets.force_mae / 2
    frames = sum(d.labels for d in sit.state.datasets if d.id in section.datasets)
    errors = [
        Errors(subsystem=s.name, split="train", frames=max(1, frames), energy_mae=0.0,
               energy_rmse=0.0, force_mae=mae, force_rmse=mae)
        for s in sit.state.subsystems
    ]  # fmt: skip
    return TrainResult(
        model=f"m{plan.iteration:03d}", parent=section.model, effort=section.effort, status="ok",
        datasets=section.datasets, frames=frames, atoms=0, iterations=1, errors=errors, outliers=[],
    )  # fmt: skip


def _evaluated(plan: Plan, sit: Situation, bound: Cost, well: bool) -> ModelEvalResult:
    targets, given = sit.state.targets, plan.parameters.model_dump()
    factor = 0.5 if well else 2.0 * targets.component_factor
    lines = [
        EvaluatedStructure(
            structure=name, subsystem=_places(sit)[name], status="ok",
            picoseconds=targets.stable_ps, temperature=given["temperature"],
            density_deviation=factor * targets.density_deviation, rdf_overlap=1.0,
            force_mae=factor * targets.force_mae, energy_mae=factor * targets.energy_mae,
            fresh_frames=given["fresh_frames"], fresh_force_mae=factor * targets.force_mae,
        )
        for name in given["structures"]
    ]  # fmt: skip
    return ModelEvalResult(
        model=given["model"], structures=lines, reference_calls=bound.reference_calls,
        md_steps=bound.md_steps,
    )  # fmt: skip


def _pruned(plan: Plan, _: Situation, __: Cost, ___: bool) -> PruneResult:
    section: Prune = plan.parameters
    return PruneResult(**section.model_dump(exclude={"restore"}), restored=section.restore)


PROJECTED: dict[str, Callable[[Plan, Situation, Cost, bool], Result]] = {
    "reference_calc": _reference,
    "sample": _sampled,
    "select_data": _selected,
    "train": _trained,
    "model_eval": _evaluated,
    "prune": _pruned,
}


def render(rolled: dict[str, list[Step]]) -> str:
    """A line an outlook: actions in order, and what they would add to the bill."""
    lines = ["  after it, by the rules (a projection):"]
    for outlook, steps in rolled.items():
        labels = sum(s.labels for s in steps)
        calls = sum(s.reference_calls for s in steps)
        actions = " > ".join(s.action for s in steps) or "nothing"
        lines.append(f"  {outlook:<12} {actions}")
        lines.append(f"               up to {labels} labels, {calls} reference calls more")
    return "\n".join(lines)
