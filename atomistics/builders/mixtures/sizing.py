"""How many molecules make a mixture, and how large its volume is."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atomistics.builders.mixtures.conformers import Template, total_charge
from atomistics.builders.mixtures.parameters import Component, Mixture
from atomistics.builders.sources import templates
from atomistics.errors import UserError
from atomistics.units import GRAMS_PER_CM3, PER_LITRE

VOLUME = 0.062  # of the volume, what whole molecules may change it by where a molarity is asked


@dataclass(frozen=True)
class Batch:
    """Counted molecules and what they come to."""

    molecules: list[tuple[Template, int]]
    units: list[int]  # formula units of each component

    @property
    def mass(self) -> float:
        """In u."""
        return sum(molecule.mass * count for molecule, count in self.molecules)

    @property
    def charge(self) -> int:
        """Net charge, e."""
        return total_charge(self.molecules)

    def volume(self, density: float) -> float:
        """Å^3 at a density in g/cm3, exactly."""
        return self.mass / density * GRAMS_PER_CM3


def batch(mixture: Mixture, seed: int, folder: Path, volume: float | None = None) -> Batch:
    """The molecules of a mixture; `volume` (Å^3) sets the size where counts do not."""
    parts = [templates(component, seed, folder) for component in mixture.components]
    if mixture.counted:
        units = [component.count or 0 for component in mixture.components]
    else:
        masses = np.array([sum(molecule.mass for molecule in part) for part in parts])
        sizes = np.array([sum(len(molecule.atoms) for molecule in part) for part in parts])
        density = (mixture.density_g_cm3 or 0) / GRAMS_PER_CM3
        units = _units(mixture, masses, sizes, density, volume)
    return Batch(gathered(parts, units), units)


def _units(
    mixture: Mixture, masses: np.ndarray, sizes: np.ndarray, density: float, volume: float | None
) -> list[int]:
    """Formula units n = fixed + s * ratio + V * per_volume of each component.

    Mass conservation sum(m n) = rho V (u, Å) gives s for a volume V; where the number of atoms is
    asked for instead, V follows from sum(a n) = atoms. V is then rounded so that the first molarity
    is met by whole formula units, at least one: a film comes out as thick as that takes.
    """
    fixed, ratio, per_volume = (
        np.array([getattr(c, key) or 0 for c in mixture.components]) * factor
        for key, factor in (("count", 1), ("mole_ratio", 1), ("molarity_mol_l", PER_LITRE))
    )
    ratio = ratio / max(ratio.sum(), 1e-12)

    def solvent(v: float) -> float:
        return (density * v - masses @ (fixed + v * per_volume)) / (masses @ ratio)

    if not ratio.any():
        volume = volume or (masses @ fixed) / (density - masses @ per_volume)
    if volume is None:
        rows = [
            [masses @ ratio, masses @ per_volume - density],
            [sizes @ ratio, sizes @ per_volume],
        ]
        volume = np.linalg.solve(rows, [-masses @ fixed, mixture.atoms - sizes @ fixed])[1]
    if per_volume.any() and ratio.any():
        leading = per_volume[per_volume > 0][0]
        volume = max(1, round(leading * volume)) / leading
    if volume <= 0 or (ratio.any() and solvent(volume) <= 0):
        raise UserError(
            "components: the amounts leave no room at this density; ask for more atoms, a larger "
            "thickness, a higher density or a lower molarity"
        )
    exact = fixed + volume * per_volume + (solvent(volume) * ratio if ratio.any() else 0)
    return _whole(exact, masses, ratio > 0 if per_volume.any() else np.zeros(len(exact), bool))


def _whole(exact: np.ndarray, masses: np.ndarray, free: np.ndarray) -> list[int]:
    """The nearest whole numbers, unless their mass, and with it the volume that a molarity is
    counted in, is more than VOLUME off: then the `free` ones are rounded the other way."""
    counts = [max(1, round(n)) for n in exact]
    options = [
        sorted({max(1, int(np.floor(n))), max(1, int(np.ceil(n)))}) if one else [count]
        for n, count, one in zip(exact, counts, free, strict=True)
    ]
    if np.prod([len(option) for option in options]) > 4096:
        return counts
    mass = masses @ exact

    def merit(choice: tuple[int, ...]) -> tuple[float, float, tuple[int, ...]]:
        off = abs(masses @ choice / mass - 1)
        return max(off, VOLUME), float(((choice - exact) ** 2).sum()), choice

    return list(min(itertools.product(*options), key=merit))


def gathered(parts: list[list[Template]], units: list[int]) -> list[tuple[Template, int]]:
    """Equal ions together; equal means the same cached template."""
    counted: dict[int, list] = {}
    for part, count in zip(parts, units, strict=True):
        for molecule in part:
            counted.setdefault(id(molecule), [molecule, 0])[1] += count
    return [(molecule, count) for molecule, count in counted.values()]


def realized(components: list[Component], units: list[int], volume: float) -> dict[str, str]:
    """What the whole numbers of formula units came to, for info: counts, and mol/L where asked."""
    report = {}
    if components:  # an empty text would swallow what follows it in an extxyz file
        report["components"] = " ".join(
            f"{_name(c)}:{n}" for c, n in zip(components, units, strict=True)
        )
    molar = [
        f"{n / volume / PER_LITRE:.3f}"
        for c, n in zip(components, units, strict=True)
        if c.molarity_mol_l is not None
    ]
    return report | ({"molarity_mol_l": " ".join(molar)} if molar else {})


def _name(component: Component) -> str:
    return component.smiles or component.formula or component.file or component.structure or ""
