"""A repulsive core under a potential: ZBL between nuclei, switched off before bonds begin.

The form is that of LAMMPS's `pair_style zbl`, so that a potential with a core runs there as
`hybrid/overlay`. An MTP file cannot hold it: it lies in `NAME.core` beside `NAME`, whose
`potential_tag` holds its hash, so that neither is used without the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mtp.errors import MTPError
from mtp.neighbours import neighbours
from mtp.potential_files import core_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mtp.configuration import Configuration
    from mtp.neighbours import Neighbours

COULOMB = 14.399645478  # e^2 / (4 pi eps0), eV Å, CODATA 2018
SCREENING = 0.46850  # Å
CHARGES = np.array([0.18175, 0.50986, 0.28022, 0.02817])
DECAYS = np.array([3.19980, 0.94229, 0.40290, 0.20162])
INNER, OUTER = 0.5, 0.75  # of the sum of covalent radii
TAG = "core-"
HEAD = """\
# Repulsive core: ZBL between types, as LAMMPS's pair_style zbl has it.
# type type  Z Z  inner outer (Å: whole up to inner, nothing from outer on)
"""


class PairPotential(NamedTuple):
    """Values of pairs (P,): energy (eV), its derivatives by the distance (eV/Å, eV/Å^2)."""

    energy: NDArray[np.float64]
    slope: NDArray[np.float64]
    curvature: NDArray[np.float64]


def zbl(distances: NDArray[np.float64], charges: NDArray[np.float64]) -> PairPotential:
    """The universal repulsion of two nuclei screened by their electrons, not switched.

    Parameters
    ----------
    distances : (P,) Å
    charges : (P, 2) atomic numbers

    Returns
    -------
    energy, first and second derivative

    Source: J. F. Ziegler, J. P. Biersack and U. Littmark, The Stopping and Range of Ions in Matter
    (1985); constants as in LAMMPS.
    """
    inverse = (charges**0.23).sum(axis=1) / SCREENING
    rates = DECAYS * inverse[:, None]
    terms = CHARGES * np.exp(-rates * distances[:, None])
    screen = [(terms * (-rates) ** k).sum(axis=1) for k in range(3)]
    r, scale = distances, COULOMB * charges.prod(axis=1)
    return PairPotential(
        scale * screen[0] / r,
        scale * (screen[1] / r - screen[0] / r**2),
        scale * (screen[2] / r - 2 * screen[1] / r**2 + 2 * screen[0] / r**3),
    )


@dataclass(frozen=True, eq=False)
class RepulsiveCore:
    """ZBL between the types of a potential.

    Attributes
    ----------
    numbers : (S,) atomic numbers of the types
    inner, outer : (S, S) symmetric, Å: whole up to inner, nothing from outer on
    """

    numbers: NDArray[np.int64]
    inner: NDArray[np.float64]
    outer: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def of_elements(
        cls, symbols: Sequence[str], inner: float = INNER, outer: float = OUTER
    ) -> RepulsiveCore:
        """The core of some elements, switched in proportion to the length of their bonds.

        Parameters
        ----------
        symbols : the element of each type
        inner, outer : multiples of the sum of two covalent radii (B. Cordero et al., Dalton Trans.
            2008, 2832)

        Returns
        -------
        the core

        Raises
        ------
        MTPError
            A word is no element, or not 0 <= inner < outer.
        """
        from ase.data import atomic_numbers, covalent_radii  # half a second others do not need

        if wrong := [s for s in symbols if s not in atomic_numbers or s == "X"]:
            raise MTPError(f"repulsive core: {wrong[0]!r:.20} is no element")
        numbers = np.array([atomic_numbers[symbol] for symbol in symbols])
        bonds = np.add.outer(covalent_radii[numbers], covalent_radii[numbers])
        return cls(numbers, inner * bonds, outer * bonds).checked()

    def checked(self) -> RepulsiveCore:
        """The core itself; MTPError where it makes no sense."""
        if not (np.all(self.inner >= 0) and np.all(self.inner < self.outer)):
            raise MTPError("repulsive core: 0 <= inner < outer is needed for every pair of types")
        if self.numbers.min(initial=1) < 1 or self.numbers.max(initial=1) > 118:
            raise MTPError("repulsive core: atomic numbers are 1 to 118")
        return self

    def text(self) -> str:
        """The file that holds it."""
        lines = [
            f"{i} {j}  {self.numbers[i]} {self.numbers[j]}"
            f"  {float(self.inner[i, j])!r} {float(self.outer[i, j])!r}"
            for i, j in zip(*np.triu_indices(len(self)), strict=True)
        ]
        return HEAD + "\n".join(lines) + "\n"

    @property
    def tag(self) -> str:
        """What a potential file says of the core that it needs."""
        values = np.concatenate([self.numbers, self.inner.ravel(), self.outer.ravel()])
        return TAG + hashlib.sha256(values.astype("<f8").tobytes()).hexdigest()[:16]

    def pair(
        self, distances: NDArray[np.float64], first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Energy of pairs within `outer`, and its derivative by the distance.

        Parameters
        ----------
        distances : (P,) Å
        first, second : (P,) their types

        Returns
        -------
        (P,) eV and (P,) eV/Å: ZBL plus a polynomial that brings value and two derivatives to zero
        at `outer`, and is constant below `inner`

        Source: LAMMPS documentation, `pair_style zbl`.
        """
        charges = self.numbers[np.column_stack([first, second])].astype(float)
        inner, outer = self.inner[first, second], self.outer[first, second]
        bare, end, width = zbl(distances, charges), zbl(outer, charges), outer - inner
        a = (width * end.curvature - 3 * end.slope) / width**2
        b = (2 * end.slope - width * end.curvature) / width**3
        constant = width * (end.slope / 2 - width * end.curvature / 12) - end.energy
        t = np.maximum(distances - inner, 0.0)
        inside = distances < outer
        energy = bare.energy + a / 3 * t**3 + b / 4 * t**4 + constant
        slope = bare.slope + a * t**2 + b * t**3
        return np.where(inside, energy, 0.0), np.where(inside, slope, 0.0)

    def evaluate(
        self, near: Neighbours
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
        """What the core adds to N atoms in C configurations.

        Parameters
        ----------
        near : neighbour lists of them; pairs beyond their cutoff do not count

        Returns
        -------
        site energies (N,) eV, forces (N, 3) eV/Å, virials (C, 6) eV in the order xx yy zz yz xz xy;
        None where no two atoms are so close
        """
        vectors, second = near.kernel.pairs()
        squares = np.einsum("ij,ij->i", vectors, vectors)
        close = np.flatnonzero(squares < np.max(self.outer) ** 2)
        if not len(close):
            return None
        begin, types = near.atom_begin, near.kernel.types
        first = np.searchsorted(near.kernel.first, close, side="right") - 1
        owner = np.searchsorted(begin, first, side="right") - 1
        second = second[close] + begin[owner]
        v, r = vectors[close], np.sqrt(squares[close])
        energy, slope = self.pair(r, types[first], types[second])
        pulls = (0.5 * slope / r)[:, None] * v  # half of each pair belongs to each of its atoms
        forces = np.zeros((len(types), 3))
        np.add.at(forces, first, pulls)
        np.add.at(forces, second, -pulls)
        virials = np.zeros((len(near), 6))
        np.add.at(virials, owner, -pulls[:, [0, 1, 2, 1, 0, 0]] * v[:, [0, 1, 2, 2, 2, 1]])
        return np.bincount(first, 0.5 * energy, len(types)), forces, virials


def without_core(
    core: RepulsiveCore | None, configurations: Sequence[Configuration]
) -> list[Configuration]:
    """The labels less what the core gives: what is left to the potential on top of it.

    Parameters
    ----------
    core : None changes nothing
    configurations : labelled, Å, eV, eV/Å

    Returns
    -------
    configurations with the rest as labels; a label that is missing stays so

    Raises
    ------
    MTPError
        A type is not in the core, or a configuration has no meaning.
    """
    if core is None:
        return list(configurations)
    rest = []
    for number, c in enumerate(configurations, 1):
        near = neighbours([c], float(core.outer.max()), len(core), number)
        if (added := core.evaluate(near)) is None:
            rest.append(c)
            continue
        sites, forces, virials = added
        rest.append(
            replace(
                c,
                energy=None if c.energy is None else c.energy - float(sites.sum()),
                forces=None if c.forces is None else c.forces - forces,
                virial=None if c.virial is None else c.virial - virials[0],
            )
        )
    return rest


def read_core(path: str | Path) -> RepulsiveCore:
    """Read a file as `RepulsiveCore.text` writes it.

    Parameters
    ----------
    path : the file; lengths in Å

    Returns
    -------
    the core

    Raises
    ------
    MTPError
        It cannot be read, a line is malformed, or a pair of types is missing.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MTPError(f"{path}: the repulsive core cannot be read ({error})") from None
    pairs: dict[tuple[int, int], tuple[float, float]] = {}
    numbers: dict[int, int] = {}
    for place, line in enumerate(lines, 1):
        if not (words := line.partition("#")[0].split()):
            continue
        try:
            i, j, z_i, z_j = map(int, words[:4])
            inner, outer = map(float, words[4:])
        except ValueError:
            raise MTPError(f"{path}:{place}: 'type type Z Z inner outer' is needed") from None
        if (
            (i, j) in pairs
            or numbers.setdefault(i, z_i) != z_i
            or numbers.setdefault(j, z_j) != z_j
        ):
            raise MTPError(f"{path}:{place}: contradicts a line before")
        pairs[i, j] = pairs[j, i] = (inner, outer)
    size = len(numbers)
    if missing := [(i, j) for i in range(size) for j in range(i, size) if (i, j) not in pairs]:
        raise MTPError(
            f"{path}: types {missing[0][0]} and {missing[0][1]}: no line; name each pair"
        )
    if not size:
        raise MTPError(f"{path}: names no pair of types")
    lengths = np.array([[pairs[i, j] for j in range(size)] for i in range(size)])
    atomic = np.array([numbers[i] for i in range(size)])
    try:
        return RepulsiveCore(atomic, lengths[..., 0], lengths[..., 1]).checked()
    except MTPError as error:
        raise MTPError(f"{path}: {error}") from None


def core_beside(path: str | Path, tag: str, species: int) -> RepulsiveCore | None:
    """The core that a potential file asks for by its tag.

    Parameters
    ----------
    path : of the potential
    tag : its `potential_tag`
    species : number of its types

    Returns
    -------
    the core, None where the tag names none

    Raises
    ------
    MTPError
        The core is missing or another one, or one lies there that the potential does not know.
    """
    beside = core_file(path)
    if not tag.startswith(TAG):
        if beside.exists():
            raise MTPError(
                f"{path}: does not say that it stands on the core {beside} (written by a program "
                "that knows no cores?); train again with it, or take that file away"
            )
        return None
    if not beside.exists():
        raise MTPError(f"{path}: stands on a repulsive core; put its file {beside} beside it")
    core = read_core(beside)
    if core.tag != tag or len(core) != species:
        raise MTPError(f"{beside}: is not the core that {path} was fitted on; put that one there")
    return core
