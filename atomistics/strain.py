"""Strain at a constant rate: the integrator that deforms the cell, and the modulus it shows."""

from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi

from atomistics.md import CELL_MODULUS, COUPLING
from planner.protocol import Strain

VOIGT = {"x": 0, "y": 1, "z": 2, "yz": 3, "xz": 4, "xy": 5}
INITIAL = 0.03  # strain up to which the initial modulus is fitted
BINS = 16


class Straining(Bussi):
    """Bussi's thermostat with velocity Verlet while the cell is deformed at a constant rate.

    The cell and, affinely, the positions are deformed between drift and force evaluation, so that
    a step is one call. Axes left free follow their stress by weak coupling (Berendsen et al.,
    J. Chem. Phys. 81, 3684 (1984)): d ln l / dt = (stress + pressure) / (CELL_MODULUS COUPLING).
    """

    def __init__(self, atoms: Atoms, timestep: float, kelvin: float, **options: Any) -> None:
        super().__init__(atoms, timestep, kelvin, taut=COUPLING, **options)
        self.ndof = max(3 * len(atoms) - 3, 3)
        self.target_kinetic_energy = 0.5 * self.ndof * units.kB * kelvin

    def along(self, stage: Strain, steps: int) -> "Straining":
        """Strain the cell as it is now by `stage.strain` in `steps` steps."""
        self._stage, self._whole = stage, steps
        self._start = self.atoms.cell.array.copy()
        self._lengths = np.ones(3)
        self._last = np.eye(3)
        self._free = [
            axis for axis in range(3) if stage.others == "free" and axis != VOIGT[stage.direction]
        ]
        return self

    def deformation(self, step: int) -> np.ndarray:
        """Deformation gradient (3, 3) after `step` steps, x' = F x."""
        strain = self._stage.strain * step / self._whole
        gradient = np.diag(self._lengths)
        index = VOIGT[self._stage.direction]
        if index < 3:
            gradient[index, index] = 1 + strain
            return gradient
        row, column = ("xyz".index(letter) for letter in self._stage.direction)
        shear = np.eye(3)
        shear[row, column] = strain
        return shear @ gradient

    def step(self, forces: np.ndarray | None = None) -> np.ndarray:
        """One step; the momenta are left to the thermostat."""
        atoms = self.atoms
        self.scale_velocities()
        if self._free:
            self._relax()
        forces = atoms.get_forces(md=True) if forces is None else forces
        momenta = atoms.get_momenta() + 0.5 * self.dt * forces
        moved = atoms.get_positions() + self.dt * momenta / self.masses
        gradient = self.deformation(self.nsteps + 1)
        atoms.set_cell(self._start @ gradient.T)
        atoms.set_positions(moved @ np.linalg.solve(self._last.T, gradient.T))
        self._last = gradient
        forces = atoms.get_forces(md=True)
        atoms.set_momenta(momenta + 0.5 * self.dt * forces)
        return forces

    def _relax(self) -> None:
        stress = self.atoms.get_stress(include_ideal_gas=True)[self._free]
        excess = stress + self._stage.pressure * units.GPa
        self._lengths[self._free] *= np.exp(-self.dt * excess / (CELL_MODULUS * COUPLING))


def stress_of(atoms: Atoms, direction: str) -> float:
    """Stress component with its kinetic part, GPa, tension positive."""
    stress = atoms.get_stress(include_ideal_gas=True)
    return float(stress[VOIGT[direction]] / units.GPa)


def stress_strain(stage: Strain, strain: np.ndarray, stress: np.ndarray) -> dict[str, Any]:
    """Modulus dσ/dε at ε = 0 (GPa) with its standard error, and the curve in BINS means.

    `strain` (T,) engineering, `stress` (T,) GPa, Cauchy. A parabola through the means of bins up
    to INITIAL, because anharmonicity bends the curve (third-order constants are some ten times
    the second-order ones); the error is that of the least-squares fit to the bins. With the other
    axes fixed and along an axis it is C_ii, with free ones Young's modulus; in shear (engineering
    strain γ) the shear modulus.
    """
    curve = _binned(strain, stress, BINS)
    chosen = np.abs(strain) <= INITIAL
    x, y = _binned(strain[chosen], stress[chosen], BINS)
    value = error = None
    if len(x) >= 6:
        coefficients, covariance = np.polyfit(x, y, 2, cov=True)
        value, error = float(coefficients[1]), float(np.sqrt(covariance[1, 1]))
    kind = "shear" if VOIGT[stage.direction] > 2 else "tensile"
    if kind == "tensile" and stage.others == "free":
        kind = "young"
    return {
        "name": f"{kind}_modulus_{stage.direction}",
        "unit": "GPa",
        "value": value,
        "error": error,
        "curve": {"strain": _rounded(curve[0]), "stress_GPa": _rounded(curve[1])},
    }


def _binned(x: np.ndarray, y: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    parts = [p for p in np.array_split(np.arange(len(x)), bins) if len(p)]
    return tuple(np.array([values[p].mean() for p in parts]) for values in (x, y))


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
