"""The `#MVS_v1.1` section of an `.almtp` file: the active set of MaxVol selection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtp.errors import MTPError

WEIGHTS = ("energy_weight", "force_weight", "stress_weight", "site_en_weight")


@dataclass(frozen=True, eq=False)
class ActiveSet:
    """Rows chosen by MaxVol, as MLIP-3 keeps them.

    matrix (n, n): row k holds the derivatives of one selected equation by the n coefficients;
    inverse (n, n) with matrix @ inverse = 1; cfg_indices and eqn_indices (n,): where row k comes
    from, -1 for a dummy row; configurations: text of the selected configurations (.cfg).
    Podryabinkin and Shapeev, Comput. Mater. Sci. 140, 171 (2017).
    """

    matrix: np.ndarray
    inverse: np.ndarray
    cfg_indices: np.ndarray
    eqn_indices: np.ndarray
    configurations: str
    energy_weight: float
    force_weight: float
    stress_weight: float
    site_en_weight: float
    weight_scaling: int

    def to_bytes(self) -> bytes:
        """The section below its mark; the file holds the inverse transposed."""
        head = [f"{key} {getattr(self, key):.16e}\n" for key in WEIGHTS]
        head.append(f"weight_scaling {self.weight_scaling}\n#")
        rows = zip(self.cfg_indices, self.eqn_indices, strict=True)
        tail = "".join(f"{cfg} {eqn}\n" for cfg, eqn in rows)
        numbers = self.matrix.astype("<f8").tobytes() + self.inverse.T.astype("<f8").tobytes()
        return "".join(head).encode() + numbers + f"\n#\n{tail}#\n{self.configurations}".encode()


def parse_active_set(section: bytes, size: int) -> ActiveSet:
    """Read what follows the mark; `size` is the number of coefficients of the potential."""
    head, mark, rest = section.partition(b"#")
    words = head.split()
    keys = [*WEIGHTS, "weight_scaling"]
    if not mark or [word.decode("ascii", "replace") for word in words[::2]] != keys:
        raise MTPError(f"#MVS_v1.1: expected {', '.join(keys)}, then '#'")
    try:
        weights = [float(word) for word in words[1::2]]
    except ValueError as error:
        raise MTPError("#MVS_v1.1: a weight is not a number") from error
    end = 16 * size * size
    if rest[end : end + 3] != b"\n#\n":
        raise MTPError(
            f"#MVS_v1.1: no two matrices of {size} x {size}: truncated, or of another potential"
        )
    matrix, stored = np.frombuffer(rest[:end], "<f8").reshape(2, size, size).astype(float)
    if not (np.isfinite(matrix).all() and np.isfinite(stored).all()):
        raise MTPError("#MVS_v1.1: the matrices hold NaN or infinity; select again")
    table, mark, configurations = rest[end + 3 :].partition(b"#\n")
    pairs = _pairs(table, size) if mark else None
    if pairs is None or not np.isfinite(weights).all():
        raise MTPError(f"#MVS_v1.1: expected {size} lines of two indices and '#'; truncated?")
    if configurations.strip() and not configurations.rstrip().endswith(b"END_CFG"):
        raise MTPError("#MVS_v1.1: the selected configurations break off; truncated")
    return ActiveSet(
        matrix=matrix,
        inverse=stored.T.copy(),
        cfg_indices=pairs[:, 0],
        eqn_indices=pairs[:, 1],
        configurations=configurations.decode("utf-8", "replace"),
        **dict(zip(WEIGHTS, weights[:4], strict=True)),
        weight_scaling=int(weights[4]),
    )


def _pairs(table: bytes, size: int) -> np.ndarray | None:
    try:
        values = np.array([int(word) for word in table.split()], np.int64)
    except (ValueError, OverflowError):
        return None
    return values.reshape(-1, 2) if values.size == 2 * size else None
