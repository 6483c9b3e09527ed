"""ASE calculator of a moment tensor potential, with a neighbour list that lives over many steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from mtp.configuration import Configuration, types_of
from mtp.engine import Engine, Evaluation, Neighbours, neighbours
from mtp.errors import MTPError
from mtp.potential import Potential, read_potential
from mtp.selection import Selection

SKIN = 0.5


class MTP(Calculator):
    """Energy, forces, stress, per-atom energies and, on request, extrapolation grades.

    `species[t]` is the element of type t. Results in ASE's units: eV, eV/angstrom, stress
    eV/angstrom^3 = -PlusStress / volume (three periodic directions only). With `grades=True` (an
    `.almtp` with an active set): results["grades"] (N,) in neighbourhood mode, and
    results["max_grade"]. Number and kinds of atoms may change between calls.
    `skin` (angstrom): how far beyond the cutoff the kept neighbour list reaches.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "energies"]
    implemented_properties += ["stress", "grades", "max_grade"]

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
        self.selection = Selection.stored(self.potential, name) if grades else None
        self.list = VerletList(self.potential.max_dist, skin)
        self._types = np.full(len(chemical_symbols), -1)
        self._types[[atomic_numbers[symbol] for symbol in species]] = np.arange(len(species))

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:  # noqa: ARG002
        """What changed since the last call, compared exactly; ASE's own check costs an MD step."""
        if self.atoms is None:
            return list(all_changes)
        old, new = _state(self.atoms), _state(atoms)
        return [name for name in old if not np.array_equal(old[name], new[name])]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),  # noqa: ARG002
        system_changes: Sequence[str] = all_changes,  # noqa: ARG002
    ) -> None:
        """Evaluate; the neighbour list is rebuilt only when an atom left its skin."""
        if atoms is not None:
            self.atoms = atoms.copy()
        now = Configuration(
            cell=self.atoms.cell.array,
            types=self._types_of(self.atoms),
            positions=self.atoms.positions,
            pbc=self.atoms.pbc,
        )
        near = self.list.follow(now)
        found: Evaluation = self.engine.evaluate(near)[0]
        self.results = {
            "energy": found.energy,
            "free_energy": found.energy,
            "forces": found.forces,
            "energies": found.site_energies,
        }
        if (volume := now.volume) > 0:
            self.results["stress"] = -found.stress / volume
        if self.selection is not None:
            graded = self.selection.grade_neighbours([now], near)[0]
            self.results["max_grade"] = graded.grade
            if graded.grades is not None:
                self.results["grades"] = graded.grades

    def _types_of(self, atoms: Atoms) -> NDArray[np.int64]:
        types = self._types[atoms.numbers]
        return types if (types >= 0).all() else types_of(atoms, self.species)


def _state(atoms: Atoms) -> dict[str, NDArray]:
    arrays = {"cell": atoms.cell.array, "pbc": atoms.pbc}
    return arrays | {name: atoms.arrays[name] for name in ("positions", "numbers")}


class VerletList:
    """Neighbours of one configuration within cutoff + skin, following the atoms until they leave.

    L. Verlet, Phys. Rev. 159, 98 (1967). A changing cell counts as motion: pairs v become
    v G + w_j - w_i with G from the old to the new cell; valid while
    (cutoff + 2 max |w|) |G^-1| <= cutoff + skin, w taken since the list was built.
    """

    def __init__(self, cutoff: float, skin: float) -> None:
        self.cutoff, self.skin = cutoff, max(0.0, skin)
        self.near: Neighbours | None = None
        self.rebuilt = 0
        self._built: Configuration | None = None
        self._last: Configuration | None = None

    def follow(self, now: Configuration) -> Neighbours:
        """The list for these positions: moved along where that is safe, else built anew."""
        if self._holds(now):
            strain, displacement = _motion(self._last, now)
            self.near.kernel.move(strain, displacement)
        else:
            self.near = neighbours([now], self.cutoff + self.skin)
            self._built = _copy(now)
            self.rebuilt += 1
        self._last = _copy(now)
        return self.near

    def _holds(self, now: Configuration) -> bool:
        built = self._built
        if built is None or not (
            np.array_equal(built.types, now.types) and np.array_equal(built.pbc, now.pbc)
        ):
            return False
        if not np.isfinite(now.positions).all() or not np.isfinite(now.cell).all():
            return False
        if not np.array_equal(built.cell, now.cell) and not (built.volume and now.volume):
            return False
        strain, displacement = _motion(built, now)
        farthest = float(np.sqrt(np.square(displacement).sum(axis=1).max(initial=0.0)))
        back = 1.0
        if not np.array_equal(built.cell, now.cell):
            back = float(np.linalg.norm(np.linalg.inv(strain), 2))
        return (self.cutoff + 2 * farthest) * back <= self.cutoff + self.skin


def _motion(
    before: Configuration, now: Configuration
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """G (3, 3) with cell G = new cell, and w (N, 3) = r_new - r_old G."""
    if np.array_equal(before.cell, now.cell):
        return np.eye(3), now.positions - before.positions
    strain = np.linalg.solve(before.cell, now.cell)
    return strain, now.positions - before.positions @ strain


def _copy(now: Configuration) -> Configuration:
    return Configuration(
        now.cell.copy(), now.types.copy(), now.positions.copy(), pbc=now.pbc.copy()
    )
