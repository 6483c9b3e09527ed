"""A model's trajectory held against the reference's: density, RDF, diffusion, and their curves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from atomistics.analysis.layers import PhaseLayer, layer_rdf, mean_density, profile
from atomistics.analysis.observables import (
    Rdf,
    density,
    diffusion,
    msd,
    rdf,
    rdf_overlap,
    standard_error,
)

FEWEST_FOR_DIFFUSION = 40  # frames: four blocks of ten
R_MAX = 6.0
FEWEST_DISTANCES = 50  # independent ones of a pair of elements, for a distribution
MEMORY_PS = 0.25  # for so long a distance is about the same


@dataclass
class Comparison:
    """Means over the matched window; `curves` is what the report draws.

    density g/cm3; density_deviation (model - reference) / reference; density_error and
    deviation_error their standard errors, None for runs too short to tell; rdf_overlap least
    over the pairs of elements that have a distribution, 1 is equal, rdf_pair the pair that has it.
    """

    density: float | None = None
    density_error: float | None = None
    deviation_error: float | None = None
    density_deviation: float | None = None
    rdf_overlap: float | None = None
    rdf_pair: str | None = None
    diffusion: list[dict[str, Any]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, Any] = field(default_factory=dict)

    def add_long_run(self, frames: list[Atoms], timestep: float) -> None:
        """Add density (g/cm3) and energy (eV/atom) of the long run against time (ps) to the curves.

        Parameters
        ----------
        frames : labelled, each with `info["step"]`
        timestep : fs
        """
        self.curves["time_ps"] = _times(frames, timestep)
        self.curves.setdefault("density", {})["model"] = _densities(frames)
        self.curves.setdefault("energy_per_atom", {})["model"] = _energies(frames)


def compare(
    model: list[Atoms], reference: list[Atoms], timestep: float, layers: Sequence[PhaseLayer] = ()
) -> Comparison:
    """Compare frames of a model and of the reference under one protocol.

    The first third of both is left out of the means as equilibration. A model run that stopped
    early is compared over what there is, and not at all when there is nothing.

    Parameters
    ----------
    model, reference : labelled frames (Å, eV, eV/Å), each with `info["step"]`
    timestep : fs
    layers : of a layered structure, compared one by one

    Returns
    -------
    deviations and curves; density g/cm3, energy eV/atom, RDFs against Å
    """
    curves = {
        "reference_time_ps": _times(reference, timestep),
        "density": {"reference": _densities(reference)},
        "energy_per_atom": {"reference": _energies(reference)},
    }
    comparison = Comparison(curves=curves)
    late = [frames[len(frames) // 3 :] for frames in (model, reference)]
    if not model:
        return comparison
    if reference[0].pbc.all():
        courses = [np.array(_densities(frames)) for frames in late]
        mine, theirs = (float(course.mean()) for course in courses)
        comparison.density, comparison.density_deviation = mine, (mine - theirs) / theirs
        errors = [standard_error(course) for course in courses]
        comparison.density_error = errors[0]
        if None not in errors:
            comparison.deviation_error = float(np.hypot(*errors)) / theirs
    picoseconds = float(np.ptp(_times(late[1], timestep)))
    _radial(comparison, *late, picoseconds)
    for layer in layers if reference[0].pbc.all() else ():
        _layered(comparison, *late, layer, picoseconds)
    _mobility(comparison, model, reference, timestep)
    return comparison


def _radial(
    comparison: Comparison, model: list[Atoms], reference: list[Atoms], picoseconds: float
) -> None:
    if not reference[0].pbc.all():
        return
    mine, theirs = rdf(model, R_MAX), rdf(reference, R_MAX)
    pairs = [pair for pair in theirs.g if pair in mine.g]
    overlaps = _overlaps(mine, theirs, pairs, picoseconds)
    comparison.rdf_pair = min(overlaps, key=overlaps.__getitem__)
    comparison.rdf_overlap = overlaps[comparison.rdf_pair]
    comparison.curves["rdf"] = _curves_of(mine, theirs, pairs)


def _overlaps(model: Rdf, reference: Rdf, pairs: list[str], picoseconds: float) -> dict[str, float]:
    """Overlap of the pairs of elements with enough distances for a distribution, or with most.

    The one Li and the one P of a cell have one distance, which a short run hardly changes: two
    runs share nothing of it, whatever the potential."""
    fewest = FEWEST_DISTANCES / (1 + picoseconds / MEMORY_PS)
    enough = [pair for pair in pairs if reference.distances[pair] >= fewest]
    judged = enough or sorted(pairs, key=reference.distances.__getitem__)[-1:]
    return {p: rdf_overlap(reference.r, model.g[p], reference.g[p]) for p in judged}


def _curves_of(model: Rdf, reference: Rdf, pairs: list[str]) -> dict[str, Any]:
    return {
        "r": reference.r.round(4).tolist(),
        "pairs": {
            pair: {
                "model": model.g[pair].round(5).tolist(),
                "reference": reference.g[pair].round(5).tolist(),
            }
            for pair in pairs
        },
    }


def _layered(
    comparison: Comparison,
    model: list[Atoms],
    reference: list[Atoms],
    layer: PhaseLayer,
    picoseconds: float,
) -> None:
    """Density (g/cm3), least overlap of RDFs and profile along the height, of one layer."""
    mine, theirs = (mean_density(frames, layer) for frames in (model, reference))
    ours, true = (layer_rdf(frames, layer, R_MAX) for frames in (model, reference))
    pairs = [pair for pair in true.g if true.g[pair].any()]
    overlaps = _overlaps(ours, true, pairs, picoseconds)
    comparison.layers.append(
        {
            "layer": layer.name,
            "density": mine,
            "density_deviation": (mine - theirs) / theirs,
            "rdf_overlap": min(overlaps.values(), default=None),
        }
    )
    comparison.curves.setdefault("layers", {})[layer.name] = {
        "rdf": _curves_of(ours, true, pairs),
        "profile": {
            "model": profile(model, layer).round(5).tolist(),
            "reference": profile(reference, layer).round(5).tolist(),
        },
    }


def _mobility(
    comparison: Comparison, model: list[Atoms], reference: list[Atoms], dt: float
) -> None:
    """MSD (Å^2) per element; diffusion (cm2/s) where both trajectories allow a fit."""
    if min(len(model), len(reference)) < 2:
        return
    spacing = (reference[1].info["step"] - reference[0].info["step"]) * dt
    comparison.curves["msd"] = {}
    for element in sorted(set(reference[0].symbols)):
        mine, theirs = msd(model, element), msd(reference, element)
        comparison.curves["msd"][element] = {
            "time_ps": _lags(mine, spacing),
            "model": mine.round(6).tolist(),
            "reference_time_ps": _lags(theirs, spacing),
            "reference": theirs.round(6).tolist(),
        }
        if min(len(model), len(reference)) >= FEWEST_FOR_DIFFUSION:
            ours, true = (diffusion(frames, element, spacing) for frames in (model, reference))
            comparison.diffusion.append(
                {
                    "element": element,
                    "model": ours.value,
                    "model_error": ours.error,
                    "reference": true.value,
                    "reference_error": true.error,
                }
            )


def _lags(curve: np.ndarray, spacing: float) -> list[float]:
    return (np.arange(len(curve)) * spacing / 1000).round(6).tolist()


def _times(frames: list[Atoms], timestep: float) -> list[float]:
    return [round(a.info["step"] * timestep / 1000, 6) for a in frames]


def _densities(frames: list[Atoms]) -> list[float]:
    return [density(a) if a.pbc.all() else 0.0 for a in frames]


def _energies(frames: list[Atoms]) -> list[float]:
    return [a.get_potential_energy() / len(a) for a in frames]
