"""Phonons by finite displacements (phonopy): dispersion, density of states, imaginary modes."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from atomistics.properties.asked import PropertiesAsked
from atomistics.properties.measuring import (
    Capped,
    Measurement,
    PropertyValue,
    conventional,
    on,
    supercell,
)

if TYPE_CHECKING:
    from phonopy import Phonopy

DISPLACEMENT = 0.01  # Å
IMAGINARY = 0.1  # THz below zero: less is numerical noise
MESH = 40.0  # length in Å that phonopy turns into a mesh of q


def phonons(crystal: Atoms, asked: PropertiesAsked, calculator: Capped) -> Measurement:
    """Highest, lowest and mean frequency over the Brillouin zone; below 0 is imaginary.

    Force constants of the smallest set of displacements (0.01 Å, both ways) in a supercell,
    symmetrised by phonopy (Togo, J. Phys. Soc. Jpn. 92, 012001 (2023)). The bound is the largest
    acoustic frequency at q = 0 before that, where it must vanish. Long-range electrostatics
    (splitting
    of LO and TO) is not added: no model has it.

    Parameters
    ----------
    crystal : relaxed, Å
    asked : `length` (Å), the least distance of opposite faces of the supercell
    calculator : asked for every displacement

    Returns
    -------
    THz; bands along the path of the lattice

    Raises
    ------
    LabelFailedError
        A call fails.
    """
    lattice, size = _force_constants(crystal, asked, calculator)
    noise = float(np.abs(lattice.run_qpoints([[0, 0, 0]]).frequencies[0][:3]).max())
    lattice.symmetrize_force_constants()
    lattice.run_mesh(MESH)
    frequencies, weights = lattice.mesh.frequencies, lattice.mesh.weights
    mean = float((frequencies.mean(axis=1) * weights).sum() / weights.sum())
    bands = _bands(lattice)
    lowest = min(float(frequencies.min()), *(min(b) for b in bands["frequencies"]))
    lattice.run_total_dos()
    dos = lattice.total_dos
    values = [
        PropertyValue("phonon_highest", float(frequencies.max()), noise),
        PropertyValue("phonon_lowest", lowest, noise),
        PropertyValue("phonon_mean", mean, noise),
    ]
    where = _imaginary(bands, max(IMAGINARY, 2 * noise))
    verdict = f"imaginary modes at {', '.join(where)}" if where else "no imaginary mode"
    n = "x".join(map(str, size))
    how = f"{verdict}; {n} conventional cells, {len(lattice.supercell)} atoms, ±{DISPLACEMENT} Å"
    curves = {
        "phonons": bands
        | {
            "dos_frequency": dos.frequency_points.round(4).tolist(),
            "dos": dos.dos.round(5).tolist(),
        }
    }
    return Measurement(values, how, curves)


def _force_constants(
    crystal: Atoms, asked: PropertiesAsked, calculator: Capped
) -> tuple["Phonopy", tuple[int, int, int]]:
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    unit = conventional(crystal)
    size = supercell(unit, asked.length)
    given = PhonopyAtoms(
        symbols=unit.get_chemical_symbols(),
        cell=unit.cell.array,
        scaled_positions=unit.get_scaled_positions(),
    )
    with warnings.catch_warnings():  # that "auto" is the default now
        warnings.simplefilter("ignore")
        lattice = Phonopy(
            given, supercell_matrix=np.diag(size), primitive_matrix="auto", log_level=0
        )
    lattice.generate_displacements(distance=DISPLACEMENT, is_plusminus=True)
    forces = []
    for displaced in lattice.supercells_with_displacements:
        cell = Atoms(
            displaced.symbols, cell=displaced.cell, positions=displaced.positions, pbc=True
        )
        forces.append(on(cell, calculator).get_forces())
    lattice.forces = np.array(forces)
    lattice.produce_force_constants()
    return lattice, size


def _bands(lattice: "Phonopy") -> dict[str, Any]:
    """Frequencies along the path of the Brillouin zone that ASE names for the Bravais lattice."""
    cell = Atoms(cell=lattice.primitive.cell, pbc=True).cell
    path = cell.bandpath(npoints=80)
    distances, ticks, labels = path.get_linear_kpoint_axis()
    frequencies = np.array(lattice.run_qpoints(path.kpts).frequencies)
    return {
        "q": path.kpts.round(6).tolist(),
        "distance": np.round(distances, 6).tolist(),
        "ticks": np.round(ticks, 6).tolist(),
        "labels": ["Γ" if label == "G" else label for label in labels],
        "frequencies": frequencies.T.round(5).tolist(),
    }


def _imaginary(bands: dict[str, Any], beyond: float) -> list[str]:
    """Where along the path, in words with the frequency, modes lie below -`beyond` THz."""
    lowest = np.array(bands["frequencies"]).min(axis=0)
    distance, ticks = np.array(bands["distance"]), np.array(bands["ticks"])
    words: dict[str, float] = {}
    for spot in np.flatnonzero(lowest < -beyond):
        right = min(int(np.searchsorted(ticks, distance[spot])), len(ticks) - 1)
        near = right if abs(ticks[right] - distance[spot]) < 1e-6 else None
        left = max(right - 1, 0)
        labels = bands["labels"]
        word = labels[right] if near is not None else f"{labels[left]}-{labels[right]}"
        words[word] = min(words.get(word, 0.0), float(lowest[spot]))
    return [f"{word} ({value:.2f} THz)" for word, value in words.items()]
