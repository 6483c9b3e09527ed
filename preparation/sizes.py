"""About how many atoms planned structures have, told with what they cost before any is built.

From densities, widths and thicknesses; whole cells and layers make slabs some tenths larger or
smaller. What cannot be told without building (databases, cells of unknown shape) is left out.
"""

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from math import pi
from pathlib import Path
from typing import Any

from atomistics.builders.building import build
from atomistics.builders.crystals.ordering import occupied_density
from atomistics.builders.families import PARAMETERS
from atomistics.errors import UserError
from atomistics.formulas import atoms_of_formula, composition, mass
from atomistics.units import GRAMS_PER_CM3, PER_LITRE
from campaign.files import canonical_json
from preparation.structure_plan import FILE, StructurePlan

BEYOND = 2.5  # times the atoms asked for: told with what it costs
WIDER, THICKER = 2.3, 1.5  # Å, what whole cells add to a width, whole layers to a thickness
SHEET = 5.0  # Å of a layered crystal's sheet
MATCHED = 12.0  # Å, width of a cell common to two crystals
SOURCE = ("space_group", "setting", "lattice", "sites", "prototype", "formula", "file", "ordering")


def cost(sizes: dict[str, int], asked: int | None, about: bool) -> Iterator[str]:
    """What the largest structures cost a plane-wave reference, beside one of the size asked for."""
    beyond = {name: n for name, n in sizes.items() if asked and n > BEYOND * asked}
    if asked and beyond:
        largest = max(beyond, key=lambda name: beyond[name])
        times = (beyond[largest] / asked) ** 3
        yield (
            f"sizes{' expected' if about else ''}: {len(beyond)} of {len(sizes)} structures have"
            f" more than {BEYOND:g} times the {asked} atoms asked for; a call of the largest"
            f" ({largest}, {'about ' if about else ''}{beyond[largest]} atoms) costs plane-wave DFT"
            f" about {times:.0f} times one of {asked}: fewer atoms, or take it out of"
            f" structures/{FILE}"
        )


def expected(plan: StructurePlan, folder: Path) -> dict[str, int]:
    """Atoms of each structure by its id, as far as they can be told.

    Parameters
    ----------
    plan : what shall be built
    folder : of the task, whose files the plan may name

    Returns
    -------
    whole numbers, good to some tenths
    """
    sizes: dict[str, int] = {}
    for variant in plan.variants:
        record = variant.parameters.model_dump(mode="json", exclude_none=True)
        try:
            number = _atoms(record, sizes, str(folder))
        except (UserError, KeyError):  # the builder says what is wrong
            continue
        if number:
            sizes[variant.id] = round(number)
    return sizes


def _atoms(record: dict[str, Any], built: dict[str, int], folder: str) -> float:
    """Atoms of a record of one family; `built` those of the structures it may rest on."""
    of_family = {
        "solid": _solid,
        "solid-surface": lambda r, _, f: _slab(r, _width(r), f),
        "cluster": lambda r, _, f: pi / 6 * r["diameter_angstrom"] ** 3 * _density(r, f),
        "solid-solid": _on_crystal,
        "solid-molecule": _wetted,
        "liquid-liquid": lambda r, *_: sum(_film(p, r["width_angstrom"]) for p in r["phases"]),
        "stack": _stack,
    }
    return of_family.get(record["family"], _box)(record, built, folder)


def _solid(record: dict[str, Any], built: dict[str, int], folder: str) -> float:
    del built
    if not record.get("ordering") and "materials_project" not in record:
        return len(build(PARAMETERS.validate_python(record), 0, Path(folder)))
    return float(record.get("atoms", 100)) * (1.5 if record.get("further_repeats") else 1.0)


def _wetted(record: dict[str, Any], built: dict[str, int], folder: str) -> float:
    """A slab under a liquid, or with a few molecules on it."""
    del built
    slab, film = record["surface"], record.get("liquid")
    added = _film(film, _width(slab)) if film else 0.0
    return _slab(slab, _width(slab), folder) + added


def _on_crystal(record: dict[str, Any], built: dict[str, int], folder: str) -> float:
    """A film, a glass, another grain or a particle on a slab."""
    below, above = record["substrate"], record.get("film")
    width = MATCHED if above else _width(below)
    atoms = _slab(below, width, folder)
    if above:
        return atoms + _slab(above, width, folder)
    if record.get("amorphous"):
        return atoms + _film(record["amorphous"], width)
    if isinstance(record.get("particle"), dict):
        return atoms + _atoms(record["particle"], built, folder)
    return 2 * atoms if record.get("grain") else atoms


def _stack(record: dict[str, Any], built: dict[str, int], folder: str) -> float:
    contents = [layer.get("content", {}) for layer in record["layers"]]
    slabs = [content for content in contents if content.get("family") == "solid-surface"]
    width = _width(slabs[0]) if slabs else 10.0
    atoms = 0.0
    for layer, content in zip(record["layers"], contents, strict=True):
        if content.get("family") == "solid-surface":
            atoms += _slab(content, width, folder)
        elif layer.get("thickness_angstrom"):
            atoms += _film({**content, "thickness_angstrom": layer["thickness_angstrom"]}, width)
        else:
            atoms += built.get(layer.get("structure", ""), 0) or _box(content, built, folder)
    return atoms


def _width(slab: dict[str, Any]) -> float:
    """Å, of the square as large as a slab's cross-section."""
    width = slab.get("min_width_angstrom", 8.0) + WIDER
    return float(width * (1.15 if slab.get("further_repeats") else 1.0))


def _slab(slab: dict[str, Any], width: float, folder: str) -> float:
    thick = slab["sheets"] * SHEET if slab.get("sheets") else slab["thickness_angstrom"] + THICKER
    return _density(slab, folder) * width**2 * thick


def _density(record: dict[str, Any], folder: str) -> float:
    """Atoms an Å^3 of a crystal."""
    source = {key: record[key] for key in SOURCE if key in record}
    return _of_source(canonical_json(source), folder)


@cache
def _of_source(source: str, folder: str) -> float:
    record = json.loads(source)
    if record.get("ordering"):
        return occupied_density(record["file"], Path(folder))
    atoms = build(PARAMETERS.validate_python({"family": "solid", **record}), 0, Path(folder))
    return len(atoms) / atoms.get_volume()


def _contents(mixture: dict[str, Any]) -> list[tuple[float, Counter[str]]]:
    """Shares by moles (or counts) and atoms of what sets a mixture's density."""
    return [
        (
            part.get("count") or part.get("mole_ratio") or 0.0,
            atoms_of_formula(part["formula"])
            if part.get("formula")
            else composition(part["smiles"])[0],
        )
        for part in mixture["components"]
    ]


def _film(mixture: dict[str, Any], width: float) -> float:
    """A packed layer: as thick as asked for, or as one formula unit of its solute takes."""
    parts = [(share, content) for share, content in _contents(mixture) if share]
    grams = sum(share * mass(content) for share, content in parts)
    per_volume = sum(share * content.total() for share, content in parts) / grams
    per_volume *= mixture["density_g_cm3"] / GRAMS_PER_CM3
    dissolved = [p["molarity_mol_l"] for p in mixture["components"] if p.get("molarity_mol_l")]
    least = 1 / (PER_LITRE * min(dissolved)) if dissolved else 0.0
    return float(per_volume * max(width**2 * mixture["thickness_angstrom"], least))


def _box(record: dict[str, Any], built: dict[str, int], folder: str) -> float:
    """A mixture alone, or chains with what is in them."""
    del built, folder
    if record.get("repeat_unit"):
        unit = composition(record["repeat_unit"].replace("[*]", ""))[0].total() - 2
        return float(record["chains"] * (unit * record["degree_of_polymerisation"] + 2))
    if record.get("atoms"):
        return float(record["atoms"])
    return float(sum(share * content.total() for share, content in _contents(record)))
