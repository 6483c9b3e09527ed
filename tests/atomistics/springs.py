"""A crystal of harmonic springs: every average of its MD is known in closed form."""

import numpy as np
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

STIFFNESS = 3.0  # eV/Å^2
LENGTH = 2.5  # Å


def crystal(repeat=2):
    """Fcc copper, 4 repeat^3 atoms, nearest neighbours at the springs' rest length."""
    return bulk("Cu", a=LENGTH * np.sqrt(2), cubic=True) * repeat


# E/atom = 3 k r0^2 strain^2 and V/atom = r0^3 / sqrt(2), hence V d2E/dV2:
BULK_MODULUS = 2 / 3 * np.sqrt(2) * STIFFNESS / LENGTH  # eV/Å^3


class Springs(Calculator):
    """Springs between the nearest neighbours of the perfect crystal, whatever happens later.

    From call `break_at` on, `fault(results)` spoils the results or raises.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, atoms, break_at=None, fault=None):
        super().__init__()
        self.i, self.j, self.shift = neighbor_list("ijS", atoms, 1.2 * LENGTH)
        self.calls = 0
        self.break_at, self.fault = break_at, fault

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        self.calls += 1
        vector = atoms.positions[self.j] - atoms.positions[self.i] + self.shift @ atoms.cell.array
        distance = np.linalg.norm(vector, axis=1)
        pull = (STIFFNESS * (distance - LENGTH) / distance)[:, None] * vector
        forces = np.stack(
            [np.bincount(self.i, pull[:, axis], minlength=len(atoms)) for axis in range(3)], axis=1
        )
        virial = 0.5 * pull.T @ vector / atoms.get_volume()
        self.results = {
            "energy": 0.25 * STIFFNESS * float(((distance - LENGTH) ** 2).sum()),
            "forces": forces,
            "stress": virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
        }
        if self.break_at is not None and self.calls >= self.break_at:
            self.fault(self.results)
