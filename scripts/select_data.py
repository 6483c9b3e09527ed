"""Which snapshots get a label, and the labels; files: see rules/select_data.smk."""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
from ase import Atoms

from atomistics import dataset
from atomistics.gates import Bands, screen
from atomistics.job import Job, entry, previous_state
from atomistics.prediction import residuals
from atomistics.reference import label
from atomistics.spread import Cost, spread
from mtp.cfg import read_cfg, write_cfg
from mtp.configuration import from_atoms
from mtp.site import Site
from planner.cost import quota
from planner.files import write_record, write_text
from planner.plan import SelectData, SelectGroup
from planner.results import Count, SelectDataResult, SelectGroupResult

WORK = Path("select_data")
LABELS = WORK / "labels"


def candidates(plan: SelectData, group: SelectGroup) -> list[Atoms]:
    """Snapshots of one subsystem from all samples of the plan, in the order of their runs."""
    frames = []
    for sample in plan.samples:
        runs = Path(f"../{int(sample[1:]):03d}/sample/runs")
        for path in sorted(runs.glob("*.h5")):
            frames += [a for a in dataset.read(path) if a.info["subsystem"] == group.subsystem]
    return frames


def graded(frames: list[Atoms], model: Path, job: Job) -> np.ndarray:
    """Highest extrapolation grade of each frame (N,), by `mlp calculate_grade`."""
    write_cfg(WORK / "candidates.cfg", _numbered(frames, job))
    files = (model, WORK / "candidates.cfg", WORK / "graded.cfg")
    _site(job).calculate_grade(files, WORK / "grade.log", model.with_name("train.cfg"))
    return np.array([c.grades.max() for c in read_cfg(WORK / "graded.cfg")])


def by_maxvol(frames: list[Atoms], model: Path, job: Job) -> set[int]:
    """Indices that `mlp select_add` would add to the training set of `model`."""
    write_cfg(WORK / "extrapolating.cfg", _numbered(frames, job))
    train = model.with_name("train.cfg")
    files = (model, train, WORK / "extrapolating.cfg", WORK / "selected.cfg")
    _site(job).select_add(files, WORK / "select.log")
    return {int(c.features["number"]) for c in read_cfg(WORK / "selected.cfg")}


def _numbered(frames: list[Atoms], job: Job) -> list:
    configurations = [from_atoms(atoms, job.species) for atoms in frames]
    for number, configuration in enumerate(configurations):
        configuration.features = {"number": str(number)}
    return configurations


def _site(job: Job) -> Site:
    return Site(flavour=job.config.mlp.flavour, command=tuple(job.config.mlp.command.split()))


def pick(frames: list[Atoms], group: SelectGroup, total: int, plan: SelectData, job: Job) -> list:
    """Frames of one subsystem worth a reference call, in the order they were chosen.

    all: evenly over the runs up to the quota. error: every candidate, ranked once labelled.
    grade: D-optimal (MaxVol) among those that extrapolate, the highest grades first; the quota
    of `total` candidates is an upper bound, and nothing is bought where nothing extrapolates.
    """
    if plan.method == "error" or not frames:
        return frames
    wanted = quota(group, total)
    if plan.method == "all":
        spots = np.linspace(0, len(frames) - 1, min(wanted, len(frames))).round().astype(int)
        return [frames[i] for i in dict.fromkeys(spots.tolist())]
    model = Path(f"../{int(plan.model[1:]):03d}/train/model.almtp")
    grades = graded(frames, model, job)
    for atoms, grade in zip(frames, grades, strict=True):
        atoms.info["grade"] = float(grade)
    beyond = [a for a in frames if a.info["grade"] >= job.config.select_data.grade]
    if not beyond:
        return []
    chosen = [beyond[i] for i in by_maxvol(beyond, model, job)]
    return sorted(chosen, key=lambda a: -a.info["grade"])[:wanted]


def choose(arguments: argparse.Namespace) -> None:
    """Gate, then choose, per subsystem; the gate's rejections go to a file of their own."""
    job, plan = Job(), SelectData.model_validate_json(arguments.plan)
    state = previous_state(job, arguments.state)
    chosen: list[Atoms] = []
    gate = {}
    for group in plan.groups:
        frames = candidates(plan, group)
        kept, rejected = screen(frames, Bands.of(state.reference, group.subsystem, job.config))
        picked = pick([frames[i] for i in kept], group, len(frames), plan, job)
        gate[group.subsystem] = {
            "candidates": len(frames),
            "rejected": dict(sorted(Counter(r.reason for r in rejected).items())),
        }
        chosen += picked
    if plan.method != "error":
        chosen = chosen[: plan.max_labels]
    dataset.write(arguments.chosen, chosen)
    write_text(arguments.gate, json.dumps(gate, indent=1) + "\n")


def buy(arguments: argparse.Namespace) -> None:
    """Reference calls for this pack's share of the chosen frames, one file each."""
    job = Job()
    frames = dataset.read(arguments.chosen)
    share = json.loads(arguments.items)
    numbers = {
        f"{n:06d}": {"frame": n, "size": len(frames[n])}
        for item in share.values()
        for n in range(item["chunk"], len(frames), item["chunks"])
    }
    reference = job.reference()

    def one(name: str, target: Path) -> Cost:
        dataset.write(target, [label(frames[numbers[name]["frame"]], reference)])
        return Cost(reference_calls=1)

    spread(numbers, one, LABELS, ".h5", arguments.output)


def collect(arguments: argparse.Namespace) -> None:
    """The labels that came become the data set; by error, only the worst described are kept."""
    job, plan = Job(), SelectData.model_validate_json(arguments.plan)
    gate = json.loads(arguments.gate.read_text())
    chosen = dataset.read(arguments.chosen)
    labels = {path.stem: dataset.read(path)[0] for path in sorted(LABELS.glob("*.h5"))}
    bought: dict[str, list[Atoms]] = {group.subsystem: [] for group in plan.groups}
    failed: dict[str, Counter] = {group.subsystem: Counter() for group in plan.groups}
    for number, frame in enumerate(chosen):
        name, subsystem = f"{number:06d}", frame.info["subsystem"]
        if name in labels:
            bought[subsystem].append(labels[name])
        else:
            record = LABELS / f"{name}.failed.json"
            kind = json.loads(record.read_text())["class"] if record.is_file() else "lost"
            failed[subsystem][kind] += 1
    kept, groups = [], []
    for group in plan.groups:
        frames, row = _group(group, bought[group.subsystem], gate[group.subsystem], plan, job)
        kept += frames
        counts = [Count(kind=k, count=n) for k, n in sorted(failed[group.subsystem].items())]
        calls = row.reference_calls + sum(failed[group.subsystem].values())
        groups.append(row.model_copy(update={"failed": counts, "reference_calls": calls}))
    if kept:
        dataset.write(WORK / "dataset.h5", kept)
    result = SelectDataResult(
        method=plan.method,
        model=plan.model,
        samples=plan.samples,
        groups=groups,
        dataset=f"d{arguments.iteration:03d}" if kept else None,
    )
    write_record(arguments.output, result)


def _group(
    group: SelectGroup, frames: list[Atoms], gate: dict, plan: SelectData, job: Job
) -> tuple[list[Atoms], SelectGroupResult]:
    calls, energy, force = len(frames), None, None
    if frames and plan.model:
        model = Path(f"../{int(plan.model[1:]):03d}/train/model.almtp")
        found = residuals(model, job.species, frames)
        energy = float(np.mean([abs(r.energy) for r in found]))
        force = float(np.mean([np.abs(r.forces).mean() for r in found]))
        if plan.method == "error":
            worst = np.argsort([-np.linalg.norm(r.forces, axis=1).max() for r in found])
            keep = sorted(worst[: quota(group, gate["candidates"])])
            frames = [frames[i] for i in keep]
    rejected = [Count(kind=k, count=n) for k, n in gate["rejected"].items()]
    row = SelectGroupResult(
        subsystem=group.subsystem,
        candidates=gate["candidates"],
        rejected=rejected,
        reference_calls=calls,
        labels=len(frames),
        failed=[],
        energy_mae=energy,
        force_mae=force,
    )
    return frames, row


def main() -> None:
    """Parse the rule's command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("choose")
    one.set_defaults(call=choose)
    for name in ("plan", "state", "model"):
        one.add_argument(f"--{name}", required=True)
    one.add_argument("--chosen", type=Path, required=True)
    one.add_argument("--gate", type=Path, required=True)
    two = commands.add_parser("label")
    two.set_defaults(call=buy)
    two.add_argument("--items", required=True)
    two.add_argument("--chosen", type=Path, required=True)
    two.add_argument("--output", type=Path, required=True)
    three = commands.add_parser("collect")
    three.set_defaults(call=collect)
    for name in ("plan", "model"):
        three.add_argument(f"--{name}", required=True)
    three.add_argument("--iteration", type=int, required=True)
    for name in ("chosen", "gate", "output"):
        three.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    entry(main)
