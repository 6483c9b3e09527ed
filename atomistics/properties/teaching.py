"""Configurations that teach a model the properties it misses: near those that measure them."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from ase import Atoms

from atomistics.deformation import rattle
from atomistics.properties.asked import PARTS, Kind, PropertiesAsked
from atomistics.properties.defects import slabs, vacancies
from atomistics.properties.measuring import PropertyError, conventional, require_crystal, supercell
from atomistics.properties.parts import parted

STRAIN = 0.03  # largest component; the properties themselves take 1 to 2 %
SMALL, LARGE = 0.02, 0.1  # Å, displacements
NEARER, FARTHER = -0.2, 2.0  # Å, of parts from where they were built


def taught(
    crystal: Atoms, kind: Kind, asked: PropertiesAsked, count: int, seed: int
) -> list[Atoms]:
    """Configurations without labels from which a potential learns a property.

    lattice, eos: volumes of -8 to +8 %, a little displaced; elastic: random strains up to 3 %;
    phonons: supercells displaced by 0.02 to 0.1 Å; vacancy: supercells without an atom; surfaces:
    slabs of every plane in turn; cohesion: volumes up to +30 %; adsorption, adhesion: molecules and
    layers 0.2 Å nearer to 2 Å farther, displaced.

    Parameters
    ----------
    crystal : relaxed, Å; of adsorption and adhesion the structure with its parts
    kind : which property
    asked : planes and lengths (Å) as of its measurement
    count : at most
    seed : of the draws

    Returns
    -------
    frames, Å

    Raises
    ------
    PropertyError
        The structure is no crystal, or no slab can be cut.
    """
    if kind not in PARTS:
        require_crystal(crystal)
    frames = list(islice(_drawn(crystal, kind, asked, count, seed), count))
    if not frames:
        raise PropertyError(f"{kind}: nothing to learn it from")
    return frames


def _drawn(
    crystal: Atoms, kind: Kind, asked: PropertiesAsked, count: int, seed: int
) -> Iterator[Atoms]:
    even = np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    amplitudes = np.linspace(SMALL, LARGE, count)
    rng = np.random.default_rng(seed)
    if kind in ("lattice", "eos", "cohesion"):
        span = 0.027 if kind != "cohesion" else 0.09
        for number, x in enumerate(even):
            copy = crystal.copy()
            scale = 1 + (span * x if kind != "cohesion" else span * (x + 1) / 2)
            copy.set_cell(crystal.cell * scale, scale_atoms=True)
            yield rattle(copy, SMALL, seed, number)
    elif kind == "elastic":
        for number in range(count):
            tensor = rng.uniform(-STRAIN, STRAIN, (3, 3))
            copy = crystal.copy()
            deformed = crystal.cell.array @ (np.eye(3) + (tensor + tensor.T) / 2)
            copy.set_cell(deformed, scale_atoms=True)
            yield rattle(copy, SMALL, seed, number)
    elif kind == "phonons":
        unit = conventional(crystal)
        whole = unit.repeat(supercell(unit, asked.length))
        for number, amplitude in enumerate(amplitudes):
            yield rattle(whole, float(amplitude), seed, number)
    elif kind in PARTS:
        for number, distance in enumerate(np.linspace(NEARER, FARTHER, count)):
            yield rattle(parted(crystal, float(distance)), LARGE, seed, number)
    else:
        defective_cells = [cell for cells in _defective(crystal, kind, asked) for cell in cells]
        for number, amplitude in enumerate(amplitudes if defective_cells else ()):
            yield rattle(
                defective_cells[number % len(defective_cells)], float(amplitude), seed, number
            )


def _defective(crystal: Atoms, kind: Kind, asked: PropertiesAsked) -> Iterator[list[Atoms]]:
    if kind == "vacancy":
        yield from vacancies(crystal, asked).values()
    else:
        yield from (slabs(crystal, plane, asked.length) for plane in asked.planes)
