"""What all properties share: values with error bounds, a limit on calls, relaxation, the cell."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import spglib
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.parallel import DummyMPI

from atomistics.errors import UserError
from atomistics.reference.convergence import LabelFailedError
from atomistics.reference.counting import CountingCalculator
from atomistics.structures import heights

REST = 5e-4  # eV/Å, and eV an atom of strain: at rest
NEARLY = 0.02  # eV/Å: at rest too, once the energy no longer falls
FLAT = 2e-7  # eV/atom a step, three times in a row: what noise of a self-consistent field allows
SYMPREC = 0.05  # Å


class PropertyError(UserError):
    """Why a property has no value for this structure; `kind` is its class."""

    kind = "no-value"


@dataclass(frozen=True)
class PropertyValue:
    """A number with a bound on its numerical error (same unit), where one is known."""

    name: str
    value: float
    error: float | None = None


@dataclass
class Measurement:
    """Values of one kind, how they came about in words, curves for figures."""

    values: list[PropertyValue]
    how: str
    curves: dict[str, Any] = field(default_factory=dict)


class Capped(CountingCalculator):
    """Counts calls and refuses the one beyond `most`."""

    most: int = 10**9

    def _calculate(self, atoms: Atoms, geometry: tuple[bytes, ...]) -> None:
        if self.calls >= self.most:
            raise LabelFailedError("too-many-calls", f"not done within {self.most} calls")
        super()._calculate(atoms, geometry)


def on(atoms: Atoms, calculator: Calculator | CountingCalculator) -> Atoms:
    """A copy without anything but geometry, on a calculator.

    Parameters
    ----------
    atoms : N atoms, Å
    calculator : shared, not copied

    Returns
    -------
    the copy
    """
    copy = Atoms(atoms.numbers, cell=atoms.cell, positions=atoms.positions, pbc=atoms.pbc)
    copy.calc = calculator
    return copy


def at_rest(
    atoms: Atoms, cell: str | None = None, steps: int = 100, rest: float = REST
) -> np.ndarray:
    """Relax in place, to `rest` or to where the energy has stopped falling.

    Parameters
    ----------
    atoms : N atoms, Å, with calculator; changed
    cell : None (fixed), "free" (all six components) or "shape" (at constant volume)
    steps : most steps of BFGS
    rest : eV/Å of the largest force; for the cell eV per atom and unit strain

    Returns
    -------
    the forces left (N, 3) eV/Å

    Raises
    ------
    PropertyError
        Neither is reached in `steps`.
    LabelFailedError
        A call fails.
    """
    target: Any = atoms
    if cell:
        target = FrechetCellFilter(atoms, constant_volume=cell == "shape")
    optimiser = BFGS(target, logfile=None, maxstep=0.1, comm=DummyMPI())
    energies: list[float] = []
    for done in optimiser.irun(fmax=rest, steps=steps):
        energies.append(atoms.get_potential_energy() / len(atoms))
        still = len(energies) > 3 and np.abs(np.diff(energies[-4:])).max() < FLAT
        if done or (still and _largest(target.get_forces()) < NEARLY):
            return atoms.get_forces()
    left = _largest(target.get_forces())
    raise PropertyError(f"not at rest after {steps} steps: {left:.3g} eV/Å left")


def _largest(forces: np.ndarray) -> float:
    return float(np.linalg.norm(forces, axis=-1).max())


def symmetry(atoms: Atoms) -> Any:
    """Symmetry of a crystal by spglib (Togo and Tanaka, arXiv:1808.01590).

    Parameters
    ----------
    atoms : N atoms, Å

    Returns
    -------
    spglib's data set: space group, equivalent atoms, transformation to the standard cell

    Raises
    ------
    PropertyError
        It finds none.
    """
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    symmetry_data = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    if symmetry_data is None:
        raise PropertyError("spglib finds no symmetry: do atoms overlap?")
    return symmetry_data


def conventional(atoms: Atoms) -> Atoms:
    """The standard conventional cell of a crystal, its symmetry exact.

    Parameters
    ----------
    atoms : N atoms, Å

    Returns
    -------
    the cell, Å

    Raises
    ------
    PropertyError
        spglib finds none.
    """
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    standard_cell = spglib.standardize_cell(
        cell, to_primitive=False, no_idealize=False, symprec=SYMPREC
    )
    if standard_cell is None:
        raise PropertyError("spglib finds no standard cell: do atoms overlap?")
    lattice, scaled, numbers = standard_cell
    return Atoms(numbers, cell=lattice, scaled_positions=scaled, pbc=True)


def parameters(atoms: Atoms, built: Atoms) -> tuple[np.ndarray, int]:
    """Axes and angles of the conventional cell.

    Of `built`, whatever became of it: reference and model are given the same axes.

    Parameters
    ----------
    atoms : relaxed, Å
    built : the same as built

    Returns
    -------
    a, b, c (Å), alpha, beta, gamma (degrees) in one array (6,); number of the space group

    Raises
    ------
    PropertyError
        spglib finds no symmetry.
    """
    symmetry_data = symmetry(built)
    if symmetry_data.number <= 2:  # no axis is special: those that the file has
        return atoms.cell.cellpar(), symmetry_data.number
    standard = np.linalg.inv(symmetry_data.transformation_matrix).T @ atoms.cell.array
    return Atoms(cell=standard).cell.cellpar(), symmetry_data.number


def distinct(number: int) -> list[int]:
    """Which of a, b, c, alpha, beta, gamma the space group leaves free."""
    bounds = (
        (194, [0]),
        (74, [0, 2]),
        (15, [0, 1, 2]),
        (2, [0, 1, 2, 4]),
    )
    return next((free for above, free in bounds if number > above), [0, 1, 2, 3, 4, 5])


def supercell(unit: Atoms, length: float) -> tuple[int, int, int]:
    """Repetitions of a cell along its axes so that opposite faces are far enough apart.

    Parameters
    ----------
    unit : Å
    length : Å

    Returns
    -------
    three numbers
    """
    return tuple(int(np.ceil(length / h - 1e-6)) for h in heights(unit))


def require_crystal(atoms: Atoms) -> None:
    """Check for a crystal: periodic in three directions, no vacuum that relaxing would close.

    Parameters
    ----------
    atoms : N atoms, Å

    Raises
    ------
    PropertyError
        It is none.
    """
    if not atoms.pbc.all():
        raise PropertyError("the structure is not periodic in x, y and z: no crystal")
