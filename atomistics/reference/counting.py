"""An ASE calculator seen through a counter: exact number of calls, nothing but finite results."""

from copy import copy
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.abc import GetPropertiesMixin
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator

from atomistics.errors import UserError
from atomistics.reference.convergence import LabelFailedError, failure
from mtp.neighbours import finite

LABELS = ("energy", "forces", "stress")
MOVING = ("positions", "momenta")
INITIAL = ("initial_charges", "initial_magmoms")


class CountingCalculator(GetPropertiesMixin):
    """Energy, forces and stress of `calculator` in one call per geometry.

    ASE asks whether anything changed by comparing with tolerance and copying at every access,
    0.7 ms per MD step of 64 atoms, more than a fitted potential costs; here arrays are compared
    bit by bit, initial charges and magnetic moments too.
    """

    def __init__(self, calculator: Calculator) -> None:
        self.calculator = calculator
        self.calls = 0
        self.results: dict[str, Any] = {}
        self._seen: tuple[bytes, ...] = ()

    @property
    def implemented_properties(self) -> list[str]:
        """What the calculator can find."""
        return self.calculator.implemented_properties

    @classmethod
    def of(cls, calculator: "Calculator | CountingCalculator") -> "CountingCalculator":
        """A counter around a calculator.

        Parameters
        ----------
        calculator : returned itself where it already counts

        Returns
        -------
        the counter
        """
        return calculator if isinstance(calculator, cls) else cls(calculator)

    def get_property(self, name: str, atoms: Atoms, allow_calculation: bool = True) -> Any:
        """One result, in one call per geometry.

        Parameters
        ----------
        name : as ASE has it
        atoms : N atoms, Å
        allow_calculation : False: None where the geometry is new

        Returns
        -------
        energy (eV), forces (N, 3) in eV/Å, stress (6,) in eV/Å^3, or what else there is

        Raises
        ------
        LabelFailedError
            for what the calculator raises, and for results that are not finite.
        UserError
            for settings with which it can never work.
        """
        if (geometry := _geometry(atoms)) != self._seen:
            if not allow_calculation:
                return None
            self._calculate(atoms, geometry)
        if name == "free_energy" and name not in self.results:
            name = "energy"
        if name not in self.results:
            self._ask(atoms, [name], [])
        value = self.results[name]
        return value.copy() if isinstance(value, np.ndarray) else value

    def _calculate(self, atoms: Atoms, geometry: tuple[bytes, ...]) -> None:
        if not finite(atoms.positions):
            raise LabelFailedError("nan", "positions are not finite")
        # all but positions and cell
        only_moved = bool(self._seen) and self._seen[2:] == geometry[2:]
        self._seen = ()
        properties = ["energy", "forces"]
        if "stress" in self.implemented_properties and all(atoms.pbc.tolist()):
            properties.append("stress")
        self.calls += 1
        changes = ["positions", "cell"] if only_moved else all_changes
        self._ask(atoms, properties, changes)
        self.results = self.calculator.results
        for name in properties:
            if not finite(self.results[name]):
                raise LabelFailedError("nan", f"{name} is not finite")
        self._seen = geometry

    def _ask(self, atoms: Atoms, properties: list[str], changes: list[str]) -> None:
        """What the calculator raises is a failed label, unless it is a defect of ours."""
        try:
            self.calculator.calculate(atoms, properties, changes)
        except UserError:
            raise
        except Exception as error:  # a calculator of others raises anything
            raise failure(error, self.calculator) from error


def _geometry(atoms: Atoms) -> tuple[bytes, ...]:
    arrays = atoms.arrays
    initial = [arrays[name].tobytes() if name in arrays else b"" for name in INITIAL]
    cell, pbc = atoms.cell.array.tobytes(), atoms.pbc.tobytes()
    return arrays["positions"].tobytes(), cell, arrays["numbers"].tobytes(), pbc, *initial


def labelled(atoms: Atoms) -> Atoms:
    """Copy of `atoms` that carries the results of its calculator.

    Parameters
    ----------
    atoms : N atoms, Å, whose calculator has been asked

    Returns
    -------
    the copy: energy in eV, forces (N, 3) in eV/Å without constraints applied, stress (6,) in eV/Å^3
    in ASE's Voigt order, where the calculator has it; the largest extrapolation grade in
    `info["grade"]`
    """
    return Snapshot(atoms).frame()


class Snapshot:
    """What changes in an MD, taken from `atoms` as they are: the frame is made when asked for.

    `info` goes into the frame's, beside what the atoms have.
    """

    def __init__(self, atoms: Atoms, **info: Any) -> None:
        self.info = info
        self._atoms, self._cell = atoms, atoms.cell.array.copy()
        self._moved = {n: atoms.arrays[n].copy() for n in MOVING if n in atoms.arrays}
        self._results = {n: copy(v) for n, v in atoms.calc.results.items() if n in LABELS}
        self.grade = largest_grade(atoms)

    def frame(self) -> Atoms:
        """The frame.

        Returns
        -------
        as `labelled`
        """
        frame = self._atoms.copy()
        frame.set_cell(self._cell)
        for name, values in self._moved.items():
            frame.set_array(name, values)
        frame.calc = SinglePointCalculator(frame, **self._results)
        if self.grade is not None:
            frame.info["grade"] = self.grade
        frame.info |= self.info
        return frame


def largest_grade(atoms: Atoms) -> float | None:
    """Extrapolation grade of a structure, or of its worst atom.

    Parameters
    ----------
    atoms : N atoms, Å, whose calculator has been asked

    Returns
    -------
    the grade; None where the calculator has none
    """
    results = atoms.calc.results
    grades = results.get("grades", results.get("max_grade"))
    if grades is None and "max_grade" in getattr(atoms.calc, "implemented_properties", ()):
        grades = atoms.calc.get_property("max_grade", atoms)  # costs too much for every step
    return None if grades is None else float(np.max(grades))
