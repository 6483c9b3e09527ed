"""Molecules packed into a cell: Packmol where the cell is a box, random insertion where not."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii, vdw_radii
from scipy.spatial.transform import Rotation

from atomistics.bonded import NONMETALS
from atomistics.builders.mixtures.conformers import Template
from atomistics.builders.mixtures.overlaps import Distances, JammedError, Walls, remove_overlaps
from atomistics.builders.mixtures.sizing import Batch
from atomistics.errors import UserError
from atomistics.neighbours import pairs

SECONDS = 120  # for Packmol, which its loops bound to a few seconds
LONG = 30  # atoms; larger molecules have no room as the rigid bodies Packmol takes them for
ATTEMPTS = 3  # at another start, where the push-off ends in a jam
METAL, ANION, BARE, UNBOUND = 0.8, 1.12, 0.62, 1.4  # of the covalent radius, see `spheres`
HEAVY_BARE, NEON = 0.85, 10  # of loose non-metals beyond neon, which make no multiple bonds
TOUCHING = 0.8  # of Bondi's radius: O-O 2.4, C-C 2.7 Å, where their distributions begin
TRIALS = 60  # of each molecule's random insertion


@dataclass(frozen=True)
class Room:
    """Where molecules go: cell (3, 3) Å, periodic axes, least distance Å, walls, host if any."""

    cell: np.ndarray
    least: float
    pbc: tuple[bool, bool, bool] = (True, True, True)
    walls: Walls = field(default_factory=Walls)
    host: Atoms | None = None


def box(volume: float, ratio: list[float]) -> np.ndarray:
    """Orthorhombic cell of a volume.

    Parameters
    ----------
    volume : Å^3
    ratio : of the edges

    Returns
    -------
    (3, 3) Å
    """
    edges = np.array(ratio, float)
    return np.diag(edges * (volume / edges.prod()) ** (1 / 3))


def layer(area_cell: np.ndarray, thickness: float, least: float) -> Room:
    """Room between two planes, periodic along the other two directions.

    Parameters
    ----------
    area_cell : (3, 3) or (2, 3) Å, whose first two rows are a and b
    thickness : Å
    least : Å between unbound atoms

    Returns
    -------
    the room
    """
    cell = np.array([*area_cell[:2], [0, 0, thickness]])
    return Room(cell, least, (True, True, False), Walls(low=0.0, high=thickness))


def pack(batch: Batch, room: Room, rng: np.random.Generator) -> Atoms:
    """Pack molecules (and the host, first), no two unbound atoms nearer than `room.least`.

    Packmol (Martinez et al., J. Comput. Chem. 30, 2157 (2009)) or random insertion gives a start;
    `remove_overlaps` then holds the distances under the periodic boundaries, images of
    the same molecule included, which Packmol does not see.

    Parameters
    ----------
    batch : counted molecules
    room : where they go, Å
    rng : places

    Returns
    -------
    N atoms, Å, with the array `molecule` (N,)

    Raises
    ------
    UserError
        There is no room for them.
    """
    molecules = [molecule for molecule, count in batch.molecules for _ in range(count)]
    orthogonal = not (room.cell - np.diag(room.cell.diagonal())).any()
    largest = max(len(molecule.atoms) for molecule in molecules)
    ball = np.isfinite(room.walls.radius)
    host = room.host if room.host is not None else Atoms()
    packmol = orthogonal and room.host is None and not ball and largest <= LONG
    for attempt in range(1, ATTEMPTS + 1):
        seed = int(rng.integers(1, 2**31 - 1))
        places = _packmol(batch, room, seed) if packmol else None
        if places is None:
            places = _inserted(molecules, room, rng)
        try:
            return settle(molecules, places, room, host, batch.charge)
        except JammedError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError  # the loop returns or raises


def settle(
    molecules: list[Template], places: np.ndarray, room: Room, host: Atoms, charge: int
) -> Atoms:
    """Remove the overlaps of molecules at given places; number them.

    Parameters
    ----------
    molecules : one of each to be placed
    places : (N, 3) Å, of their atoms in order
    room : where they are, Å
    host : atoms that stay, first
    charge : e, of all

    Returns
    -------
    N atoms, Å, with the array `molecule` (N,)

    Raises
    ------
    JammedError, UserError
        As `remove_overlaps`.
    """
    sizes = [len(molecule.atoms) for molecule in molecules]
    starts = len(host) + np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)
    numbers = np.concatenate([host.numbers, *(m.atoms.numbers for m in molecules)]).astype(int)
    bonds = [m.bonds + start for m, start in zip(molecules, starts, strict=True)]
    positions = np.vstack([host.positions.reshape(-1, 3), places])
    atoms = Atoms(numbers, positions, cell=room.cell, pbc=room.pbc)
    fixed = np.arange(len(atoms)) < len(host)
    loose = fixed | np.repeat([False, *(m.loose for m in molecules)], [len(host), *sizes])
    wanted = Distances(room.least, spheres(atoms, loose))
    atoms = remove_overlaps(
        atoms, np.vstack([np.zeros((0, 2), int), *bonds]), wanted, room.walls, fixed
    )
    before = host.arrays.get("molecule", np.full(len(host), -1))
    first = before.max(initial=-1) + 1
    number = np.where(loose[len(host) :], -1, first + np.repeat(range(len(sizes)), sizes))
    atoms.arrays["molecule"] = np.concatenate([before, number])
    atoms.info["charge"] = charge + host.info.get("charge", 0)
    return atoms


def spheres(atoms: Atoms, loose: np.ndarray) -> np.ndarray:
    """Radii of atoms of different molecules, parts of the covalent ones (Cordero 2008).

    The first row is for all pairs: Li-O 1.8, Na-Cl 2.5, Zr-Zr 2.8 Å, about what melts and glasses
    have; loose non-metals may be bound to anything, so only as much as
    `atomistics.structures` finds sensible, heavy ones a single bond less 15 %. The second is for
    non-metals of molecules and anions among themselves, well above what would bind them: O-O 2.4,
    C-C 2.7, Cl-Cl 2.9 Å; hydrogen, which comes nearer to those it is bonded to from outside, by its
    covalent radius.

    Parameters
    ----------
    atoms : N atoms
    loose : (N,) which may be bound to anything

    Returns
    -------
    (2, N) Å
    """
    plain = np.isin(atoms.numbers, NONMETALS)
    radii = covalent_radii[atoms.numbers]
    bare = np.where(atoms.numbers > NEON, HEAVY_BARE, BARE)
    part = np.where(plain, np.where(loose, bare, ANION), METAL)
    apart = np.where(atoms.numbers == 1, 0.0, TOUCHING * np.nan_to_num(vdw_radii[atoms.numbers]))
    unbound = np.maximum(UNBOUND * radii, apart)
    return np.stack([part * radii, np.where(plain & ~loose, unbound, -np.inf)])


def _packmol(batch: Batch, room: Room, seed: int) -> np.ndarray | None:
    """Positions (N, 3) Å from Packmol: argument list, fixed file names, own folder, time limit."""
    length = room.cell.diagonal() + np.where(room.pbc, 0, 50)
    text = [
        f"tolerance {room.least:.4f}",
        "filetype xyz",
        f"seed {seed}",
        "nloop 6",
        "output packed.xyz",
        "pbc 0. 0. 0. " + " ".join(f"{edge:.6f}" for edge in length),
    ]
    with tempfile.TemporaryDirectory(prefix="packmol-") as name:
        folder = Path(name)
        for number, (molecule, count) in enumerate(batch.molecules):
            molecule.atoms.write(folder / f"{number}.xyz", format="xyz")
            text += [f"structure {number}.xyz", f" number {count}"]
            if not room.pbc[2]:
                text += [" over plane 0. 0. 1. 0.", f" below plane 0. 0. 1. {room.cell[2, 2]:.6f}"]
            text.append("end structure")
        (folder / "packmol.inp").write_text("\n".join(text) + "\n")
        _run(folder)
        packed = next(
            (folder / n for n in ("packed.xyz", "packed.xyz_FORCED") if (folder / n).is_file()),
            None,
        )
        if packed is None:
            return None
        rows = [line.split()[1:4] for line in packed.read_text().splitlines()[2:]]
    return np.array(rows, float)


def _run(folder: Path) -> None:
    program = Path(sys.executable).with_name("packmol")
    try:
        subprocess.run(
            [str(program) if program.is_file() else "packmol", "-i", "packmol.inp"],
            cwd=folder,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise UserError("packmol: not found; pip install packmol") from None
    except subprocess.TimeoutExpired:  # going on with another start would depend on the machine
        raise UserError(
            f"packing: Packmol takes more than {SECONDS} s; lower the density, "
            "min_distance_angstrom or the number of molecules"
        ) from None


def _inserted(molecules: list[Template], room: Room, rng: np.random.Generator) -> np.ndarray:
    """Positions (N, 3) Å: of each molecule's random places the one with most room around it."""
    placed = Atoms(cell=room.cell, pbc=room.pbc)
    if room.host is not None:
        placed += room.host
    before = len(placed)
    for molecule in molecules:
        best, most = np.zeros((0, 3)), -np.inf
        for _ in range(TRIALS):
            trial = _random_place(molecule, room, rng)
            free = _room(placed, trial, room.least)
            if free > most:
                best, most = trial, free
            if most >= room.least:
                break
        placed += Atoms(molecule.atoms.numbers, best)
    return placed.positions[before:]


def _random_place(molecule: Template, room: Room, rng: np.random.Generator) -> np.ndarray:
    centred = molecule.atoms.positions - molecule.atoms.positions.mean(axis=0)
    turned = Rotation.random(rng=rng).apply(centred)
    for _ in range(1000):
        centre = rng.random(3) @ room.cell
        if not room.walls.outside(centre[None]).any():
            break
    return turned + centre


def _room(placed: Atoms, trial: np.ndarray, least: float) -> float:
    """Shortest distance (Å) from the trial to what is placed, images included; `least` if more."""
    if not len(placed):
        return least
    both = placed + Atoms("H" * len(trial), trial)
    close = pairs(both, least)
    across = (close.i >= len(placed)) & (close.j < len(placed))
    return close.distance[across].min(initial=least)
