"""What the published potentials that quench glasses have in common: ASE's side of them."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes


class QuenchingCalculator(Calculator):
    """Energy (eV), forces (N, 3) eV/Å and stress (6,) eV/Å^3; periodic in x, y, z."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    # energy (eV), forces (N, 3) eV/Å and volume times stress (3, 3) eV of N atoms
    evaluate: ClassVar[Callable[[Atoms], tuple[float, np.ndarray, np.ndarray]]]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """One evaluation.

        Parameters
        ----------
        atoms : N atoms, Å; None for those of the last call
        properties : not used: all are found
        system_changes : names of ASE's `all_changes`
        """
        super().calculate(atoms, properties or ["energy"], system_changes)
        assert self.atoms is not None  # the base class has just set it
        energy, forces, virial = self.evaluate(self.atoms)
        stress = virial / self.atoms.get_volume()
        results: dict[str, Any] = {"energy": energy, "free_energy": energy, "forces": forces}
        self.results = results | {"stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]}
