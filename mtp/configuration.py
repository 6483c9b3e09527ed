"""One atomic configuration with its labels, and its conversion to and from ase.Atoms."""

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mtp.errors import MTPError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms


PER_ATOM = (
    *("charge", "magmom_x", "magmom_y", "magmom_z", "en_der_mx", "en_der_my", "en_der_mz", "ghost"),
)


@dataclass(eq=False)
class Configuration:
    """N atoms in a cell that is periodic along the rows where `pbc` is true. None: no label.

    Attributes
    ----------
    cell : (3, 3) vectors in rows, Å; rows that are not periodic may be zero
    types : (N,) index into the species of the potential
    positions : (N, 3) Å
    energy : eV
    forces : (N, 3) eV/Å
    virial : (6,) eV, xx yy zz yz xz xy: MLIP's PlusStress = -volume * stress of ASE
    site_energies : (N,) eV
    grades : (N,) extrapolation grades
    features : MLIP's `Feature` lines
    columns : other per-atom columns of a .cfg file (charge, magmom_x, ghost...), (N,) each

    An atom whose `ghost` is 1 is the copy of another beyond the border of a simulation's domain:
    it is a neighbour but has no neighbourhood and no energy, and no further images exist.
    """

    cell: NDArray[np.float64]
    types: NDArray[np.int64]
    positions: NDArray[np.float64]
    energy: float | None = None
    forces: NDArray[np.float64] | None = None
    virial: NDArray[np.float64] | None = None
    pbc: NDArray[np.bool_] = field(default_factory=lambda: np.ones(3, bool))
    site_energies: NDArray[np.float64] | None = None
    grades: NDArray[np.float64] | None = None
    features: dict[str, str] = field(default_factory=dict)
    columns: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.types)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Configuration) and all(
            _same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)
        )

    __hash__ = None

    @property
    def volume(self) -> float:
        """Volume in Å^3; 0 unless all three directions are periodic."""
        if not all(np.asarray(self.pbc).tolist()):
            return 0.0
        (a, b, c), (d, e, f), (g, h, i) = self.cell.tolist()
        return abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))

    @property
    def ghosts(self) -> NDArray[np.bool_] | None:
        """(N,) which atoms are copies; None where there is none."""
        flags = self.columns.get("ghost")
        return flags.astype(bool) if flags is not None and np.any(flags) else None

    def to_atoms(self, species: "Sequence[str]") -> "Atoms":
        """ASE atoms (Å) whose labels (eV, eV/Å) lie in a single-point calculator.

        Parameters
        ----------
        species : `species[t]` is the symbol of type t

        Returns
        -------
        atoms with stress = -virial / volume (eV/Å^3) if all three directions are periodic

        Raises
        ------
        MTPError
            A type has no symbol.
        """
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator

        if len(self.types) and int(np.max(self.types)) >= len(species):
            raise MTPError(
                f"atom type {int(np.max(self.types))} has no element: the species are "
                f"{', '.join(species)}; list one element per type"
            )
        symbols = [species[kind] for kind in self.types]
        atoms = Atoms(symbols, self.positions, cell=self.cell, pbc=self.pbc)
        atoms.info.update(self.features)
        arrays = {**self.columns, **({} if self.grades is None else {"nbh_grades": self.grades})}
        for name, values in arrays.items():
            atoms.set_array(name, np.asarray(values))
        labels = {"energy": self.energy, "forces": self.forces, "energies": self.site_energies}
        if self.virial is not None and self.volume > 0:
            labels["stress"] = -np.asarray(self.virial) / self.volume
        if labels := {name: value for name, value in labels.items() if value is not None}:
            atoms.calc = SinglePointCalculator(atoms, **labels)
        return atoms


def from_atoms(atoms: "Atoms", species: "Sequence[str]") -> Configuration:
    """Configuration of ASE atoms with the labels attached to them.

    Parameters
    ----------
    atoms : results of their calculator count only when they belong to this very state
    species : the type of an atom is the index of its element here

    Returns
    -------
    configuration in Å and eV, virial = -volume * stress (eV)

    Raises
    ------
    MTPError
        An element is not in `species`.
    """
    results = {}
    if atoms.calc is not None and not atoms.calc.check_state(atoms):
        results = atoms.calc.results
    stress = results.get("stress")
    return Configuration(
        cell=np.array(atoms.cell.array),
        pbc=np.array(atoms.pbc),
        types=types_of(atoms, species),
        positions=np.array(atoms.positions),
        energy=None if results.get("energy") is None else float(results["energy"]),
        forces=_copy(results.get("forces")),
        virial=None if stress is None else -atoms.get_volume() * np.asarray(stress, float),
        site_energies=_copy(results.get("energies")),
        grades=_copy(atoms.arrays.get("nbh_grades")),
        features=_features(atoms.info),
        columns={name: _copy(atoms.arrays[name]) for name in PER_ATOM if name in atoms.arrays},
    )


def types_of(atoms: "Atoms", species: "Sequence[str]") -> NDArray[np.int64]:
    """Index of every atom's element in `species`.

    Parameters
    ----------
    atoms : N atoms
    species : the element of each type, in order

    Returns
    -------
    types (N,)

    Raises
    ------
    MTPError
        An element is missing from `species`.
    """
    index = {symbol: kind for kind, symbol in enumerate(species)}
    symbols = atoms.get_chemical_symbols()
    if missing := sorted(set(symbols) - set(index)):
        raise MTPError(
            f"element {', '.join(missing)} is not among the species of the potential "
            f"({', '.join(species)}); use a potential trained for it"
        )
    return np.array([index[symbol] for symbol in symbols], dtype=np.int64)


def _features(info: dict) -> dict[str, str]:
    scalars = (str, int, float, np.generic)
    return {"_".join(key.split()): str(v) for key, v in info.items() if isinstance(v, scalars)}


def _copy(values: NDArray | None) -> NDArray | None:
    return None if values is None else np.array(values, float)


def _same(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if a is None or b is None:
        return a is b
    return bool(np.array_equal(a, b))
