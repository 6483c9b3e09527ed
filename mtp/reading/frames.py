"""What reading a file gives: its frames with labels, and a count of all that did not become one."""

import bz2
import gzip
import lzma
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mtp.errors import MTPError

LABELS = ("energy", "forces", "stress")
UNCONVERGED = "without electronic convergence"
CHARGE = "a charge of the cell of {:+g} e"
NO_ENERGY = "with an energy of exactly 0 beside forces, which none has"
SHOWN = 12  # names in a line
OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


@dataclass(frozen=True)
class ReadOptions:
    """What only the user can say of a file; a reader that needs it and has it not refuses.

    species: elements in the order of the file's types; keys: label (energy, forces, stress,
    virial) -> key or column that holds it, "none" for not there; units: energy, length, forces,
    stress, virial -> unit, lammps -> LAMMPS's style; voigt: order of six components; nonconverged:
    keep steps whose electronic loop ended at its limit.
    """

    species: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    voigt: tuple[str, ...] = ()
    nonconverged: bool = False


def pairs_of(flag: str, text: str) -> dict[str, str]:
    """`energy=REF_energy,stress=none` as a dictionary; MTPError for a name that flag has not."""
    quantities = (
        "energy",
        "forces",
        "stress",
        "virial",
        *(("length", "lammps") * (flag == "units")),
    )
    pairs = [part.partition("=") for part in text.split(",") if part]
    for name, _, value in pairs:
        if name not in quantities or not value:
            raise MTPError(f"--{flag}: {name!r:.30} is none of {', '.join(quantities)}=VALUE")
    return {name: value for name, _, value in pairs}


def order_of(text: str) -> tuple[str, ...]:
    """Six components in ASE's letters; MTPError where they are not each of the six once."""
    names = tuple("".join(sorted(word.strip())) for word in text.split(",") if word)
    if names and sorted(names) != ["xx", "xy", "xz", "yy", "yz", "zz"]:
        raise MTPError(f"--voigt={text:.40}: name xx, yy, zz, yz, xz, xy each once")
    return names


@dataclass
class Reading:
    """Frames of one or more files, each with the labels that belong together.

    The energy (eV) is the one whose derivative the forces (eV/Å) and the stress (eV/Å^3, ASE's
    sign and order) are: under electronic smearing the free energy F = E - TS. left_out: steps that
    gave no frame, by reason; unknown: keys that look like labels and were not used; method: what
    the file says of its settings; unsaid: the largest component (eV/Å^3) of each stress whose unit
    nothing says. Other per-atom columns stand among a frame's arrays, other keys in its info.
    """

    frames: list[Atoms] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    method: dict[str, str] = field(default_factory=dict)
    unsaid: list[float] = field(default_factory=list)

    def add(
        self,
        atoms: Atoms,
        energy: float | None = None,
        forces: np.ndarray | None = None,
        stress: np.ndarray | None = None,
    ) -> None:
        """Append a frame; one with a number that is not finite is left out and counted.

        So is an energy of exactly 0 with forces, by which converters fill in what a file has not;
        a stress of six zeros is taken as none.

        Parameters
        ----------
        atoms : N atoms, Å; the labels become its calculator
        energy : eV
        forces : (N, 3) eV/Å
        stress : (6,) eV/Å^3, sign and order of ASE
        """
        labels = {"energy": energy, "forces": forces, "stress": stress}
        labels = {name: value for name, value in labels.items() if value is not None}
        numbers = (atoms.positions, atoms.cell.array, *labels.values())
        if not all(np.isfinite(value).all() for value in numbers):
            self.left_out["with a number that is not finite"] += 1
            return
        if forces is not None and np.any(forces):
            if energy == 0:
                self.left_out[NO_ENERGY] += 1
                return
            if stress is not None and not np.any(stress):
                self.unknown["stress of exactly 0 beside forces"] += 1
                del labels["stress"]
        atoms.calc = SinglePointCalculator(atoms, **labels) if labels else None
        self.frames.append(atoms)

    def extend(self, other: "Reading") -> None:
        """Append another file's frames and counts; the method stays the first file's."""
        self.frames += other.frames
        self.left_out.update(other.left_out)
        self.unknown.update(other.unknown)

    def line(self, kept: Collection[str], keys: bool = True) -> str:
        """`N frames: energy n, forces n, stress n; left out: ...; not understood: ...`.

        kept: the per-atom columns that whoever takes the frames takes too, and keys unless he takes
        all; others are counted.
        """
        labels = Counter(name for a in self.frames if a.calc is not None for name in a.calc.results)
        parts = [f"{len(self.frames)} frames: " + ", ".join(f"{k} {labels[k]}" for k in LABELS)]
        if self.left_out:
            parts.append("left out: " + _counted(self.left_out))
        parts.append("not understood: " + (_counted(self.unknown) or "nothing"))
        kept = {"numbers", "positions", *kept}
        held = ({*a.arrays, *(() if keys else a.info)} for a in self.frames)
        unused = Counter(k for names in held for k in names if k not in kept)
        if "constraints" not in kept and (
            number := sum(map(bool, (a.constraints for a in self.frames)))
        ):
            unused["constraints"] = number
        if unused:
            parts.append("not used: " + _counted(unused))
        return "; ".join(parts)


def _counted(counts: Counter[str]) -> str:
    named = [f"{name} ({number})" for name, number in sorted(counts.items())]
    more = [f"{len(named) - SHOWN} more"] if len(named) > SHOWN else []
    return ", ".join([*named[:SHOWN], *more])


def text_of(path: str | Path) -> IO[str]:
    """The file open for reading, uncompressed by its suffix (.gz .bz2 .xz)."""
    opener = OPENERS.get(Path(path).suffix.lower(), open)
    try:
        return opener(path, "rt", encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise MTPError(f"{path}: cannot be read ({error.strerror or error})") from None


def plain_suffix(path: str | Path) -> str:
    """The suffix in lower case, that of a compression taken off."""
    path = Path(path)
    return (path.with_suffix("") if path.suffix.lower() in OPENERS else path).suffix.lower()
