"""Training of a potential: start, minimisation with early stop, checkpoints, progress."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from math import ceil, inf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtp.configuration import Configuration
from mtp.error_report import GPA
from mtp.errors import MTPError
from mtp.parallel import Ranks, one_blas_thread
from mtp.potential import Potential
from mtp.repulsion import without_core
from mtp.training.checkpoint import Progress, fingerprint, load_progress, save_progress
from mtp.training.loss import LossWeights, labels_of
from mtp.training.objective import Objective, survey
from mtp.training.optimisers import OptimiserState, bfgs, first_state, gauss_newton
from mtp.training.pretraining import first_part, on_all_data, pretrain
from mtp.training.starting_point import (
    with_first_functions,
    with_min_dist,
    with_random_functions,
    with_species,
)

OPTIMISERS = {"gauss-newton": gauss_newton, "bfgs": bfgs}
CONVERGED = "BFGS ended due to small decr. for 1 iteration"
WINDOW = 50
MEAN_STRESS = 0.05
ITERATIONS_PER_CHECKPOINT = 5


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; names and defaults of MLIP-3's `mlp train` where it has them.

    Training ends after iteration_limit iterations, when 50 of them lowered the loss by less than
    the fraction `tolerance`, when the validation loss has not improved for `patience` iterations,
    or after time_limit seconds. The seed decides every random number. With `pretrain`, Gauss-Newton
    from an untrained potential begins on a part of the data (mtp.training.pretraining);
    an iteration on a part counts as that part of one. atom_energies (eV), one for each species, are
    what lone atoms shall have exactly. mean_stress: by which share the loss may
    rise in the end for the mean stresses of configurations with the same `Feature mean_stress`.
    """

    weights: LossWeights = field(default_factory=LossWeights)
    optimiser: str = "gauss-newton"
    iteration_limit: int = 1000
    tolerance: float = 1e-3
    patience: int = 30
    time_limit: float = inf
    seed: int = 0
    update_min_dist: bool = True
    pretrain: bool = True
    init_random: bool = False
    atom_energies: tuple[float, ...] = ()
    mean_stress: float = MEAN_STRESS
    checkpoint: Path | None = None


Log = Callable[[str], None]


@one_blas_thread
def train(
    ranks: Ranks,
    potential: Potential,
    training: Sequence[Configuration],
    validation: Sequence[Configuration],
    options: TrainingOptions,
    log: Log,
) -> Potential:
    """Train a potential on rank 0; all other ranks run `objective.serve` until `release`.

    An untrained potential starts from one polynomial per radial function, or random ones, a trained
    one from its own coefficients.

    Parameters
    ----------
    ranks : this process, or those of an MPI launch
    potential : template or trained; its cutoff and basis stay
    training, validation : labelled configurations (Å, eV, eV/Å); validation may be empty
    options : weights, limits, optimiser, seed
    log : called with one line of progress at a time, in MLIP's words

    A potential with a repulsive core is fitted to what the core leaves of the labels.

    Returns
    -------
    the trained potential, without active set; with a validation set that of its lowest loss

    Raises
    ------
    MTPError
        A set has no usable label, lacks a species of the potential, has atoms that coincide, or its
        loss is not finite.

    Source: I. S. Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002 (2021).
    """
    for configurations, name in ((training, "training"), (validation, "validation")):
        if configurations or name == "training":
            check_labels(configurations, f"the {name} set")
            _check_weights(configurations, options.weights, f"the {name} set")
    training, validation = (without_core(potential.core, part) for part in (training, validation))
    log(f"{len(training)} configurations found in the training set")
    mark = _fingerprint(ranks, potential, training, validation, options)
    start, loads = _start(potential, training, options, log)
    try:
        survey(validation, start.max_dist, start.species_count)
    except MTPError as error:
        raise MTPError(f"the validation set: {error}") from None
    objective = Objective(
        ranks,
        start,
        training,
        validation,
        options.weights,
        loads,
        hold_atoms=bool(options.atom_energies),
    )
    progress = _resumed(options, mark, objective, log)
    progress = progress or _first_progress(objective, potential, options, log)
    progress = _Run(objective, options, mark, log).finish(progress)
    x = progress.best_x if validation else progress.state.x
    if options.mean_stress and objective.groups:
        x = _mean_stresses(objective, x, options.mean_stress, log)
    objective.close()
    log("MTPR training ended")
    return objective.potential.with_parameters(x)


def _mean_stresses(
    objective: Objective, x: NDArray[np.float64], share: float, log: Log
) -> NDArray[np.float64]:
    means = objective.mean_stresses(x)
    if not len(means):
        return x
    moved = objective.with_mean_stresses(x, means, share)
    before, after = (
        GPA * np.sqrt(np.mean(means.errors(y[objective.linear_start :]) ** 2)) for y in (x, moved)
    )
    log(
        f"Mean stresses of {len(means)} groups of configurations: off by {before:.3g} GPa, "
        f"brought to {after:.3g} GPa"
    )
    return moved


def check_labels(configurations: Sequence[Configuration], name: str) -> None:
    """Check that there are configurations, each with a label, all finite.

    Parameters
    ----------
    configurations : Å, eV, eV/Å
    name : what errors call them

    Raises
    ------
    MTPError
        Names the first configuration that has none, or one that is not finite or of a wrong shape.
    """
    if not configurations:
        raise MTPError(f"{name} holds no configuration")
    for number, c in enumerate(configurations, 1):
        labels = [np.ravel(v) for v in (c.energy, c.forces, c.virial) if v is not None]
        if not labels:
            raise MTPError(f"{name}: configuration {number} has no energy, forces or virial")
        if not all(np.isfinite(label).all() for label in labels):
            raise MTPError(f"{name}: configuration {number} has a label that is not finite")
        if c.ghosts is not None:
            raise MTPError(
                f"{name}: configuration {number} has ghost atoms, which have no neighbourhood; "
                "label a whole cell or cluster instead"
            )
        try:
            labels_of([c], LossWeights())
        except MTPError as error:
            raise MTPError(f"{name}: configuration {number}: {error}") from None


def _check_weights(
    configurations: Sequence[Configuration], weights: LossWeights, name: str
) -> None:
    _, label_weights = labels_of(configurations, weights)
    if not any(
        np.any(w) for w in (label_weights.energy, label_weights.forces, label_weights.virial)
    ):
        raise MTPError(
            f"{name}: every label has weight zero; raise energy_weight, force_weight or "
            "stress_weight, or Feature weight of the configurations"
        )


def _start(
    potential: Potential, training: Sequence[Configuration], options: TrainingOptions, log: Log
) -> tuple[Potential, list[int]]:
    rng = np.random.default_rng(options.seed)
    start = with_species(potential, set(chain(*(c.types.tolist() for c in training))), rng)
    old_count = potential.species_count if potential.trained else 0
    if old_count < start.species_count:
        added = ", ".join(map(str, range(old_count, start.species_count)))
        log(f"Following atomic numbers will be added to the MTP potential: {added}")
    loads, shortest = survey(training, start.max_dist)
    if options.update_min_dist:
        log(
            f"Minimal interatomic distance in the training set is {shortest:g}. "
            "MTP's mindist will be updated"
        )
        start = with_min_dist(start, shortest)
    return _begun(start, options, rng), loads


def _begun(
    potential: Potential, options: TrainingOptions, rng: np.random.Generator, *, anew: bool = False
) -> Potential:
    """The potential as a fit begins with it: an untrained one gets radial functions."""
    if anew or not potential.trained:
        functions = with_random_functions if options.init_random else with_first_functions
        potential = functions(potential, rng)
    if options.atom_energies:
        energies = np.array(options.atom_energies, float)
        potential = replace(potential, species_coeffs=energies)
    return potential


def _first_progress(
    objective: Objective, given: Potential, options: TrainingOptions, log: Log
) -> Progress:
    x = objective.potential.parameters
    new = given.species_count < objective.potential.species_count
    if given.trained and new:
        x = objective.solve_linear(x, slice(given.species_count, objective.potential.species_count))
    trained, state = given.trained, first_state(objective, x)
    if trained and state.value > objective.value_and_gradient(_silent(objective, x))[0]:
        # as where two atoms are nearer than ever: what it says there outweighs all it has learnt
        log("The start is worse than none on these configurations: from the beginning, then")
        rng = np.random.default_rng(options.seed)
        objective.take(_begun(objective.potential, options, rng, anew=True))
        trained = False
    if not trained:
        log("Pre-training started")
        x = objective.solve_linear(objective.rescale().parameters)
        log(f"Rescaling to {objective.potential.scaling:.8g}... done")
        state = first_state(objective, x)
    if options.pretrain and not trained and options.optimiser == "gauss-newton":
        state = first_part(objective, state)
    return Progress(state, objective.potential.scaling, x, reference=state.value)


def _silent(objective: Objective, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The coefficients without the moments': only atoms have energies."""
    species = objective.potential.slices.species
    return np.concatenate([x[: species.stop], np.zeros(len(x) - species.stop)])


def _fingerprint(
    ranks: Ranks,
    potential: Potential,
    training: Sequence[Configuration],
    validation: Sequence[Configuration],
    options: TrainingOptions,
) -> str:
    """Hash of what decides the result; limits may change between a run and its continuation."""
    given = [potential.alpha_index_basic, potential.alpha_index_times, potential.max_dist]
    given += [potential.radial_basis_size, potential.scaling]
    given += [potential.parameters, potential.min_dist] if potential.trained else []
    chosen = [options.optimiser, options.seed, options.update_min_dist, options.tolerance]
    chosen += [options.pretrain, options.init_random, list(options.atom_energies)]
    data = [
        value
        for c in chain(training, validation)
        for value in (c.cell, c.types, c.positions, c.energy, c.forces, c.virial, c.features)
    ]
    sizes = [ranks.size, len(training), len(validation), options.patience]
    return fingerprint(*given, *chosen, *sizes, asdict(options.weights), *data)


def _resumed(
    options: TrainingOptions, mark: str, objective: Objective, log: Log
) -> Progress | None:
    progress = load_progress(options.checkpoint, mark) if options.checkpoint else None
    if progress:
        log(f"Continuing after iteration {progress.state.iteration} of {options.checkpoint}")
        # the last line of the log must tell the loss even if no iteration is left
        log(f"BFGS iter {progress.state.iteration - 1}: f={progress.state.value:.8g}")
        objective.take_scaling(progress.scaling)
    return progress


class _Run:
    """The loop around an optimiser: progress lines, checkpoints, and when to end."""

    def __init__(self, objective: Objective, options: TrainingOptions, mark: str, log: Log) -> None:
        self.objective, self.options, self.mark, self.log = objective, options, mark, log
        self.began = time.monotonic()

    def finish(self, progress: Progress) -> Progress:
        """Iterate until something ends the training; returns where it ended."""
        self.begun = _iterations(progress.state)
        progress = self._pretrained(progress)
        self.log(f"MTPR training started on {self.objective.ranks.size} core(s)")
        if progress.state.iteration == 0:
            progress = self._validated(progress)
        limit = ceil(self.options.iteration_limit - progress.state.passes)
        steps = OPTIMISERS[self.options.optimiser](self.objective, progress.state)
        for state in islice(steps, max(0, limit - progress.state.iteration)):
            progress = self._validated(replace(progress, state=state))
            self._report(progress)
            if ending := self._ending(progress):
                self.log(ending)
                return progress
            if state.iteration % WINDOW == 0:
                progress = replace(progress, reference=state.value)
            self._save(progress)
        self.log("step limit reached" if progress.state.iteration >= limit else CONVERGED)
        return progress

    def _pretrained(self, progress: Progress) -> Progress:
        """Through the pre-training, if it is not over; a limit reached there ends it early."""
        if not progress.state.part:
            return progress
        for state in pretrain(self.objective, progress.state):
            progress = replace(progress, state=state, best_x=state.x, reference=state.value)
            if not state.part:
                return progress
            self._report(progress)
            if state.passes >= self.options.iteration_limit or self._late():
                break
            self._save(progress)
        state = on_all_data(self.objective, progress.state)
        self.log(f"BFGS iter 0: f={state.value:.8g}")
        return replace(progress, state=state)

    def _save(self, progress: Progress) -> None:
        if self.options.checkpoint and progress.state.iteration % ITERATIONS_PER_CHECKPOINT == 0:
            save_progress(self.options.checkpoint, progress, self.mark)

    def _late(self) -> bool:
        return time.monotonic() - self.began > self.options.time_limit

    def _validated(self, progress: Progress) -> Progress:
        if not self.objective.validation_size:
            return progress
        state = progress.state
        self.validation = self.objective.validation_loss(state.x)
        if not self.validation < progress.best_validation:
            return progress
        return replace(
            progress,
            best_x=state.x,
            best_validation=self.validation,
            best_iteration=state.iteration,
        )

    def _report(self, progress: Progress) -> None:
        state, elapsed = progress.state, time.monotonic() - self.began
        done = _iterations(state)
        left = min(
            elapsed / (done - self.begun) * (self.options.iteration_limit - done),
            self.options.time_limit - elapsed,
        )
        validated = self.objective.validation_size and not state.part
        held_out = f"  validation={self.validation:.8g}" if validated else ""
        self.log(
            f"BFGS iter {state.iteration - 1}: f={state.value:.8g}{held_out}"
            f"  {elapsed:.1f} s, at most {max(left, 0.0):.0f} s left"
        )

    def _ending(self, progress: Progress) -> str:
        state, options = progress.state, self.options
        if self._late():
            return "time limit reached"
        stale = state.iteration - progress.best_iteration
        if self.objective.validation_size and stale >= options.patience:
            return f"early stop: lowest validation loss at iteration {progress.best_iteration}"
        gained = progress.reference - state.value
        if state.iteration % WINDOW == 0 and gained < options.tolerance * state.value:
            return f"BFGS ended due to small decr. in {WINDOW} iterations"
        return ""


def _iterations(state: OptimiserState) -> float:
    """Iterations so far; one on a part of the data is that part of one."""
    return state.passes + (0 if state.part else state.iteration)
