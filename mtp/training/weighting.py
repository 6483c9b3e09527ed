"""Weights of the loss from the errors a fit leaves on frames that it has not seen.

A weight is one over a squared error. Where the user names no weights, those are chosen at which
energies and forces contribute alike, and stresses a part of that: the minimum of the product of
their mean squares, where no error falls by a larger fraction than the other rises. MLIP's fixed
weights mean another compromise for every material.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from mtp.configuration import Configuration
from mtp.engine import Engine, Weights
from mtp.parallel import Ranks
from mtp.potential import Potential
from mtp.repulsion import without_core
from mtp.training.fit import Log, TrainingOptions, train
from mtp.training.loss import LossWeights, labels_of

HELD_OUT = 4  # every fourth frame judges
FEWEST = 24  # frames; fewer judge nothing
PILOT = (30, 20, 20)  # passes over the data before each estimate
PILOT_TIME = 0.3  # of the time limit
STRESS_SHARE = 0.1  # of what forces contribute
# errors below which labels themselves are not known: eV/atom, eV/Å, eV/atom of a virial
FLOORS = (1e-4, 1e-3, 1e-3)


@dataclass(frozen=True)
class UnseenErrors:
    """Sums over frames not trained on, at weights of 1: energy, forces, virial (0: no label)."""

    energy: float
    forces: float
    virial: float


def balanced_weights(
    ranks: Ranks,
    potential: Potential,
    training: Sequence[Configuration],
    options: TrainingOptions,
    log: Log,
    stresses: bool = True,
) -> tuple[Potential, LossWeights]:
    """Weights at which unseen errors contribute alike, and the pilot fit that found them.

    Parameters
    ----------
    ranks : as of `train`
    potential : template or trained
    training : labelled configurations (Å, eV, eV/Å)
    options : of the fit to come; the scalings of its weights are kept
    log : gets a line that tells the weights
    stresses : whether theirs is found too, else it stays as given

    Returns
    -------
    a potential to start the fit from, and its weights; potential and weights as given where there
    are too few frames to judge, or energies or forces are missing

    Raises
    ------
    MTPError
        As `train`.
    """
    fitted, unseen = _divided(training)
    began, weights = time.monotonic(), options.weights
    if not unseen or not any(c.energy is not None for c in unseen):
        log("Weights: MLIP's, for there are too few labelled energies to choose them by")
        return potential, weights
    limit = PILOT_TIME * options.time_limit
    start = potential
    for passes in PILOT:
        pilot = replace(
            options,
            weights=weights,
            iteration_limit=min(passes, options.iteration_limit),
            time_limit=max(0.0, limit - (time.monotonic() - began)) if limit < inf else inf,
            mean_stress=0.0,
            checkpoint=None,
        )
        start = train(ranks, start, fitted, [], pilot, lambda _: None)
        errors = unseen_errors(start, unseen, weights)
        if not errors.forces:
            log("Weights: MLIP's, for no forces are there to weigh energies against")
            return potential, options.weights
        weights = _of_errors(errors, weights, stresses)
    log(
        f"Weights chosen on {len(unseen)} configurations not trained on: energy "
        f"{weights.energy_weight:.4g}, forces {weights.force_weight:.4g}, stresses "
        f"{weights.stress_weight:.4g}"
    )
    return start, weights


def unseen_errors(
    potential: Potential, configurations: Sequence[Configuration], weights: LossWeights
) -> UnseenErrors:
    """Squared errors by kind, as the loss scales them, none below what labels are worth.

    Parameters
    ----------
    potential : trained
    configurations : labelled, Å, eV, eV/Å
    weights : their scalings count, not their values

    Returns
    -------
    the three sums
    """
    ones = replace(weights, energy_weight=1.0, force_weight=1.0, stress_weight=1.0)
    targets, scales = labels_of(without_core(potential.core, configurations), ones)
    engine = Engine(potential)
    near = engine.neighbours(configurations)
    none = Weights(*(np.zeros_like(part) for part in (scales.energy, scales.forces, scales.virial)))
    sizes = np.diff(near.atom_begin)
    energy, force, virial = FLOORS
    floors = (
        scales.energy @ (energy * sizes) ** 2,
        scales.forces.sum() * 3 * force**2,
        scales.virial @ (virial * sizes) ** 2 * 9,
    )
    sums = [
        engine.loss(near, targets, replace(none, **{kind: getattr(scales, kind)})).value
        for kind in ("energy", "forces", "virial")
    ]
    return UnseenErrors(*(max(s, float(floor)) for s, floor in zip(sums, floors, strict=True)))


def _of_errors(errors: UnseenErrors, weights: LossWeights, stresses: bool) -> LossWeights:
    unit = weights.force_weight * errors.forces
    stress_weight = _rounded(STRESS_SHARE * unit / errors.virial) if errors.virial else 0.0
    return replace(
        weights,
        energy_weight=_rounded(unit / errors.energy),
        stress_weight=stress_weight if stresses else weights.stress_weight,
    )


def _rounded(value: float) -> float:
    """Two digits: the estimate knows no more, and rounding of sums must not decide a fit."""
    return float(f"{value:.1e}")


def _divided(
    training: Sequence[Configuration],
) -> tuple[list[Configuration], list[Configuration]]:
    """Frames to fit and frames to judge by; those with a species that no other has are fitted."""
    if len(training) < FEWEST:
        return list(training), []
    judges = set(range(HELD_OUT - 1, len(training), HELD_OUT))
    kept = {int(t) for i, c in enumerate(training) if i not in judges for t in set(c.types)}
    judges = {i for i in judges if set(training[i].types.tolist()) <= kept}
    fitted = [c for i, c in enumerate(training) if i not in judges]
    return fitted, [training[i] for i in sorted(judges)]
