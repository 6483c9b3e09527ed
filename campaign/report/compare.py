"""`planner compare A B`: what two campaigns, or one at two iterations, have spent and reached."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from campaign.errors import UserError
from campaign.folder import Campaign
from campaign.report.story import measures, standing
from campaign.results import EvaluatedStructure
from campaign.state import State
from campaign.terminal import table


class Row(NamedTuple):
    """A quantity by its name and unit, in each of the two; None where one does not have it."""

    quantity: str
    unit: str
    values: tuple[float | str | None, float | str | None]


class Side(NamedTuple):
    """One of the two, read up to an iteration."""

    campaign: Campaign
    state: State


def side(given: str) -> Side:
    """`FOLDER`, or `FOLDER@N` for the campaign as it stood after iteration N."""
    name, at, number = given.rpartition("@")
    folder, last = (name, number) if at and number.isdigit() else (given, "")
    campaign = Campaign.at(Path(folder))
    if last and not 0 <= int(last) <= campaign.finalized:
        raise UserError(f"{given}: {campaign.finalized} iterations are finished; name one of them")
    return Side(campaign, campaign.state(int(last) if last else None))


def compare(one: Side, other: Side) -> list[Row]:
    """Spending, then every evaluated structure by the measures of the targets."""
    rows = [
        Row(quantity, unit, (first, second))
        for (quantity, unit, first), (_, _, second) in zip(_spent(one), _spent(other), strict=True)
    ]
    evaluations = [_evaluated(each.state) for each in (one, other)]
    for name in sorted(evaluations[0].keys() | evaluations[1].keys()):
        both = [evaluated.get(name) for evaluated in evaluations]
        for m in measures(one.state.targets):
            values = tuple(_value(each, m.key, m.factor) for each in both)
            rows.append(Row(f"{name}: {m.title}", m.unit, values))
        rows.append(Row(f"{name}: ended by", "", tuple(_ending(each) for each in both)))
    return rows


def _spent(given: Side) -> Iterator[tuple[str, str, float | str | None]]:
    state, outcome = given.state, standing(given.state)
    yield "outcome", "", outcome.outcome.replace("_", " ")
    yield "iterations", "", state.iteration
    yield "labels", "", state.spent.labels
    yield "reference calls", "", state.spent.reference_calls
    if state.spent.explorer_calls:
        yield "explorer calls", "", state.spent.explorer_calls
    yield "MD steps", "", state.spent.md_steps
    yield "core-hours", "", given.campaign.core_seconds(state.iteration) / 3600
    yield "potential", "", outcome.model
    fitted = next((m for m in state.models if m.id == outcome.model), None)
    yield "frames in its fit", "", fitted.frames if fitted else None
    yield "held-out force MAE of its fit", "eV/Å", fitted.force_mae("held_out") if fitted else None


def _evaluated(state: State) -> dict[str, EvaluatedStructure]:
    """Last evaluation of each structure with the potential that stands."""
    model = standing(state).model
    return {
        evaluated.structure: evaluated
        for record in state.evaluations
        if record.model == model
        for evaluated in record.structures
    }


def _value(evaluated: EvaluatedStructure | None, key: str, factor: float) -> float | None:
    value = getattr(evaluated, key, None)
    return None if value is None else abs(value) * factor


def _ending(evaluated: EvaluatedStructure | None) -> str | None:
    return None if evaluated is None else (evaluated.stop or "its length")


def render(rows: list[Row], names: tuple[str, str]) -> str:
    """A table with the difference of what are numbers."""
    lines = [["", *names, "difference"]]
    for row in rows:
        first, second = row.values
        both = isinstance(first, int | float) and isinstance(second, int | float)
        gain = f"{second - first:+.4g}" if both else ""
        unit = f", {row.unit}" if row.unit else ""
        lines.append([row.quantity + unit, *map(_shown, row.values), gain])
    return "\n".join(table(lines))


def _shown(value: float | str | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
