"""ASE calculator of a moment tensor potential, with a neighbour list that lives over many steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers, chemical_symbols

from mtp.configuration import Configuration, types_of
from mtp.engine import Engine, Evaluation
from mtp.errors import MTPError
from mtp.formats.almtp import read_potential
from mtp.neighbours import VerletList
from mtp.potential import Potential
from mtp.selection.selector import Selector

SKIN = 0.5


class MTP(Calculator):
    """Energy, forces, stress, per-atom energies and, on request, extrapolation grades.

    `species[t]` is the element of type t. Results in ASE's units: eV, eV/Å, stress
    eV/Å^3 = -PlusStress / volume (three periodic directions only). With `grades=True` (an
    `.almtp` with an active set): "grades" (N,) in neighbourhood mode, and "max_grade", found when
    `get_property` asks for them, or by `calculate(atoms)`, which finds everything. Number and kinds
    of atoms may change between calls.
    `skin` (Å): how far beyond the cutoff the kept neighbour list reaches.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "energies"]
    implemented_properties += ["stress"]

    def __init__(
        self,
        potential: str | Path | Potential,
        species: Sequence[str],
        grades: bool = False,
        skin: float = SKIN,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        name = "potential" if isinstance(potential, Potential) else str(potential)
        self.potential = (
            potential if isinstance(potential, Potential) else read_potential(potential)
        )
        if len(species) != self.potential.species_count:
            raise MTPError(
                f"{name}: has {self.potential.species_count} species but {len(species)} elements "
                f"were given ({', '.join(species)}); give one element per type, in order"
            )
        self.species = list(species)
        self.engine = Engine(self.potential)
        self.selector = Selector.stored(self.potential, name) if grades else None
        if self.selector:
            per_atom = ["grades"] if self.selector.weights.site else []
            self.implemented_properties = [*self.implemented_properties, "max_grade", *per_atom]
        self.list = VerletList(self.potential.max_dist, skin)
        self._types = np.full(len(chemical_symbols), -1)
        self._types[[atomic_numbers[symbol] for symbol in species]] = np.arange(len(species))
        self._known = b"", np.empty(0, int)  # numbers of the last call and their types

    @property
    def atoms(self) -> Atoms | None:
        """What the results belong to, without momenta; made when asked, a copy costs an MD step."""
        return self._now and self._now.to_atoms(self.species)

    @atoms.setter
    def atoms(self, given: Atoms | None) -> None:
        self._now = given and self._configuration(given)

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:  # noqa: ARG002
        """What changed since the last call, compared exactly; ASE's own check costs an MD step.

        Parameters
        ----------
        atoms : the structure that is asked about, Å
        tol : not used; ASE's interface has it

        Returns
        -------
        names of ASE's `all_changes`: cell, pbc, positions, numbers; all of them before a first call
        """
        if self._now is None:
            return list(all_changes)
        now = self._now
        pairs = {
            "cell": (now.cell, atoms.cell.array),
            "pbc": (now.pbc, atoms.pbc),
            "positions": (now.positions, atoms.positions),
            "numbers": (now.types, self._types[atoms.numbers]),
        }
        return [name for name, pair in pairs.items() if not np.array_equal(*pair)]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = (),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate; the neighbour list is rebuilt only when an atom left its skin.

        Parameters
        ----------
        atoms : N atoms, Å; None for those of the last call
        properties : what `results` must hold; none: all there is, grades too
        system_changes : as `check_state` names them; none: the last results hold

        Raises
        ------
        MTPError
            An element is not in the potential, atoms coincide, the cell is flat, or a result is not
            finite.
        """
        if system_changes or not self.results:
            if atoms is not None:
                self.atoms = atoms
            self._evaluate(self._now)
        asked = properties or self.implemented_properties
        if self.selector and ("grades" in asked or "max_grade" in asked):
            graded = self.selector.grade_neighbours([self._now], self.list.near)[0]
            self.results["max_grade"] = graded.grade
            if graded.grades is not None:
                self.results["grades"] = graded.grades

    def _evaluate(self, now: Configuration) -> None:
        evaluation: Evaluation = self.engine.evaluate(self.list.follow(now))[0]
        self.results = {
            "energy": evaluation.energy,
            "free_energy": evaluation.energy,
            "forces": evaluation.forces,
            "energies": evaluation.site_energies,
        }
        if (volume := now.volume) > 0:
            self.results["stress"] = -evaluation.virial / volume

    def _configuration(self, atoms: Atoms) -> Configuration:
        if (numbers := atoms.numbers.tobytes()) != self._known[0]:
            types = self._types[atoms.numbers]
            if types.min(initial=0) < 0:
                types = types_of(atoms, self.species)
            self._known = numbers, types
        return Configuration(
            cell=atoms.cell.array.copy(),
            types=self._known[1],
            positions=atoms.positions.copy(),
            pbc=atoms.pbc.copy(),
        )
