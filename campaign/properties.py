"""Properties in results: measured by one calculator, set beside the other's."""

from collections.abc import Sequence
from typing import Any

from ase.calculators.calculator import Calculator

from atomistics.properties.asked import unit_of
from atomistics.properties.measure import MD, Measured, measure
from campaign.actions.section import MeasuredStructure
from campaign.job import Job
from campaign.results import Measurements, Property
from campaign.state import State

ATOM = "atom_"  # energies of isolated atoms: the reference's stand for the model's too


def measured(
    job: Job,
    structure: str,
    asked: Sequence[MeasuredStructure],
    calculator: Calculator,
    md: MD | None,
    beside: Measurements | None = None,
) -> Measured | None:
    """What the plan asks of this structure, on `calculator`; None where it asks nothing.

    `beside`: what the reference found of it, where `calculator` is a model.
    """
    own = next((a for a in asked if a.structure == structure), None)
    if own is None:
        return None
    atoms = {
        p.name.removeprefix(ATOM): p.reference
        for p in (beside.values if beside else ())
        if p.name.startswith(ATOM) and p.reference is not None
    }
    return measure(job.atoms(structure), own, calculator, md, atoms)


def by_reference(properties: Measured) -> Measurements:
    """The reference's measurements as its result keeps them."""
    values = [
        Property(
            name=v.name, unit=unit_of(v.name) or "1", reference=v.value, reference_error=v.error
        )
        for v in properties.values
    ]
    return Measurements(values=values, notes=_notes(properties, "reference"))


def by_model(properties: Measured, beside: Measurements | None) -> Measurements:
    """The model's, each beside the reference's of the same name; then what only that has."""
    by_name = {p.name: p for p in (beside.values if beside else ())}
    values = [
        by_name.get(v.name, Property(name=v.name, unit=unit_of(v.name) or "1")).model_copy(
            update={"model": v.value, "model_error": v.error}
        )
        for v in properties.values
    ]
    mine = {v.name for v in properties.values}
    values += [p for name, p in by_name.items() if name not in mine and not name.startswith(ATOM)]
    notes = [*(beside.notes if beside else ()), *_notes(properties, "model")]
    return Measurements(values=values, notes=notes)


def _notes(properties: Measured, whose: str) -> list[str]:
    notes = [f"{whose}: {kind}: {how}" for kind, how in properties.how.items()]
    return notes + [f"{whose}: {kind}: no value: {why}" for kind, why in properties.failed.items()]


def of_reference(state: State, structure: str) -> Measurements | None:
    """What the reference found of a structure."""
    record = next((r for r in state.reference if r.structure == structure), None)
    return record.properties if record else None


def with_polymorphs(rows: Sequence[Any], formulas: dict[str, str]) -> list[Any]:
    """Structures of one composition are compared: how far each lies above the first, meV/atom.

    `formulas`: the reduced formula of each structure by name. The first is the lowest by the
    reference, where it has values, so that both answer the same question.
    """
    energies = {r.structure: r.properties.value("energy") for r in rows if r.properties}
    energy_of = {name: e for name, e in energies.items() if e is not None}
    changed = []
    for row in rows:
        mine = energy_of.get(row.structure)
        alike = [n for n in energy_of if formulas[n] == formulas[row.structure]] if mine else []
        lowest = min(alike, key=lambda n: (_level(energy_of[n]), n), default=row.structure)
        if not mine or lowest == row.structure:
            changed.append(row)
            continue
        values = [*row.properties.values, _difference(f"above_{lowest}", mine, energy_of[lowest])]
        properties = row.properties.model_copy(update={"values": values})
        changed.append(row.model_copy(update={"properties": properties}))
    return changed


def _level(energy: Property) -> float:
    energy_value = energy.model if energy.reference is None else energy.reference
    return energy_value if energy_value is not None else 0.0


def _difference(name: str, one: Property, other: Property) -> Property:
    given: dict[str, Any] = {}
    for who in ("model", "reference"):
        high, low = getattr(one, who), getattr(other, who)
        if high is not None and low is not None:
            errors = (getattr(p, f"{who}_error") or 0.0 for p in (one, other))
            given |= {who: 1000 * (high - low), f"{who}_error": 1000 * sum(errors)}
    return Property(name=name, unit="meV/atom", **given)
