"""`planner compare A B`: what two campaigns, or one at two iterations, have spent and reached.

Either may be several campaigns that differ by chance alone, as by their seeds: means are compared
then, with standard errors.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from campaign.errors import UserError
from campaign.folder import Campaign
from campaign.report.story import measures, standing
from campaign.results import EvaluatedStructure
from campaign.state import State
from campaign.terminal import table
from campaign.verdict import criteria

Fact = float | str | None  # a number in its unit, words, or nothing to tell


class Row(NamedTuple):
    """A quantity by its name and unit, in each of the two; None where one does not have it.

    Of several campaigns the mean over those that have it, and its standard error.
    """

    quantity: str
    unit: str
    values: tuple[Fact, Fact]
    errors: tuple[float | None, float | None]


class Side(NamedTuple):
    """A campaign, read up to an iteration."""

    campaign: Campaign
    state: State


def sides(given: str) -> list[Side]:
    """`FOLDER`, or `FOLDER@N` for the campaign as it stood after iteration N; several with commas
    between them.

    UserError where several are not of one task.
    """
    names = given.split(",")
    several = [_side(name) for name in names]
    for name, other in zip(names, several, strict=True):
        for key in other.state.unlike(several[0].state):
            raise UserError(
                f"{name}: {key}: not as in {names[0]}; a mean is of campaigns of one task"
            )
    return several


def _side(given: str) -> Side:
    name, at, number = given.rpartition("@")
    folder, last = (name, number) if at and number.isdigit() else (given, "")
    campaign = Campaign.at(Path(folder))
    if last and not 0 <= int(last) <= campaign.finalized:
        raise UserError(f"{given}: {campaign.finalized} iterations are finished; name one of them")
    return Side(campaign, campaign.state(int(last) if last else None))


def compare(one: Sequence[Side], other: Sequence[Side]) -> list[Row]:
    """Spending, then every evaluated structure by the measures of the targets and by properties."""
    facts = [[dict(_facts(each)) for each in group] for group in (one, other)]
    named = dict.fromkeys(key for group in facts for each in group for key in each)
    rows = []
    for key in sorted(named, key=lambda key: key.structure):  # what is of none comes first
        (first, before), (second, after) = (
            _mean([each.get(key) for each in group]) for group in facts
        )
        quantity = f"{key.structure}: {key.quantity}" if key.structure else key.quantity
        rows.append(Row(quantity, key.unit, (first, second), (before, after)))
    return rows


class ComparedQuantity(NamedTuple):
    """What is compared: of a structure, or of the campaign where that is empty."""

    structure: str
    quantity: str
    unit: str


def _mean(facts: list[Fact]) -> tuple[Fact, float | None]:
    """Of several campaigns the mean and its standard error, or how many say what."""
    present = [fact for fact in facts if fact is not None]
    numbers = [fact for fact in present if not isinstance(fact, str)]
    if not present or len(facts) == 1:
        return facts[0], None
    if len(numbers) < len(present):
        return ", ".join(
            f"{n} {word}" for word, n in Counter(map(str, present)).most_common()
        ), None
    error = stdev(numbers) / math.sqrt(len(numbers)) if len(numbers) > 1 else None
    return fmean(numbers), error


def _facts(given: Side) -> Iterator[tuple[ComparedQuantity, Fact]]:
    state = given.state
    yield from (
        (ComparedQuantity("", quantity, unit), fact) for quantity, unit, fact in _spent(given)
    )
    roles = {s.name: s.role for s in state.subsystems}
    for evaluated in _evaluated(state):
        name = evaluated.structure
        held = {
            c.key: c.value for c in criteria(evaluated, roles[evaluated.subsystem], state.targets)
        }
        for m in measures(state.targets):
            value = held[m.key]
            yield (
                ComparedQuantity(name, m.title, m.unit),
                None if value is None else abs(value) * m.factor,
            )
        yield ComparedQuantity(name, "ended by", ""), evaluated.stop or "its length"
        for p in evaluated.properties.values if evaluated.properties else ():
            yield ComparedQuantity(name, p.name, p.unit), p.model
            if p.model is not None and p.reference is not None:
                yield (
                    ComparedQuantity(name, f"{p.name} less the reference's", p.unit),
                    p.model - p.reference,
                )


def _spent(given: Side) -> Iterator[tuple[str, str, Fact]]:
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


def _evaluated(state: State) -> list[EvaluatedStructure]:
    """Last evaluation of each structure with the potential that stands."""
    model = standing(state).model
    records = [record for record in state.evaluations if record.model == model]
    return list({e.structure: e for record in records for e in record.structures}.values())


def render(rows: list[Row], names: tuple[str, str]) -> str:
    """A table with the difference of what are numbers."""
    lines = [["", *names, "difference"]]
    for row in rows:
        first, second = row.values
        both = isinstance(first, int | float) and isinstance(second, int | float)
        error = math.hypot(*(e for e in row.errors if e is not None)) if any(row.errors) else None
        gain = _shown(second - first, error, "+") if both else ""
        unit = f", {row.unit}" if row.unit else ""
        shown = (_shown(*each) for each in zip(row.values, row.errors, strict=True))
        lines.append([row.quantity + unit, *shown, gain])
    return "\n".join(table(lines))


def _shown(fact: Fact, error: float | None, sign: str = "") -> str:
    if fact is None:
        return "-"
    if isinstance(fact, str) or (isinstance(fact, int) and not sign):
        return str(fact)
    return f"{fact:{sign}.4g}" + ("" if error is None else f" ± {error:.2g}")
