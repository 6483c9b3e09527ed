"""Whether labels that exist already agree: energies with forces, and files with each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from campaign.errors import UserError
from mtp.reading.work import contradiction

LEVEL = 1.0  # eV/atom: no two solids or liquids of one composition are as far apart
ALIKE = 1.25  # ratio of volumes an atom
BOUND = 10.0  # eV/atom: no atom is bound as much


def require_work(path: Path, frames: Sequence[Atoms]) -> None:
    """Refuse a file whose energies are not those of its forces and stresses.

    Parameters
    ----------
    path : the file
    frames : Å, with energy (eV), forces (eV/Å), stress (eV/Å^3)

    Raises
    ------
    UserError
        Between near frames energies change otherwise than by the work of the forces.
    """
    if said := contradiction(frames):
        raise UserError(
            f"{path}: {said}; say what they are with --units energy=UNIT,forces=UNIT,stress=UNIT "
            "or --keys energy=KEY,forces=COLUMN,stress=none, or that it shall be so with "
            "--keep-outliers"
        )


def require_one_level(frames: Sequence[Atoms], names: Mapping[str, str]) -> None:
    """Refuse energies that count from two zeros, as those of two pseudopotentials do.

    Parameters
    ----------
    frames : Å, with energy (eV); `info["source"]` is the file
    names : of the files

    Raises
    ------
    UserError
        Frames of one composition and density lie in two groups apart, or no energies of single
        atoms make those of all compositions.
    """
    groups: dict[str, list[Atoms]] = {}
    for atoms in frames:
        groups.setdefault(atoms.symbols.formula.reduce()[0].format("hill"), []).append(atoms)
    for formula, group in groups.items():
        if pair := _two_levels([a for a in group if a.pbc.all()]):
            low, high = ((_of_each(a), _place(a, names)) for a in pair)
            raise UserError(
                f"energies of {formula} lie in two groups, up to {low[0]:.2f} eV/atom ({low[1]}) "
                f"and from {high[0]:.2f} ({high[1]}), at like density; of two methods import one, "
                "or say that it shall be so with --keep-outliers"
            )
    _one_zero(frames, names)


def _two_levels(group: list[Atoms]) -> tuple[Atoms, Atoms] | None:
    """The frames on either side of a gap that is wider than each side and 1 eV/atom."""
    ordered = sorted(group, key=_of_each)
    energies = np.array([_of_each(a) for a in ordered])
    if len(ordered) < 4:
        return None
    at = 1 + int(np.argmax(np.diff(energies)))
    sides = ordered[:at], ordered[at:]
    widest = max(np.ptp(energies[:at]), np.ptp(energies[at:]), LEVEL)
    volumes = [np.median([a.get_volume() / len(a) for a in side]) for side in sides]
    alike = max(volumes) < ALIKE * min(volumes)
    if energies[at] - energies[at - 1] < widest or min(map(len, sides)) < 2 or not alike:
        return None
    return ordered[at - 1], ordered[at]


def _one_zero(frames: Sequence[Atoms], names: Mapping[str, str]) -> None:
    """Medians of each file and composition are sums over their atoms, but for what binds them."""
    points: dict[tuple[str, str], list[Atoms]] = {}
    for atoms in frames:
        formula = atoms.symbols.formula.reduce()[0].format("hill")
        points.setdefault((atoms.info["source"], formula), []).append(atoms)
    symbols = sorted({symbol for atoms in frames for symbol in atoms.symbols})
    shares = [[np.mean(p[0].symbols == s) for s in symbols] for p in points.values()]
    energies = np.array([np.median([_of_each(a) for a in p]) for p in points.values()])
    fitted = np.array(shares) @ np.linalg.lstsq(np.array(shares), energies, rcond=None)[0]
    off = np.abs(energies - fitted)
    if off.max() > BOUND:
        source, formula = list(points)[int(off.argmax())]
        raise UserError(
            f"energies of {formula} in {names.get(source, source)} are {off.max():.0f} eV/atom off"
            " what the atoms of all files give; those of two methods (other pseudopotentials) do"
            " not mix: import one, or say that it shall be so with --keep-outliers"
        )


def _of_each(atoms: Atoms) -> float:
    return atoms.calc.results["energy"] / len(atoms)


def _place(atoms: Atoms, names: Mapping[str, str]) -> str:
    return f"frame {atoms.info['frame']} of {names.get(atoms.info['source'], atoms.info['source'])}"
