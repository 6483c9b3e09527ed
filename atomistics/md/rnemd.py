"""Reverse non-equilibrium MD: heat or momentum carried against its gradient by swapped velocities.

F. Müller-Plathe, J. Chem. Phys. 106, 6082 (1997) for thermal conductivity, Phys. Rev. E 59, 4894
(1999) for shear viscosity.
"""

import itertools
from typing import Any

import numpy as np
from ase import Atoms, units

from atomistics.analysis.observables import mean_and_error
from atomistics.errors import UserError
from atomistics.md.protocol import ReverseMd
from atomistics.units import MILLIPASCAL_SECONDS, WATTS_PER_METRE_KELVIN

# beyond which a response is told not to be linear: span of the profile against its mean (K) or the
# thermal velocity; slopes of its two halves against their mean
DRIVEN, BENT = 0.3, 0.25
FEWEST = 3.0  # atoms a slab, on average
BLOCKS = 5
FEWEST_BENT = 7  # slabs between those of the swaps, fewer of which show no bend above their noise


class VelocitySwaps:
    """Slabs of a moving structure, the swaps between two of them, and the profile in between.

    Slab 0 and slab n/2 along one cell vector exchange the velocities of two atoms of the same
    element, which changes neither total energy nor total momentum. Heat: the hottest atom of slab
    0 against the coldest of slab n/2. Momentum: the components along an in-plane cell vector, the
    atom fastest forwards in slab 0 against the one fastest backwards in slab n/2.
    """

    def __init__(self, atoms: Atoms, stage: ReverseMd) -> None:
        if not atoms.pbc.all():
            raise UserError("rnemd: needs a structure periodic in x, y and z")
        if len(atoms) < FEWEST * stage.slabs:
            raise UserError(
                f"rnemd: slabs: {stage.slabs} for {len(atoms)} atoms are fewer than {FEWEST:g}"
                " atoms each; give fewer slabs or a longer cell"
            )
        self.stage = stage
        self.axis = "abc".index(stage.axis)
        cell = atoms.cell.array
        self.area = float(np.linalg.norm(np.cross(cell[self.axis - 2], cell[self.axis - 1])))
        self.spacing = float(atoms.get_volume() / self.area / stage.slabs)
        self.along = cell[self.axis - 1] / np.linalg.norm(cell[self.axis - 1])
        self.moved = 0.0
        self._numbers = atoms.numbers
        self._masses = atoms.get_masses()
        self._times: list[float] = []
        self._given: list[float] = []
        self._profiles: list[np.ndarray] = []

    def swap(self, atoms: Atoms) -> None:
        """Exchange one pair of velocities, if that carries anything.

        Parameters
        ----------
        atoms : N atoms, Å; `moved` counts the energy (eV) from slab 0 to slab n/2, or momentum (u
            Å/t)
        """
        velocities = atoms.get_velocities()
        slabs = self._slabs(atoms)
        if self.stage.exchange == "heat":
            score = 0.5 * self._masses * (velocities**2).sum(axis=1)
        else:
            score = self._masses * (velocities @ self.along)
        best, chosen = 0.0, None
        for number in np.unique(self._numbers):
            first = np.flatnonzero((slabs == 0) & (self._numbers == number))
            second = np.flatnonzero((slabs == self.stage.slabs // 2) & (self._numbers == number))
            if not len(first) or not len(second):
                continue
            i, j = first[np.argmax(score[first])], second[np.argmin(score[second])]
            if score[i] - score[j] > best:
                best, chosen = float(score[i] - score[j]), (i, j)
        if chosen is None:
            return
        self.moved += best
        i, j = chosen
        if self.stage.exchange == "heat":
            velocities[[i, j]] = velocities[[j, i]]
        else:
            change = ((velocities[j] - velocities[i]) @ self.along) * self.along
            velocities[i] += change
            velocities[j] -= change
        atoms.set_velocities(velocities)

    def sample(self, atoms: Atoms, time: float) -> None:
        """Keep a profile: temperature (K), or velocity along the flow (Å/t), by slab.

        Parameters
        ----------
        atoms : N atoms, Å
        time : ASE's unit t = Å sqrt(u/eV)
        """
        slabs, count = self._slabs(atoms), self.stage.slabs
        velocities = atoms.get_velocities()
        mass = np.bincount(slabs, self._masses, count)
        if self.stage.exchange == "heat":
            twice = self._masses * (velocities**2).sum(axis=1)
            freedom = 3 * np.bincount(slabs, minlength=count) * (1 - 1 / len(atoms))
            profile = np.bincount(slabs, twice, count) / np.maximum(freedom, 1) / units.kB
        else:
            momentum = np.bincount(slabs, self._masses * (velocities @ self.along), count)
            profile = momentum / np.where(mass, mass, 1)
        profile[mass == 0] = np.nan
        self._times.append(time)
        self._given.append(self.moved)
        self._profiles.append(profile)

    def result(self) -> dict[str, Any]:
        """Conductivity (W/m/K) or viscosity (mPa s): mean and standard error of BLOCKS stretches.

        Flux = moved / (2 area time), halved because it flows back on both sides; gradient from a
        straight line through the half profile without the two slabs of the swaps. Both of
        every stretch of its own; correlation longer than a stretch is not seen. A cell shorter
        than the mean free path of phonons conducts less than the bulk.
        """
        heat = self.stage.exchange == "heat"
        factor = WATTS_PER_METRE_KELVIN if heat else MILLIPASCAL_SECONDS
        figures = {
            "name": "thermal_conductivity" if heat else "shear_viscosity",
            "unit": "W/m/K" if heat else "mPa s",
            "value": None,
            "error": None,
        }
        if len(self._times) < 4 * BLOCKS or not self.moved:
            return figures
        edges = np.linspace(0, len(self._times) - 1, BLOCKS + 1).round().astype(int)
        values = np.array([factor * self._coefficient(a, b) for a, b in itertools.pairwise(edges)])
        if not np.isfinite(values).all():
            return figures
        value, error = mean_and_error(values)
        profile = self.half_profile(0, len(self._times))
        distance = np.arange(len(profile)) * self.spacing
        key = "temperature_K" if heat else "velocity_A_per_fs"
        scale = 1.0 if heat else units.fs
        return figures | {
            "note": self.beyond_linear(profile),
            "value": value,
            "error": error,
            "curve": {
                "distance_A": [float(f"{d:.6g}") for d in distance],
                key: [float(f"{p * scale:.6g}") for p in profile],
            },
        }

    def beyond_linear(self, profile: np.ndarray) -> str | None:
        """Why a profile is not the bulk's linear response, in words; None if it may be.

        Temperatures that span much of their mean, or a flow near the thermal velocity, change what
        is measured on the way (Müller-Plathe 1997, section IV); so does a profile that bends.

        Parameters
        ----------
        profile : (n/2 + 1,) from slab 0 to slab n/2: K, or velocities in Å/t

        Returns
        -------
        By how much (fractions of DRIVEN, BENT) and what to try, or None.
        """
        inner = profile[1:-1]
        span = float(np.ptp(inner))
        if self.stage.exchange == "heat":
            scale, what = float(inner.mean()), "temperatures span {:.0%} of their mean"
        else:
            scale = float(np.sqrt(units.kB * self.stage.temperature / self._masses.mean()))
            what = "the flow spans {:.0%} of the thermal velocity"
        middle = len(inner) // 2
        halves = inner[: middle + 1], inner[-middle - 1 :]
        slopes = [np.polyfit(np.arange(len(half)), half, 1)[0] for half in halves]
        bend = abs(slopes[1] - slopes[0]) / max(abs(np.mean(slopes)), 1e-300)
        if span <= DRIVEN * scale and (bend <= BENT or len(inner) < FEWEST_BENT):
            return None
        return (
            f"beyond linear response: {what.format(span / scale)}, slopes of the profile's halves"
            f" differ by {bend:.0%}; swap less often (every: {2 * self.stage.every:g}) and compare"
        )

    def flux(self, first: int, last: int) -> float:
        """Imposed flux between two samples, eV/(Å^2 t) or u/(Å t^2)."""
        moved = self._given[last] - self._given[first]
        return moved / (2 * self.area * (self._times[last] - self._times[first]))

    def half_profile(self, first: int, last: int) -> np.ndarray:
        """Mean profile from slab 0 to slab n/2, both ways of the period averaged.

        Parameters
        ----------
        first, last : samples [first, last)

        Returns
        -------
        (n/2 + 1,) K, or Å/t
        """
        mean = np.nanmean(self._profiles[first:last], axis=0)
        half = self.stage.slabs // 2
        return np.array([(mean[k] + mean[-k]) / 2 for k in range(half + 1)])

    def _coefficient(self, first: int, last: int) -> float:
        inner = self.half_profile(first, last)[1:-1]
        if not np.isfinite(inner).all():  # a slab without atoms
            return float("nan")
        slope = np.polyfit(np.arange(len(inner)) * self.spacing, inner, 1)[0]
        return self.flux(first, last) / slope if slope else float("inf")

    def _slabs(self, atoms: Atoms) -> np.ndarray:
        fraction = atoms.get_scaled_positions(wrap=True)[:, self.axis]
        return np.floor(fraction * self.stage.slabs).astype(int) % self.stage.slabs
