"""MD on held-out structures, and labels of it; files: see rules/reference_calc.smk."""

import json
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from ase import Atoms

from atomistics import dataset
from atomistics.analysis.observables import density, min_distance
from atomistics.md import plain as md
from atomistics.md import stages
from atomistics.md.steady import SteadyState
from atomistics.properties.measure import MD
from atomistics.reference.counting import CountingCalculator
from campaign import protocol_runs
from campaign.actions.reference_calc import ReferenceCalc, ReferenceCalcResult
from campaign.actions.section import Items
from campaign.files import read, write_record, write_text
from campaign.job import Job, barostat, costs_of, failure, items_of, labelled, late, spaced
from campaign.properties import by_reference, measured, with_polymorphs
from campaign.protocols import Approved
from campaign.results import Measurements, Range, ReferenceRange
from campaign.script import command_line
from campaign.spread import ItemCost, spread

RUNS = Path("reference_calc/runs")


def run(plan: ReferenceCalc, items: Items, output: Path) -> None:
    """One reference trajectory for every item of the chunk."""
    job = Job()
    # read before any is run: a bad file is for the user to mend, no failure of its MD
    start = {name: job.start(item["structure"]) for name, item in items.items()}
    protocols = protocol_runs.loaded(job, items)

    def one(name: str, target: Path) -> ItemCost:
        if approved := protocols.get(items[name].get("protocol")):
            return staged(job, start[name], approved, plan.interval, (items[name], target))
        return trajectory(name, target)

    def trajectory(name: str, target: Path) -> ItemCost:
        atoms = start[name]
        protocol = md.Protocol(
            ensemble=job.ensemble(items[name]["structure"], plan.ensemble),
            temperature=plan.temperature,
            steps=plan.steps,
            timestep=job.config.md.timestep,
            interval=plan.interval,
            pressure=job.config.md.pressure,
            barostat=barostat(atoms),
            seed=items[name]["seed"],
        )
        # kept with the frames, because an evaluation repeats this very protocol
        atoms.info |= {"source": name, **asdict(protocol)}
        if plan.labels:
            return explored(job, atoms, protocol, plan, target)
        outcome = md.run(atoms, job.reference(), protocol, enough=until(plan))
        for frame in outcome.frames:
            frame.info["steps"] = outcome.steps
        cost = {"reference_calls": outcome.reference_calls, "md_steps": outcome.steps}
        if outcome.stop:
            raise md.StoppedError(outcome.stop, outcome.detail, **cost)
        dataset.write(target, outcome.frames)
        ran = MD(outcome.frames, plan.temperature)
        cost["reference_calls"] += with_properties(job, name, plan, ran)
        return ItemCost(**cost)

    spread(items, one, RUNS, ".h5", output)


def with_properties(job: Job, name: str, plan: ReferenceCalc, ran: MD | None) -> int:
    """Measure what the plan asks of a structure by the reference; the calls it took."""
    properties = measured(job, name, plan.properties, job.reference(), ran)
    if properties is None:
        return 0
    write_text(RUNS / f"{name}.curves.json", json.dumps(properties.curves) + "\n")
    write_record(RUNS / f"{name}.properties.yaml", by_reference(properties))
    return properties.calls


def until(plan: ReferenceCalc) -> SteadyState | None:
    """What ends a run before its last step."""
    return SteadyState(plan.temperature, plan.least, plan.interval) if plan.least else None


def explored(
    job: Job, atoms: Atoms, protocol: md.Protocol, plan: ReferenceCalc, target: Path
) -> ItemCost:
    """MD by the explorer; the reference labels `plan.labels` evenly spaced frames of it, which
    fits are held against; the whole trajectory is kept beside them for its ranges.

    A frame that gets no label is left out, and the number of frames says so.
    """
    outcome = md.run(atoms, job.explorer(), protocol, enough=until(plan))
    reference = CountingCalculator(job.reference())
    labels: list[Atoms] = []
    failure: Exception | None = None
    if outcome.stop:
        failure = md.StoppedError(outcome.stop, outcome.detail)
    else:
        labels, failure = labelled(spaced(late(outcome.frames), plan.labels), reference)
    cost = {"explorer_calls": outcome.reference_calls, "md_steps": outcome.steps}
    if failure and not labels:
        vars(failure).update(cost, reference_calls=reference.calls)
        raise failure
    dataset.write(RUNS / f"{atoms.info['source']}.explorer.h5", outcome.frames)
    dataset.write(target, labels)
    # a liquid's properties are averages over MD by the reference, which there is none of
    calls = reference.calls + with_properties(job, atoms.info["source"], plan, None)
    return ItemCost(reference_calls=calls, **cost)


def staged(
    job: Job, atoms: Atoms, approved: Approved, interval: int, work: tuple[dict[str, Any], Path]
) -> ItemCost:
    """One run of a protocol; a stop of its own is reported, not a failure of the baseline."""
    item, target = work
    atoms.info |= {"source": item["structure"]}
    outcome = stages.run(atoms, job.reference(), approved.protocol, interval, item["seed"])
    report = protocol_runs.summary(item["structure"], approved, outcome)
    name = f"{item['structure']}+{approved.name}"
    write_text(RUNS / f"{name}.report.json", json.dumps(report) + "\n")
    dataset.write(target, outcome.frames)
    return ItemCost(reference_calls=outcome.reference_calls, md_steps=outcome.steps)


def ranges(name: str, temperature: int, job: Job) -> ReferenceRange:
    """Ranges over one trajectory, or the class of its failure.

    Parameters
    ----------
    name
        The held-out structure.
    temperature
        Of the run, K.
    job
        Says which subsystem the structure is of.

    Returns
    -------
    ReferenceRange
        Density (g/cm3; None where a cell is not periodic in three directions) and energy
        (eV/atom) without the first third, which is taken as equilibration; shortest distance (Å)
        over all frames, None where there is but one atom.
    """
    subsystem = job.structure(name).subsystem
    species = sorted(set(job.atoms(name).symbols))
    path = RUNS / f"{name}.h5"
    if not path.is_file():
        kind = failure(RUNS / f"{name}.failed.json")
        return ReferenceRange(
            structure=name,
            subsystem=subsystem,
            status="failed",
            failure=kind,
            species=species,
            temperature=temperature,
            frames=0,
        )
    labelled, whole = dataset.read(path), RUNS / f"{name}.explorer.h5"
    by_explorer = whole.is_file()
    frames = dataset.read(whole) if by_explorer else labelled
    sound = frames[len(frames) // 3 :]
    densities = [density(atoms) for atoms in sound if atoms.pbc.all()]
    shortest = min(min_distance(atoms) for atoms in frames)
    energies = [atoms.get_potential_energy() / len(atoms) for atoms in sound]
    return ReferenceRange(
        structure=name,
        subsystem=subsystem,
        status="ok",
        species=species,
        temperature=temperature,
        frames=len(labelled),
        md="explorer" if by_explorer else "reference",
        **_drift(job, name, frames),
        density=Range(low=min(densities), high=max(densities)) if densities else None,
        energy=Range(low=min(energies), high=max(energies)),
        min_distance=shortest if isfinite(shortest) else None,
        properties=_properties(name),
    )


def _properties(name: str) -> Measurements | None:
    path = RUNS / f"{name}.properties.yaml"
    return read(Measurements, path) if path.is_file() else None


def _drift(job: Job, name: str, frames: list[Atoms]) -> dict[str, Any]:
    """Whence the run drifted, how far, and how hot it became; limits of a watchdog rest on it."""
    report = next((s for s in job.settlings() if s.structure == name), None)
    path = job.settled(name)
    first = dataset.read(path)[-1] if path else frames[0]
    energies = [a.get_potential_energy() / len(a) for a in frames]
    drift: dict[str, Any] = {
        "start_energy": first.get_potential_energy() / len(first),
        "visited_energy": Range(low=min(energies), high=max(energies)),
        "hottest": max((a.info["kelvin"] for a in frames), default=None),
    }
    if frames[0].pbc.all():
        visited = [density(a) for a in frames]
        relaxed = report.relaxed_density if report else None
        drift["start_density"] = relaxed or density(job.start(name))
        drift["visited_density"] = Range(low=min(visited), high=max(visited))
    return drift


def collect(plan: ReferenceCalc, chunks: list[Path], output: Path) -> None:
    """Ranges of every structure, and what they cost."""
    job = Job()
    names = items_of(chunks)
    costs, settled = costs_of(RUNS), job.settlings()
    rows = [ranges(n, plan.temperature, job) for n in names if "+" not in n]
    result = ReferenceCalcResult(
        structures=with_polymorphs(rows, job.formulas(r.structure for r in rows if r.properties)),
        protocol_runs=protocol_runs.table(RUNS, names, "reference"),
        settled=settled,
        reference_calls=sum(c["reference_calls"] for c in costs)
        + sum(s.reference_calls for s in settled),
        explorer_calls=sum(c["explorer_calls"] for c in [*costs, *map(vars, settled)]),
        md_steps=sum(c["md_steps"] for c in costs),
    )
    write_record(output, result)


def main() -> None:
    """The commands of the rules."""
    command_line(run, collect)


if __name__ == "__main__":
    main()
