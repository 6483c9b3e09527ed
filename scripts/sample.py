"""New configurations by MD, compression or rattle; files: see rules/sample.smk."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from atomistics import dataset
from atomistics import deformation as series
from atomistics.contract import Ensemble
from atomistics.md import plain as md
from atomistics.md import stages
from atomistics.md.watchdog import Watchdog
from atomistics.properties.asked import PropertiesAsked
from atomistics.properties.teaching import taught
from atomistics.reference.convergence import LabelFailedError
from atomistics.reference.counting import CountingCalculator
from atomistics.reference.methods import label
from campaign import protocol_runs
from campaign.actions.sample import Sample, SampleResult
from campaign.actions.section import Items
from campaign.files import read_json, write_record, write_text
from campaign.job import Job, barostat, billed, costs_of, items_of, previous_state
from campaign.protocols import Approved
from campaign.results import Count, Rung, SampleGroupResult, SettledStructure, StoppedRun
from campaign.script import command_line
from campaign.spread import ItemCost, spread
from campaign.state import State
from mtp.formats.almtp import read_potential

RUNS = Path("sample/runs")
NAMED = 12  # early stops that the state names one by one
REPORTED = ("stop", "temperature", "snapshots", "atoms", "max_grade")


def run(plan: Sample, items: Items, state: Path | None, model: Path | None, output: Path) -> None:
    """Every item of the chunk: frames in `<run>.h5`, how it went in `<run>.report.json`."""
    job = Job()
    before = previous_state(job, state)
    # read before any is run: a bad file is for the user to mend, no failure of its MD
    start = {name: job.start(item["structure"]) for name, item in items.items()}
    protocols = protocol_runs.loaded(job, items)
    method = job.explorer() if plan.method == "explorer" else None if model else job.reference()
    potential = read_potential(model) if model else None

    def one(name: str, target: Path) -> ItemCost:
        # a calculator of its own: a neighbour list kept from another run would change last digits
        item, counting = items[name], CountingCalculator(method or job.model(potential))
        atoms = start[name]
        atoms.info |= {"source": name, "temperature": item["temperature"]}
        atoms.calc = counting
        with nullcontext() if model else billed(counting, plan.method):
            if item["kind"] == "protocol":
                outcome = _staged(job, item, atoms, protocols[item["protocol"]], plan, before)
            else:
                outcome = _made(job, item, atoms, plan, before)
        report = {
            **{key: item[key] for key in ("subsystem", "kind", "temperature")},
            "structure": item["structure"],
            "stop": outcome.stop,
            "detail": outcome.detail,
            "picoseconds": round(outcome.steps * job.config.md.timestep / 1000, 6),
            "snapshots": len(outcome.frames),
            "atoms": len(outcome.frames) * len(atoms),
            "max_grade": max((f.info["grade"] for f in outcome.frames), default=None)
            if model
            else None,
        }
        if isinstance(outcome, stages.StagedOutcome):
            approved = protocols[item["protocol"]]
            report |= protocol_runs.summary(item["structure"], approved, outcome)
        dataset.write(target, outcome.frames)
        write_text(RUNS / f"{name}.report.json", json.dumps(report) + "\n")
        paid = {} if model else {f"{plan.method}_calls": counting.calls}
        return ItemCost(**paid, md_steps=outcome.steps)

    spread(items, one, RUNS, ".h5", output)


def _made(
    job: Job,
    item: dict[str, Any],
    atoms: Atoms,
    plan: Sample,
    state: State,
) -> md.Outcome:
    if item["kind"] == "compression":
        return _compressed(atoms, plan.compression)
    if item["kind"] == "teach":
        return _taught(atoms, plan, item, state)
    if item["kind"] == "rattle":
        return _rattled(job, item, atoms, plan)
    protocol = md.Protocol(
        ensemble=ensemble_of(job, item, state),
        temperature=item["temperature"],
        steps=plan.steps,
        timestep=job.config.md.timestep,
        interval=plan.interval,
        pressure=job.config.md.pressure,
        barostat=barostat(atoms),
        seed=item["seed"],
    )
    watchdog = Watchdog(job.limits(atoms, item["temperature"], state))
    engine = job.config.md.engine if plan.method == "model" else "ase"
    return md.run(atoms, atoms.calc, protocol, watchdog, engine=engine)


def ensemble_of(job: Job, item: dict[str, Any], state: State) -> Ensemble:
    """As asked; but what is no crystal is held at its volume above the temperature of use, where
    at no pressure it would boil, whoever's potential it is."""
    asked = job.ensemble(item["structure"], item["kind"])
    fluid = {s.structure for s in [*state.settled, *job.settlings()] if not s.crystal}
    hot = item["temperature"] > job.campaign.task.temperature
    return "nvt" if asked == "npt" and hot and item["structure"] in fluid else asked


def _staged(
    job: Job,
    item: dict[str, Any],
    atoms: Atoms,
    approved: Approved,
    plan: Sample,
    state: State,
) -> stages.StagedOutcome:
    watch = protocol_runs.watchdog(job, atoms, approved.protocol, state)
    return stages.run(atoms, atoms.calc, approved.protocol, plan.interval, item["seed"], watch)


def _taught(atoms: Atoms, plan: Sample, item: dict[str, Any], state: State) -> md.Outcome:
    """Labels near what measures a property; one that fails is left out, all failing fails it."""
    asked = state.subsystem(item["subsystem"]).properties or PropertiesAsked()
    copies = taught(atoms, item["property"], asked, plan.copies, item["seed"])
    return _labelled(copies, atoms.calc, atoms.info)


def _labelled(copies: list[Atoms], calculator: Any, info: dict[str, Any]) -> md.Outcome:
    frames, failure = [], None
    for copy in copies:
        copy.info = dict(info)
        try:
            frames.append(label(copy, calculator))
        except LabelFailedError as error:
            failure = error
    if failure and not frames:
        raise failure
    return md.Outcome(frames, 0, None, str(failure or ""), calculator.calls)


def _compressed(atoms: Atoms, factors: list[float]) -> md.Outcome:
    """Labels of the scaled copies; one that fails is left out, all failing fails the run."""
    return _labelled(series.compression(atoms, factors), atoms.calc, atoms.info)


def _rattled(job: Job, item: dict[str, Any], atoms: Atoms, plan: Sample) -> md.Outcome:
    failures: list[tuple[int, str, str]] = []
    amounts, seed = (plan.rattle, plan.amplitude), item["seed"]
    if plan.relax_steps:
        given = (atoms, atoms.calc, *amounts, plan.relax_steps, seed, failures)
        frames = series.rattle_and_relax(*given)
    else:
        start, kelvin = atoms.copy(), job.campaign.task.temperature
        if path := job.settled(item["structure"]):
            start.calc = dataset.read(path)[-1].calc  # its label is there already
        frames = series.warm_copies(start, atoms.calc, *amounts, kelvin, seed, failures)
    if failures and not frames:
        raise LabelFailedError(failures[0][1], failures[0][2])
    return md.Outcome(frames, 0, None, "", atoms.calc.calls)


def group(subsystem: str, reports: list[dict[str, Any]], failed: int) -> SampleGroupResult:
    """The runs of one subsystem added up; `failed` gave no trajectory at all."""
    stops = [r["stop"] for r in reports if r["stop"]]
    grades = [r["max_grade"] for r in reports if r["max_grade"] is not None]
    kelvins = [r["temperature"] for r in reports if r["temperature"]] or [0]
    return SampleGroupResult(
        subsystem=subsystem,
        temperature_low=min(kelvins),
        temperature_high=max(kelvins),
        runs=len(reports) + failed,
        early_stops=len(stops),
        stops=[Count(kind=k, count=stops.count(k)) for k in sorted(set(stops))],
        failed_runs=failed,
        snapshots=sum(r["snapshots"] for r in reports),
        atoms=sum(r["atoms"] for r in reports),
        max_grade=max(grades, default=None),
        rungs=rungs(reports),
        stopped_runs=stopped_runs(reports),
        picoseconds=round(sum(r.get("picoseconds", 0.0) for r in reports), 6),
    )


def rungs(reports: list[dict[str, Any]]) -> list[Rung]:
    """Runs and early stops by temperature, K; without what has none."""
    table = []
    for kelvin in sorted({r["temperature"] for r in reports if r["temperature"]}):
        own = [r for r in reports if r["temperature"] == kelvin]
        stops = sum(bool(r["stop"]) for r in own)
        table.append(Rung(temperature=kelvin, runs=len(own), stops=stops))
    return table


def stopped_runs(reports: list[dict[str, Any]]) -> list[StoppedRun]:
    """The early stops that came first, with the watchdog's limit."""
    rows = [
        StoppedRun(
            structure=r["structure"],
            ensemble=r["kind"],
            temperature=r["temperature"],
            kind=r["stop"],
            picoseconds=r["picoseconds"],
            # what a calculator says may hold paths
            limit="" if r["stop"] == "calculator" else str(r["detail"])[:160],
        )
        for r in reports
        if r["stop"] and "structure" in r
    ]
    return sorted(rows, key=lambda r: (r.picoseconds, r.structure, r.temperature))[:NAMED]


def on_the_way(job: Job, record: SettledStructure) -> list[Atoms]:
    """Frames of a settling that the method which settled it may be believed in."""
    path = job.settled(record.structure)
    frames = [] if path is None else dataset.read(path)
    allowed = job.config.reference.max_force
    return [a for a in frames if np.linalg.norm(a.get_forces(), axis=1).max() <= allowed]


def settling_report(record: SettledStructure, frames: list[Atoms]) -> dict[str, Any]:
    """A settling as a run of its subsystem."""
    return {
        "stop": None,
        "temperature": record.temperature,
        "snapshots": len(frames),
        "atoms": sum(map(len, frames)),
        "max_grade": None,
    }


def collect(
    plan: Sample, iteration: int, chunks: list[Path], dataset_file: Path | None, output: Path
) -> None:
    """Counts per subsystem; the reference's snapshots become the iteration's data set.

    Its file holds no frame where every run failed; the result names it only where it holds one.
    """
    job = Job()
    table, done = plan.runs(), set(items_of(chunks))
    names = [name for name in table if name in done]
    reports: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, int] = {}
    frames: list[Atoms] = []
    for name in names:
        path, subsystem = RUNS / f"{name}.report.json", str(table[name]["subsystem"])
        reports.setdefault(subsystem, [])
        if not (RUNS / f"{name}.h5").is_file():
            failed[subsystem] = failed.get(subsystem, 0) + 1
            continue
        reports[subsystem].append(read_json(path, *REPORTED))
        if dataset_file:
            frames += dataset.read(RUNS / f"{name}.h5")
    settled = job.settlings()
    for record in () if plan.method == "model" else settled:
        if dataset_file and record.explorer_calls:
            continue  # no labels
        own = on_the_way(job, record)
        reports[record.subsystem].append(settling_report(record, own))
        frames += own
    if dataset_file:
        dataset.write(dataset_file, frames)
    costs = costs_of(RUNS)
    result = SampleResult(
        method=plan.method,
        model=plan.model,
        groups=[group(name, rows, failed.get(name, 0)) for name, rows in reports.items()],
        settled=settled,
        dataset=f"d{iteration:03d}" if dataset_file and frames else None,
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
