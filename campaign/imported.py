"""Labels that exist already, taken into a campaign before its first decision.

    iterations/000/import/dataset.h5    data set d000: the frames to train on
    iterations/000/import/held_out.h5   frames every fit is held against and none is made of
    iterations/000/import/sources.yaml  the files they came from, what was left out of them and why
    iterations/000/state.yaml           the state the first decision rests on, written last

One writer, `planner import`; once iteration 001 has a plan the folder is never written again. A
frame knows its file by hash, never by path, and d000 stands in the state with its own hash.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from pydantic import Field

from atomistics import dataset
from atomistics.analysis.observables import outliers
from atomistics.contract import Name, Strict
from atomistics.neighbours import pairs
from atomistics.structures import KEPT, TOO_CLOSE
from campaign.agreement import require_one_level, require_work
from campaign.errors import UserError
from campaign.files import write_record
from campaign.fingerprint import one_method, unlike, untold
from campaign.folder import Campaign
from campaign.results import Count, SelectGroupResult
from campaign.sources import FOLDER, Source, Sources, imported_file, sources_of
from campaign.state import DatasetRecord, start
from mtp.errors import MTPError
from mtp.reading.files import expanded, read_calculations
from mtp.reading.frames import Reading, ReadOptions

FAR = 2.5  # of the covalent radii's sum: no bond of solids and molecules is as long
ENERGY_OUTLIER = 1.0  # eV/atom from the median of its composition, and 20 robust deviations
SAME = 1e-4  # Å: two frames nearer than this in every coordinate are one


class Wanted(Strict):
    """What `planner import` was asked for beside the files.

    held_out: fraction, the last of each file and group, so that neighbours in time stay together.
    """

    subsystem: Name
    held_out: float = Field(default=0.1, ge=0, le=0.5)
    recompute: int = Field(default=0, ge=0, le=1000)
    same_method: bool = False
    keep_outliers: bool = False
    alone: bool = Field(default=False, description="the campaign is made of these labels")


def read_files(
    paths: Sequence[Path], options: ReadOptions, kind: str | None
) -> dict[Path, Reading]:
    """Every file by itself, those of folders too; UserError names the first that is not read."""
    try:
        files = [path for given in paths for path in expanded(given)]
        readings = {path: read_calculations(path, options, kind) for path in files}
    except MTPError as error:
        raise UserError(str(error)) from None
    if files and not any(reading.frames for reading in readings.values()):
        said = "; ".join(f"{path}: {reading.line(KEPT)}" for path, reading in readings.items())
        raise UserError(f"no frame is left: {said}")
    return readings


def take_in(
    campaign: Campaign, files: dict[Path, Reading], tests: dict[Path, Reading], wanted: Wanted
) -> list[str]:
    """Add the frames of `files` to d000 and those of `tests` to what is held out; lines to say."""
    _may_import(campaign, wanted.subsystem)
    held_before, before = (
        _earlier_frames(campaign, "held_out"),
        _earlier_frames(campaign, "dataset"),
    )
    checked = _method(files | tests, campaign, wanted)
    left: Counter[str] = Counter()
    by_digest = {_digest(a): a for a in [*before, *held_before]}
    named = {one.sha256[:16]: one.name for one in _earlier(campaign).files}
    named |= {_sha256(path)[:16]: str(path) for path in [*files, *tests]}
    split: dict[bool, list[Atoms]] = {False: [], True: []}
    sources, lines = [], []
    for path, reading in [*files.items(), *tests.items()]:
        frames = _frames(path, reading, wanted.subsystem)
        frames = _sound(frames, campaign, left, (by_digest, named), wanted)
        if not wanted.keep_outliers:
            require_work(path, frames)
        out = frames if path in tests else _held_out(frames, wanted.held_out, bool(tests))
        held = {id(a) for a in out}
        for atoms in frames:
            split[id(atoms) in held].append(atoms)
        line = reading.line((*KEPT, "type", "group", "config_type"), keys=False)
        sources.append(
            Source(
                name=path.name,
                sha256=_sha256(path),
                subsystem=wanted.subsystem,
                frames=len(frames),
                held_out=len(held),
                method=reading.method,
                line=line,
            )
        )
        lines.append(f"{path.name}: {line}")
    if not split[False]:
        raise UserError(f"nothing to train on is left: {_words(left) or 'no frame has labels'}")
    if wanted.recompute:
        lines.append(_recomputed(split[False], campaign, wanted.recompute))
    if not wanted.keep_outliers:
        require_one_level([*before, *held_before, *split[False], *split[True]], named)
    kept = ", ".join(f"{len(split[h])} {'held out' if h else 'to train on'}" for h in split)
    lines.append(f"{wanted.subsystem}: {kept}; left out: {_words(left) or 'nothing'}; {checked}")
    _write(campaign, (before + split[False], held_before + split[True]), sources, left, checked)
    return lines


def _may_import(campaign: Campaign, subsystem: str) -> None:
    if campaign.last:
        raise UserError(
            f"{campaign.folder}: has begun (iteration {campaign.last:03d}); labels are imported "
            "before the first decision: make a new campaign of the same task with planner init"
        )
    names = [s.name for s in campaign.task.subsystems]
    if subsystem not in names:
        raise UserError(f"--subsystem {subsystem}: task.yaml has {', '.join(names)}")


def _earlier(campaign: Campaign) -> Sources:
    return sources_of(campaign) or Sources(files=[], left_out={}, method_by="")


def _earlier_frames(campaign: Campaign, name: str) -> list[Atoms]:
    path = imported_file(campaign.folder / "iterations", name)
    return dataset.read(path) if path.exists() else []


def _sha256(path: Path) -> str:
    """Of a file's bytes; of a folder's files in the order of their names."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _frames(path: Path, reading: Reading, subsystem: str) -> list[Atoms]:
    """The frames with nothing in `info` but where they come from."""
    source, frames = _sha256(path)[:16], []
    for number, atoms in enumerate(reading.frames):
        info: dict[str, Any] = {"subsystem": subsystem, "source": source, "frame": number}
        for key in ("group", "config_type"):
            if isinstance(atoms.info.get(key), str):
                info["group"] = atoms.info[key][:64]
        clean = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=info)
        for name in KEPT:
            if name in atoms.arrays and atoms.arrays[name].any():
                clean.set_array(name, atoms.arrays[name])
        clean.calc = atoms.calc
        if clean.calc is not None:
            clean.calc.atoms = clean.copy()
        frames.append(clean)
    return frames


def _sound(
    frames: list[Atoms],
    campaign: Campaign,
    left: Counter[str],
    earlier: tuple[dict[str, Atoms], dict[str, str]],
    wanted: Wanted,
) -> list[Atoms]:
    """The frames that may be labels; what is not is counted, what would be a guess is refused.

    earlier: frames by their geometry, names of files by their hash.
    """
    by_digest, named = earlier
    strange = sorted({s for a in frames for s in a.symbols} - set(campaign.task.species))
    if strange:
        raise UserError(
            f"element {', '.join(strange)} is not in task.yaml's species "
            f"({', '.join(campaign.task.species)}); add it there before the first decision"
        )
    _lengths(frames)
    kept = []
    for atoms in frames:
        results = {} if atoms.calc is None else atoms.calc.results
        digest = _digest(atoms)
        if "energy" not in results or "forces" not in results:
            left["without-energy-or-forces"] += 1
        elif np.linalg.norm(results["forces"], axis=1).max() > campaign.config.reference.max_force:
            left["force-above-max_force"] += 1
        elif digest in by_digest:
            _same_label(by_digest[digest], atoms, named)
            left["duplicate"] += 1
        else:
            by_digest[digest] = atoms
            kept.append(atoms)
    odd = set() if wanted.keep_outliers else _energy_outliers(kept)
    left["energy-outlier"] += len(odd)
    left += Counter()  # drops the zeros
    return [a for k, a in enumerate(kept) if k not in odd]


def _digest(atoms: Atoms) -> str:
    """Of a geometry: elements, cell and positions to within SAME."""
    geometry = (atoms.cell.array, atoms.positions)
    arrays = (atoms.numbers, atoms.pbc, *((a / SAME).round() + 0.0 for a in geometry))
    joined = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)
    return hashlib.sha256(joined).hexdigest()


def _same_label(one: Atoms, other: Atoms, named: dict[str, str]) -> None:
    """UserError for two energies of one geometry: not one method, or not one calculation."""
    energies = [a.calc.results["energy"] / len(a) for a in (one, other)]
    if abs(energies[0] - energies[1]) > 1e-3:
        places = " and ".join(
            f"frame {a.info['frame']} of {named[a.info['source']]}" for a in (one, other)
        )
        raise UserError(
            f"{places}: one geometry with {energies[0]:.4f} and {energies[1]:.4f} eV/atom; they "
            "come of different methods: import one of them"
        )


def _lengths(frames: list[Atoms]) -> None:
    """UserError where the shortest distances of most frames are no lengths in Å."""
    ratios = []
    for atoms in frames[:: max(1, len(frames) // 20)]:
        radii = covalent_radii[atoms.numbers]
        near = pairs(atoms, 2 * FAR * radii.max(initial=0))
        if len(near.i):
            ratios.append((near.distance / (radii[near.i] + radii[near.j])).min())
        elif len(atoms) > 1:
            ratios.append(np.inf)
    ratio = float(np.median(ratios)) if ratios else 1.0
    if not TOO_CLOSE <= ratio <= FAR:
        raise UserError(
            f"shortest distances are {ratio:.2f} of the covalent radii's sum: these are no lengths "
            "in Å; say their unit with --units length=UNIT"
        )


def _energy_outliers(frames: list[Atoms]) -> set[int]:
    """Far from all others of the same composition (per formula unit), in eV/atom."""
    groups: dict[str, list[int]] = {}
    for k, atoms in enumerate(frames):
        groups.setdefault(atoms.symbols.formula.reduce()[0].format("hill"), []).append(k)
    odd: set[int] = set()
    for members in groups.values():
        energies = np.array([frames[k].calc.results["energy"] / len(frames[k]) for k in members])
        away = np.abs(energies - np.median(energies))
        odd |= {members[k] for k in outliers(away, 20.0) if away[k] > ENERGY_OUTLIER}
    return odd


def _held_out(frames: list[Atoms], fraction: float, elsewhere: bool) -> list[Atoms]:
    """The last of each group; none where files of their own are held out."""
    if elsewhere or not fraction:
        return []
    groups: dict[str, list[Atoms]] = {}
    for atoms in frames:
        groups.setdefault(atoms.info.get("group", ""), []).append(atoms)
    last = [a for g in groups.values() for a in g[len(g) - int(fraction * len(g)) :]]
    return last or frames[len(frames) - (len(frames) > 1) :]


def _method(files: dict[Path, Reading], campaign: Campaign, wanted: Wanted) -> str:
    """How the labels are known to be those of one method and of the reference; else UserError."""
    one_method(files, _earlier(campaign).files, kpoints=not wanted.same_method)
    if wanted.alone:
        return "method: compared with nothing, the campaign is made of these labels"
    if wanted.same_method:
        return "method: the reference's, as the user says"
    faults = unlike(files, campaign.config.reference)
    if faults and not wanted.recompute:
        raise UserError(
            f"{faults}; labels of two methods do not mix: compare with --recompute N, or say "
            "--same-method"
        )
    if wanted.recompute:
        return "method: recomputed"
    silent = ", ".join(untold(files))
    return "method: as reference in the file's settings" + (
        f", but for k-points, which {silent} does not tell" if silent else ""
    )


def _recomputed(frames: list[Atoms], campaign: Campaign, count: int) -> str:
    """A few frames by the reference; UserError where they differ by more than the targets."""
    from atomistics.reference.methods import label, reference_calculator

    targets, reference = campaign.task.targets, campaign.config.reference
    chosen = [
        frames[k] for k in np.linspace(0, len(frames) - 1, min(count, len(frames)), dtype=int)
    ]
    calculator = reference_calculator(reference, campaign.folder)
    energies, forces = [], []
    for atoms in chosen:
        try:
            new = label(atoms, calculator).calc.results
        except (UserError, RuntimeError) as error:
            raise UserError(f"--recompute: {reference.method} gave no label: {error}") from None
        old = atoms.calc.results
        energies.append(abs(new["energy"] - old["energy"]) / len(atoms))
        forces.append(np.abs(new["forces"] - old["forces"]).mean())
    agreement = (
        f"{len(chosen)} frames recomputed with {reference.method}: energy differs by "
        f"{np.mean(energies):.4f} eV/atom, forces by {np.mean(forces):.4f} eV/Å"
    )
    if np.mean(energies) > targets.energy_mae or np.mean(forces) > targets.force_mae:
        raise UserError(f"{agreement}: more than the targets; these labels are of another method")
    return agreement


def _write(
    campaign: Campaign,
    frames: tuple[list[Atoms], list[Atoms]],
    sources: list[Source],
    left: Counter[str],
    method_by: str,
) -> None:
    folder = campaign.iteration(0)
    earlier = _earlier(campaign)
    counts = [Count(kind=k, count=n) for k, n in sorted(left.items())]
    subsystem = sources[0].subsystem
    left_out = earlier.left_out | {subsystem: [*earlier.left_out.get(subsystem, []), *counts]}
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for name, held in zip(("dataset", "held_out"), frames, strict=True):
        dataset.write(folder / FOLDER / f"{name}.h5", held)
    together = Sources(files=[*earlier.files, *sources], left_out=left_out, method_by=method_by)
    write_record(folder / FOLDER / "sources.yaml", together)
    labels = Counter(a.info["subsystem"] for a in frames[0])
    groups = [
        SelectGroupResult(
            subsystem=name,
            candidates=count + sum(c.count for c in left_out.get(name, [])),
            rejected=left_out.get(name, []),
            reference_calls=0,
            labels=count,
            failed=[],
        )
        for name, count in labels.items()
    ]
    digest = _sha256(folder / FOLDER / "dataset.h5")
    state = start(campaign.task)
    changed = {
        "datasets": [DatasetRecord(id="d000", groups=groups, sha256=digest)],
        "subsystems": state.subsystems_with(state.labels_with(groups)),
    }
    write_record(folder / "state.yaml", state.model_copy(update=changed))


def _words(left: Counter[str]) -> str:
    return ", ".join(f"{kind} ({count})" for kind, count in sorted(left.items()))
