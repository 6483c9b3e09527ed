"""Normal equations as they are solved: scaled, and damped by what rounding makes of them."""

import numpy as np
from numpy.typing import NDArray

SMALLEST_RATIO = 1e-10


def conditioned(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale unknowns so that the diagonal is 1, and add SMALLEST_RATIO to it.

    Parameters
    ----------
    matrix : (m, m), symmetric

    Returns
    -------
    scale (m,), by which the solution of the scaled system is multiplied, and that system (m, m)
    """
    scale = 1.0 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    return scale, matrix * np.outer(scale, scale) + SMALLEST_RATIO * np.eye(len(scale))
