"""When an MD has gone on for long enough: its energy and density no longer drift."""

import numpy as np
from ase import Atoms, units

SETTLED = 0.003  # eV/atom, a drift that no target sees
EVEN = 0.01  # of the density


class SteadyState:
    """Asked after every step of an MD at `kelvin`; true once the last `least` steps hold still.

    Their two halves are compared: potential energy within 3 meV/atom or what heat lets it
    fluctuate by, kT (3 / 2N)^1/2 for N atoms (equipartition), density within 1 %. Looks only
    every `interval` steps, so that the last frame of a run is one that is kept.
    """

    def __init__(self, kelvin: float, least: int, interval: int) -> None:
        self._kelvin, self._least, self._interval = kelvin, least, interval
        self._energies: list[float] = []
        self._volumes: list[float] = []
        self.holds = False

    def __call__(self, moving: Atoms) -> bool:
        """Look at the atoms after a step."""
        self._energies.append(moving.get_potential_energy() / len(moving))
        self._volumes.append(moving.get_volume() if moving.cell.rank == 3 else 1.0)
        steps = len(self._energies) - 1  # the first look is at the start
        if steps < self._least or steps % self._interval:
            return False
        heat = units.kB * self._kelvin * (1.5 / len(moving)) ** 0.5
        self.holds = (
            abs(_drift(self._energies[-self._least :])) < max(SETTLED, heat)
            and abs(_drift(np.log(self._volumes[-self._least :]))) < EVEN
        )
        return self.holds


def _drift(values: list[float] | np.ndarray) -> float:
    half = len(values) // 2
    return float(np.mean(values[half:]) - np.mean(values[:half]))
