"""Whether energies, forces and stresses of frames belong together: the work from frame to frame.

Between two frames of the same atoms the energy changes by the work of forces and stress, whatever
the method. A unit that nothing says, the energy of one atom, a sign, rows in another order: each
shows in the ratio of the two, without a calculation.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atoms
from ase.units import Bohr, Hartree, kcal, kJ, mol

from mtp.reading.frames import LABELS
from mtp.reading.labels import FLAT

CHANGE = "from frame to frame energies change"
NAMES = ("the forces", "the stress")
REACH = 0.3  # Å: on longer ways the two ends say too little of what lies between
STRAIN = 0.1
MANY = 400  # frames of one composition that are looked at
ENOUGH = 6  # pairs
SURE = 5.0  # standard errors
EXPLAINED = 0.8  # share of the squared changes of energy from which a ratio is one
# Ratios of sound labels. Published and own data have 0.7 to 1.2 for forces, as the ways are finite,
# and 0.5 to 1.3 for stresses, as the plane waves of two cells are not the same.
FORCES = (0.6, 1.6)
STRESS = (0.3, 3.0)
SIGNS = 20  # pairs of which so few
AGREE = 0.65  # have the sign of their work
NEAR = 0.25  # natural logarithm
RATIOS = {
    "forces had the other sign": -1.0,
    "energies were in Hartree": 1 / Hartree,
    "energies were in Rydberg": 2 / Hartree,
    "energies were in kcal/mol": mol / kcal,
    "energies were in kJ/mol": mol / kJ,
    "forces were in Hartree/Bohr": Hartree / Bohr,
    "forces were in Rydberg/Bohr": Hartree / Bohr / 2,
    "all were in atomic units and lengths in Å": 1 / Bohr,
}


def contradiction(frames: Sequence[Atoms]) -> str:
    """What the labels of frames say against each other.

    Parameters
    ----------
    frames : atoms (Å) with energy (eV), forces (eV/Å) and perhaps stress (eV/Å^3)

    Returns
    -------
    in words; empty where energies change as forces and stresses say, or too few frames are near
    enough to each other to tell
    """
    works = np.array(list(_works(frames))).reshape(-1, 4)
    energy, pushed = works[:, 0], works[:, 1:3]
    ratios, explained = _ratios(energy, pushed)
    if explained > EXPLAINED:
        for what, bounds, (ratio, error) in zip(NAMES, (FORCES, STRESS), ratios, strict=True):
            if ratio + SURE * error < bounds[0] or ratio - SURE * error > bounds[1]:
                hint = _hint(ratio, works) if what == NAMES[0] else ""
                return f"{CHANGE} by {ratio:.2g} of the work of {what}{hint}"
    work = pushed.sum(axis=1)
    large = np.abs(work) > np.median(np.abs(work)) if len(work) else []
    same = np.sign(work[large]) == np.sign(energy[large])
    if len(same) >= SIGNS and same.mean() < AGREE:
        return f"{CHANGE}, but not as forces and stresses say"
    return ""


def _hint(ratio: float, works: np.ndarray) -> str:
    """The mistakes whose ratio is near, the nearest first."""
    whole = _ratios(works[:, 0] * works[:, 3], works[:, 1:3])[0][0][0]
    off = {words: abs(np.log(max(ratio / one, 1e-9))) for words, one in RATIOS.items()}
    off["energies were those of one atom"] = abs(np.log(max(whole, 1e-9)))
    near = [words for words in sorted(off, key=off.__getitem__) if off[words] < NEAR]
    return f", as if {' or '.join(near)}" if near else ""


def _works(frames: Sequence[Atoms]) -> Iterator[tuple[float, float, float, int]]:
    """Change of energy, work of forces, work of stress (eV), atoms, of neighbours in the list."""
    groups: dict[tuple[bytes, bytes], list[Atoms]] = {}
    for atoms in frames:
        if atoms.calc is not None and {*LABELS[:2]} <= atoms.calc.results.keys():
            groups.setdefault((atoms.numbers.tobytes(), atoms.pbc.tobytes()), []).append(atoms)
    for group in groups.values():
        near = group[:MANY]
        for step in (1, 2):
            for one, other in zip(near, near[step:], strict=False):
                if (work := _work(one, other)) is not None:
                    yield (*work, len(one))


def _work(one: Atoms, other: Atoms) -> tuple[float, float, float] | None:
    """By the mean of both ends (eV); None where they are too far apart."""
    cells = [a.cell.complete().array for a in (one, other)]
    if min(abs(np.linalg.det(cell)) for cell in cells) < FLAT:
        return None
    ends = [np.linalg.solve(c.T, a.positions.T).T for c, a in zip(cells, (one, other), strict=True)]
    moved = ends[1] - ends[0]
    moved -= np.round(moved) * one.pbc
    middle = (cells[0] + cells[1]) / 2
    way = moved @ middle
    way -= way.mean(axis=0)
    strain = np.linalg.solve(middle, cells[1] - cells[0])
    if np.linalg.norm(way, axis=1).max() > REACH or np.abs(strain).max() > STRAIN:
        return None
    results = one.calc.results, other.calc.results
    forces = (results[0]["forces"] + results[1]["forces"]) / 2
    stress = 0.0
    if all("stress" in r for r in results):
        tensors = [a.get_volume() * a.get_stress(voigt=False) for a in (one, other)]
        stress = float(np.sum((tensors[0] + tensors[1]) / 2 * strain))
    return results[1]["energy"] - results[0]["energy"], -float(np.sum(forces * way)), stress


def _ratios(energy: np.ndarray, works: np.ndarray) -> tuple[list[tuple[float, float]], float]:
    """Least squares of the change of energy on each work, with the standard error.

    energy: (P,) eV; works: (P, 2) eV; (1, inf) where a work tells nothing; and the share explained.
    """
    pairs = [(1.0, np.inf)] * works.shape[1]
    useful = [k for k in range(works.shape[1]) if np.abs(works[:, k]).max(initial=0) > 1e-3]
    if not useful or len(energy) < ENOUGH or not energy.any():
        return pairs, 0.0
    columns = works[:, useful]
    ratios, *_ = np.linalg.lstsq(columns, energy, rcond=None)
    rest = float(np.sum((energy - columns @ ratios) ** 2))
    inverse = np.diag(np.linalg.pinv(columns.T @ columns))
    errors = np.sqrt(rest / (len(energy) - len(useful)) * inverse)
    for k, ratio, error in zip(useful, ratios, errors, strict=True):
        pairs[k] = (float(ratio), float(error))
    return pairs, 1 - rest / float(energy @ energy)
