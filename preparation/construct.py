"""All structures of a plan: built, checked, indexed; one that fails never stops the others.

`structures/report.yaml` says of every structure what came of it and is written after each one, so
that an interrupted build goes on: what stands on disk as the plan has it is not built again.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import io

from atomistics import structure_index
from atomistics.analysis import checks
from atomistics.builders.building import build
from atomistics.builders.families import PARAMETERS, Parameters, table_family
from atomistics.yaml_files import format_yaml, read_yaml
from campaign.config import Config, Task
from campaign.errors import UserError
from campaign.files import canonical_json, sha256, write_text
from campaign.material import Phase
from preparation import phase_parameters
from preparation.pool import Order, built, outcome
from preparation.sizes import cost
from preparation.structure_plan import FILE, Category, StructurePlan, Variant, short

REPORT = "report.yaml"
FORMAT = 1
TRIED = 2  # structures of a category before it is given up


@dataclass(frozen=True)
class BuildSettings:
    """Where a plan is built: the task folder, its task and configuration, and how."""

    folder: Path
    task: Task
    config: Config
    workers: int = 2
    relax_steps: int = 0
    timeout: float = 900.0

    @property
    def structures(self) -> Path:
        """Folder of the structures."""
        return self.folder / "structures"


Tell = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """What a plan came to: what is left of plan and task, and a report entry a structure."""

    plan: StructurePlan
    task: Task
    report: dict[str, dict[str, Any]]


def construct(plan: StructurePlan, settings: BuildSettings, tell: Tell) -> Built:
    """Build what is missing, check everything, write index and report.

    The first structure of every category is tried before any other, and where it fails the next: a
    category of which both fail drops out, and so does one left with fewer than two structures.
    """
    plan.agree_with(settings.task)
    report = _built_before(settings)
    todo = [v for v in plan.structures if not _stands(plan, v, settings, report.get(v.id))]
    report = {v.id: report[v.id] for v in plan.structures if v not in todo}
    names = {v.id for v in todo}

    def make(variants: list[Variant]) -> None:
        for wave in _waves(variants):
            orders = [_order(plan, v, settings) for v in wave]
            for name, entry in built(orders, settings.workers, settings.timeout):
                report[name] = entry
                _write(settings, plan, report)
                outcome_ = entry.get("failure") or f"{entry['formula']}, {entry['atoms']} atoms"
                done = sum(n in report for n in names)
                tell(f"[{done}/{len(names)}] {name}: {entry['status']}: {outcome_}")

    for turn in range(TRIED):
        first = [
            c.variants[turn]
            for c in plan.categories
            if turn < len(c.variants) and not any(_sound(report, v) for v in c.variants[:turn])
        ]
        make([v for v in first if v in todo and v.id not in report])
    tried = {c.name for c in plan.categories if any(_sound(report, v) for v in c.variants)}
    left, task = without(plan, settings.task, {c.name for c in plan.categories} - tried)
    material = settings.task.material
    for line in _sizes(left, report, material.atoms if material else None):
        tell(f"of the first of each category, {line} (Ctrl-C keeps what is built)")
    make([v for v in left.structures if v in todo and v.id not in report])
    _mark_duplicates(left, settings, report)
    _write(settings, plan, report)
    poor = {c.name for c in left.categories if sum(_sound(report, v) for v in c.variants) < 2}
    left, task = without(left, task, poor)
    for category in plan.categories:
        if category not in left.categories and category.name not in {
            c.name for c in left.categories
        }:
            why = next(
                (
                    report[v.id]["failure"]
                    for v in category.variants
                    if report.get(v.id, {}).get("failure")
                ),
                "it rests on structures that are not there",
            )
            tell(f"warning: {category.name} drops out, its structures cannot be built: {why}")
    _write_index(left, settings, report)
    return Built(left, task, report)


def _sound(report: dict[str, dict[str, Any]], variant: Variant) -> bool:
    return report.get(variant.id, {}).get("status") == "ok"


def without(plan: StructurePlan, task: Task, names: set[str]) -> tuple[StructurePlan, Task]:
    """Plan and task without some categories, and without what is built on their structures.

    Where no target is left, the last stage becomes the target. UserError when nothing is left.
    """
    left = [c for c in plan.categories if c.name not in names]
    while True:
        ids = {v.id for c in left for v in c.variants}
        rests = [c for c in left if {n for v in c.variants for n in v.rests_on} <= ids]
        if len(rests) == len(left):
            break
        left = rests
    if not left:
        raise UserError(f"structures/{FILE}: nothing of it can be built; see {REPORT}")
    if len(left) == len(plan.categories):
        return plan, task
    if not any(c.role == "target" for c in left):
        last = left[-1].stage
        left = [c.model_copy(update={"role": "target"}) if c.stage == last else c for c in left]
    roles = {c.name: c.role for c in left}
    subsystems = [
        s.model_copy(update={"role": roles[s.name]}) for s in task.subsystems if s.name in roles
    ]
    return (
        plan.model_copy(update={"categories": left}),
        task.model_copy(update={"subsystems": subsystems}),
    )


def check_all(plan: StructurePlan, settings: BuildSettings) -> dict[str, dict[str, Any]]:
    """Every structure of the plan as it lies on disk, checked again; nothing is built."""
    report = _built_before(settings)
    for variant in plan.structures:
        path = settings.structures / f"{variant.id}.extxyz"
        before = report.get(variant.id, {})
        if not path.is_file():
            report[variant.id] = {**before, "status": "failed", "failure": "not built"}
            continue
        atoms = io.read(path)
        faults = checks.check(atoms, _asked(variant, settings))
        report[variant.id] = {**before, **outcome(atoms, faults)}
    _mark_duplicates(plan, settings, report)
    _write(settings, plan, report)
    return report


def _built_before(settings: BuildSettings) -> dict[str, dict[str, Any]]:
    path = settings.structures / REPORT
    data = read_yaml(path) if path.is_file() else {}
    entries = data.get("structures") if isinstance(data, dict) else None
    if not isinstance(entries, dict) and path.is_file():
        raise UserError(f"{path}: not a build report; remove it to build anew")
    return {name: dict(entry) for name, entry in (entries or {}).items()}


def _fingerprint(plan: StructurePlan, variant: Variant, settings: BuildSettings) -> str:
    """Hash of everything a structure follows from."""
    parameters = variant.parameters.model_dump(mode="json")
    files = {
        name: structure_index.digest(settings.folder / name)
        for name in _files(parameters)
        if (settings.folder / name).is_file()
    }
    asked = [settings.task.species, settings.config.mlp.cutoff, settings.relax_steps]
    return sha256(canonical_json([FORMAT, parameters, plan.seed_of(variant), files, asked]))


def _files(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("file"), str):
            yield value["file"]
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from _files(entry)


def _stands(
    plan: StructurePlan, variant: Variant, settings: BuildSettings, entry: dict[str, Any] | None
) -> bool:
    """Whether a structure is on disk just as the plan has it."""
    path = settings.structures / f"{variant.id}.extxyz"
    return bool(
        entry
        and entry.get("status") == "ok"
        and path.is_file()
        and entry.get("sha256") == structure_index.digest(path)
        and entry.get("fingerprint") == _fingerprint(plan, variant, settings)
    )


def _waves(variants: list[Variant]) -> list[list[Variant]]:
    """Structures that name an earlier one follow after all others, one by one."""
    named = [v for v in variants if _names(v.parameters.model_dump())]
    return [[v for v in variants if v not in named], *([v] for v in named)]


def _names(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_names, value))
    if not isinstance(value, dict):
        return False
    own = any(isinstance(value.get(key), str) for key in ("structure", "particle"))
    return own or any(map(_names, value.values()))


def _order(plan: StructurePlan, variant: Variant, settings: BuildSettings) -> Order:
    return Order(
        folder=settings.folder,
        name=variant.id,
        fingerprint=_fingerprint(plan, variant, settings),
        parameters=variant.parameters.model_dump(mode="json"),
        seed=plan.seed_of(variant),
        reference=settings.config.reference.model_dump(mode="json"),
        relax_steps=settings.relax_steps,
        asked=_asked(variant, settings),
    )


def _asked(variant: Variant, settings: BuildSettings) -> checks.Asked:
    parameters = variant.parameters.model_dump(mode="json", exclude_none=True)
    return checks.Asked(parameters, list(settings.task.species), settings.config.mlp.cutoff)


def _mark_duplicates(
    plan: StructurePlan, settings: BuildSettings, report: dict[str, dict[str, Any]]
) -> None:
    frames = [
        (v.id, io.read(settings.structures / f"{v.id}.extxyz"))
        for v in plan.variants
        if report.get(v.id, {}).get("status") == "ok"
    ]
    for name, twin in checks.duplicates(frames).items():
        report[name] |= {"status": "failed", "failure": f"the same as {twin}; vary its parameters"}


def _write(settings: BuildSettings, plan: StructurePlan, report: dict[str, dict[str, Any]]) -> None:
    for name, entry in report.items():
        path = settings.structures / f"{name}.extxyz"
        if entry["status"] == "ok" and path.is_file():
            entry["sha256"] = structure_index.digest(path)
    ordered = {v.id: report[v.id] for v in plan.structures if v.id in report}
    text = format_yaml({"format": FORMAT, "structures": ordered})
    write_text(settings.structures / REPORT, text)


def _write_index(
    plan: StructurePlan, settings: BuildSettings, report: dict[str, dict[str, Any]]
) -> None:
    entries = [
        structure_index.Structure(
            id=variant.id,
            file=f"{variant.id}.extxyz",
            subsystem=category.name,
            family=table_family(variant.parameters),
            held_out=variant.id == _held_out(category, report),
            description=variant.description,
            parameters=short(variant.parameters),
            seed=plan.seed_of(variant),
            fixed_cell=_open(variant.parameters) or None,
            single_point=(variant in category.single_points) or None,
        )
        for category in plan.categories
        for variant in [*category.variants, *category.single_points]
        if report.get(variant.id, {}).get("status") == "ok"
    ]
    structure_index.write_index(settings.structures, entries)


def _open(parameters: Parameters) -> bool:
    """Whether a barostat would do harm: nothing periodic, or a vacuum that it would close."""
    return parameters.family == "cluster" or bool(getattr(parameters, "vacuum_angstrom", None))


def _held_out(category: Category, report: dict[str, dict[str, Any]]) -> str | None:
    """The variant held out; where it failed, the last that stands."""
    ok = [v for v in category.variants if report.get(v.id, {}).get("status") == "ok"]
    chosen = next((v for v in ok if v.held_out), ok[-1] if ok else None)
    return chosen.id if chosen else None


def elements_of(folder: Path, phases: list[Phase]) -> set[str]:
    """Elements of phases that a file or a database describes, by building them."""
    elements: set[str] = set()
    for phase in phases:
        parameters = {"family": "other", "file": phase.file}
        if phase.kind != "other":
            parameters = {"family": "solid", **phase_parameters.crystal(phase)}
        atoms = build(PARAMETERS.validate_python(parameters), 0, folder)
        elements |= set(atoms.get_chemical_symbols())
    return elements


def summary(
    plan: StructurePlan, report: dict[str, dict[str, Any]], asked: int | None = None
) -> str:
    """A line a category, a line a failure; sizes far beyond the `asked` atoms, and notes."""
    lines = [f"{'category':<26}{'built':>6}{'failed':>8}{'atoms':>12}  held out"]
    for category in plan.categories:
        sizes = sorted(report[v.id]["atoms"] for v in category.variants if _sound(report, v))
        span = f"{sizes[0]} to {sizes[-1]}" if sizes else "none"
        failed = len(category.variants) - len(sizes)
        held_out = _held_out(category, report) or "none"
        lines.append(f"{category.name:<26}{len(sizes):>6}{failed:>8}{span:>12}  {held_out}")
    lines += [
        f"failed: {v.id}: {report.get(v.id, {}).get('failure', 'not built')}"
        for v in plan.structures
        if report.get(v.id, {}).get("status") != "ok"
    ]
    return "\n".join([*lines, *_sizes(plan, report, asked), *_notes(plan, report)])


def _sizes(
    plan: StructurePlan, report: dict[str, dict[str, Any]], asked: int | None
) -> Iterator[str]:
    """What the largest structures that were built cost a plane-wave reference."""
    sizes = {v.id: report[v.id]["atoms"] for v in plan.variants if _sound(report, v)}
    yield from cost(sizes, asked, about=False)


def _notes(plan: StructurePlan, report: dict[str, dict[str, Any]]) -> list[str]:
    """Notes that differ in their figures alone make one line."""
    alike: dict[str, list[tuple[str, str]]] = {}
    for variant in plan.structures:
        for note in report.get(variant.id, {}).get("notes", []):
            alike.setdefault(re.sub(r"[0-9.]+", "", note), []).append((variant.id, note))
    return [
        f"note: {same[0][0]}"
        + (f" and {len(same) - 1} more" if same[1:] else "")
        + f": {same[0][1]}"
        for same in alike.values()
    ]
