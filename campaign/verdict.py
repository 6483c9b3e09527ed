"""Targets held against evaluations: code, not the planner, says what has converged."""

from collections.abc import Sequence
from typing import NamedTuple

from atomistics.properties.asked import kind_of, unit_of
from campaign.config import PropertyTarget, Targets
from campaign.results import EvaluatedStructure
from campaign.state import ModelRecord, State, SubsystemState


class Criterion(NamedTuple):
    """One target: value reached and bound (None: not asked of this role); met None: not asked."""

    key: str
    value: float | None
    bound: float | None
    met: bool | None


DIFFUSIVE_PS = 2.0  # the shortest reference MD that a diffusion coefficient is taken from
UNITS = {"force_mae": "eV/Å", "fresh_force_mae": "eV/Å", "energy_mae": "eV/atom"}


def property_targets(subsystem: SubsystemState, targets: Targets) -> list[PropertyTarget]:
    """The targets that ask for properties which this subsystem measures."""
    measured = subsystem.properties.needed if subsystem.properties else ()
    return [
        t
        for t in targets.properties
        if t.subsystem in (None, subsystem.name) and kind_of(t.name) in measured
    ]


def criteria(
    evaluated: EvaluatedStructure,
    role: str,
    targets: Targets,
    properties: Sequence[PropertyTarget] = (),
) -> list[Criterion]:
    """Every target held against `evaluated`, `properties` last; a missing value meets none.

    Errors outside target subsystems may be `targets.component_factor` times larger, and diffusion
    is asked of targets alone: nobody pays for reference MD of every part that is long enough for
    it. Stability is asked of every role: an early stop is a miss whatever the errors are.
    """
    slack = targets.slack(role)
    upper = {
        "force_mae": targets.force_mae,
        "fresh_force_mae": targets.force_mae,
        "energy_mae": targets.energy_mae,
        "density_deviation": targets.density_deviation,
        "density_bias": targets.density_bias or targets.density_deviation,
    }
    table = []
    for key, target in upper.items():
        value, bound = getattr(evaluated, key), target * slack
        asked = {
            "fresh_force_mae": evaluated.fresh_frames > 0,
            "density_deviation": evaluated.bulk and evaluated.compared,
            "density_bias": evaluated.density_bias is not None,
        }.get(key, True)
        # two short runs of a liquid differ by chance, up to the bound again; pressures are sharper
        chance = evaluated.standard_errors.get(key, 0.0) if key == "density_deviation" else 0.0
        met = value is not None and abs(value) - min(chance, bound) <= bound
        table.append(Criterion(key, value, bound, met if asked else None))
    least, overlap = 1 - (1 - targets.rdf_overlap) * slack, evaluated.rdf_overlap
    alike = overlap is not None and overlap >= least
    # what is not periodic has neither density nor RDF, and labels alone show none
    asked = evaluated.bulk and evaluated.compared
    table.append(Criterion("rdf_overlap", overlap, least, alike if asked else None))
    if targets.compared_ps is not None and role == "target" and asked:
        table.append(_compared(evaluated, targets.compared_ps))
    if targets.diffusion_deviation is not None and role == "target":
        table.append(_diffusion(evaluated, targets.diffusion_deviation * slack))
    wanted = targets.stable_ps if role == "target" else None
    long_enough = wanted is None or evaluated.picoseconds >= wanted * (1 - 1e-9)
    stable = evaluated.status == "ok" and long_enough
    table.append(Criterion("picoseconds", evaluated.picoseconds, wanted, stable))
    return table + [held(evaluated, asked, slack) for asked in properties]


def misses(
    evaluated: EvaluatedStructure,
    role: str,
    targets: Targets,
    properties: Sequence[PropertyTarget] = (),
) -> list[Criterion]:
    """Those of the criteria that are asked and not met."""
    return [c for c in criteria(evaluated, role, targets, properties) if c.met is False]


def held(evaluated: EvaluatedStructure, asked: PropertyTarget, slack: float = 1.0) -> Criterion:
    """Difference of model and reference (or the number given), in its unit or as a fraction.

    A property without a value is a miss.
    """
    bound = slack * (asked.absolute or asked.relative or 0.0)
    measured = evaluated.properties.value(asked.name) if evaluated.properties else None
    truth = asked.value if asked.value is not None else measured and measured.reference
    if measured is None or measured.model is None or truth is None:
        return Criterion(asked.name, None, bound, False)
    difference = abs(measured.model - truth)
    value = difference if asked.absolute else difference / max(abs(truth), 1e-300)
    return Criterion(asked.name, value, bound, value <= bound)


def _compared(evaluated: EvaluatedStructure, bound: float) -> Criterion:
    """How much reference MD density and RDF were held to, ps.

    Two potentials that agree on every frame of one may still build different contacts, and a run
    of femtoseconds from the same start shows none of it.
    """
    length = evaluated.compared_ps or 0.0
    return Criterion("compared_ps", length, bound, length >= bound * (1 - 1e-9))


def _diffusion(evaluated: EvaluatedStructure, bound: float) -> Criterion:
    """The element whose D deviates most, as a fraction of the reference's; one whose values agree
    within both error bars deviates by 0.

    Over less than DIFFUSIVE_PS atoms rattle in their cages: whatever is fitted has wide error bars
    and agrees with anything, so that it is no value.
    """
    if evaluated.compared_ps is not None and evaluated.compared_ps < DIFFUSIVE_PS:
        return Criterion("diffusion_deviation", None, bound, False)
    deviations = [
        abs(d.model - d.reference) / abs(d.reference or 1e-300)
        if abs(d.model - d.reference) > d.model_error + d.reference_error
        else 0.0
        for d in evaluated.diffusion
    ]
    worst = max(deviations, default=None)
    return Criterion("diffusion_deviation", worst, bound, worst is not None and worst <= bound)


def unmeasured(state: State, model: str) -> list[str]:
    """Targets beside those of every evaluation that have no value, where no other is missed.

    Neither labels nor another fit give a number that the reference's own run is too short for.
    """
    missed = [
        (e, c)
        for s in state.subsystems
        if s.role == "target"
        for e in state.evaluated(s.name, model)
        for c in misses(e, s.role, state.targets, property_targets(s, state.targets))
    ]
    always = EvaluatedStructure.model_fields
    if any(c.key != "compared_ps" and (c.value is not None or c.key in always) for _, c in missed):
        return []
    return [f"{c.key} of {e.structure}" for e, c in missed]


def shortfalls(
    evaluated: EvaluatedStructure,
    role: str,
    targets: Targets,
    properties: Sequence[PropertyTarget] = (),
) -> list[str]:
    """Every target that `evaluated` misses, with value and bound; stability first."""
    missed = misses(evaluated, role, targets, properties)
    missed.sort(key=lambda c: c.key != "picoseconds")
    units = UNITS | {t.name: unit_of(t.name) or "" for t in properties if t.absolute}
    return [f"{evaluated.structure}: {_shortfall(evaluated, c, units)}" for c in missed]


def _shortfall(evaluated: EvaluatedStructure, missed: Criterion, units: dict[str, str]) -> str:
    if missed.key == "picoseconds":
        length = f"{evaluated.picoseconds:g} ps"
        if evaluated.status != "ok":
            return f"{evaluated.status} ({evaluated.stop}) after {length}"
        return f"{length} of MD < {missed.bound:g} ps"
    if missed.key == "compared_ps":
        return f"compared_ps {missed.value:g} of reference MD < {missed.bound:g} ps"
    if missed.key == "rdf_overlap":
        shown = "not measured" if missed.value is None else f"{missed.value:.3f}"
        pair = f" of {evaluated.rdf_pair}" if evaluated.rdf_pair else ""
        return f"rdf_overlap {shown}{pair} < {missed.bound:.3f}"
    shown = "not measured" if missed.value is None else f"{abs(missed.value):.4g}"
    return f"{missed.key} {shown} > {missed.bound:.4g} {units.get(missed.key, '')}".rstrip()


def not_covered(state: State, model: str | None) -> list[str]:
    """What no evaluation of `model` on a target could ask, for want of reference MD, and where the
    reference itself leaves what the task is about."""
    latest = [
        e for s in state.subsystems if s.role == "target" for e in state.evaluated(s.name, model)
    ]
    left = [
        f"{s.structure} left its limit of density at {s.temperature} K{_way(s)}, and the reference"
        " agrees there: it may not hold this phase. Look at the run before you use the potential;"
        " md.pressure (GPa, config.yaml) keeps a liquid together"
        for s in latest
        if any(alarm.kind == "density" for alarm in s.false_alarms)
    ]
    left += [
        f"{s.structure}: a contact held against {s.compared_ps:g} ps of reference MD; how the"
        " reference would build it over picoseconds was not seen (targets.compared_ps)"
        for s in latest
        if s.layers and s.compared_ps is not None and s.compared_ps < DIFFUSIVE_PS
    ]
    unlike = [s for s in latest if not s.compared]
    if not unlike:
        return left
    names = [s.structure for s in unlike]
    bulk = any(s.bulk for s in unlike)
    what = "density and RDF" if bulk else "structure"
    by = "; the density only by pressures on fresh frames" if bulk else ""
    bare = f"not covered: {what} of {', '.join(names)}, no reference MD to hold them against{by}"
    return [bare, *left]


def _way(evaluated: EvaluatedStructure) -> str:
    if evaluated.density is None or evaluated.late_density is None:
        return ""
    return f" ({evaluated.density:.3g}, later {evaluated.late_density:.3g} g/cm3)"


def margin_temperature(state: State, subsystem: SubsystemState) -> int:
    """How far above the temperature of use a potential is asked to hold, K."""
    return min(
        subsystem.max_temperature, round(state.targets.margin.temperature * state.temperature)
    )


def beyond(state: State, subsystem: SubsystemState, model: str | None) -> list[str]:
    """The margin above the temperature of use, as the newest sampling that went so far shows it.

    By this model or an earlier one: the margin is weaker than the targets, which are held against
    the very model that is handed over.
    """
    if not subsystem.rounds and not subsystem.labels:
        return []  # nothing of it may be sampled
    kelvin, allowed = margin_temperature(state, subsystem), state.targets.margin.stops
    shown = [
        share
        for record in state.samples
        if record.model and model and int(record.model[1:]) <= int(model[1:])
        for group in record.groups
        if group.subsystem == subsystem.name and group.temperature_high >= kelvin
        if (share := group.stopped) is not None
    ]
    if not shown:
        return [f"{subsystem.name}: no MD up to the margin at {kelvin} K"]
    if shown[-1] > allowed:
        stops = f"{100 * shown[-1]:.0f} % of the runs up to {kelvin} K stop early"
        return [f"{subsystem.name}: {stops} > {100 * allowed:g} %"]
    return []


def meets_errors(state: State, subsystem: SubsystemState, model: ModelRecord) -> bool:
    """Whether a fit meets the error targets on the reference MD of the held-out structures."""
    own = [e for e in model.errors if e.subsystem == subsystem.name and e.split == "held_out"]
    slack = state.targets.slack(subsystem.role)
    return bool(own) and all(
        e.force_mae <= slack * state.targets.force_mae
        and e.energy_mae <= slack * state.targets.energy_mae
        for e in own
    )


def open_targets(state: State, model: str | None) -> list[str]:
    """What stands between `model` and 'converged', what cannot be judged included."""
    targets = {s.name for s in state.subsystems if s.role == "target"}
    failed = [r for r in state.reference if r.subsystem in targets and r.status == "failed"]
    bare = [f"{r.structure}: no reference trajectory ({r.stopped_by})" for r in failed]
    return bare + unmet(state, model)


def unmet(state: State, model: str | None) -> list[str]:
    """What of the targets can be judged and is not met: per target, its last evaluation.

    Every held-out structure with a reference trajectory counts, at the temperature of use: whoever
    writes the plans cannot converge by looking only where, or as cold as, the model is good.
    """
    missed = []
    for subsystem in (s for s in state.subsystems if s.role == "target"):
        latest = {e.structure: e for e in state.evaluated(subsystem.name, model)}
        if not latest:
            missed.append(f"{subsystem.name}: {model} was never evaluated on it")
        references = [r for r in state.reference if r.subsystem == subsystem.name]
        ready = [r for r in references if r.status == "ok"]
        if latest:
            left = (r.structure for r in ready if r.structure not in latest)
            missed += [f"{name}: {model} was never evaluated on it" for name in left]
        missed += beyond(state, subsystem, model)
        for structure in latest.values():
            if structure.temperature != state.temperature:
                kelvin = f"{structure.temperature} K, not {state.temperature} K"
                missed.append(f"{structure.structure}: evaluated at {kelvin}")
            asked = property_targets(subsystem, state.targets)
            missed += shortfalls(structure, subsystem.role, state.targets, asked)
    return missed
