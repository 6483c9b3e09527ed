"""A fitted potential on many frames at once, and its errors against their labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units

from mtp.configuration import from_atoms
from mtp.engine import Engine, neighbours
from mtp.potential import read_potential
from planner.plan import Name
from planner.results import Errors


@dataclass(frozen=True)
class Residuals:
    """Model minus label of one frame: energy eV/atom, forces (N, 3) eV/Å, stress (6,) GPa."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    predicted_forces: np.ndarray


def residuals(path: Path, species: Sequence[str], frames: Sequence[Atoms]) -> list[Residuals]:
    """Evaluate the potential in `path` on labelled frames.

    Stress residuals follow from MLIP's PlusStress = -V sigma (eV), in Voigt order xx yy zz yz xz
    xy; frames without a stress label have none.
    """
    potential = read_potential(path)
    configurations = [from_atoms(atoms, species) for atoms in frames]
    lists = neighbours(configurations, potential.max_dist)
    found = []
    for seen, label, atoms in zip(
        Engine(potential).evaluate(lists), configurations, frames, strict=True
    ):
        stress = None
        if label.stress is not None:
            stress = -(seen.stress - label.stress) / atoms.get_volume() / units.GPa
        found.append(
            Residuals(
                energy=(seen.energy - label.energy) / len(atoms),
                forces=seen.forces - label.forces,
                stress=stress,
                predicted_forces=seen.forces,
            )
        )
    return found


def errors(subsystem: Name, split: str, found: Sequence[Residuals]) -> Errors:
    """MAE and RMSE: energy per atom over frames, force and stress per Cartesian component."""
    energy = np.array([r.energy for r in found])
    force = np.concatenate([r.forces.ravel() for r in found])
    stresses = [r.stress for r in found if r.stress is not None]
    return Errors(
        subsystem=subsystem,
        split=split,
        frames=len(found),
        energy_mae=float(np.abs(energy).mean()),
        energy_rmse=float(np.sqrt(np.square(energy).mean())),
        force_mae=float(np.abs(force).mean()),
        force_rmse=float(np.sqrt(np.square(force).mean())),
        stress_mae=float(np.abs(stresses).mean()) if stresses else None,
    )
