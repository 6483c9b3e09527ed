"""Layers of any kind in one cell, such as electrode, inorganic, organic layer and electrolyte."""

from pathlib import Path

import numpy as np
from ase import Atoms

from atomistics.bonded import whole
from atomistics.builders.layers import fitted, layered, plane, stacked
from atomistics.builders.matching import widened
from atomistics.builders.mixtures.packing import layer, pack
from atomistics.builders.mixtures.sizing import Batch, batch, realized
from atomistics.builders.polymer import build as polymer
from atomistics.builders.polymer.parameters import Polymer
from atomistics.builders.solid_surface import build as solid_surface
from atomistics.builders.solid_surface.build import cut, surface_cell
from atomistics.builders.solid_surface.parameters import SolidSurface
from atomistics.builders.sources import built
from atomistics.builders.stack.parameters import Layer, Stack
from atomistics.errors import UserError


def build(parameters: Stack, rng: np.random.Generator, folder: Path) -> Atoms:
    """Crystals and built structures first, as they set the cross-section; then what is packed.

    Parameters
    ----------
    parameters : layers in order, gap and vacuum (Å), strain allowed (percent)
    rng : places and substitutions
    folder : of the task

    Returns
    -------
    N atoms, Å, periodic, with the array `layer` (N,)

    Raises
    ------
    UserError
        No layer is a solid, or one does not fit the cross-section.
    """
    solid: dict[int, Atoms] = {}
    for n, wanted in enumerate(parameters.layers):
        if wanted.content is None or isinstance(wanted.content, SolidSurface):
            solid[n] = _solid(wanted, rng, folder, first=not solid)
    if not solid:
        raise UserError("layers: none is a solid-surface or built; use the family liquid-liquid")
    most = parameters.max_strain_percent / 100
    first, *others = solid.values()
    solid[min(solid)] = first = widened(first, [plane(other) for other in others], most)
    target = plane(first)
    made = []
    for n, wanted in enumerate(parameters.layers):
        if n == min(solid):
            made.append(solid[n])
        elif n in solid:
            film = fitted(solid[n], target, most, wanted.name)
            if isinstance(wanted.content, SolidSurface):
                once = {"repeat": [1, 1], "min_width_angstrom": None}
                film = solid_surface.widened(film, wanted.content.model_copy(update=once), rng)
            film.positions += (
                list(solid).index(n) * np.array(parameters.registry) @ film.cell.array[:2]
            )
            made.append(film)
        else:
            made.append(_packed(wanted, target, rng, folder))
    names = [wanted.name for wanted in parameters.layers]
    bonded = [
        not (isinstance(wanted.content, SolidSurface) and (wanted.content.sheets or layered(one)))
        for wanted, one in zip(parameters.layers, made, strict=True)
    ]
    atoms = stacked(
        made,
        parameters.gap_angstrom,
        parameters.vacuum_angstrom,
        names,
        bonded=bonded,
        beyond=parameters.beyond_radii_angstrom,
    )
    kept = ("charge", "layers")
    atoms.info = {k: v for k, v in atoms.info.items() if k in kept or "strain" in k}
    for wanted, one in zip(parameters.layers, made, strict=True):
        notes = {key: one.info[key] for key in ("components", "molarity_mol_l") if key in one.info}
        atoms.info |= {f"{key}_{wanted.name}": value for key, value in notes.items()}
    heights = (
        f"{w.name}:{one.cell[2, 2]:.3f}" for w, one in zip(parameters.layers, made, strict=True)
    )
    atoms.info["layers_angstrom"] = " ".join(heights)
    return atoms


def _solid(wanted: Layer, rng: np.random.Generator, folder: Path, first: bool) -> Atoms:
    """A slab, or an earlier structure with its molecules whole, from z = 0.

    The first slab is as wide as it asks for; others are surface cells, which fit more of them.
    """
    if isinstance(wanted.content, SolidSurface):
        surface = wanted.content
        return cut(surface, rng, folder) if first else surface_cell(surface, folder)
    crystal = built(wanted.structure or "", folder)
    upright = (
        abs(crystal.cell.array[2, :2]).max() < 1e-3 and abs(crystal.cell.array[:2, 2]).max() < 1e-3
    )
    if crystal.cell.rank < 3 or not upright or not crystal.pbc[:2].all():
        raise UserError(
            f"layer {wanted.name}: '{wanted.structure}' must be periodic in x and y with c along z"
        )
    atoms = whole(crystal)
    atoms.positions[:, 2] -= atoms.positions[:, 2].min()
    a = crystal.cell.array[0]
    if abs(a[1]) > 1e-6:
        atoms.rotate(-float(np.degrees(np.arctan2(a[1], a[0]))), "z", rotate_cell=True)
    atoms.cell = [atoms.cell[0], atoms.cell[1], [0, 0, np.ptp(atoms.positions[:, 2])]]
    atoms.pbc = (True, True, False)
    atoms.info = {"charge": crystal.info.get("charge", 0)}
    return atoms


def _packed(wanted: Layer, target: np.ndarray, rng: np.random.Generator, folder: Path) -> Atoms:
    """A packed layer over the cross-section; its height follows from mass and density."""
    content = wanted.content
    density = getattr(content, "density_g_cm3", None)
    if density is None:
        raise UserError(f"layer {wanted.name}: density_g_cm3: required in a stack")
    area = abs(np.linalg.det(target))
    chosen = _molecules(wanted, area, rng, folder)
    thickness = chosen.volume(density) / area
    cell = np.zeros((3, 3))
    cell[:2, :2] = target
    atoms = pack(chosen, layer(cell, thickness, content.min_distance_angstrom), rng)
    if isinstance(content, Polymer):
        atoms.info |= polymer.report(content, chosen, area * thickness)
    else:
        atoms.info |= realized(content.components, chosen.units, area * thickness)
    return atoms


def _molecules(wanted: Layer, area: float, rng: np.random.Generator, folder: Path) -> Batch:
    if isinstance(wanted.content, Polymer):
        return polymer.chains(wanted.content, rng, folder)
    if getattr(wanted.content, "melt_quench", None) is not None:
        raise UserError(f"layer {wanted.name}: melt_quench: build it first, then name its id")
    if wanted.thickness_angstrom is None and not wanted.content.counted:
        raise UserError(
            f"layer {wanted.name}: give thickness_angstrom, or counts of all components"
        )
    volume = area * wanted.thickness_angstrom if wanted.thickness_angstrom else None
    return batch(wanted.content, int(rng.integers(2**31 - 1)), folder, volume)
