"""Frames not worth a label, found before it is paid: broken, crowded, thin or dense, repeated."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from atomistics.analysis.observables import density, min_distances
from atomistics.neighbours import Pairs, pairs

Reason = Literal["nan", "distance", "density", "duplicate"]
RADII_FACTOR = 0.6
CUTOFF = 4.0  # Å, of the fingerprint
WIDTHS = np.linspace(0.5, 3.5, 12)  # Å, centres of its radial functions


class Rejection(NamedTuple):
    """A frame that gets no label, and the class of the reason."""

    index: int
    reason: Reason


@dataclass(frozen=True)
class Bands:
    """What a frame must keep to; distances in Å, density in g/cm3 as (low, high).

    A pair of elements must be apart by the largest of: its own `by_pair` ('B-N', alphabetical),
    `min_distance`, and 0.6 of the sum of its covalent radii (Cordero et al., Dalton Trans. 2008,
    2832; bonds are 0.75 and more of it). Density is not asked of a cell that is not periodic in
    three directions. Frames whose fingerprints agree to `tolerance` are the same frame.
    """

    min_distance: float = 0.0
    by_pair: Mapping[str, float] = field(default_factory=dict)
    density: tuple[float, float] | None = None
    tolerance: float = 1e-5


def screen(
    frames: Sequence[Atoms], bands: Bands, labelled: Iterable[Atoms] = ()
) -> tuple[list[int], list[Rejection]]:
    """Which frames are worth a label; each is kept or rejected once.

    Of frames alike the first is kept; a frame alike one of `labelled` is not.

    Parameters
    ----------
    frames : Å
    bands : what they must keep to
    labelled : frames that have a label already

    Returns
    -------
    indices of those kept, and the rest with their reasons
    """
    problems = {i: problem for i, atoms in enumerate(frames) if (problem := _problem(atoms, bands))}
    sound = [index for index in range(len(frames)) if index not in problems]
    problems |= dict.fromkeys(_repeats(frames, sound, list(labelled), bands.tolerance), "duplicate")
    kept = [index for index in sound if index not in problems]
    return kept, [Rejection(index, problems[index]) for index in sorted(problems)]


def _problem(atoms: Atoms, bands: Bands) -> Reason | None:
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        return "nan"
    if _crowded(atoms, bands):
        return "distance"
    if bands.density and atoms.pbc.all():
        low, high = bands.density
        return None if low <= density(atoms) <= high else "density"
    return None


def _crowded(atoms: Atoms, bands: Bands) -> bool:
    radii = RADII_FACTOR * covalent_radii[atoms.numbers]
    reach = max([2 * radii.max(initial=0), bands.min_distance, *bands.by_pair.values()])
    near = pairs(atoms, reach)
    bounds = np.maximum(radii[near.i] + radii[near.j], bands.min_distance)
    if (near.distance < bounds).any():
        return True
    if not bands.by_pair:
        return False
    shortest = min_distances(atoms, reach)
    return any(shortest.get(pair, np.inf) < bound for pair, bound in bands.by_pair.items())


def fingerprint(atoms: Atoms) -> np.ndarray:
    """What a frame looks like from its distances alone.

    Per element pair the sum over pairs of Gaussians in the distance, tapered to zero at 4 Å, per
    atom; then the edge (Å) of the volume per atom. Unchanged by rotation, reflection, translation,
    order of the atoms and choice of cell, as the energy is. A sum over a symmetric crystal answers
    to displacements u in second order, so frames some 0.003 Å apart still differ by the 1e-5 that
    decides, while copies agree to 1e-12. It misses what changes no distribution of distances below
    4 Å (homometric structures, longer-ranged order), and it is no measure of diversity.

    Parameters
    ----------
    atoms : N atoms, Å

    Returns
    -------
    (pairs of elements x 12 + 1,)
    """
    near = pairs(atoms, CUTOFF)
    elements = sorted(set(atoms.numbers.tolist()))
    rank = {(a, b): k for k, (a, b) in enumerate((a, b) for a in elements for b in elements)}
    table = np.zeros((len(rank), len(WIDTHS)))
    rows = [rank[a, b] for a, b in zip(atoms.numbers[near.i], atoms.numbers[near.j], strict=True)]
    np.add.at(table, np.array(rows, int), _radial(near))
    size = atoms.cell.volume / len(atoms) if atoms.pbc.all() else 0.0
    return np.append(table.ravel() / len(atoms), size ** (1 / 3))


def _radial(near: Pairs) -> np.ndarray:
    distance = near.distance[:, None]
    taper = (1 - (distance / CUTOFF) ** 2) ** 2
    return taper * np.exp(-(((distance - WIDTHS) / 0.3) ** 2))


def _repeats(
    frames: Sequence[Atoms], sound: list[int], labelled: list[Atoms], tolerance: float
) -> Iterator[int]:
    """Indices of `sound` that look like one of `known` or like an earlier, kept frame."""
    from scipy.spatial import cKDTree

    groups: dict[str, list[tuple[int, np.ndarray]]] = defaultdict(list)
    candidates = [(-1, atoms) for atoms in labelled] + [(index, frames[index]) for index in sound]
    for index, atoms in candidates:
        composition = f"{atoms.symbols.formula.reduce()[0].format('hill')} {atoms.pbc}"
        groups[composition].append((index, fingerprint(atoms)))
    for group in groups.values():
        alike = cKDTree(np.array([vector for _, vector in group])).query_pairs(tolerance)
        dropped: set[int] = set()
        for first, second in sorted(alike):
            if first not in dropped and second not in dropped and group[second][0] >= 0:
                dropped.add(second)
                yield group[second][0]
