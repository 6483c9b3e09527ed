"""The fit and its errors; files: see rules/train.smk."""

import json
import sys
import time
from collections.abc import Container
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms, units

from atomistics import dataset
from atomistics.analysis.observables import outliers
from atomistics.reference.launching import core_seconds
from atomistics.stress_weights import stress_span, stress_weight
from campaign.actions.train import Train, TrainResult
from campaign.errors import UserError
from campaign.files import read_json, write_record, write_text
from campaign.job import Job, dataset_file, model_file, previous_state, trajectory
from campaign.prediction import NotFiniteError, Residuals, errors, residuals
from campaign.results import Errors, FrameSet
from campaign.script import command_line
from campaign.sources import imported_file
from campaign.state import State
from mtp.configuration import Configuration, from_atoms
from mtp.errors import MTPError
from mtp.formats.almtp import read_potential, write_potential
from mtp.formats.cfg import write_cfg
from mtp.parallel import Ranks, one_blas_thread
from mtp.potential import Potential
from mtp.training.loss import LossWeights
from mtp.training.mean_stress import MEAN_FEATURE
from mtp.training.objective import MOST_BATCHES, Objective, survey
from mtp.training.starting_point import enlarged, level_of, with_random_functions

WORK = Path("train")
STRESS = "stress_weight"  # Feature of a frame; only `mlp` of this toolkit heeds it
FRAMES_TIMED = 24
DISPLACEMENT = 0.05  # Å, about what an atom moves by at 300 K: forces say what energies do so far
# anything else is for the user to mend; a species without data is for the planner to sample
REFUSALS = ("diverged", "silent", "truncated", "species")


def active(plan: Train, state: State) -> list[tuple[str, int, Atoms]]:
    """(data set, frame, atoms) of every frame the plan trains on, without the pruned ones."""
    excluded = {d.id: set(d.excluded) for d in state.datasets}
    rows = []
    for name in plan.datasets:
        frames = dataset.read(dataset_file(name))
        rows += [(name, i, a) for i, a in enumerate(frames) if i not in excluded[name]]
    return rows


def inputs(plan: Train, state: Path | None, data: Path, frames: Path, estimate: Path) -> None:
    """Training set for `mlp`, and which frame each configuration is."""
    job = Job()
    rows = active(plan, previous_state(job, state))
    if not rows:
        raise UserError(f"plan.yaml: train.datasets: {plan.datasets} hold no active frame")
    spans = stress_spans([atoms for _, _, atoms in rows])
    configurations = [weighed(job, atoms, spans) for _, _, atoms in rows]
    for (name, _, atoms), configuration in zip(rows, configurations, strict=True):
        if configuration.virial is not None and not alone(job, atoms):
            # a set is one round of sampling: its means are those of a temperature and a kind
            configuration.features[MEAN_FEATURE] = f"{atoms.info['subsystem']}/{name}"
    write_cfg(data, configurations)
    places = [[name, index, atoms.info["subsystem"]] for name, index, atoms in rows]
    write_text(frames, json.dumps(places) + "\n")
    seconds = iteration_seconds(beginning(job, plan), configurations, weights(job))
    mlp = job.config.mlp
    limit, passes = mlp.iterations(plan.effort), mlp.passes(plan.effort)
    expected = {"iterations": limit, "core_seconds": round(passes * seconds, 3)}
    if mlp.stress_weight == "auto":
        own = [float(c.features[STRESS]) for c in configurations if c.virial is not None]
        expected["stress_weight"] = float(np.median(own)) if own else 0.0
        shown = ", ".join(f"{name} {span:.2g} GPa" for name, span in sorted(spans.items()))
        say(f"stresses weigh by what the labels of a subsystem span: {shown}")
    say(f"{passes} iterations on {len(rows)} frames: about {passes * seconds:.1f} core-s")
    write_text(estimate, json.dumps(expected) + "\n")


def stress_spans(frames: list[Atoms]) -> dict[str, float]:
    """What the stresses of each subsystem span, GPa."""
    names = {a.info["subsystem"] for a in frames}
    return {n: stress_span([a for a in frames if a.info["subsystem"] == n]) for n in names}


def weighed(job: Job, atoms: Atoms, spans: dict[str, float]) -> Configuration:
    """A frame as `mlp` reads it, with a `Feature weight` where it is far from what MD visits.

    Stresses have a weight of their own, by what those of the subsystem span (GPa), where
    `mlp.stress_weight` is auto.

    Isolated atoms and dimers count as `mlp.single_point_weight` says: their energies differ by eV
    where those of matter differ by meV, and with the weight of a frame of it they shape the forces
    between its molecules. What is pressed together counts as `mlp.scale_by_pressure` says.
    """
    configuration, mlp = from_atoms(atoms, job.species), job.config.mlp
    weight = mlp.single_point_weight if alone(job, atoms) else 1.0
    if mlp.scale_by_pressure and configuration.virial is not None:
        pressure = configuration.virial[:3].mean() / atoms.get_volume() / units.GPa
        weight /= 1 + (pressure / mlp.scale_by_pressure) ** 2
    if weight != 1:
        configuration.features["weight"] = repr(float(weight))
    if mlp.stress_weight == "auto" and configuration.virial is not None:
        span = spans[atoms.info["subsystem"]]
        configuration.features[STRESS] = repr(stress_weight(atoms, span, mlp.force_weight))
    return configuration


def alone(job: Job, atoms: Atoms) -> bool:
    """Whether a frame is an isolated atom or dimer."""
    entry = job.structures.get(atoms.info.get("structure", ""))
    return bool(entry and entry.single_point)


def beginning(job: Job, plan: Train) -> Potential:
    """The potential a fit starts from: a smaller one that is continued is enlarged first.

    It stands on the core that the configuration asks for now, whatever its parent stood on.
    """
    generator = np.random.default_rng(plan.seed)
    if not plan.model:
        return with_random_functions(blank(job, plan), generator)
    parent = replace(read_potential(model_file(plan.model)), core=job.core)
    if not plan.enlarges:
        return parent
    return enlarged(
        parent,
        plan.level or level_of(parent),
        plan.radial_basis or parent.radial_basis_size,
        plan.cutoff or parent.max_dist,
        generator,
    )


def same_core(job: Job, parent: Path) -> bool:
    """Whether a potential stands on the repulsive core that is configured, or both have none."""
    own, asked = read_potential(parent).core, job.core
    return (own and own.tag) == (asked and asked.tag)


def blank(job: Job, plan: Train) -> Potential:
    """An untrained potential of the shape asked for, else configured."""
    return job.blank(level=plan.level, cutoff=plan.cutoff, radial_basis=plan.radial_basis)


def weights(job: Job) -> LossWeights:
    """The configured weights, in the words of `mlp train`, before it finds that of energies;
    frames carry what stresses weigh by auto."""
    mlp = job.config.mlp
    return LossWeights(
        1.0 if mlp.energy_weight == "auto" else mlp.energy_weight,
        mlp.force_weight,
        1.0 if mlp.stress_weight == "auto" else mlp.stress_weight,
        scale_by_force=mlp.scale_by_force,
    )


@one_blas_thread
def iteration_seconds(
    start: Potential, configurations: list[Configuration], loss: LossWeights
) -> float:
    """CPU seconds of one iteration over all configurations, from a part of them.

    Parameters
    ----------
    start
        The potential as it will be fitted, its parameters not zero.
    configurations
        The training set; up to `FRAMES_TIMED` of them are evaluated.
    loss
        Weights of energy, forces and stress.

    Returns
    -------
    float
        Seconds of CPU on this machine.

    Notes
    -----
    An iteration takes 1.35 gradients of all data and, every 16th time, a Gauss-Newton matrix of
    one batch (mtp.training.optimisers). On 24 to 192 frames of 32 atoms, levels 8 to 16, that was
    0.8 to 1.5 times the truth. The start, pre-training and the active set are not in it, nor the
    ranks' waiting, or an `mlp` of another make.
    """
    part = configurations[:: max(1, len(configurations) // FRAMES_TIMED)]
    loads, _ = survey(part, start.max_dist)
    objective = Objective(Ranks(), start, part, [], loss, loads)
    with np.errstate(all="ignore"):  # weights that make it diverge are for the fit to refuse
        began = time.process_time()
        objective.value_and_gradient(start.parameters)
        gradient = time.process_time() - began
        objective.curvature(start.parameters, 0)
        matrix = time.process_time() - began - gradient
    share = sum(map(len, part)) / sum(map(len, configurations))
    batch = max(1.0, len(configurations) / MOST_BATCHES / objective.batch_sizes[0])
    return 1.35 * gradient / share + matrix * batch / 16


def say(line: str) -> None:
    """One line for the log of the rule."""
    sys.stderr.write(f"train: {line}\n")


def fit(
    plan: Train,
    launcher: str,
    data: Path,
    estimate: Path,
    parent: Path | None,
    model: Path,
    report: Path,
) -> None:
    """Run `mlp train`; whatever goes wrong in it refuses the model and is named in the report.

    In the place of a refused model stands a line that says so, which no reader takes for one.
    """
    job = Job()
    mlp = job.config.mlp
    start = parent if parent and not plan.enlarges and same_core(job, parent) else None
    start = start or WORK / "start.almtp"
    if start != parent:
        write_potential(start, beginning(job, plan) if parent else blank(job, plan))
    options = {
        "iteration_limit": mlp.iterations(plan.effort),
        "force_weight": mlp.force_weight,
        "stress_weight": weights(job).stress_weight,
        "scale_by_force": mlp.scale_by_force,
        "al_mode": "nbh",
    }
    if mlp.stress_weight == "auto" and mlp.flavour != "embedded":  # which heeds the frames' own
        options["stress_weight"] = read_json(estimate, "stress_weight")["stress_weight"]
    balanced = mlp.energy_weight == "auto"
    options |= {"weights": "auto"} if balanced else {"energy_weight": mlp.energy_weight}
    if mlp.flavour == "embedded":
        # fits of other seeds differ, which is what a plan's seed is for
        options |= {"seed": plan.seed, "init_random": True, "al_displacement": DISPLACEMENT}
        options["checkpoint"] = str((WORK / "checkpoint").resolve())
    began = time.monotonic()
    said = {"status": "ok", "failure": None, "iterations": 0, "loss": None}
    try:
        files = (start, data, model)
        log = job.mlp_program(launcher).train(files, options, WORK / "train.log")
        if log.losses:
            last, loss = log.losses[-1]
            said |= {"iterations": last + 1, "loss": loss}
    except MTPError as error:
        kind = getattr(error, "kind", "failed")
        if kind not in REFUSALS:
            raise
        said |= {"status": "refused", "failure": kind}
        write_text(WORK / "refusal.txt", f"{error}\n")
        write_text(model, f"no potential: the fit was refused ({kind}), see refusal.txt\n")
    spent, seconds = round(core_seconds(), 3), round(time.monotonic() - began, 3)
    expected = read_json(estimate, "core_seconds")["core_seconds"]
    say(f"estimated {expected:.1f} core-s, took {spent:.1f} core-s, {seconds:.1f} s by the clock")
    write_text(WORK / "fit.cost.json", json.dumps({"core_seconds": spent}) + "\n")
    write_text(WORK / "time.json", json.dumps({"seconds": seconds}) + "\n")
    write_text(report, json.dumps(said) + "\n")


def outlier_sets(rows: list[list], misfits: list[Residuals]) -> list[FrameSet]:
    """Frames whose force error stands out of its subsystem's spread.

    Of a frame the largest |dF| / sqrt(F0² + F²) of its atoms counts, F the label's force on the
    atom and F0 the subsystem's median (eV/Å): a frame pressed together is hard to fit, not wrong.

    Parameters
    ----------
    rows
        Data set, frame and subsystem of every training frame.
    misfits
        Model minus label of the same frames.

    Returns
    -------
    list of FrameSet
        The frames by data set, numbers ascending; no data set without one.
    """
    groups = np.array([subsystem for _, _, subsystem in rows])
    sets: dict[str, list[int]] = {}
    for subsystem in dict.fromkeys(groups.tolist()):
        members = np.flatnonzero(groups == subsystem)
        own = [misfits[member] for member in members]
        sizes = [np.linalg.norm(r.predicted_forces - r.forces, axis=1) for r in own]
        usual = np.median(np.concatenate(sizes)) or 1.0
        worst = [
            (np.linalg.norm(r.forces, axis=1) / np.hypot(usual, size)).max()
            for r, size in zip(own, sizes, strict=True)
        ]
        for member in members[outliers(np.array(worst))]:
            name, index, _ = rows[member]
            sets.setdefault(name, []).append(index)
    return [FrameSet(dataset=name, frames=sorted(frames)) for name, frames in sets.items()]


def by_subsystem(rows: list[list], misfits: list[Residuals]) -> dict[str, list[Residuals]]:
    """Residuals of the training frames, the subsystems in the order they come up."""
    table: dict[str, list[Residuals]] = {}
    for (_, _, subsystem), misfit in zip(rows, misfits, strict=True):
        table.setdefault(subsystem, []).append(misfit)
    return table


def held_out(
    job: Job, state: State, potential: Potential, learnt: Container[str]
) -> dict[str, list[Residuals]]:
    """Residuals on the held-out structures' reference trajectories and on imported frames.

    Of what the fit has labels of: a potential says nothing of elements and pairs it never saw, and
    an electrolyte by a fit to its solvent is off by 70 eV/Å.
    """
    table: dict[str, list[Residuals]] = {}
    for record in state.reference:
        if record.status == "ok" and record.subsystem in learnt:
            frames = dataset.read(trajectory(state, record.structure))
            misfits = residuals(potential, job.species, frames)
            table.setdefault(record.subsystem, []).extend(misfits)
    imported = imported_file(Path(".."), "held_out")
    frames = dataset.read(imported) if imported.is_file() else []
    names = dict.fromkeys(atoms.info["subsystem"] for atoms in frames)
    for name in (name for name in names if name in learnt):
        own = [atoms for atoms in frames if atoms.info["subsystem"] == name]
        table.setdefault(name, []).extend(residuals(potential, job.species, own))
    return table


def collect(
    plan: Train,
    iteration: int,
    state: Path | None,
    report: Path,
    model: Path,
    frames: Path,
    output: Path,
) -> None:
    """Errors on train and held-out frames; a model that gives NaN there is refused."""
    job = Job()
    before = previous_state(job, state)
    fitted = read_json(report, "status", "failure", "iterations", "loss")
    rows = read_json(frames)
    trained = [atoms for _, _, atoms in active(plan, before)]
    table: list[Errors] = []
    odd: list[FrameSet] = []
    if fitted["status"] == "ok":
        potential = read_potential(model)
        try:
            misfits = residuals(potential, job.species, trained)
            # of matter: what isolated atoms and dimers are off by is no measure of it
            matter = [n for n, a in enumerate(trained) if not alone(job, a)] or range(len(trained))
            rows, misfits = [rows[n] for n in matter], [misfits[n] for n in matter]
            learnt = by_subsystem(rows, misfits)
            splits = {"train": learnt, "held_out": held_out(job, before, potential, learnt)}
            table = [
                errors(name, split, own) for split in splits for name, own in splits[split].items()
            ]
            odd = outlier_sets(rows, misfits)
        except NotFiniteError:
            fitted |= {"status": "refused", "failure": "nan"}
    result = TrainResult(
        model=f"m{iteration:03d}",
        parent=plan.model,
        effort=plan.effort,
        status=fitted["status"],
        failure=fitted["failure"],
        datasets=plan.datasets,
        frames=len(trained),
        atoms=sum(map(len, trained)),
        iterations=fitted["iterations"],
        loss=fitted["loss"],
        errors=table,
        outliers=odd,
        level=plan.level,
        radial_basis=plan.radial_basis,
        cutoff=plan.cutoff,
    )
    write_record(output, result)


def main() -> None:
    """The commands of the rules."""
    command_line(inputs, fit, collect)


if __name__ == "__main__":
    main()
