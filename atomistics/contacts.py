"""Molecules pushed against each other as rigid bodies: distances that a fit must see to repel."""

import numpy as np
from ase import Atoms
from ase.data.vdw_alvarez import vdw_radii

from atomistics.bonded import whole
from atomistics.neighbours import Pairs, pairs

REACH = 4.0  # Å: beyond it no two atoms are in contact
CLOSEST = 0.65  # of the shortest distance of two elements at rest: some 1 to 3 eV up the wall
TURN = 60.0  # degrees, the widest turn of a molecule
SHIFT = 0.6  # Å, its longest way
TRIES = 6  # halvings of a move that goes too far
STRIDE = 0.05  # Å, by which bodies in vacuum are drawn together


def _bodies(atoms: Atoms) -> tuple[Atoms, list[np.ndarray]]:
    """A copy with molecules made whole, and what moves as one: molecules, and ions by themselves.

    No bodies where nothing is a molecule, or where all is one.
    """
    made = whole(atoms)
    number = made.arrays.pop("molecule")
    groups = [np.flatnonzero(number == n) for n in range(number.max(initial=-1) + 1)]
    groups = [g for g in groups if len(g) > 1]
    single = np.setdiff1d(np.arange(len(atoms)), np.concatenate([*groups, [-1]]))
    return made, [*groups, *single[:, None]] if groups and len(groups) + len(single) > 1 else []


def pushed(atoms: Atoms, count: int, seed: int) -> list[Atoms]:
    """Copies with every body turned and moved, ever closer to its neighbours.

    Displacing atoms one by one loads bonds and leaves molecules where they are, and MD falls into
    whatever well a fit has inside distances it never saw. In copy n of N two atoms of different
    bodies come as near as 1 - 0.35 n/N times the shortest distance of their elements in `atoms`
    (or their van der Waals contact, whichever is less), and no nearer. In vacuum, where bodies may
    be out of each other's sight, they are drawn together until the first two are that near.

    Parameters
    ----------
    atoms : Å, molecules and ions recognised from distances; left as they are
    count : copies
    seed : of turns and ways

    Returns
    -------
    the copies, Å, without labels; none without bodies
    """
    rest, groups = _bodies(atoms)
    owner = np.full(len(rest), -1)
    for number, group in enumerate(groups):
        owner[group] = number
    shortest, copies = _shortest(rest, owner), []
    for index in range(count if groups else 0):
        generator, part = np.random.default_rng([seed, index]), (index + 1) / count
        bounds = (1 - (1 - CLOSEST) * part) * shortest
        frame = rest.copy()
        for place in generator.permutation(len(groups)):
            if rest.pbc.any():
                _push(frame, groups[place], owner, bounds, part, generator)
            else:
                _turn(frame, groups[place], generator.uniform(0, 180), generator.normal(size=3))
        copies.append(frame if rest.pbc.any() else _drawn(frame, groups, owner, bounds))
    return copies


def _push(
    frame: Atoms,
    group: np.ndarray,
    owner: np.ndarray,
    bounds: np.ndarray,
    part: float,
    generator: np.random.Generator,
) -> None:
    """One body on its way, halved until nothing is too near; it stays where even that is."""
    before, axis, way = frame.positions[group].copy(), *generator.normal(size=(2, 3))
    way *= SHIFT * part / np.linalg.norm(way)
    angle = TURN * part * generator.uniform(0.3, 1.0)
    for halving in range(TRIES):
        frame.positions[group] = before
        _turn(frame, group, angle * 0.5**halving, axis)
        frame.positions[group] += way * 0.5**halving
        if _nearest(frame, owner, bounds, group) >= 1.0:
            return
    frame.positions[group] = before


def _turn(frame: Atoms, group: np.ndarray, degrees: float, axis: np.ndarray) -> None:
    """One body about its centre."""
    centre = frame.positions[group].mean(axis=0)
    arm = Atoms(positions=frame.positions[group] - centre)
    arm.rotate(degrees, axis)
    frame.positions[group] = centre + arm.positions


def _drawn(frame: Atoms, groups: list[np.ndarray], owner: np.ndarray, bounds: np.ndarray) -> Atoms:
    """A cluster in vacuum, each body drawn to the nearest placed before it, as near as allowed."""
    placed = [0]
    for number in range(1, len(groups)):
        centres = [frame.positions[groups[n]].mean(axis=0) for n in [*placed, number]]
        ways = np.array(centres[:-1]) - centres[-1]
        way = ways[np.argmin(np.linalg.norm(ways, axis=1))]
        length = float(np.linalg.norm(way))
        for _ in range(int(length / STRIDE)):
            frame.positions[groups[number]] += way * STRIDE / length
            if _nearest(frame, owner, bounds, groups[number]) < 1.0:
                frame.positions[groups[number]] -= way * STRIDE / length
                break
        placed.append(number)
    return frame


def _between(atoms: Atoms, owner: np.ndarray, group: np.ndarray | None = None) -> Pairs:
    """Pairs of atoms of different bodies within REACH, or of one body with the others."""
    near = pairs(atoms, REACH)
    own = True if group is None else owner[near.i] == owner[group[0]]
    return near.at((owner[near.i] != owner[near.j]) & own)


def _shortest(atoms: Atoms, owner: np.ndarray) -> np.ndarray:
    """By atomic numbers the shortest distance between bodies, in contact at most (Å)."""
    radii = np.where(np.isnan(vdw_radii), REACH / 2, vdw_radii)
    table = np.add.outer(radii, radii)
    near = _between(atoms, owner)
    np.minimum.at(table, (atoms.numbers[near.i], atoms.numbers[near.j]), near.distance)
    return table


def _nearest(atoms: Atoms, owner: np.ndarray, bounds: np.ndarray, group: np.ndarray) -> float:
    """Least distance of a body from the others over its bound."""
    near = _between(atoms, owner, group)
    ratios = near.distance / bounds[atoms.numbers[near.i], atoms.numbers[near.j]]
    return float(ratios.min(initial=np.inf))
