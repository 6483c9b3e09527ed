"""Which snapshots get a label, and the labels; files: see rules/select_data.smk."""

import json
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
from ase import Atoms

from atomistics import dataset
from atomistics.analysis.observables import density, min_distance
from atomistics.analysis.screening import screen
from atomistics.reference.counting import CountingCalculator
from atomistics.reference.methods import label as labelled
from atomistics.reference.outputs import geometry_digest
from campaign.actions.section import Items
from campaign.actions.select_data import SelectData, SelectDataResult, SelectGroup
from campaign.candidates import bands as bands_of
from campaign.files import read_json, write_record, write_text
from campaign.job import (
    SETTLED,
    Job,
    billed,
    dataset_file,
    failure,
    model_file,
    previous_state,
    spaced,
)
from campaign.prediction import agree, residuals
from campaign.results import Calibration, Count, JudgedStops, SelectGroupResult
from campaign.script import command_line
from campaign.spread import ItemCost, spread
from campaign.state import State
from mtp.configuration import from_atoms
from mtp.formats.almtp import read_potential
from mtp.formats.cfg import read_cfg, write_cfg
from mtp.selection.selector import RowWeights, Selector
from mtp.training.starting_point import MINDIST_MARGIN, with_random_functions

JUDGED = 4  # labels that judge the early stops of one class
WORK = Path("select_data")
LABELS = WORK / "labels"


def candidates(plan: SelectData, group: SelectGroup, state: State) -> list[Atoms]:
    """Snapshots of one subsystem from all samples of the plan, in the order of their runs.

    What an explorer settled on the way to its sampling has no label either.
    """
    frames = []
    explored = {s.id for s in state.samples if s.method == "explorer"}
    for sample in plan.samples:
        folder = Path(f"../{int(sample[1:]):03d}")
        paths = sorted((folder / "sample/runs").glob("*.h5"))
        if sample in explored:
            paths += sorted((folder / SETTLED).glob("*.h5"))
        for path in paths:
            own = [a for a in dataset.read(path) if a.info["subsystem"] == group.subsystem]
            report = path.with_name(f"{path.stem}.report.json")
            stop = read_json(report).get("stop") if own and report.is_file() else None
            for atoms in own:
                atoms.info["run"] = f"{sample}/{path.stem}"
            if stop:
                own[-1].info["stop"] = stop
            frames += own
    return frames


def graded(frames: list[Atoms], model: Path, job: Job) -> np.ndarray:
    """Highest extrapolation grade of each frame, by `mlp calculate_grade`.

    Parameters
    ----------
    frames
        N frames; their labels, if any, are not used.
    model
        A potential with its MaxVol active set; `train.cfg` lies beside it.
    job
        Gives species and the `mlp` command.

    Returns
    -------
    ndarray (N,)
        Grades, without unit; above 1 the model extrapolates (Podryabinkin and Shapeev, Comput.
        Mater. Sci. 140, 171, 2017).

    Raises
    ------
    MTPError
        Where `mlp` fails or gives another number of frames.
    """
    write_cfg(WORK / "candidates.cfg", _numbered(frames, job))
    files = (model, WORK / "candidates.cfg", WORK / "graded.cfg")
    job.mlp_program().calculate_grade(files, WORK / "grade.log", model.with_name("train.cfg"))
    return np.array([float(c.features["MV_grade"]) for c in read_cfg(WORK / "graded.cfg")])


def by_maxvol(frames: list[Atoms], model: Path, job: Job) -> set[int]:
    """Which frames `mlp select_add` would add to the training set of a model.

    D-optimality by MaxVol in the neighbourhoods of the frames (Podryabinkin and Shapeev, Comput.
    Mater. Sci. 140, 171, 2017).

    Parameters
    ----------
    frames : Å
    model : an `.almtp` beside its `train.cfg`
    job : whose `mlp` is asked

    Returns
    -------
    indices

    Raises
    ------
    MTPError
        `mlp` fails.
    """
    write_cfg(WORK / "extrapolating.cfg", _numbered(frames, job))
    train = model.with_name("train.cfg")
    files = (model, train, WORK / "extrapolating.cfg", WORK / "selected.cfg")
    job.mlp_program().select_add(files, WORK / "select.log")
    return {int(c.features["number"]) for c in read_cfg(WORK / "selected.cfg")}


def from_nothing(frames: list[Atoms], job: Job, count: int, seed: int) -> list[Atoms]:
    """D-optimal frames before any potential is fitted.

    MaxVol in the neighbourhoods of the frames, as `by_maxvol`, with the basis of a potential of the
    configured shape whose radial functions are random and known by `seed`: of a linear basis the
    choice needs no coefficients. Where the environments differ by less than `count`, the rest is
    taken evenly, so that what is often seen gets its share.

    Parameters
    ----------
    frames : Å
    job : shape of the potential
    count : at most
    seed : of the radial functions

    Returns
    -------
    frames, the most extrapolating first
    """
    configurations = [from_atoms(atoms, job.species) for atoms in frames]
    blank = job.blank(MINDIST_MARGIN * min(min_distance(atoms) for atoms in frames))
    basis = with_random_functions(blank, np.random.default_rng(seed))
    selector = Selector(basis, RowWeights.of_mode("nbh"))
    selector.add(configurations)
    grades = selector.entry_grades()
    best = sorted(selector.sources, key=lambda key: (-grades[key], key))
    chosen = [frames[key] for key in best[:count]]
    left = [a for a in frames if not any(a is b for b in chosen)]
    return [*chosen, *spaced(left, count - len(chosen))]


def _numbered(frames: list[Atoms], job: Job) -> list:
    configurations = [from_atoms(atoms, job.species) for atoms in frames]
    for number, configuration in enumerate(configurations):
        configuration.features = {"number": str(number)}
    return configurations


def pick(
    frames: list[Atoms],
    group: SelectGroup,
    wanted: int,
    plan: SelectData,
    job: Job,
    beyond: list[Atoms],
) -> list[Atoms]:
    """Frames of one subsystem worth a reference call, in the order they were chosen.

    all: evenly over the runs up to `wanted`. error: every candidate, ranked once labelled.
    maxvol: D-optimal among all of them, up to `wanted`.
    grade: those of `beyond`, which are D-optimal (MaxVol) among all that extrapolate, of every
    subsystem of the plan; `wanted` is an upper bound, and nothing is bought where nothing
    extrapolates.
    """
    if plan.method == "error" or not frames:
        return frames
    if plan.method == "all":
        return spaced(frames, wanted)
    if plan.method == "maxvol":
        single = [a for a in frames if job.structure(a.info["structure"]).single_point]
        chosen = from_nothing(frames, job, wanted, job.config.seed)
        return list({id(a): a for a in [*single, *chosen]}.values())[:wanted]
    first = before_stops(frames) + spaced(later_halves(frames), group.spaced)
    own = {id(a) for a in frames}
    rest = [a for a in beyond if id(a) in own]
    return list({id(a): a for a in first + rest}.values())[:wanted]


def later_halves(frames: list[Atoms]) -> list[Atoms]:
    """Frames beyond the middle of their runs: what came out, not where it was started."""
    last = {a.info["run"]: a.info.get("step", 0) for a in frames}  # in order of time
    return [a for a in frames if 2 * a.info.get("step", 0) >= last[a.info["run"]]]


def before_stops(frames: list[Atoms]) -> list[Atoms]:
    """The last sound frames of some runs of each class of early stop, each run's own last.

    Whether the potential was at fault shows in their labels, and where the grade saw nothing, as
    in a density that drifts, nothing else would ever bring a label there.
    """
    last: dict[str, dict[str, Atoms]] = {}
    for atoms in frames:
        if atoms.info.get("stop"):
            last.setdefault(atoms.info["stop"], {})[atoms.info["run"]] = atoms
    return [a for runs in last.values() for a in spaced(list(runs.values()), JUDGED)]


def extrapolating(frames: list[Atoms], plan: SelectData, job: Job) -> list[Atoms]:
    """What MaxVol would add of the frames that extrapolate, the highest grades first.

    The frames of all subsystems compete: what two of them share is labelled once, and the training
    set is gone through once.
    """
    if not frames:
        return []
    model = model_file(plan.model)
    grades = graded(frames, model, job)
    for atoms, grade in zip(frames, grades, strict=True):
        atoms.info["grade"] = float(grade)
    beyond = [a for a in frames if a.info["grade"] >= job.config.select_data.grade]
    if not beyond:
        return []
    chosen = [beyond[i] for i in by_maxvol(beyond, model, job)]
    return sorted(chosen, key=lambda a: -a.info["grade"])


def apportion(wanted: list[int], limit: int) -> list[int]:
    """Shares of `limit` in proportion to what each wants, by largest remainders (Hamilton)."""
    total = sum(wanted)
    if total <= limit:
        return wanted
    shares = [count * limit // total for count in wanted]
    rest = sorted(range(len(wanted)), key=lambda i: (-(wanted[i] * limit % total), i))
    for i in rest[: limit - sum(shares)]:
        shares[i] += 1
    return shares


def owned(state: State, subsystem: str) -> list[Atoms]:
    """Frames of a subsystem that have their label already."""
    sets = [
        record.id
        for record in state.datasets
        if any(group.subsystem == subsystem and group.labels for group in record.groups)
    ]
    frames = [a for name in sets for a in dataset.read(dataset_file(name))]
    return [a for a in frames if a.info["subsystem"] == subsystem]


def settled_densities(frames: list[Atoms], job: Job) -> list[float]:
    """Densities, g/cm3, at which the reference settled the structures that runs began from."""
    names = sorted({a.info["structure"] for a in frames if a.pbc.all()})
    return [density(job.start(name)) for name in names if job.settled(name)]


def choose(plan: SelectData, state: Path | None, chosen: Path, gate: Path) -> None:
    """Gate, then choose, per subsystem; the gate's rejections go to a file of their own."""
    job = Job()
    before = previous_state(job, state)
    offered: list[list[Atoms]] = []
    counts = {}
    for group in plan.groups:
        frames = candidates(plan, group, before)
        wider = before.subsystem(group.subsystem).widened
        settled = settled_densities(frames, job)
        bands = bands_of(before.reference, group.subsystem, job.config, wider, settled)
        kept, rejected = screen(frames, bands, owned(before, group.subsystem))
        doubtful = [r for r in rejected if r.reason == "density" and "stop" in frames[r.index].info]
        kept = sorted([*kept, *(r.index for r in doubtful)])  # drifted: the reference will say
        rejected = [r for r in rejected if r not in doubtful]
        offered.append([frames[i] for i in kept])
        counts[group.subsystem] = {
            "candidates": len(frames),
            "rejected": dict(sorted(Counter(r.reason for r in rejected).items())),
        }
    beyond = extrapolating(list(chain(*offered)), plan, job) if plan.method == "grade" else []
    picked = [
        pick(frames, group, group.quota(counts[group.subsystem]["candidates"]), plan, job, beyond)
        for group, frames in zip(plan.groups, offered, strict=True)
    ]
    if plan.method != "error":
        shares = apportion([len(frames) for frames in picked], plan.max_labels)
        cut = spaced if plan.method == "all" else lambda frames, count: frames[:count]
        picked = [cut(frames, share) for frames, share in zip(picked, shares, strict=True)]
    dataset.write(chosen, [atoms for frames in picked for atoms in frames])
    write_text(gate, json.dumps(counts, indent=1) + "\n")


def names_of(frames: list[Atoms]) -> list[str]:
    """Place in the choice, and digest of the geometry: no label stands for another frame."""
    return [f"{n:06d}-{geometry_digest(atoms)[:12]}" for n, atoms in enumerate(frames)]


def label(items: Items, chosen: Path, output: Path) -> None:
    """Reference calls for this job's part of the chosen frames, one file each."""
    job, frames = Job(), dataset.read(chosen)
    names = names_of(frames)
    numbers = {
        names[n]: {"frame": n, "size": len(frames[n])}
        for item in items.values()
        for n in range(item["part"], len(frames), item["parts"])
    }
    reference = CountingCalculator(job.reference())

    def one(name: str, target: Path) -> ItemCost:
        before = reference.calls
        with billed(reference):
            dataset.write(target, [labelled(frames[numbers[name]["frame"]], reference)])
        return ItemCost(reference_calls=reference.calls - before)

    spread(numbers, one, LABELS, ".h5", output)


def collect(
    plan: SelectData, iteration: int, chosen: Path, gate: Path, dataset_file: Path, output: Path
) -> None:
    """The labels that came become the data set; by error, only the worst described are kept.

    Its file holds no frame where no label came; the result names it only where it holds one.
    """
    job = Job()
    counts = read_json(gate, *(group.subsystem for group in plan.groups))
    frames = dataset.read(chosen)
    labelled_of: dict[str, list[Atoms]] = {group.subsystem: [] for group in plan.groups}
    failed: dict[str, Counter] = {group.subsystem: Counter() for group in plan.groups}
    calls: Counter = Counter()
    for frame, name in zip(frames, names_of(frames), strict=True):
        subsystem, path = frame.info["subsystem"], LABELS / f"{name}.h5"
        calls[subsystem] += calls_for(name)
        if path.is_file():
            labelled_of[subsystem] += dataset.read(path)
        else:
            failed[subsystem][failure(LABELS / f"{name}.failed.json")] += 1
    kept, rows = [], []
    quotas = [
        min(g.quota(counts[g.subsystem]["candidates"]), len(labelled_of[g.subsystem]))
        for g in plan.groups
    ]
    for group, share in zip(plan.groups, apportion(quotas, plan.max_labels), strict=True):
        name = group.subsystem
        own, errors = judged(labelled_of[name], share, plan, job)
        kept += own
        rows.append(
            SelectGroupResult(
                subsystem=name,
                candidates=counts[name]["candidates"],
                rejected=[Count(kind=k, count=n) for k, n in counts[name]["rejected"].items()],
                reference_calls=calls[name],
                labels=len(own),
                failed=[Count(kind=k, count=n) for k, n in sorted(failed[name].items())],
                stops=judgement(labelled_of[name], plan, job),
                calibration=calibration(labelled_of[name], plan, job),
                **errors,
            )
        )
    dataset.write(dataset_file, kept)
    result = SelectDataResult(
        method=plan.method,
        model=plan.model,
        samples=plan.samples,
        groups=rows,
        dataset=f"d{iteration:03d}" if kept else None,
    )
    write_record(output, result)


def calls_for(name: str) -> int:
    """Reference calls made for a frame, by its cost file."""
    path = LABELS / f"{name}.cost.json"
    return int(read_json(path, "reference_calls")["reference_calls"]) if path.exists() else 0


def judged(
    frames: list[Atoms], share: int, plan: SelectData, job: Job
) -> tuple[list[Atoms], dict[str, float]]:
    """Labelled frames that are kept, and the errors of the plan's model on all of them.

    Parameters
    ----------
    frames
        Labelled frames of one subsystem.
    share
        How many are kept by method error: those with the largest force error (eV/Å) of any atom,
        in their order. The other methods keep all.
    plan, job
        Method and model; species.

    Returns
    -------
    frames, errors
        What is kept; `energy_mae` (eV/atom) and `force_mae` (eV/Å per component), empty without a
        model or a frame.

    Raises
    ------
    NotFiniteError
        Where the model gives no number.
    """
    if not (frames and plan.model):
        return frames, {}
    rows = residuals(read_potential(model_file(plan.model)), job.species, frames)
    errors = {
        "energy_mae": float(np.mean([abs(r.energy) for r in rows])),
        "force_mae": float(np.mean([np.abs(r.forces).mean() for r in rows])),
    }
    if plan.method == "error":
        worst = np.argsort([-np.linalg.norm(r.forces, axis=1).max() for r in rows], kind="stable")
        frames = [frames[i] for i in sorted(worst[:share])]
    return frames, errors


def judgement(frames: list[Atoms], plan: SelectData, job: Job) -> list[JudgedStops]:
    """Early stops by class, and how many of them model and reference agree about.

    Parameters
    ----------
    frames : just labelled (eV, eV/Å, eV/Å^3), those before a stop with `info["stop"]`
    plan : names the model
    job : whose targets (eV/atom, eV/Å) say what agreement is

    Returns
    -------
    a record a class; none without a model or a stop
    """
    stopped = [a for a in frames if a.info.get("stop")]
    if not stopped or not plan.model:
        return []
    state = job.campaign.state(0)
    errors = residuals(read_potential(model_file(plan.model)), job.species, stopped)
    table: dict[str, list[bool]] = {}
    for atoms, error in zip(stopped, errors, strict=True):
        role = state.subsystem(atoms.info["subsystem"]).role
        table.setdefault(atoms.info["stop"], []).append(agree(error, state.targets, role))
    return [
        JudgedStops(kind=kind, judged=len(rows), false_alarms=sum(rows))
        for kind, rows in sorted(table.items())
    ]


def calibration(frames: list[Atoms], plan: SelectData, job: Job) -> Calibration | None:
    """How well the grade foretold the force error of the plan's model on frames just labelled.

    Parameters
    ----------
    frames : with labels (eV/Å) and `info["grade"]`
    plan : names the model
    job : the campaign's

    Returns
    -------
    rank correlation and errors (eV/Å); None without a model, or where fewer than three frames have
    a
    grade or all have the same
    """
    graded = [a for a in frames if a.info.get("grade") is not None]
    if not plan.model or len(graded) < 3:
        return None
    rows = residuals(read_potential(model_file(plan.model)), job.species, graded)
    grades = np.array([a.info["grade"] for a in graded])
    errors = np.array([np.linalg.norm(r.forces, axis=1).max() for r in rows])
    if np.ptp(grades) == 0 or np.ptp(errors) == 0:
        return None
    from scipy.stats import spearmanr  # a second of imports, for the last part of a selection

    correlation, order = spearmanr(grades, errors), np.argsort(grades, kind="stable")
    half = len(graded) // 2
    return Calibration(
        frames=len(graded),
        rank_correlation=round(float(correlation.statistic), 6),
        probability=round(float(correlation.pvalue), 6),
        lower_half=float(errors[order[:half]].mean()),
        upper_half=float(errors[order[half:]].mean()),
    )


def main() -> None:
    """The commands of the rules."""
    command_line(choose, label, collect)


if __name__ == "__main__":
    main()
