"""MaxVol: the rows of a stream that span the largest volume, and how far other rows lie outside it.

S. A. Goreinov et al., "How to find a good submatrix" (2010); in MTP: E. V. Podryabinkin and
A. V. Shapeev, Comput. Mater. Sci. 140, 171 (2017). The start is MLIP's: dummy rows eps * identity.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mtp.errors import MTPError

INITIAL = 1e-6
THRESHOLD = 1.001
INVERSE_ERROR = 1e-2
EXACT_SIZE = 4_000_000  # elements of C up to which every swap is the best of all rows
POOL_ROWS = 512

Matrix = NDArray[np.float64]
RowLabel = tuple[int, int]


@dataclass(frozen=True)
class Swap:
    """A row that entered the active set, in place of which one, and by what factor volume grew.

    Rows that filled an empty set carry their pivot over the size of a dummy row instead.
    """

    position: int
    entered: RowLabel | None
    left: RowLabel | None
    grade: float


@dataclass
class MaxVol:
    """n active rows A (n, n) and their inverse; labels[j]: where row j comes from, None: dummy.

    A row b has the grade max_j |(b A^-1)_j|: above 1 it extrapolates.
    """

    rows: Matrix
    inverse: Matrix
    labels: list[RowLabel | None]
    swaps: list[Swap] = field(default_factory=list)

    @classmethod
    def start(cls, size: int, initial: float = INITIAL) -> "MaxVol":
        """The regularised start.

        Parameters
        ----------
        size : n, the number of coefficients
        initial : factor of the identity; all rows are dummies

        Returns
        -------
        the empty active set
        """
        return cls(np.eye(size) * initial, np.eye(size) / initial, [None] * size)

    def consistent(self) -> bool:
        """Whether A A^-1 is 1 within what rounding in MLIP's own updates leaves."""
        product = self.rows @ self.inverse
        return bool(np.abs(product - np.eye(len(product))).max() < INVERSE_ERROR)

    def grades(self, rows: Matrix) -> Matrix:
        """Extrapolation grades: max_j |(b A^-1)_j| for each row b.

        Parameters
        ----------
        rows : (m, n)

        Returns
        -------
        (m,)
        """
        coefficients = rows @ self.inverse
        return np.maximum(
            coefficients.max(axis=1, initial=0.0), -coefficients.min(axis=1, initial=0.0)
        )

    def add(
        self,
        rows: Matrix,
        labels: Sequence[RowLabel],
        threshold: float = THRESHOLD,
        limit: int | None = None,
    ) -> int:
        """Swap rows in until none has a grade above `threshold`.

        Rows of largest grade enter first; a row that left may come back.

        Parameters
        ----------
        rows : (m, n)
        labels : where each comes from
        threshold : grade above which a row enters, a little above 1
        limit : most swaps; None for no limit

        Returns
        -------
        swaps made

        Raises
        ------
        MTPError
            The active rows are singular.

        Source: S. A. Goreinov et al., "How to find a good submatrix" (2010).
        """
        if not len(rows):
            return 0
        before = len(self.swaps)
        batch = _Batch(self, np.array(rows, order="C"), list(labels))
        if limit is None and all(label is None for label in self.labels):
            batch.fill()
        while limit is None or limit > len(self.swaps) - before:
            left = None if limit is None else limit - (len(self.swaps) - before)
            if not batch.sweep(threshold, left):
                break
        if len(self.swaps) > before:
            self.inverse = _inverse(self.rows)
        return len(self.swaps) - before


class _Batch:
    """Candidate rows B (m, n) beside an active set, with their coefficients C = B A^-1."""

    def __init__(self, active: MaxVol, rows: Matrix, labels: list[RowLabel | None]) -> None:
        self.active = active
        self.rows = rows
        self.labels = labels
        self.coefficients = rows @ active.inverse
        self.filled = False

    def fill(self) -> None:
        """Start from the rows that LU with partial pivoting of [dummies; B] takes as pivots.

        The dummies make B regular: one stays wherever no row has a pivot above `initial`.
        """
        from scipy.linalg.lapack import dgetrf

        active, size = self.active, len(self.active.rows)
        factors, swapped, _ = dgetrf(np.vstack([active.rows, self.rows]), overwrite_a=1)
        order = np.arange(size + len(self.rows))
        for k, other in enumerate(swapped):
            order[[k, other]] = order[[other, k]]
        free = sorted(set(range(size)) - set(order[:size][order[:size] < size].tolist()))
        entering = [k for k in range(size) if order[k] >= size]
        for position, k in zip(free, entering, strict=True):
            grade = abs(factors[k, k]) / abs(active.rows[position, position])
            self._exchange(position, int(order[k]) - size, grade)
        active.inverse = _inverse(active.rows)
        self.coefficients = self.rows @ active.inverse
        self.filled = True

    def sweep(self, threshold: float, limit: int | None) -> int:
        """Swap the best row in, again and again; returns the swaps made.

        In a large batch only among the rows of largest grade, which stay in cache; one product
        then updates all others, and rows that come above the threshold wait for the next sweep.
        """
        from scipy.linalg.blas import idamax

        largest = np.maximum(self.coefficients.max(axis=1), -self.coefficients.min(axis=1))
        if largest.max(initial=0.0) <= threshold:
            return 0
        pool = np.arange(len(largest))
        if self.filled or self.coefficients.size > EXACT_SIZE:
            pool = np.argsort(-largest, kind="stable")[:POOL_ROWS]
            pool = pool[largest[pool] > threshold / 2]
        small, changed, count = self.coefficients[pool], set(), 0
        while limit is None or count < limit:
            row, position = divmod(int(idamax(small.ravel())), small.shape[1])
            pivot = small[row, position]
            if abs(pivot) <= threshold:
                break
            self._exchange(position, int(pool[row]), abs(pivot))
            _pivot(small, row, position)
            changed.add(position)
            count += 1
        self._update(np.array(sorted(changed)))
        self.coefficients[pool] = small
        return count

    def _exchange(self, position: int, row: int, grade: float) -> None:
        active = self.active
        active.rows[position], self.rows[row] = self.rows[row], active.rows[position].copy()
        left, entered = active.labels[position], self.labels[row]
        active.labels[position], self.labels[row] = entered, left
        active.swaps.append(Swap(position, entered, left, float(grade)))

    def _update(self, changed: NDArray[np.int64]) -> None:
        """Woodbury: the inverse and all C after the rows `changed` (k,) of A were replaced."""
        active = self.active
        new = active.rows[changed] @ active.inverse
        square = new[:, changed]
        new[np.arange(len(changed)), changed] -= 1.0
        correction = np.linalg.solve(square, new)
        self.coefficients -= self.coefficients[:, changed] @ correction
        active.inverse = active.inverse - active.inverse[:, changed] @ correction


def _inverse(rows: Matrix) -> Matrix:
    try:
        inverse = np.linalg.inv(rows)
    except np.linalg.LinAlgError:
        inverse = np.full_like(rows, np.nan)
    if not np.isfinite(inverse).all():
        raise MTPError("the active set is singular: its file is damaged; select again")
    return inverse


def _pivot(coefficients: Matrix, row: int, position: int) -> None:
    """Rank-1 update in place of C (C order) after its row `row` and active row `position` swap."""
    from scipy.linalg.blas import dger  # a quarter of a second that MD with grades does not need

    direction, column = coefficients[row].copy(), coefficients[:, position].copy()
    pivot = direction[position]
    direction[position] -= 1.0
    column[row] = 1.0
    coefficients[row] = 0.0
    coefficients[row, position] = 1.0
    dger(-1.0 / pivot, direction, column, a=coefficients.T, overwrite_a=1)
