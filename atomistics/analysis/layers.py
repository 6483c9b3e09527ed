"""Layered structures region by region: thickness, density and RDF of the atoms of each layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from atomistics.analysis.observables import Rdf, rdf
from atomistics.units import GRAMS_PER_CM3


@dataclass(frozen=True)
class PhaseLayer:
    """The atoms (N,) that a builder put into one layer; it keeps them wherever they go."""

    name: str
    atoms: np.ndarray


def layers_of(start: Atoms) -> list[PhaseLayer]:
    """Layers of a structure, from the array `layer` (N,) and the names in `info["layers"]`.

    Parameters
    ----------
    start : `info["layers"]` is a text of names in order, "anode inorganic electrolyte"; -1 is no
        layer

    Returns
    -------
    layers that hold an atom; none without the array
    """
    names = str(start.info.get("layers", "")).split()
    numbers = start.arrays.get("layer")
    if numbers is None:
        return []
    layers = [PhaseLayer(name, np.flatnonzero(numbers == n)) for n, name in enumerate(names)]
    return [layer for layer in layers if len(layer.atoms)]


def thickness(atoms: Atoms, layer: PhaseLayer) -> float:
    """Thickness of the uniform slab with the same spread of mass along the cell's height.

    sqrt(12) standard deviations of the heights, which are taken around the circular mean, so that
    a layer may lie across the boundary. Exact for a slab of even density with sharp faces.

    Parameters
    ----------
    atoms : N atoms, Å
    layer : which of them

    Returns
    -------
    Å
    """
    heights = heights_in(atoms, layer)
    masses = atoms.get_masses()[layer.atoms]
    mean = np.average(heights, weights=masses)
    return float(np.sqrt(12 * np.average((heights - mean) ** 2, weights=masses)))


def heights_in(atoms: Atoms, layer: PhaseLayer) -> np.ndarray:
    """Heights of a layer's atoms from its circular mean, each of the nearest image.

    Parameters
    ----------
    atoms : all of the structure, Å
    layer : M of them

    Returns
    -------
    (M,) Å, across the a-b plane
    """
    height = atoms.cell.volume / np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1]))
    parts = atoms.get_scaled_positions(wrap=False)[layer.atoms, 2]
    middle = np.angle(np.exp(2j * np.pi * parts).mean()) / (2 * np.pi)
    return (parts - middle - np.round(parts - middle)) * height


def density(atoms: Atoms, layer: PhaseLayer) -> float:
    """Mass density of a layer: its mass over the area of a x b times its thickness.

    Parameters
    ----------
    atoms : N atoms, Å
    layer : which of them

    Returns
    -------
    g/cm3
    """
    area = np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1]))
    mass = atoms.get_masses()[layer.atoms].sum()
    return float(mass / (area * thickness(atoms, layer)) * GRAMS_PER_CM3)


def mean_density(frames: Sequence[Atoms], layer: PhaseLayer) -> float:
    """Mean of `density` over a trajectory.

    Parameters
    ----------
    frames : Å, of one composition
    layer : which atoms

    Returns
    -------
    g/cm3
    """
    return float(np.mean([density(atoms, layer) for atoms in frames]))


def layer_rdf(frames: Sequence[Atoms], layer: PhaseLayer, reach: float) -> Rdf:
    """RDFs among the atoms of one layer, normalised by the layer's own volume.

    Both atoms of a pair belong to the layer, so g falls below 1 near the faces: for comparing two
    trajectories of one structure, not for coordination numbers in the bulk.

    Parameters
    ----------
    frames : Å, of one composition, periodic in three directions
    layer : which atoms
    reach : Å

    Returns
    -------
    as of `observables.rdf`
    """
    area = np.linalg.norm(np.cross(frames[0].cell[0], frames[0].cell[1]))
    height = frames[0].cell.volume / area
    share = float(np.mean([thickness(atoms, layer) for atoms in frames])) / height
    whole = rdf([atoms[layer.atoms] for atoms in frames], reach)
    return whole._replace(g={pair: g * share for pair, g in whole.g.items()})


def profile(frames: Sequence[Atoms], layer: PhaseLayer, bins: int = 100) -> np.ndarray:
    """Density of a layer's atoms along the cell's height, mean over frames.

    Parameters
    ----------
    frames : Å, of one composition
    layer : which atoms
    bins : slices of the cell

    Returns
    -------
    (bins,) g/cm3
    """
    total = np.zeros(bins)
    for atoms in frames:
        parts = atoms.get_scaled_positions(wrap=False)[layer.atoms, 2] % 1.0
        masses = np.histogram(parts, bins, (0.0, 1.0), weights=atoms.get_masses()[layer.atoms])[0]
        total += masses / (atoms.cell.volume / bins) * GRAMS_PER_CM3
    return total / len(frames)
