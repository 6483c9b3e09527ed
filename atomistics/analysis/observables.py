"""What a trajectory shows: density, distances, RDF, MSD and diffusion; which errors stand out.

All are functions of frames (ase.Atoms, Å) or plain arrays.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms

from atomistics.bonded import molecules
from atomistics.errors import UserError
from atomistics.neighbours import pairs
from atomistics.units import GRAMS_PER_CM3

CM2_PER_S = 0.1  # of 1 Å^2/fs
LEFT = 0.8  # Å from its place, where an atom of a solid is not


def density(atoms: Atoms) -> float:
    """Mass density by standard atomic masses.

    Parameters
    ----------
    atoms : N atoms, Å

    Returns
    -------
    g/cm3; 0.0 where not periodic in three directions
    """
    volume = atoms.cell.volume if atoms.pbc.all() else 0.0
    return float(atoms.get_masses().sum() / volume * GRAMS_PER_CM3) if volume else 0.0


def pair_name(one: str, other: str) -> str:
    """'B-N' for either order of the two elements."""
    return "-".join(sorted((one, other)))


def min_distances(atoms: Atoms, reach: float = 5.0) -> dict[str, float]:
    """Shortest distance by pair of elements, images included.

    Parameters
    ----------
    atoms : N atoms, Å
    reach : Å, beyond which no pair is named

    Returns
    -------
    Å by pair, "B-N" in order of the alphabet
    """
    near = pairs(atoms, reach)
    masks = _by_pair(atoms, near.i, near.j)
    return {
        pair_name(*pair): float(near.distance[mask].min())
        for pair, mask in masks.items()
        if mask.any()
    }


def min_distance(atoms: Atoms) -> float:
    """Shortest distance of any two atoms, images included.

    Parameters
    ----------
    atoms : N atoms, Å

    Returns
    -------
    Å; inf for a lone atom
    """
    for reach in (2.0, 8.0, 64.0, 512.0, 1e4):
        near = pairs(atoms, reach).distance
        if len(near):
            return float(near.min())
    return float("inf")


def _by_pair(atoms: Atoms, i: np.ndarray, j: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """Mask (P,) of the pairs of each two elements of the frame, the two sorted."""
    symbols = np.array(atoms.get_chemical_symbols())
    elements = sorted(set(symbols.tolist()))
    masks = {}
    for rank, one in enumerate(elements):
        for other in elements[rank:]:
            mask = (symbols[i] == one) & (symbols[j] == other)
            if one != other:
                mask |= (symbols[i] == other) & (symbols[j] == one)
            masks[one, other] = mask
    return masks


class Rdf(NamedTuple):
    """Radii (bins,) of the bins' middles, Å, and g (bins,) by pair of elements ('B-N').

    distances: how many of a pair a frame has within reach, each once."""

    r: np.ndarray
    g: dict[str, np.ndarray]
    distances: dict[str, float]


def rdf(frames: Sequence[Atoms], reach: float = 6.0, bins: int = 120) -> Rdf:
    """Radial distribution functions, averaged over frames of equal composition.

    g_ab(r) = V n_ab(r) / (N_a N_b 4 pi r^2 dr), n_ab(r) ordered pairs, V of each frame (Allen and
    Tildesley, 2nd ed., section 8.2). Every image counts, so `reach` may exceed half the cell,
    where minimum-image routines (ase.geometry.rdf, freud) stop: small cells of a campaign need
    that, and the integral over a shell is exactly the coordination number. Beyond half the
    shortest height g holds correlations of an atom with images, the same in both trajectories
    compared. Normalised by N_a N_b also where a = b, so an ideal gas in a small cell has
    (N - 1) / N below its shortest lattice vector.

    Parameters
    ----------
    frames : Å
    reach : Å
    bins : shells of equal width up to there

    Returns
    -------
    r (bins,) Å, the middles of the shells, g (bins,) and distances a frame by pair of elements

    Raises
    ------
    UserError
        A frame is not periodic in three directions.
    """
    edges = np.linspace(0, reach, bins + 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    total: dict[str, np.ndarray] = {}
    distances: dict[str, float] = {}
    for atoms in frames:
        if not atoms.pbc.all():
            raise UserError("rdf: a frame is not periodic in three directions; it has no density")
        counts = Counter(atoms.get_chemical_symbols())
        near = pairs(atoms, reach)
        for (one, other), chosen in _by_pair(atoms, near.i, near.j).items():
            neighbour_counts = np.histogram(near.distance[chosen], edges)[0]
            both = counts[one] * counts[other] * (1 if one == other else 2)
            g = neighbour_counts * atoms.cell.volume / (both * shells * len(frames))
            name = pair_name(one, other)
            total[name] = total.get(name, 0) + g
            each_once = float(neighbour_counts.sum()) / 2 / len(frames)
            distances[name] = distances.get(name, 0.0) + each_once
    return Rdf((edges[1:] + edges[:-1]) / 2, dict(sorted(total.items())), distances)


def rdf_difference(r: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """How unlike two RDFs are: 2 int |g - h| dr / int (g + h) dr.

    0 only for equal curves, 2 for curves that nowhere overlap; symmetric. Every r weighs the same,
    so the first shells decide. Noise of short trajectories counts as difference.

    Parameters
    ----------
    r : (B,) Å
    one, other : (B,) g at r

    Returns
    -------
    in [0, 2]
    """
    area = float(np.trapezoid(one + other, r))
    return 2 * float(np.trapezoid(np.abs(one - other), r)) / area if area else 0.0


def rdf_overlap(r: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """Shared part of two RDFs: 2 int min(g, h) dr / int (g + h) dr.

    Parameters
    ----------
    r : (B,) Å
    one, other : (B,) g at r

    Returns
    -------
    in [0, 1]
    """
    return 1 - rdf_difference(r, one, other) / 2


def displacements(frames: Sequence[Atoms]) -> np.ndarray:
    """Way of every atom since the first frame, unwrapped, without the drift of all.

    Steps are summed in fractional coordinates, to the nearest image, times the mean cell of the
    two frames: wrapped or not makes no difference, and a breathing NPT cell is no diffusion
    (the TOR scheme: Bullerjahn et al., J. Chem. Theory Comput. 2023, 19, 3406). True while no atom
    moves half a cell between kept frames. The drift of the centre of mass is a thermostat's.

    Parameters
    ----------
    frames : T of N atoms each, Å

    Returns
    -------
    (T, N, 3) Å
    """
    cells = np.array([atoms.cell.complete().array for atoms in frames])
    positions = np.array([atoms.positions for atoms in frames])
    steps = np.diff(positions @ np.linalg.inv(cells), axis=0)
    steps -= np.where(frames[0].pbc, np.round(steps), 0)
    ways = np.cumsum(steps @ ((cells[1:] + cells[:-1]) / 2), axis=0)
    ways = np.concatenate([np.zeros((1, len(frames[0]), 3)), ways])
    masses = frames[0].get_masses()
    return ways - np.einsum("tnx,n->tx", ways, masses / masses.sum())[:, None]


def mean_square(ways: np.ndarray) -> np.ndarray:
    """Mean square displacement by lag, over all origins and atoms.

    Two sums of squares less an autocorrelation by FFT (Calandrini et al., Collection SFN 2011,
    12, 201), T log T instead of T^2.

    Parameters
    ----------
    ways : (T, N, 3) Å

    Returns
    -------
    (T,) Å^2
    """
    count = len(ways)
    ways = ways - ways.mean(axis=0)
    power = np.abs(np.fft.rfft(ways, 2 * count, axis=0)) ** 2
    products = np.fft.irfft(power, 2 * count, axis=0)[:count].sum(axis=(1, 2))
    sums = np.concatenate([[0.0], np.cumsum((ways**2).sum(axis=(1, 2)))])
    lags = np.arange(count)
    squares = sums[count - lags] + sums[count] - sums[lags]
    return (squares - 2 * products) / (count - lags) / ways.shape[1]


def msd(frames: Sequence[Atoms], element: str) -> np.ndarray:
    """Mean square displacement of one element at lags of 0, 1, ... kept frames.

    Parameters
    ----------
    frames : T of them, Å
    element : symbol

    Returns
    -------
    (T,) Å^2
    """
    chosen = np.array(frames[0].get_chemical_symbols()) == element
    return mean_square(displacements(frames)[:, chosen])


class Estimate(NamedTuple):
    """A mean and its standard error."""

    value: float
    error: float


def mobile_share(frames: Sequence[Atoms]) -> float:
    """Share of the atoms that belong to molecules which have left their places.

    An atom of a glass or a crystal swings by 0.2 to 0.5 Å about its place, one of a liquid is
    farther from it within picoseconds.

    Parameters
    ----------
    frames : N atoms each, Å, not wrapped back into their cells

    Returns
    -------
    0 (a solid, ions or atoms alone) to 1 (a molecular liquid)
    """
    return float(np.mean((molecules(frames[0]) >= 0) & mobile_atoms(frames)))


def mobile_atoms(frames: Sequence[Atoms], chosen: np.ndarray | None = None) -> np.ndarray:
    """Which atoms have left their places from the first frame to the last.

    Parameters
    ----------
    frames : N atoms each, Å, not wrapped back into their cells
    chosen : indices of M atoms, whose drift as a whole does not count; all without

    Returns
    -------
    (M,) of bool
    """
    chosen = np.arange(len(frames[0])) if chosen is None else chosen
    first, last = frames[0][chosen], frames[-1][chosen]
    scaled = [a.cell.scaled_positions(a.positions) for a in (first, last)]  # a barostat moves none
    moved = (scaled[1] - scaled[0]) @ last.cell.array
    moved -= np.average(moved, axis=0, weights=first.get_masses())
    return np.linalg.norm(moved, axis=1) > LEFT


def diffusion(frames: Sequence[Atoms], element: str, interval: float, blocks: int = 4) -> Estimate:
    """Self-diffusion coefficient of one element.

    Einstein relation, D = slope of the MSD / 6, a straight line through lags of 10 to 50 % of each
    of `blocks` stretches of the trajectory; the error is the standard error of their mean (Allen
    and Tildesley, 2nd ed., sections 2.7 and 8.4). In a solid D is zero within it, and may come out
    negative. Blind to correlation longer than a stretch: such an error is too small.

    Parameters
    ----------
    frames : Å
    element : symbol
    interval : fs between frames
    blocks : stretches, two at least

    Returns
    -------
    cm2/s with its standard error

    Raises
    ------
    UserError
        A stretch has fewer than 5 frames.
    """
    length = len(frames) // blocks
    if length < 5 or blocks < 2:
        raise UserError(
            f"diffusion: {len(frames)} frames are too few for {blocks} blocks of 5; keep more"
        )
    lags = np.arange(max(1, length // 10), length // 2 + 1)
    curves = [msd(frames[k * length : (k + 1) * length], element) for k in range(blocks)]
    slopes = [np.polyfit(lags * interval, curve[lags], 1)[0] for curve in curves]
    return mean_and_error(np.array(slopes) / 6 * CM2_PER_S)


def mean_and_error(blocks: np.ndarray) -> Estimate:
    """Mean of independent values and its standard error.

    Parameters
    ----------
    blocks : (B,), B > 1

    Returns
    -------
    in the unit of the values
    """
    return Estimate(float(blocks.mean()), float(blocks.std(ddof=1) / np.sqrt(len(blocks))))


def block_average(values: np.ndarray, blocks: int = 5) -> Estimate:
    """Mean of a correlated series and its standard error from block means.

    Parameters
    ----------
    values : (T,)
    blocks : parts of nearly equal length

    Returns
    -------
    in the unit of the values
    """
    return mean_and_error(np.array([part.mean() for part in np.array_split(values, blocks)]))


def standard_error(values: np.ndarray) -> float | None:
    """Standard error of the mean of frames in order of time, from means of two or more a block.

    Parameters
    ----------
    values : (T,)

    Returns
    -------
    in the unit of the values; None for fewer than six, which no error can be had of
    """
    if len(values) < 6:
        return None
    return block_average(values, min(5, len(values) // 2)).error


class Deviation(NamedTuple):
    """Mean absolute and root mean square error, and the largest, in the unit of the values."""

    mae: float
    rmse: float
    worst: float


def deviation(errors: np.ndarray) -> Deviation:
    """Statistics of model minus reference.

    Parameters
    ----------
    errors : energies per atom (F,) eV, or force components eV/Å, of any shape

    Returns
    -------
    mean, root mean square and maximum of |error|, in its unit
    """
    size = np.abs(errors)
    return Deviation(float(size.mean()), float(np.sqrt((size**2).mean())), float(size.max()))


def outliers(errors: np.ndarray, threshold: float = 5.0, fewest: int = 8) -> np.ndarray:
    """Errors that stand out of the rest of their subsystem.

    Modified z-score 0.6745 (x - median) / MAD above `threshold` (Iglewicz and Hoaglin 1993; they
    advise 3.5 for normal data, errors have longer tails), one-sided. Relative by construction:
    errors all k times larger flag the same frames, so a bad model is no reason to throw data away
    (the paper's fixed bound threw 45 %). Where over half are equal the mean deviation replaces the
    MAD; under `fewest` frames there is no spread to stand out of.

    Parameters
    ----------
    errors : (F,) >= 0, of any unit
    threshold : of the z-score
    fewest : frames

    Returns
    -------
    indices, worst first
    """
    if len(errors) < fewest:
        return np.zeros(0, int)
    excess = errors - np.median(errors)
    spread = np.median(np.abs(excess)) / 0.6745 or np.abs(excess).mean() * 1.2533
    flagged = np.flatnonzero(excess > threshold * spread)
    return flagged[np.argsort(-errors[flagged], kind="stable")]
