"""About how many atoms planned structures have, told with what they cost before any is built.

Crystals and slabs are cut as they will be, which takes a moment; what is packed between or over
them, which takes long, is counted by density, cross-section and thickness. What cannot be told
without building (databases) is left out.
"""

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from atomistics.builders.building import build
from atomistics.builders.families import PARAMETERS
from atomistics.builders.layers import plane
from atomistics.errors import UserError
from atomistics.formulas import atoms_of_formula, composition, mass
from atomistics.units import GRAMS_PER_CM3, PER_LITRE
from campaign.files import canonical_json
from preparation.structure_plan import FILE, StructurePlan

BEYOND = 2.5  # times the atoms asked for: told with what it costs
WIDTH = 10.0  # Å, of a stack without crystals


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
    whole numbers: exact for crystals and slabs, good to a tenth where something is packed
    """
    sizes: dict[str, int] = {}
    for category in plan.categories:
        for variant in category.variants:
            record = variant.parameters.model_dump(mode="json", exclude_none=True)
            try:
                number = _atoms(record, sizes, str(folder))
            except (UserError, KeyError):  # the builder says what is wrong; the others would be so
                break
            if number:
                sizes[variant.id] = round(number)
    return sizes


def _atoms(record: dict[str, Any], built: dict[str, int], folder: str) -> float:
    """Atoms of a record of one family; `built` those of the structures it may rest on."""
    of_family = {
        "solid": _solid,
        "solid-surface": lambda r, _, f: len(_made(r, f)),
        "cluster": lambda r, _, f: len(_made(r, f)),
        "solid-solid": _on_crystal,
        "solid-molecule": _wetted,
        "liquid-liquid": lambda r, *_: sum(_film(p, r["width_angstrom"] ** 2) for p in r["phases"]),
        "stack": _stack,
    }
    return of_family.get(record["family"], _box)(record, built, folder)


def _made(record: dict[str, Any], folder: str) -> Atoms:
    """A structure in which nothing is packed, as it will be built."""
    return _of_record(canonical_json(record), folder)


@cache
def _of_record(record: str, folder: str) -> Atoms:
    return build(PARAMETERS.validate_python(json.loads(record)), 0, Path(folder))


def _slab(record: dict[str, Any], folder: str) -> tuple[int, float]:
    """Atoms of a slab, and its cross-section in Å^2."""
    slab = _made({**record, "family": "solid-surface", "vacuum_angstrom": 0.0}, folder)
    return len(slab), float(abs(np.linalg.det(plane(slab))))


def _solid(record: dict[str, Any], built: dict[str, int], folder: str) -> float:
    del built
    if not record.get("ordering") and "materials_project" not in record:
        return len(_made(record, folder))
    return float(record.get("atoms", 100)) * (1.5 if record.get("further_repeats") else 1.0)


def _wetted(record: dict[str, Any], built: dict[str, int], folder: str) -> float:
    """A slab under a liquid, or with a few molecules on it."""
    del built
    atoms, area = _slab(record["surface"], folder)
    return atoms + (_film(record["liquid"], area) if record.get("liquid") else 0.0)


def _on_crystal(record: dict[str, Any], built: dict[str, int], folder: str) -> float:
    """A film, a glass, another grain or a particle on a slab."""
    if record.get("film") or record.get("grain"):
        return len(_made(record, folder))
    atoms, area = _slab(record["substrate"], folder)
    if record.get("amorphous"):
        return atoms + _film(record["amorphous"], area)
    particle = record.get("particle")
    return atoms + (_atoms(particle, built, folder) if isinstance(particle, dict) else 0.0)


def _stack(record: dict[str, Any], built: dict[str, int], folder: str) -> float:
    """The first crystal sets the cross-section; others are brought to it."""
    atoms, area = 0.0, 0.0
    contents = [layer.get("content", {}) for layer in record["layers"]]
    for slab in (content for content in contents if content.get("family") == "solid-surface"):
        number, own = _slab(slab, folder)
        area = area or own
        atoms += number * area / own
    area = area or WIDTH**2
    for layer, content in zip(record["layers"], contents, strict=True):
        if layer.get("thickness_angstrom"):
            thick = {**content, "thickness_angstrom": layer["thickness_angstrom"]}
            atoms += _film(thick, area)
        elif content.get("family") != "solid-surface":
            atoms += built.get(layer.get("structure", ""), 0) or _box(content, built, folder)
    return atoms


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


def _film(mixture: dict[str, Any], area: float) -> float:
    """A packed layer: as thick as asked for, or as one formula unit of its solute takes."""
    parts = [(share, content) for share, content in _contents(mixture) if share]
    grams = sum(share * mass(content) for share, content in parts)
    per_volume = sum(share * content.total() for share, content in parts) / grams
    per_volume *= mixture["density_g_cm3"] / GRAMS_PER_CM3
    dissolved = [p["molarity_mol_l"] for p in mixture["components"] if p.get("molarity_mol_l")]
    least = 1 / (PER_LITRE * min(dissolved)) if dissolved else 0.0
    return float(per_volume * max(area * mixture["thickness_angstrom"], least))


def _box(record: dict[str, Any], built: dict[str, int], folder: str) -> float:
    """A mixture alone, or chains with what is in them."""
    del built, folder
    if record.get("repeat_unit"):
        unit = composition(record["repeat_unit"].replace("[*]", ""))[0].total() - 2
        return float(record["chains"] * (unit * record["degree_of_polymerisation"] + 2))
    if record.get("atoms"):
        return float(record["atoms"])
    return float(sum(share * content.total() for share, content in _contents(record)))
