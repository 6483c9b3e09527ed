"""The basis of moment tensor contractions of a level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Basis:
    """Contraction graph in MLIP's index form.

    alpha_index_basic (n, 4): radial index and powers of x, y, z; alpha_index_times (m, 4): rows
    (a, b, c, d) for moment[d] += c moment[a] moment[b]; alpha_moment_mapping (K,): the scalars.
    """

    alpha_moments_count: int
    alpha_index_basic: np.ndarray
    alpha_index_times: np.ndarray
    alpha_moment_mapping: np.ndarray
    radial_funcs_count: int


def level_basis(level: int) -> Basis:
    raise NotImplementedError(level)
