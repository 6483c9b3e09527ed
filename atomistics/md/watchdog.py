"""What stops a running MD: limits on temperature, energy, density, distances and grade."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii

from atomistics.neighbours import Pairs, pairs
from atomistics.reference.counting import largest_grade
from atomistics.units import GRAMS_PER_CM3

WIDENINGS = 4  # of the limits of one run by labels
CLASSES = ("nan", "grade", "distance", "lost_atoms", "temperature", "energy", "density")


@dataclass(frozen=True)
class Limits:
    """Bounds of a sound MD; None switches a check off.

    `temperature` is the ceiling of the instantaneous temperature, K; `energy` the band of the
    potential energy, eV/atom; `density` in g/cm3; `volume` in Å^3/atom. Without `min_distance`
    (Å) a pair may not come closer than `covalent_factor` times the sum of its covalent radii
    (Cordero et al., Dalton Trans. 2008, 2832, as in ase.data). An atom without another one
    within `lost_distance` (Å) is lost. `grade` is the extrapolation grade that stops
    (Podryabinkin and Shapeev, Comput. Mater. Sci. 140, 171 (2017): gamma_break), `worth` the least
    one worth a label: the frame of such a stop is kept where none before it reaches that.
    """

    temperature: float | None = None
    energy: tuple[float, float] | None = None
    density: tuple[float, float] | None = None
    volume: tuple[float, float] | None = None
    min_distance: float | None = None
    covalent_factor: float | None = 0.5
    lost_distance: float | None = 6.0
    grade: float | None = None
    worth: float | None = None


class Watchdog:
    """Compares a moving structure with its limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def check(self, atoms: Atoms) -> tuple[str, str] | None:
        """Whether an MD should stop here.

        Parameters
        ----------
        atoms : N atoms, Å, whose calculator has energy (eV) and forces (eV/Å) at hand and, with a
            fitted
            potential, `results["grades"]`

        Returns
        -------
        None, or the class of the breach and one line with the values
        """
        return (
            _not_finite(atoms)
            or self._grade(atoms)
            or self._distances(atoms)
            or self._temperature(atoms)
            or self._bands(atoms)
        )

    def only_grade(self, atoms: Atoms) -> bool:
        """Whether the grade stops an MD here, and every other limit is kept.

        Parameters
        ----------
        atoms : as of `check`

        Returns
        -------
        False where nothing stops it
        """
        others = (_not_finite, self._distances, self._temperature, self._bands)
        return self._grade(atoms) is not None and not any(limit(atoms) for limit in others)

    def _grade(self, atoms: Atoms) -> tuple[str, str] | None:
        grade, limit = largest_grade(atoms), self.limits.grade
        if limit is None or grade is None or grade < limit:
            return None
        return "grade", f"grade {grade:.4g} reaches {limit:g}"

    def _temperature(self, atoms: Atoms) -> tuple[str, str] | None:
        kelvin, limit = temperature(atoms), self.limits.temperature
        if limit is None or kelvin <= limit:
            return None
        return "temperature", f"{kelvin:.0f} K is above {limit:.0f} K"

    def _bands(self, atoms: Atoms) -> tuple[str, str] | None:
        measured = [
            ("energy", atoms.get_potential_energy() / len(atoms), "eV/atom", self.limits.energy)
        ]
        if atoms.cell.rank == 3:
            volume = atoms.get_volume()
            density = atoms.get_masses().sum() / volume * GRAMS_PER_CM3
            measured.append(("density", density, "g/cm3", self.limits.density))
            measured.append(("density", volume / len(atoms), "Å^3/atom", self.limits.volume))
        for kind, value, unit, band in measured:
            if band is not None and not band[0] <= value <= band[1]:
                low, high = band
                return kind, f"{value:.6g} {unit} is outside [{low:.6g}, {high:.6g}]"
        return None

    def _distances(self, atoms: Atoms) -> tuple[str, str] | None:
        limits = self.limits
        factor = 0.0 if limits.covalent_factor is None else limits.covalent_factor
        radii = covalent_radii[atoms.numbers] * factor
        fixed = limits.min_distance
        closest = 2 * radii.max() if fixed is None else fixed
        lost = limits.lost_distance
        if len(atoms) == 1 or max(closest, lost or 0.0) == 0.0:
            return None
        near = pairs(atoms, max(closest, (lost or 0.0) / 2))
        close = np.flatnonzero(near.distance < closest)
        for k in close[np.argsort(near.distance[close])]:
            i, j, distance = (column[k] for column in near)
            bound = radii[i] + radii[j] if fixed is None else fixed
            if distance < bound:
                pair = f"{atoms.symbols[i]}-{atoms.symbols[j]} (atoms {i} and {j})"
                return "distance", f"{pair} at {distance:.3f} Å, below {bound:.3f} Å"
        if lost is not None and len(_alone(atoms, near)):
            alone = _alone(atoms, pairs(atoms, lost))
            if len(alone):
                return "lost_atoms", f"atom {alone[0]} has no other within {lost:g} Å"
        return None


class JudgedWatchdog(Watchdog):
    """Limits on temperature, energy and density that widen where a label says that they were wrong.

    Where the reference itself leaves a limit, as of a crystal that melts at its temperature of use,
    the potential that follows it is right.

    Parameters
    ----------
    limits : Limits
    judge : whether model and reference agree about a structure, for one label
    most : labels that it may ask for
    """

    def __init__(self, limits: Limits, judge: Callable[[Atoms], bool], most: int) -> None:
        super().__init__(limits)
        self.labels = 0
        self.widened: dict[str, int] = {}
        self._judge = judge
        self._most = min(most, WIDENINGS)

    def check(self, atoms: Atoms) -> tuple[str, str] | None:
        """As Watchdog.check; a limit is widened by half for every label that finds it wrong.

        Parameters
        ----------
        atoms : as for Watchdog.check

        Returns
        -------
        None, or the class of a breach that no label excuses and one line with the values
        """
        while breach := super().check(atoms):
            kind = breach[0]
            if kind not in ("temperature", "energy", "density") or self.labels == self._most:
                return breach
            self.labels += 1
            if not self._judge(atoms):
                return breach
            self.widened[kind] = self.widened.get(kind, 0) + 1
            self.limits = _wider(self.limits, kind)
        return None


def _wider(limits: Limits, kind: str) -> Limits:
    """The limit of one class half as wide again."""
    if kind == "temperature":
        return replace(limits, temperature=1.5 * (limits.temperature or 0.0))
    bands = {"energy": limits.energy, "density": limits.density, "volume": limits.volume}
    names = ("density", "volume") if kind == "density" else (kind,)
    wider = {
        name: (band[0] - (band[1] - band[0]) / 4, band[1] + (band[1] - band[0]) / 4)
        for name in names
        if (band := bands[name])
    }
    return replace(limits, **wider)


def _not_finite(atoms: Atoms) -> tuple[str, str] | None:
    values = {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "positions": atoms.positions,
        "momenta": atoms.get_momenta(),
        "cell": atoms.cell.array,
    }
    for name, value in values.items():
        if not np.isfinite(value).all():
            return "nan", f"{name} is not finite"
    return None


def temperature(atoms: Atoms) -> float:
    """Instantaneous temperature: 2 E_kin / (3N - 3) k_B, the centre of mass at rest.

    Parameters
    ----------
    atoms : N atoms with momenta

    Returns
    -------
    K
    """
    momenta = atoms.get_momenta()
    masses = atoms.get_masses()[:, None]
    relative = momenta - masses * (momenta.sum(axis=0) / masses.sum())
    twice_kinetic = float((relative**2 / masses).sum())
    return twice_kinetic / (max(3 * len(atoms) - 3, 3) * units.kB)


def _alone(atoms: Atoms, near: Pairs) -> np.ndarray:
    return np.flatnonzero(np.bincount(near.i, minlength=len(atoms)) == 0)
