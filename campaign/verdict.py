"""Targets held against evaluations: code, not the planner, says what has converged."""

from campaign.config import Targets
from campaign.results import EvaluatedStructure
from campaign.state import State


def shortfalls(seen: EvaluatedStructure, role: str, targets: Targets) -> list[str]:
    """Every target that `seen` misses, with value and bound; a missing value is a miss.

    Errors outside target subsystems may be `targets.component_factor` times larger. Stability is
    asked of every role: an early stop is a miss whatever the errors are.
    """
    slack = 1.0 if role == "target" else targets.component_factor
    missed = []
    if seen.status != "ok":
        missed.append(
            f"{seen.structure}: {seen.status} ({seen.stop}) after {seen.picoseconds:g} ps"
        )
    elif role == "target" and seen.picoseconds < targets.stable_ps * (1 - 1e-9):
        missed.append(f"{seen.structure}: {seen.picoseconds:g} ps of MD < {targets.stable_ps:g} ps")
    upper = {
        "force_mae": (seen.force_mae, targets.force_mae * slack, "eV/Å"),
        "fresh_force_mae": (
            seen.fresh_force_mae if seen.fresh_frames else 0.0,
            targets.force_mae * slack,
            "eV/Å",
        ),
        "energy_mae": (seen.energy_mae, targets.energy_mae * slack, "eV/atom"),
        "density_deviation": (seen.density_deviation, targets.density_deviation * slack, ""),
    }
    for key, (value, bound, unit) in upper.items():
        if value is None or not abs(value) <= bound:
            shown = "not measured" if value is None else f"{abs(value):.4g}"
            missed.append(f"{seen.structure}: {key} {shown} > {bound:.4g} {unit}".rstrip())
    least = 1 - (1 - targets.rdf_overlap) * slack
    if seen.rdf_overlap is None or not seen.rdf_overlap >= least:
        shown = "not measured" if seen.rdf_overlap is None else f"{seen.rdf_overlap:.3f}"
        missed.append(f"{seen.structure}: rdf_overlap {shown} < {least:.3f}")
    return missed


def open_targets(state: State, model: str | None) -> list[str]:
    """What stands between `model` and 'converged': per target subsystem, its last evaluation.

    Every held-out structure with a reference trajectory counts, at the temperature of use: whoever
    writes the plans cannot converge by looking only where, or as cold as, the model is good.
    """
    missed = []
    for subsystem in (s for s in state.subsystems if s.role == "target"):
        seen = [
            structure
            for record in state.evaluations
            if record.model == model
            for structure in record.structures
            if structure.subsystem == subsystem.name
        ]
        if not seen:
            missed.append(f"{subsystem.name}: {model} was never evaluated on it")
        latest = {s.structure: s for s in seen}
        ready = [r for r in state.reference if r.subsystem == subsystem.name and r.status == "ok"]
        if seen:
            left = (r.structure for r in ready if r.structure not in latest)
            missed += [f"{name}: {model} was never evaluated on it" for name in left]
        for structure in latest.values():
            if structure.temperature != state.temperature:
                kelvin = f"{structure.temperature} K, not {state.temperature} K"
                missed.append(f"{structure.structure}: evaluated at {kelvin}")
            missed += shortfalls(structure, subsystem.role, state.targets)
    return missed
