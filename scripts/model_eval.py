"""MD with a model against the reference; files: see rules/model_eval.smk."""

import json
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from ase import Atoms, units

from atomistics import dataset
from atomistics.analysis.comparison import Comparison, compare
from atomistics.analysis.layers import PhaseLayer, layers_of
from atomistics.analysis.observables import density, mobile_share, standard_error
from atomistics.analysis.rigid_layers import inner_virial, solid_layers
from atomistics.md import plain as md
from atomistics.md import stages
from atomistics.md.steady import SteadyState
from atomistics.md.watchdog import JudgedWatchdog, Watchdog
from atomistics.properties.measure import MD
from atomistics.reference.counting import CountingCalculator
from campaign import protocol_runs
from campaign.actions.model_eval import ModelEval, ModelEvalResult
from campaign.actions.section import Items
from campaign.files import parse, read_json, write_record, write_text
from campaign.job import (
    Job,
    barostat,
    billed,
    costs_of,
    failure,
    items_of,
    labelled,
    late,
    previous_state,
    spaced,
    trajectory,
)
from campaign.prediction import Residuals, agree, residuals
from campaign.properties import by_model, measured, of_reference, with_polymorphs
from campaign.protocols import Approved
from campaign.report import figures
from campaign.results import EvaluatedStructure
from campaign.script import command_line
from campaign.spread import ItemCost, spread
from campaign.state import State
from mtp.formats.almtp import read_potential
from mtp.potential import Potential

FEWEST_PRESSURES = 3
STIFFEST = 2.5  # GPa: bulk modulus of a molecular liquid; water's is 2.2, methanol's 0.8
HEIGHT = np.array([0.0, 0.0, 1.0])  # of a stack
WORK = Path("model_eval")
RUNS = WORK / "runs"


def run(plan: ModelEval, items: Items, state: Path | None, model: Path, output: Path) -> None:
    """Every item of the chunk: the model's MD, fresh reference calls on it, the comparison."""
    job = Job()
    before = previous_state(job, state)
    # read before any is run: a bad file is for the user to mend, no failure of the model
    start = {name: job.start(item["structure"]) for name, item in items.items()}
    protocols = protocol_runs.loaded(job, items)
    plain = [name for name, item in items.items() if "protocol" not in item]
    references = {name: dataset.read(trajectory(before, name)) for name in plain}
    potential = read_potential(model)

    def one(name: str, target: Path) -> ItemCost:
        if approved := protocols.get(items[name].get("protocol")):
            start[name].calc = job.model(potential)
            item = {**items[name], "interval": plan.interval}
            return staged(job, start[name], approved, before, (item, target))
        atoms, reference, calculator = start[name], references[name], job.model(potential)
        atoms.calc = calculator
        # what samples stop at for a label is no end of a simulation; how far it went is reported
        limits = job.limits(atoms, plan.temperature, before)
        watchdog = Watchdog(replace(limits, grade=job.config.model_eval.grade, worth=None))
        same = matched(reference)
        # by ASE, whatever the engine: the reference's own random numbers
        twin = None if name in before.labels_only else md.run(atoms, calculator, same, watchdog)
        long = at_use(same, plan, items[name]["seed"], atoms)
        atoms.info |= {"source": name, "temperature": plan.temperature}
        counting = CountingCalculator(job.reference())
        with billed(counting):
            judge = partial(agreed, potential=potential, job=job, reference=counting)
            judging = JudgedWatchdog(watchdog.limits, judge, plan.fresh_frames)
            engine = job.config.md.engine
            # a film that is rebuilding is judged by what it becomes, not on the way there
            still = SteadyState(plan.temperature, plan.steps, plan.interval)
            outcome = md.run(atoms, calculator, long, judging, enough=still, engine=engine)
            last = outcome.frames[-(plan.steps // plan.interval) :]
            response = VolumeResponse.of(last, long, layers_of(atoms))
            counts = (plan.fresh_frames - judging.labels, plan.fresh_most - judging.labels)
            fresh, misfits = put_to_test(last, counts, response, (potential, job, counting))
        comparison = held_against(twin, reference, same.timestep, layers_of(atoms))
        report = _report(job, name, outcome, long, comparison) | told_of(twin, same, outcome)
        errors = residuals(potential, job.species, reference)
        report |= _errors(reference, errors, misfits, comparison)
        report |= response.bias(fresh, misfits) | {"late_density": response.density}
        report["drifting"] = not (outcome.stop or still.holds)
        report["false_alarms"] = [{"kind": k, "count": n} for k, n in judging.widened.items()]
        comparison.add_long_run(outcome.frames, long.timestep)
        beside = of_reference(before, name)
        ran = MD(outcome.frames, plan.temperature)
        if properties := measured(job, name, plan.properties, job.model(potential), ran, beside):
            report["properties"] = by_model(properties, beside).model_dump()
            write_text(RUNS / f"{name}.curves.json", json.dumps(properties.curves) + "\n")
        write_text(WORK / name / "observables.json", json.dumps(comparison.curves) + "\n")
        dataset.write(RUNS / f"{name}.fresh.h5", fresh)
        write_text(RUNS / f"{name}.report.json", json.dumps(report) + "\n")
        dataset.write(target, outcome.frames)
        steps = (twin.steps if twin else 0) + outcome.steps
        return ItemCost(reference_calls=counting.calls, md_steps=steps)

    spread(items, one, RUNS, ".h5", output)


def agreed(atoms: Atoms, potential: Potential, job: Job, reference: CountingCalculator) -> bool:
    """Whether a label here finds the potential within the targets: what it does is then physics."""
    labels, _ = labelled([atoms], reference)
    rows = residuals(potential, job.species, labels)
    state = job.campaign.state(0)
    role = state.subsystem(atoms.info["subsystem"]).role
    return bool(rows) and agree(rows[0], state.targets, role)


def staged(
    job: Job, atoms: Atoms, approved: Approved, state: State, work: tuple[dict[str, Any], Path]
) -> ItemCost:
    """The protocol with the model, beside what the reference measured, where it ran it."""
    item, target = work
    atoms.info |= {"source": item["structure"]}
    watch = protocol_runs.watchdog(job, atoms, approved.protocol, state)
    watch = Watchdog(replace(watch.limits, grade=job.config.model_eval.grade, worth=None))
    outcome = stages.run(
        atoms, atoms.calc, approved.protocol, item["interval"], item["seed"], watch
    )
    report = protocol_runs.summary(item["structure"], approved, outcome)
    report["compared"] = protocol_runs.of_reference(state, item["structure"], approved)
    name = f"{item['structure']}+{approved.name}"
    write_text(RUNS / f"{name}.report.json", json.dumps(report) + "\n")
    dataset.write(target, outcome.frames)
    return ItemCost(md_steps=outcome.steps)


def held_against(
    twin: md.Outcome | None, reference: list[Atoms], timestep: float, layers: list[PhaseLayer]
) -> Comparison:
    """The model's repetition of a reference run beside that run; nothing where there is none."""
    if twin is None:
        nothing: dict[str, Any] = {"reference": []}
        bare = {"density": dict(nothing), "energy_per_atom": dict(nothing)}
        return Comparison(curves={"reference_time_ps": [], **bare})
    kept = {atoms.info["step"] for atoms in reference}
    same_steps = [a for a in twin.frames if a.info["step"] in kept]
    return compare(same_steps, reference, timestep, layers)


def told_of(twin: md.Outcome | None, same: md.Protocol, outcome: md.Outcome) -> dict[str, Any]:
    """Whether there was a reference run to repeat, how long, and how its repetition ended."""
    if twin is None:
        return {"compared": False}
    repetition: dict[str, Any] = {"compared_ps": twin.steps * same.timestep / 1000}
    if twin.stop and not outcome.stop:
        repetition |= {"status": "early_stop", "stop": twin.stop}
    return repetition


def matched(reference: list[Atoms]) -> md.Protocol:
    """The very protocol of the reference trajectory: start, seed, length, spacing of snapshots.

    A reference MD is short because it costs much. Comparing the same window from the same start
    leaves no part of the difference to equilibration; the long run alone says what is stable.
    """
    info = reference[0].info
    return md.Protocol(**{field.name: info[field.name] for field in fields(md.Protocol)})


def at_use(same: md.Protocol, plan: ModelEval, seed: int, start: Atoms) -> md.Protocol:
    """A run of the plan's own under the conditions of the reference's, as long as it may get."""
    steps = max(plan.steps, plan.most_steps)
    kelvin, interval = plan.temperature, plan.interval
    long = replace(same, temperature=kelvin, steps=steps, interval=interval, seed=seed)
    # a reference run of an older version may have breathed otherwise
    return replace(long, barostat=barostat(start)) if same.ensemble == "npt" else long


def fresh_labels(frames: list[Atoms], count: int, reference: CountingCalculator) -> list[Atoms]:
    """Evenly spaced snapshots of the model's own MD after its first fifth, labelled anew.

    Parameters
    ----------
    frames
        Snapshots in order of time.
    count
        How many labels are wanted, 0 for none.
    reference
        Counts its calls.

    Returns
    -------
    list of Atoms
        At most `count` labelled frames (eV, eV/Å, eV/Å3); one that gets no label is left out, and
        the number of frames says so.

    Raises
    ------
    LabelFailedError
        For forces beyond what the reference allows, which are the model's doing, and where not a
        single label came.
    """
    labels, failure = labelled(spaced(late(frames), count), reference, fatal="forces_too_large")
    if failure and not labels:
        raise failure
    return labels


def put_to_test(
    frames: list[Atoms],
    counts: tuple[int, int],
    response: "VolumeResponse",
    work: tuple[Potential, Job, CountingCalculator],
) -> tuple[list[Atoms], list[Residuals]]:
    """Fresh labels in order of time and the model's errors there.

    `counts`: how many, and how many where those leave the bias of the density too vague for its
    target.
    """
    potential, job, reference = work
    fresh = fresh_labels(frames, counts[0], reference)
    misfits = residuals(potential, job.species, fresh)
    if response.error(fresh, misfits) > density_bound(job) / 2:
        fresh += more_labels(frames, fresh, counts[1], reference)
        fresh.sort(key=lambda atoms: atoms.info["step"])
        misfits = residuals(potential, job.species, fresh)
    return fresh, misfits


def more_labels(
    frames: list[Atoms], before: list[Atoms], most: int, reference: CountingCalculator
) -> list[Atoms]:
    """Labels of the model's snapshots between those labelled before, until there are `most`."""
    steps = {atoms.info["step"] for atoms in before}
    left = [a for a in late(frames) if a.info["step"] not in steps]
    chosen = spaced(left, most - len(before))
    return labelled(chosen, reference, fatal="forces_too_large")[0]


def _report(
    job: Job, name: str, outcome: md.Outcome, protocol: md.Protocol, comparison: Comparison
) -> dict[str, Any]:
    return {
        "structure": name,
        "subsystem": job.structure(name).subsystem,
        "status": "early_stop" if outcome.stop else "ok",
        "stop": outcome.stop,
        "picoseconds": outcome.steps * protocol.timestep / 1000,
        "max_grade": max(
            (f.info["grade"] for f in outcome.frames if "grade" in f.info), default=None
        ),
        "temperature": protocol.temperature,
        "bulk": bool(job.start(name).pbc.all()),
        "density": comparison.density,
        "density_deviation": comparison.density_deviation,
        "rdf_overlap": comparison.rdf_overlap,
        "rdf_pair": comparison.rdf_pair,
        "diffusion": comparison.diffusion,
        "layers": comparison.layers,
    }


def _errors(
    reference: list[Atoms],
    errors: list[Residuals],
    fresh: list[Residuals],
    comparison: Comparison,
) -> dict[str, Any]:
    """MAE of energy (eV/atom) and force components (eV/Å) on reference MD and fresh frames.

    Their standard errors come from blocks of frames: those of one MD are not independent.
    """
    labels = np.concatenate([a.get_forces().ravel() for a in reference])
    predicted = np.concatenate([r.predicted_forces.ravel() for r in errors])
    thin = max(1, len(labels) // 2000)
    comparison.curves["force_parity"] = {
        "reference": labels[::thin].round(5).tolist(),
        "model": predicted[::thin].round(5).tolist(),
    }
    report = _mae("", errors) | (_mae("fresh_", fresh) if fresh else {})
    means = {key: float(values.mean()) for key, values in report.items()}
    deviations = {key: standard_error(values) for key, values in report.items()}
    deviations |= {
        "density": comparison.density_error,
        "density_deviation": comparison.deviation_error,
    }
    symbols = np.concatenate([a.get_chemical_symbols() for a in reference])
    sizes = np.abs(np.concatenate([r.forces for r in errors])).mean(axis=1)
    return {
        **means,
        "fresh_frames": len(fresh),
        "standard_errors": {key: e for key, e in deviations.items() if e is not None},
        "force_mae_by_element": {
            str(element): float(sizes[symbols == element].mean()) for element in np.unique(symbols)
        },
    }


def density_bound(job: Job) -> float:
    """How far the density may be off by the pressures of both, as a fraction."""
    targets = job.campaign.task.targets
    return targets.density_bias or targets.density_deviation


@dataclass(frozen=True)
class VolumeResponse:
    """How the volume of the model's own MD answers to a pressure that is not the reference's.

    `soft` (3,) 1/GPa for the pressure along each axis, None at constant volume or of too short a
    run; `rigid` are the layers of a stack that keep their shape; `density` (g/cm3) is its mean.
    """

    soft: np.ndarray | None
    rigid: list[PhaseLayer]
    density: float | None

    @classmethod
    def of(cls, frames: list[Atoms], protocol: md.Protocol, layers: list[PhaseLayer]) -> Self:
        """From the frames of a run at constant pressure."""
        stack = protocol.barostat == "height"
        free = protocol.ensemble == "npt" and frames
        return cls(
            softness(frames, protocol),
            solid_layers(frames, layers) if stack else [],
            float(np.mean([density(atoms) for atoms in frames])) if free else None,
        )

    def bias(self, fresh: list[Atoms], misfits: list[Residuals]) -> dict[str, Any]:
        """Pressure (GPa) of the model less the reference's on the model's own MD, and what it makes
        of the density.

        A reference MD is too short to settle its density; but where the two differ, so do their
        pressures at the same volumes: d ln rho = -sum of kappa_i dP_i over the axes.
        """
        if (pressure := self._pressure(fresh, misfits)) is None:
            return {}
        bias: dict[str, Any] = {"pressure_bias": pressure[0]}
        if self.soft is not None:
            bias["density_bias"] = -self.soft.sum() * pressure[0]
        return bias

    def error(self, fresh: list[Atoms], misfits: list[Residuals]) -> float:
        """Standard error of the bias of the density, a fraction; 0 where there is none to know."""
        pressure = self._pressure(fresh, misfits)
        return 0.0 if pressure is None or self.soft is None else self.soft.sum() * pressure[1]

    def _pressure(self, fresh: list[Atoms], misfits: list[Residuals]) -> tuple[float, float] | None:
        """Mean over the frames of the model's less the reference's, GPa, and its standard error;
        None of too few."""
        felt = self._felt(fresh, misfits)
        if len(felt) < FEWEST_PRESSURES:
            return None
        return float(np.mean(felt)), float(np.std(felt, ddof=1) / np.sqrt(len(felt)))

    def _felt(self, fresh: list[Atoms], misfits: list[Residuals]) -> np.ndarray:
        """Model less reference, GPa, of each frame: the mean of the axes by their softness."""
        weights = np.full(3, 1 / 3) if self.soft is None else self.soft / self.soft.sum()
        felt = []
        for atoms, row in zip(fresh, misfits, strict=True):
            if row.stress is not None:
                inner = inner_virial(atoms, row.forces, self.rigid) / atoms.get_volume() / units.GPa
                felt.append(-row.stress[:3] @ weights - inner * weights[2])
        return np.array(felt)


def softness(frames: list[Atoms], protocol: md.Protocol) -> np.ndarray | None:
    """What a pressure along each axis takes from ln V in a long enough NPT run, (3,) 1/GPa.

    kappa_i = <V> <e_i (e_x + e_y + e_z)> / kT of the strains e of the axes about the line that each
    follows: drift, as of a crystal that melts, is no fluctuation. The sum is the compressibility,
    <dV^2> / (kT <V>) (Allen and Tildesley, section 2.5). The volume of a molecular liquid wanders
    for longer than such a run: it counts as no stiffer than STIFFEST, and eight times the pressure
    on it, which hardly any is; a stack by the share of it that is liquid, along its height.
    """
    later = frames[len(frames) // 3 :]
    if protocol.ensemble != "npt" or len(later) <= 20:
        return None
    logs, times = np.log([a.cell.lengths() for a in later]), np.arange(len(later))
    slopes, levels = np.polyfit(times, logs, 1)
    strains = logs - np.outer(times, slopes) - levels
    volume = np.mean([a.get_volume() for a in later])
    heat = units.kB * protocol.temperature / volume / units.GPa
    soft = strains.T @ strains.sum(axis=1) / len(strains) / heat
    least = mobile_share(later) / (STIFFEST + 8 * max(0.0, protocol.pressure))
    along = HEIGHT if protocol.barostat == "height" else np.full(3, 1 / 3)
    return soft + max(0.0, least - soft.sum()) * along


def _mae(prefix: str, errors: list[Residuals]) -> dict[str, np.ndarray]:
    """Of every frame; all frames of a structure have as many atoms."""
    return {
        f"{prefix}energy_mae": np.array([abs(r.energy) for r in errors]),
        f"{prefix}force_mae": np.array([np.abs(r.forces).mean() for r in errors]),
    }


def draw(name: str, folder: Path) -> None:
    """The plots of one structure, as the report will show them."""
    observables = figures.read_observables(WORK / name / "observables.json")
    plots = {
        "curves": figures.time_figure(name, observables),
        "rdf": figures.rdf_figure(name, observables)[0],
    }
    for kind, svg in plots.items():
        if svg:
            write_text(folder / f"{name}-{kind}.svg", svg)


def collect(plan: ModelEval, chunks: list[Path], plots: Path, output: Path) -> None:
    """Numbers and plots per structure; one whose job gave nothing is `failed` with its class."""
    job, rows, names = Job(), [], items_of(chunks)
    plots.mkdir(exist_ok=True)
    for name in (n for n in names if "+" not in n):
        if (RUNS / f"{name}.h5").is_file():
            path = RUNS / f"{name}.report.json"
            rows.append(parse(EvaluatedStructure, read_json(path), str(path)))
            draw(name, plots)
            continue
        rows.append(
            EvaluatedStructure(
                structure=name,
                subsystem=job.structure(name).subsystem,
                status="failed",
                stop=failure(RUNS / f"{name}.failed.json"),
                picoseconds=0.0,
                temperature=plan.temperature,
            )
        )
    costs, settled = costs_of(RUNS), job.settlings()
    result = ModelEvalResult(
        model=plan.model,
        structures=with_polymorphs(rows, job.formulas(r.structure for r in rows if r.properties)),
        protocol_runs=protocol_runs.table(RUNS, names, "model"),
        settled=settled,
        reference_calls=sum(c["reference_calls"] for c in costs)
        + sum(s.reference_calls for s in settled),
        explorer_calls=sum(s.explorer_calls for s in settled),
        md_steps=sum(c["md_steps"] for c in costs),
    )
    write_record(output, result)


def main() -> None:
    """The commands of the rules."""
    command_line(run, collect)


if __name__ == "__main__":
    main()
