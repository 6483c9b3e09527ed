"""Oxide glasses packed as atoms, bound into a network: each former to as many oxygens as it has.

Oxygens are given to formers by a transport problem (SciPy's HiGHS), none to more than two; springs
of the usual lengths then pull the network together while all else keeps its distance, and oxygens
are given anew, until nothing changes. A start for sampling, not a glass that was quenched.
"""

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from scipy.optimize import linprog, minimize

# oxygens around it and bond length in Å, by diffraction of the glasses (Wright 1994; Hannon 2015)
FORMERS = {
    "B": (3, 1.37),
    "Si": (4, 1.61),
    "P": (4, 1.54),
    "Ge": (4, 1.74),
    "Al": (4, 1.75),
    "As": (3, 1.78),
}
BRIDGES = 2  # formers of an oxygen
EDGE = {3: 3**0.5, 4: (8 / 3) ** 0.5}  # O-O over bond length in a triangle, a tetrahedron
ROUNDS, STEPS = 30, 150
OFF = 0.2  # Å, of the longest bond from its length in a network that is accepted
FORMERS_APART, OXYGENS_APART, NEXT_OXYGEN = 0.9, 2.5, 0.9  # of two bonds; Å; Å beyond a bond
IONS, IONS_APART = 0.88, 0.85  # of the covalent radii: ion to oxygen, ion to ion or former


def bound(atoms: Atoms) -> Atoms:
    """The atoms moved so that they are a network of oxide polyhedra.

    Parameters
    ----------
    atoms : N single atoms, Å, periodic, packed at random

    Returns
    -------
    a copy, `info["network"]` with the coordination numbers; the same atoms where there are no
    formers, not oxygens enough for them, or no network is found
    """
    symbols = np.array(atoms.symbols)
    formers = np.flatnonzero(np.isin(symbols, list(FORMERS)))
    oxygens = np.flatnonzero(symbols == "O")
    wanted = np.array([FORMERS[s][0] for s in symbols[formers]], int)
    if not len(formers) or wanted.sum() > BRIDGES * len(oxygens):
        return atoms
    length = np.array([FORMERS[s][1] for s in symbols[formers]])
    positions, before = atoms.positions.copy(), np.zeros((0, 2), int)
    for turn in range(ROUNDS):
        pairs = _given(positions, atoms, formers, oxygens, wanted)
        bonds = np.column_stack([formers[pairs[:, 0]], oxygens[pairs[:, 1]]])
        springs = [(bonds, length[pairs[:, 0]]), _edges(pairs, oxygens, length, wanted)]
        positions = _pulled(positions, atoms, springs, min(1.0, 0.1 * (turn + 1)))
        off = np.abs(_apart(positions, atoms, bonds)[1] - length[pairs[:, 0]]).max()
        if turn >= 10 and off < OFF and np.array_equal(bonds, before):
            break
        before = bonds
    if off > OFF:
        return atoms
    made = atoms.copy()
    made.positions = positions
    made.wrap()
    kinds = sorted({f"{s}O{FORMERS[s][0]}" for s in symbols[formers]})
    made.info["network"] = " ".join(kinds)
    return made


def _apart(positions: np.ndarray, atoms: Atoms, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (P, 3) from first to second of each pair by the nearest image, and their lengths."""
    step = positions[pairs[:, 1]] - positions[pairs[:, 0]]
    step -= np.round(step @ np.linalg.inv(atoms.cell.array)) @ atoms.cell.array
    return step, np.linalg.norm(step, axis=1)


def _given(
    positions: np.ndarray,
    atoms: Atoms,
    formers: np.ndarray,
    oxygens: np.ndarray,
    wanted: np.ndarray,
) -> np.ndarray:
    """Pairs (B, 2) of former and oxygen, by their place in the lists: the least squared lengths."""
    f, o = np.meshgrid(range(len(formers)), range(len(oxygens)), indexing="ij")
    grid = np.column_stack([f.ravel(), o.ravel()])
    square = (
        _apart(positions, atoms, np.column_stack([formers[grid[:, 0]], oxygens[grid[:, 1]]]))[1]
        ** 2
    )
    exact = (grid[:, 0] == np.arange(len(formers))[:, None]).astype(float)
    most = (grid[:, 1] == np.arange(len(oxygens))[:, None]).astype(float)
    found = linprog(
        square,
        A_eq=exact,
        b_eq=wanted,
        A_ub=most,
        b_ub=np.full(len(oxygens), BRIDGES),
        bounds=(0, 1),
    )
    return grid[found.x > 0.5]


def _edges(
    pairs: np.ndarray, oxygens: np.ndarray, length: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Oxygens (E, 2) of one former, and how far apart they belong (E,), Å."""
    edges, apart = [], []
    for former in range(len(length)):
        own = oxygens[pairs[pairs[:, 0] == former, 1]]
        for n, one in enumerate(own):
            for other in own[n + 1 :]:
                edges.append((one, other))
                apart.append(length[former] * EDGE[int(wanted[former])])
    return np.array(edges, int).reshape(-1, 2), np.array(apart)


def _pulled(
    positions: np.ndarray,
    atoms: Atoms,
    springs: list[tuple[np.ndarray, np.ndarray]],
    push: float,
) -> np.ndarray:
    """Positions (N, 3) Å after at most STEPS of L-BFGS-B: springs, and all others kept apart."""
    tied = np.vstack([pairs for pairs, _ in springs])
    rest = np.concatenate([lengths for _, lengths in springs])
    codes = {frozenset(pair) for pair in tied.tolist()}
    others = np.array(
        [
            p
            for p in np.column_stack(np.triu_indices(len(atoms), 1)).tolist()
            if frozenset(p) not in codes
        ]
    )
    least = _least(atoms, others)

    def energy(x: np.ndarray) -> tuple[float, np.ndarray]:
        at, force, total = x.reshape(-1, 3), np.zeros((len(atoms), 3)), 0.0
        for pairs, wanted, weight, only in ((tied, rest, 1.0, False), (others, least, push, True)):
            step, distance = _apart(at, atoms, pairs)
            off = np.minimum(distance - wanted, 0.0) if only else distance - wanted
            total += weight * float(off @ off)
            pull = (2 * weight * off / np.maximum(distance, 1e-9))[:, None] * step
            for axis in range(3):
                force[:, axis] += np.bincount(pairs[:, 1], pull[:, axis], len(atoms))
                force[:, axis] -= np.bincount(pairs[:, 0], pull[:, axis], len(atoms))
        return total, force.ravel()

    found = minimize(
        energy, positions.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}
    )
    return np.asarray(found.x).reshape(-1, 3)


def _least(atoms: Atoms, pairs: np.ndarray) -> np.ndarray:
    """Least distances (P,) Å of atoms that are not bound to each other, nor to one former."""
    symbols, radii = np.array(atoms.symbols), covalent_radii[atoms.numbers]
    length = np.array([FORMERS[s][1] if s in FORMERS else 0.0 for s in symbols])
    oxygen, (i, j) = symbols == "O", pairs.T
    former = length > 0
    both = radii[i] + radii[j]
    return np.select(
        [
            oxygen[i] & oxygen[j],
            (oxygen[i] & former[j]) | (oxygen[j] & former[i]),
            former[i] & former[j],
            oxygen[i] | oxygen[j],
        ],
        [
            np.full(len(pairs), OXYGENS_APART),
            length[i] + length[j] + NEXT_OXYGEN,
            FORMERS_APART * (length[i] + length[j]),
            IONS * both,
        ],
        IONS_APART * both,
    )
