"""Liquids: the heat of vaporisation from MD and molecules alone."""

from collections import Counter

import numpy as np
from ase import Atoms, units

from atomistics.analysis.observables import block_average
from atomistics.bonded import whole
from atomistics.properties.measuring import (
    Capped,
    Measurement,
    PropertyError,
    PropertyValue,
    at_rest,
    on,
)

KJ_PER_MOL = units.kJ / units.mol
BOX = 20.0  # Å beyond the molecule
FEWEST = 10  # frames


def vaporisation(frames: list[Atoms], kelvin: float, calculator: Capped) -> Measurement:
    """Molar enthalpy of vaporisation: <E(gas)> - <E(liquid)>/n + RT.

    The liquid's potential energy is the mean over the last two thirds of the frames, its error that
    of
    block means. A gas molecule's is that at rest plus kT/2 for each of its vibrations (3N - 6, or
    3N - 5), classical as the liquid is; its anharmonicity is left out. Mixtures are counted by mole
    of
    molecules.

    Parameters
    ----------
    frames : of the liquid's MD, labelled (Å, eV)
    kelvin : K
    calculator : relaxes each kind of molecule

    Returns
    -------
    kJ/mol

    Raises
    ------
    PropertyError
        Frames are too few, not everything is a molecule, or a molecule does not come to rest.
    LabelFailedError
        A call fails.
    """
    late = frames[len(frames) // 3 :]
    if len(late) < FEWEST:
        raise PropertyError(f"{len(late)} frames of MD are too few; keep {FEWEST} at least")
    first = whole(frames[0])
    number = first.arrays["molecule"]
    if number.min() < 0 or number.max() < 0:
        raise PropertyError("not everything in it is a molecule")
    groups = [first[np.flatnonzero(number == n)] for n in range(number.max() + 1)]
    examples = {group.get_chemical_formula(): group for group in groups}
    counts = Counter(group.get_chemical_formula() for group in groups)
    gas = sum(n * _alone(examples[f], kelvin, calculator) for f, n in counts.items())
    total = sum(counts.values())
    energies = np.array([a.get_potential_energy() for a in late]) / total
    mean = block_average(energies, blocks=min(5, len(late) // 2))
    value = (gas / total - mean.value + units.kB * kelvin) / KJ_PER_MOL
    counted = ", ".join(f"{n} {f}" for f, n in counts.items())
    how = f"{counted}; {len(late)} frames at {kelvin:g} K; molecules harmonic"
    return Measurement(
        [PropertyValue("heat_of_vaporisation", float(value), mean.error / KJ_PER_MOL)], how
    )


def in_box(molecule: Atoms) -> Atoms:
    """A molecule alone, BOX from its images.

    Parameters
    ----------
    molecule : N atoms in one piece, Å

    Returns
    -------
    a copy in the middle of a cube, Å
    """
    alone = molecule.copy()
    alone.set_cell(np.eye(3) * (np.ptp(molecule.positions, axis=0).max() + BOX))
    alone.center()
    return alone


def _alone(group: Atoms, kelvin: float, calculator: Capped) -> float:
    """Mean potential energy (eV) of one molecule in vacuum."""
    molecule = on(in_box(group), calculator)
    if len(molecule) > 1:
        at_rest(molecule, rest=0.02)
    atoms = len(molecule)
    bent = np.linalg.matrix_rank(molecule.positions - molecule.positions.mean(axis=0), tol=0.05)
    vibrations = 3 * atoms - (6 if bent > 1 else 5) if atoms > 1 else 0
    return float(molecule.get_potential_energy()) + vibrations * units.kB * kelvin / 2
