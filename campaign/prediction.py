"""A fitted potential on many frames at once, and its errors against their labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units

from atomistics.contract import Name
from campaign.config import Targets
from campaign.results import Errors
from mtp.configuration import from_atoms
from mtp.engine import Engine
from mtp.errors import MTPError
from mtp.neighbours import neighbours
from mtp.potential import Potential

AGREED_GPA = 0.2  # pressure error below which a drifting density is the reference's own doing


class NotFiniteError(MTPError):
    """A potential that predicts something that is no number, or errors too large for one."""


@dataclass(frozen=True)
class Residuals:
    """Model minus label of one frame: energy eV/atom, forces (N, 3) eV/Å, stress (6,) GPa."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    predicted_forces: np.ndarray


def residuals(
    potential: Potential, species: Sequence[str], frames: Sequence[Atoms]
) -> list[Residuals]:
    """Evaluate a potential on labelled frames.

    Parameters
    ----------
    potential
        The model.
    species
        Elements in the order of its types.
    frames
        Labelled frames; energy in eV, forces in eV/Å, stress in eV/Å3.

    Returns
    -------
    list of Residuals
        Model minus label, one a frame, in the order of `frames`. Stress follows from MLIP's
        PlusStress, the virial -V sigma (eV), in Voigt order xx yy zz yz xz xy; frames without a
        stress label have none.

    Raises
    ------
    NotFiniteError
        Where the model gives no number.
    """
    configurations = [from_atoms(atoms, species) for atoms in frames]
    lists = neighbours(configurations, potential.max_dist)
    try:
        predicted = Engine(potential).evaluate(lists)
    except MTPError as error:
        raise NotFiniteError(str(error)) from error
    rows = []
    for prediction, label, atoms in zip(predicted, configurations, frames, strict=True):
        stress = None
        if label.virial is not None:
            stress = -(prediction.virial - label.virial) / atoms.get_volume() / units.GPa
        rows.append(
            Residuals(
                energy=(prediction.energy - label.energy) / len(atoms),
                forces=prediction.forces - label.forces,
                stress=stress,
                predicted_forces=prediction.forces,
            )
        )
    return rows


def agree(row: Residuals, targets: Targets, role: str) -> bool:
    """Whether a frame where MD left its limits has energy, forces and pressure as they should be.

    Targets in eV/atom and eV/Å, looser off the target as everywhere; then the limit was wrong, not
    the potential.
    """
    slack = targets.slack(role)
    pressure = 0.0 if row.stress is None else abs(float(row.stress[:3].mean()))
    return bool(
        np.abs(row.forces).mean() <= slack * targets.force_mae
        and abs(row.energy) <= slack * targets.energy_mae
        and pressure <= AGREED_GPA
    )


def errors(subsystem: Name, split: str, rows: Sequence[Residuals]) -> Errors:
    """Errors on the frames of one subsystem.

    Parameters
    ----------
    subsystem, split
        What the frames are of, and whether the model was trained on them.
    rows
        Residuals of these frames, at least one.

    Returns
    -------
    Errors
        MAE and RMSE: energy (eV/atom) over frames, force (eV/Å) and stress (GPa) over Cartesian
        components.

    Raises
    ------
    NotFiniteError
        Where an error is too large for a number.
    """
    energy = np.array([r.energy for r in rows])
    force = np.concatenate([r.forces.ravel() for r in rows])
    stresses = [r.stress for r in rows if r.stress is not None]
    with np.errstate(over="ignore"):
        figures = {
            "energy_mae": float(np.abs(energy).mean()),
            "energy_rmse": float(np.sqrt(np.square(energy).mean())),
            "force_mae": float(np.abs(force).mean()),
            "force_rmse": float(np.sqrt(np.square(force).mean())),
            "stress_mae": float(np.abs(stresses).mean()) if stresses else 0.0,
        }
    if not np.isfinite(list(figures.values())).all():
        raise NotFiniteError(f"errors on {subsystem} ({split}) are not finite")
    figures["stress_mae"] = figures["stress_mae"] if stresses else None
    return Errors(subsystem=subsystem, split=split, frames=len(rows), **figures)
