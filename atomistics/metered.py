"""An ASE calculator seen through a counter: exact number of calls, nothing but finite results."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.abc import GetPropertiesMixin
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator

from planner.errors import UserError


class LabelFailedError(UserError):
    """A reference calculation without a usable result.

    `kind` is one of unconverged, nan, forces_too_large, crashed, timeout; `detail` says more.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.kind, self.detail)


class Metered(GetPropertiesMixin):
    """Energy, forces and stress of `calculator` in one call per geometry.

    ASE asks whether anything changed by comparing with tolerance and copying at every access,
    0.7 ms per MD step of 64 atoms, more than a fitted potential costs; here arrays are compared
    exactly. Charges and magnetic moments are taken to be constant, as they are in MD.
    """

    def __init__(self, calculator: Calculator) -> None:
        self.calculator = calculator
        self.calls = 0
        self.results: dict[str, Any] = {}
        self._seen: tuple[np.ndarray, ...] = ()

    @classmethod
    def of(cls, calculator: "Calculator | Metered") -> "Metered":
        """Return `calculator` itself where it already counts."""
        return calculator if isinstance(calculator, cls) else cls(calculator)

    def get_property(self, name: str, atoms: Atoms, allow_calculation: bool = True) -> Any:
        """Return a result (eV, eV/Å, eV/Å^3); LabelFailedError where it is not finite."""
        if not self._current(atoms):
            if not allow_calculation:
                return None
            self._calculate(atoms)
        if name == "free_energy" and name not in self.results:
            name = "energy"
        value = self.results[name]
        return value.copy() if isinstance(value, np.ndarray) else value

    def _current(self, atoms: Atoms) -> bool:
        return bool(self._seen) and all(
            np.array_equal(a, b) for a, b in zip(self._seen, _geometry(atoms), strict=True)
        )

    def _calculate(self, atoms: Atoms) -> None:
        if not np.isfinite(atoms.positions).all():
            raise LabelFailedError("nan", "positions are not finite")
        known = bool(self._seen) and np.array_equal(self._seen[2], atoms.numbers)
        self._seen = ()
        properties = ["energy", "forces"]
        if atoms.pbc.all() and "stress" in self.calculator.implemented_properties:
            properties.append("stress")
        self.calls += 1
        changes = ["positions", "cell"] if known else all_changes
        self.calculator.calculate(atoms, properties, changes)
        self.results = self.calculator.results
        for name in properties:
            if not np.isfinite(self.results[name]).all():
                raise LabelFailedError("nan", f"{name} is not finite")
        self._seen = tuple(array.copy() for array in _geometry(atoms))


def _geometry(atoms: Atoms) -> tuple[np.ndarray, ...]:
    return atoms.positions, atoms.cell.array, atoms.numbers, atoms.pbc


def labelled(atoms: Atoms) -> Atoms:
    """Copy of `atoms` that carries the results of its calculator.

    Energy in eV, forces (N, 3) in eV/Å without constraints applied, stress (6,) in eV/Å^3 in
    ASE's Voigt order, where the calculator has it; the largest extrapolation grade in
    `info["grade"]`.
    """
    names = ("energy", "forces", "stress")
    results = {n: atoms.calc.results[n] for n in names if n in atoms.calc.results}
    frame = atoms.copy()
    frame.calc = SinglePointCalculator(frame, **results)
    grade = largest_grade(atoms)
    if grade is not None:
        frame.info["grade"] = grade
    return frame


def largest_grade(atoms: Atoms) -> float | None:
    """Extrapolation grade of the structure, or of its worst atom; None without grades."""
    results = atoms.calc.results
    found = results.get("grades", results.get("max_grade"))
    return None if found is None else float(np.max(found))
