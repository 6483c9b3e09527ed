"""Crystals at rest and strained: lattice, equation of state, elastic tensor."""

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms, units
from ase.eos import EquationOfState

from atomistics.properties.asked import PropertiesAsked
from atomistics.properties.measuring import (
    Capped,
    Measurement,
    PropertyError,
    PropertyValue,
    at_rest,
    distinct,
    on,
    parameters,
    symmetry,
)

if TYPE_CHECKING:
    from pymatgen.analysis.elasticity import ElasticTensor

LABELS = ("a", "b", "c", "alpha", "beta", "gamma")
PROBE = 0.005  # linear strain that tells how stiff the crystal is
STRAINS = np.linspace(-0.02, 0.02, 7)  # linear, of the equation of state
ELASTIC = (0.005, 0.01)  # both ways


def lattice(crystal: Atoms, built: Atoms, calculator: Capped) -> Measurement:
    """Axes and angles of the conventional cell, volume and energy of a crystal at rest.

    Bounds are what the stress left (eV/Å3) would strain: divided by three bulk moduli, as one
    more call at a strain of 0.5 % gives them.

    Parameters
    ----------
    crystal : relaxed, Å
    built : the same as built, whose space group decides the axes
    calculator : asked twice

    Returns
    -------
    a, b, c (Å), angles (degrees), volume (Å3/atom), energy (eV/atom)

    Raises
    ------
    PropertyError
        spglib finds no symmetry.
    LabelFailedError
        A call fails.
    """
    cellpar, number = parameters(crystal, built)
    relaxed = on(crystal, calculator)
    left = float(np.abs(relaxed.get_stress()).max())
    probe = on(crystal, calculator)
    probe.set_cell(crystal.cell * (1 + PROBE), scale_atoms=True)
    stiffness = float(np.mean((probe.get_stress() - relaxed.get_stress())[:3])) / PROBE
    softness = 1 / max(abs(stiffness), 1e-6)
    strain = min(left * softness, 0.1)
    atoms = len(crystal)
    free = distinct(number)
    bounds = [strain * x if i < 3 else np.degrees(2 * strain) for i, x in enumerate(cellpar)]
    values = [PropertyValue(LABELS[i], float(cellpar[i]), float(bounds[i])) for i in free]
    volume = float(crystal.get_volume()) / atoms
    values += [
        PropertyValue("volume", volume, 3 * strain * volume),
        PropertyValue(
            "energy", float(relaxed.get_potential_energy()) / atoms, left * strain * volume
        ),
    ]
    space_group, was = symmetry(crystal), symmetry(built)
    how = f"space group {space_group.international} ({space_group.number})"
    if space_group.number != was.number:
        how += f", built as {was.international} ({was.number})"
    return Measurement(values, f"{how}; {atoms} atoms as built, relaxed with all six strains")


def equation_of_state(crystal: Atoms, asked: PropertiesAsked, calculator: Capped) -> Measurement:
    """V0, B0 and B' by Birch and Murnaghan through seven volumes, -6 to +6 %.

    At each volume positions, and where the crystal is not cubic the shape, are relaxed. Bounds are
    the largest difference to Vinet's form and to Birch-Murnaghan through the inner five; of B0 also
    to how the pressure changes over the inner three, which no form of a curve enters.

    Parameters
    ----------
    crystal : relaxed, Å
    asked : not used
    calculator : asked at every step of the relaxations

    Returns
    -------
    V0 (Å3/atom), B0 (GPa), B'; the curve

    Raises
    ------
    PropertyError
        A volume does not come to rest, or energies have no minimum.
    LabelFailedError
        A call fails.
    """
    del asked
    cubic = symmetry(crystal).number > 194
    volumes, energies, pressures = [], [], []
    for strain in STRAINS:
        cell = on(crystal, calculator)
        cell.set_cell(crystal.cell * (1 + strain), scale_atoms=True)
        at_rest(cell, None if cubic else "shape", rest=0.005)
        volumes.append(float(cell.get_volume()) / len(cell))
        energies.append(float(cell.get_potential_energy()) / len(cell))
        pressures.append(-float(np.mean(cell.get_stress()[:3])) / units.GPa)
    try:
        fits = np.array(
            [
                _fit(volumes, energies, "birchmurnaghan"),
                _fit(volumes, energies, "vinet"),
                _fit(volumes[1:-1], energies[1:-1], "birchmurnaghan"),
            ]
        )
    except (RuntimeError, ValueError) as error:
        raise PropertyError(f"energies against volume have no minimum: {error}") from None
    bounds = np.abs(fits[1:] - fits[0]).max(axis=0)
    middle = len(STRAINS) // 2
    below, above = middle - 1, middle + 1
    slope = (pressures[above] - pressures[below]) / (volumes[above] - volumes[below])
    bounds[1] = max(bounds[1], abs(-volumes[middle] * slope - fits[0, 1]))
    names = ("eos_volume", "bulk_modulus", "bulk_modulus_derivative")
    values = [
        PropertyValue(n, float(v), float(e)) for n, v, e in zip(names, fits[0], bounds, strict=True)
    ]
    how = "Birch-Murnaghan through seven volumes; bound: Vinet, inner five, pressures"
    return Measurement(values, how, {"eos": {"volume": volumes, "energy": energies}})


def _fit(volumes: list[float], energies: list[float], form: str) -> np.ndarray:
    """V0, B0 in GPa, B'."""
    fit = EquationOfState(volumes, energies, eos=form)
    volume, _, modulus = fit.fit(warn=False)
    if not min(volumes) < volume < max(volumes):
        raise ValueError(f"{form} puts it at {volume:.3g} Å3/atom")
    return np.array([volume, modulus / units.GPa, fit.eos_parameters[2]])


def elastic(crystal: Atoms, asked: PropertiesAsked, calculator: Capped) -> Measurement:
    """Stiffness tensor from stresses under six strains of 0.5 and 1 % both ways, ions relaxed.

    Fitted and rotated to the IEEE axes of the crystal by pymatgen (de Jong et al., Sci. Data 2,
    150009 (2015)) and averaged over its point group. Bounds: the difference between the two
    magnitudes
    of strain.

    Parameters
    ----------
    crystal : relaxed, Å
    asked : not used
    calculator : asked at every step of the relaxations

    Returns
    -------
    independent components that are not 0 and Hill's averages (GPa), and `stability`, the lowest
    eigenvalue of the 6 x 6 tensor (GPa): positive of a crystal that is mechanically stable (Mouhat
    and
    Coudert, Phys. Rev. B 90, 224104 (2014))

    Raises
    ------
    PropertyError
        A strained cell does not come to rest.
    LabelFailedError
        A call fails.
    """
    from pymatgen.analysis.elasticity import ElasticTensor, Strain, Stress
    from pymatgen.io.ase import AseAtomsAdaptor

    del asked
    structure = AseAtomsAdaptor.get_structure(
        Atoms(crystal.numbers, cell=crystal.cell, positions=crystal.positions, pbc=True)
    )
    rest = Stress(on(crystal, calculator).get_stress(voigt=False) / units.GPa)
    tensors = []
    for size in ELASTIC:
        strains, stresses = [], []
        for component in range(6):
            for sign in (1, -1):
                voigt = np.zeros(6)
                voigt[component] = sign * size * (1 if component < 3 else 2)
                strain = Strain.from_voigt(voigt)
                cell = on(crystal, calculator)
                deformed = crystal.cell.array @ (np.eye(3) + np.asarray(strain)).T
                cell.set_cell(deformed, scale_atoms=True)
                at_rest(cell, rest=0.002)
                strains.append(strain)
                stresses.append(Stress(cell.get_stress(voigt=False) / units.GPa))
        raw = ElasticTensor.from_independent_strains(strains, stresses, eq_stress=rest)
        tensors.append(raw.convert_to_ieee(structure, initial_fit=True).fit_to_structure(structure))
    return _constants(tensors[0], tensors[1], symmetry(crystal).number)


def _constants(tensor: "ElasticTensor", other: "ElasticTensor", group: int) -> Measurement:
    mine, theirs = (_components(t, group) for t in (tensor, other))
    values = [PropertyValue(name, value, abs(value - theirs[name])) for name, value in mine.items()]
    stable = "stable" if mine["stability"] > 0 else "UNSTABLE"
    how = f"mechanically {stable}; strains of 0.5 %, bound: 1 %; IEEE axes"
    return Measurement(values, how)


def _components(tensor: "ElasticTensor", group: int) -> dict[str, float]:
    voigt = np.asarray(tensor.voigt)
    bulk, shear = float(tensor.k_vrh), float(tensor.g_vrh)
    table = {f"c{i}{j}": float(voigt[i - 1, j - 1]) for i, j in components(group)}
    return table | {
        "elastic_bulk_modulus": bulk,
        "shear_modulus": shear,
        "young_modulus": 9 * bulk * shear / (3 * bulk + shear),
        "poisson_ratio": (3 * bulk - 2 * shear) / (6 * bulk + 2 * shear),
        "stability": float(np.linalg.eigvalsh((voigt + voigt.T) / 2)[0]),
    }


def components(group: int) -> list[tuple[int, int]]:
    """Independent components of a stiffness tensor by the number of the space group (Nye, 1957)."""
    words = next(text for above, text in _INDEPENDENT if group > above)
    return [(int(word[0]), int(word[1])) for word in words.split()]


_INDEPENDENT = (
    (194, "11 12 44"),
    (167, "11 12 13 33 44"),
    (148, "11 12 13 14 33 44"),
    (142, "11 12 13 14 15 33 44"),
    (88, "11 12 13 33 44 66"),
    (74, "11 12 13 16 33 44 66"),
    (15, "11 12 13 22 23 33 44 55 66"),
    (2, "11 12 13 15 22 23 25 33 35 44 46 55 66"),
    (0, "11 12 13 14 15 16 22 23 24 25 26 33 34 35 36 44 45 46 55 56 66"),
)
