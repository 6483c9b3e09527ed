"""How far labels are from those of finer settings, on the campaign's structures.

Every structure is labelled as displaced twice, since forces and differences of energies are what a
potential learns; one setting varies at a time, the others stand as configured.
"""

import copy
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from pydantic import Field

from atomistics.contract import Strict
from atomistics.deformation import rattle
from atomistics.reference.catalog import Settings, recipe_of
from atomistics.reference.convergence import LabelFailedError
from atomistics.reference.launching import core_seconds
from atomistics.reference.methods import label, reference_calculator
from atomistics.reference.outputs import input_digest
from atomistics.reference.per_structure import mesh_for
from atomistics.structure_index import read_index
from atomistics.structures import load
from campaign.config import Reference
from campaign.errors import UserError
from campaign.files import parse, read_json, write_text
from campaign.folder import Campaign

AMPLITUDES = (0.05, 0.15)  # Å, of the two displaced copies of a structure
FINER = (0.6, 0.8, 1.0, 1.3, 1.7)  # times what is configured, where more is finer
SHARE = 0.1  # of the targets of energy and forces, that the settings may take


class Knob(NamedTuple):
    """Where a setting stands among the options, its unit, whether larger is finer."""

    path: str
    unit: str
    rising: bool


KNOBS: Mapping[str, Mapping[str, Knob]] = {
    "Espresso": {
        "cutoff": Knob("input_data.system.ecutwfc", "Ry", True),
        "kpoints": Knob("kspacing", "1/Å", False),
        "smearing": Knob("input_data.system.degauss", "Ry", False),
    },
    "Vasp": {
        "cutoff": Knob("encut", "eV", True),
        "kpoints": Knob("kspacing", "1/Å", False),
        "smearing": Knob("sigma", "eV", False),
    },
    "CP2K": {"cutoff": Knob("cutoff", "eV", True), "kpoints": Knob("kspacing", "1/Å", False)},
    "GPAW": {
        "cutoff": Knob("mode.ecut", "eV", True),
        "kpoints": Knob("kpts.density", "Å", True),
        "smearing": Knob("occupations.width", "eV", False),
    },
}


class Point(Strict):
    """One value of a setting; errors against the finest value, None where a label failed."""

    value: float
    energy: float | None = Field(default=None, description="of differences, eV/atom")
    forces: float | None = Field(default=None, description="mean of components, eV/Å")
    stress: float | None = Field(default=None, description="largest component, GPa")
    core_seconds: float = Field(description="of a call")
    failure: str | None = None


class Series(Strict):
    """A setting from coarse to fine."""

    name: str
    path: str
    unit: str
    configured: float | None
    points: list[Point]
    chosen: float | None = Field(
        description="the coarsest whose errors, and those of all finer ones, are within tolerance"
    )


class Convergence(Strict):
    """converge/result.json."""

    method: str
    structures: list[str]
    tolerances: dict[str, float]
    series: list[Series]


def knobs(reference: Reference, asked: Mapping[str, Sequence[float]]) -> dict[str, Knob]:
    """The settings to vary by name: those asked for, else all that the configuration holds.

    Raises
    ------
    UserError
        for a name that is neither one of the method's nor a path among its options.
    """
    own = KNOBS.get(recipe_of(reference).calculator.rpartition(":")[2], {})
    for name in asked:
        if name not in own and _at(reference.options, name) is None:
            raise UserError(
                f"config.yaml: reference.options: no {name} among them; vary one of"
                f" {', '.join(own) or 'its numbers'}, or PATH.TO.OPTION=V1,V2,... of one that is"
                " there"
            )
    wanted = asked or {name: () for name, k in own.items() if _at(reference.options, k.path)}
    if not wanted:
        raise UserError(
            f"config.yaml: reference.options: no cutoff, k-point density or smearing of"
            f" {reference.title} to vary; name one: --vary PATH.TO.OPTION=V1,V2,..., finest last"
        )
    return {
        name: own[name] if name in own else Knob(name, "", asked[name][-1] > asked[name][0])
        for name in wanted
    }


def _at(options: Mapping[str, Any], path: str) -> float | None:
    value: Any = options
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _with(options: Mapping[str, Any], path: str, value: float) -> dict[str, Any]:
    """`options` with another value; a density cutoff that is given keeps its ratio."""
    changed = copy.deepcopy(dict(options))
    _set(changed, path, value)
    return changed


def _set(options: dict[str, Any], path: str, value: float) -> None:
    *sections, key = path.split(".")
    for section in sections:
        options = options.setdefault(section, {})
    if key == "ecutwfc" and "ecutrho" in options:
        options["ecutrho"] = options["ecutrho"] * value / options[key]
    options[key] = value


def values_of(knob: Knob, configured: float | None) -> list[float]:
    """A series around the configured value, from coarse to fine."""
    if configured is None:
        raise UserError(f"reference.options: {knob.path} is not set; give values to it")
    factors = FINER if knob.rising else [1 / factor for factor in FINER]
    return [float(f"{configured * factor:.3g}") for factor in factors]


def converge(
    campaign: Campaign,
    asked: Mapping[str, Sequence[float]],
    structures: Sequence[str],
    stress: float,
    tell: Callable[[str], None],
) -> Convergence:
    """Label what is not labelled yet, compare, choose, and write converge/result.json.

    Parameters
    ----------
    campaign
        Its configured reference and structures are used; labels lie in converge/points.
    asked
        Setting -> values; none: those of the method, around what is configured.
    structures
        Ids; none: the smallest of each subsystem.
    stress
        Tolerance, GPa; those of energy and forces are a tenth of the targets'.
    tell
        Takes a line a label.
    """
    reference, targets = campaign.config.reference, campaign.task.targets
    names = list(structures) or _smallest(campaign)
    frames = _frames(campaign, names)
    allowed = {"energy": SHARE * targets.energy_mae, "forces": SHARE * targets.force_mae}
    allowed["stress"] = stress
    series = []
    for name, knob in knobs(reference, asked).items():
        configured = _at(reference.options, knob.path)
        values = sorted(set(asked.get(name) or values_of(knob, configured)))
        values = values if knob.rising else values[::-1]
        if name == "kpoints":
            values = of_other_meshes(reference, knob, values, frames, tell)
        labels = {}
        for value in values:
            options = _with(reference.options, knob.path, value)
            title = f"{name} {value:g} {knob.unit}".strip()
            labels[value] = _labels(campaign, options, frames, title, tell)
        points = _points(labels)
        series.append(
            Series(
                name=name,
                path=knob.path,
                unit=knob.unit,
                configured=configured,
                points=points,
                chosen=_chosen(points, allowed),
            )
        )
    result = Convergence(
        method=reference.title, structures=names, tolerances=allowed, series=series
    )
    write_text(campaign.folder / "converge/result.json", result.model_dump_json(indent=1) + "\n")
    return result


def of_other_meshes(
    reference: Settings,
    knob: Knob,
    values: Sequence[float],
    frames: Sequence[Atoms],
    tell: Callable[[str], None],
) -> list[float]:
    """From coarse to fine without those that give every frame the mesh of one before.

    Such a value has no error against the other, which would look like a proof of both.

    Parameters
    ----------
    reference : as configured
    knob : sets the density of k-points
    values : from coarse to fine
    frames : that will be labelled
    tell : takes a line for each value left out

    Returns
    -------
    of each mesh the coarsest value, or the configured one
    """
    by_meshes: dict[tuple[Any, ...], float] = {}
    configured = _at(reference.options, knob.path)
    for value in values:
        options = _with(reference.options, knob.path, value)
        recipe = replace(recipe_of(reference), options=options)
        meshes = tuple(mesh_for(recipe, atoms) for atoms in frames)
        first = by_meshes.setdefault(meshes if None not in meshes else (value,), value)
        if first != value:
            kept = by_meshes[meshes] = value if value == configured else first
            tell(
                f"kpoints {first:g} and {value:g} {knob.unit} are one mesh here: {kept:g} is tried"
            )
    return list(by_meshes.values())


def stored(campaign: Campaign) -> Convergence | None:
    """What `planner converge` found in this campaign, if it was called."""
    path = campaign.folder / "converge/result.json"
    return parse(Convergence, read_json(path), str(path)) if path.is_file() else None


def _smallest(campaign: Campaign) -> list[str]:
    index = [s for s in read_index(campaign.folder / "structures") if not s.single_point]
    sizes = {s.id: len(load(s)) for s in index}
    subsystems = dict.fromkeys(s.subsystem for s in index)
    return [
        min((s.id for s in index if s.subsystem == name), key=lambda i: (sizes[i], i))
        for name in subsystems
    ]


def _frames(campaign: Campaign, names: Sequence[str]) -> list[Atoms]:
    index = {s.id: s for s in read_index(campaign.folder / "structures")}
    if missing := [name for name in names if name not in index]:
        raise UserError(f"structures/index.yaml: no structure {missing[0]}; name one of its ids")
    return [
        rattle(load(index[name]), amplitude, campaign.config.seed, copy)
        for name in names
        for copy, amplitude in enumerate(AMPLITUDES)
    ]


class _Label(NamedTuple):
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    atoms: int


def _labels(
    campaign: Campaign,
    options: dict[str, Any],
    frames: Sequence[Atoms],
    name: str,
    tell: Callable[[str], None],
) -> tuple[list[_Label], float, str | None]:
    """A label of each frame, core-seconds of a call, and the first failure; done ones are read."""
    settings = campaign.config.reference.model_copy(update={"options": options})
    calculator = reference_calculator(settings, campaign.folder)
    title, folder = settings.title, campaign.folder / "converge/points"
    folder.mkdir(parents=True, exist_ok=True)
    labels, seconds, failure = [], [], None
    for number, atoms in enumerate(frames, 1):
        path = folder / f"{input_digest(title, options, atoms)[:16]}.json"
        if not path.is_file():
            before = core_seconds()
            try:
                frame = label(atoms, calculator)
            except LabelFailedError as error:
                failure = failure or str(error)
                tell(f"{name}: frame {number} of {len(frames)}: {error}")
                continue
            results = {k: np.asarray(v).tolist() for k, v in frame.calc.results.items()}
            spent = round(core_seconds() - before, 2)
            write_text(path, json.dumps({**results, "core_seconds": spent}) + "\n")
        stored_label = read_json(path, "energy", "forces", "core_seconds")
        pull = stored_label.get("stress")
        seconds.append(stored_label["core_seconds"])
        tell(f"{name}: frame {number} of {len(frames)}: {seconds[-1]:.1f} core-s")
        labels.append(
            _Label(
                stored_label["energy"],
                np.array(stored_label["forces"]),
                None if pull is None else np.array(pull),
                len(atoms),
            )
        )
    calculator.close()
    return labels, float(np.mean(seconds)) if seconds else 0.0, failure


def _points(series: Mapping[float, tuple[list[_Label], float, str | None]]) -> list[Point]:
    """Errors of each value against the last, the finest; UserError where that one has none."""
    finest, (best, _, failure) = list(series.items())[-1]
    if failure:
        raise UserError(f"config.yaml: reference.options: the finest value {finest:g}: {failure}")
    points = []
    for value, (labels, seconds, failed) in series.items():
        errors = {} if failed else _errors(labels, best)
        points.append(Point(value=value, core_seconds=round(seconds, 2), failure=failed, **errors))
    return points


def _errors(labels: Sequence[_Label], best: Sequence[_Label]) -> dict[str, float]:
    energies = [
        abs((labels[k + 1].energy - labels[k].energy) - (best[k + 1].energy - best[k].energy))
        / labels[k].atoms
        for k in range(0, len(labels), 2)
    ]
    forces = [np.abs(a.forces - b.forces).mean() for a, b in zip(labels, best, strict=True)]
    pulls = [
        np.abs(a.stress - b.stress).max() / units.GPa
        for a, b in zip(labels, best, strict=True)
        if a.stress is not None and b.stress is not None
    ]
    errors = {"energy": float(np.mean(energies)), "forces": float(np.mean(forces))}
    return errors | ({"stress": float(max(pulls))} if pulls else {})


def _chosen(points: Sequence[Point], allowed: Mapping[str, float]) -> float | None:
    """None where only the finest value itself, whose errors are 0 by definition, is within."""
    chosen = None
    for point in reversed(points[:-1]):
        errors = {key: getattr(point, key) for key in allowed}
        if point.failure or any(e is not None and e > allowed[k] for k, e in errors.items()):
            break
        chosen = point.value
    return chosen


def render(result: Convergence) -> str:
    """A table a setting."""
    copies = " and ".join(f"{amplitude:g}" for amplitude in AMPLITUDES)
    names, bounds = ", ".join(result.structures), result.tolerances
    lines = [f"{result.method} on {names}, displaced by {copies} Å; against the finest value"]
    within = f"{1e3 * bounds['energy']:.3g} meV/atom, {1e3 * bounds['forces']:.3g} meV/Å"
    for one in result.series:
        outcome = "none but the finest: extend the series" if one.chosen is None else one.chosen
        lines.append(f"{one.name}: {one.path}, {one.unit}")
        lines.append(f"  {'value':>10} {'meV/atom':>10} {'meV/Å':>10} {'GPa':>8} {'core-s':>8}")
        lines += [_row(one, point) for point in one.points]
        lines.append(f"  within {within}, {bounds['stress']:g} GPa: {outcome}")
    return "\n".join(lines)


def _row(series: Series, point: Point) -> str:
    scales = ((point.energy, 1e3), (point.forces, 1e3), (point.stress, 1.0))
    energy, forces, stress = ("-" if e is None else f"{e * scale:.3g}" for e, scale in scales)
    marks = [word for word in ("configured", "chosen") if getattr(series, word) == point.value]
    remarks = "; ".join([*marks, *([point.failure[:80]] if point.failure else [])])
    cells = f"{point.value:>10g} {energy:>10} {forces:>10} {stress:>8} {point.core_seconds:>8.1f}"
    return f"  {cells}  {remarks}".rstrip()


def write_chosen(campaign: Campaign, result: Convergence) -> list[str]:
    """Put the chosen values into config.yaml, whose comments stay; the changes in words.

    Raises
    ------
    UserError
        once there are labels: one data set holds those of one quality.
    """
    from ruamel.yaml import YAML  # keeps comments and order, which PyYAML does not

    if campaign.finalized or campaign.pending:
        raise UserError(
            f"{campaign.folder}: has begun; labels of other settings do not fit those there are:"
            " `planner init` another campaign and write the values there"
        )
    yaml, path = YAML(), campaign.folder / "config.yaml"
    yaml.width = 100
    document = yaml.load(path.read_text())
    changes = []
    for one in result.series:
        if one.chosen is None or one.chosen == one.configured:
            continue
        _set(document["reference"]["options"], one.path, one.chosen)
        changes.append(f"{one.path}: {one.configured:g} -> {one.chosen:g} {one.unit}")
    if changes:
        stream = io.StringIO()
        yaml.dump(document, stream)
        write_text(path, stream.getvalue())
    return changes
