"""Strain at a constant rate: the stress and the modulus it shows."""

from typing import Any

import numpy as np
from ase import Atoms, units

from atomistics.md.protocol import Strain

VOIGT = {"x": 0, "y": 1, "z": 2, "yz": 3, "xz": 4, "xy": 5}
INITIAL = 0.03  # strain up to which the initial modulus is fitted
BINS = 16


def stress_of(atoms: Atoms, direction: str) -> float:
    """Stress component with its kinetic part, tension positive.

    Parameters
    ----------
    atoms : with calculator and momenta
    direction : of `VOIGT`

    Returns
    -------
    GPa
    """
    stress = atoms.get_stress(include_ideal_gas=True)
    return float(stress[VOIGT[direction]] / units.GPa)


def stress_strain(
    stage: Strain, strain: np.ndarray, stress: np.ndarray, before: float = 0.0
) -> dict[str, Any]:
    """Modulus dσ/dε at ε = 0, and the curve in BINS means.

    A parabola through the means of bins up to INITIAL, because anharmonicity bends the curve
    (third-order constants are some ten times the second-order ones) and a straight line's error
    would
    not hold the bias: a parabola's does (94 % within two of them, with noise that hides the bend
    and
    without). The error is that of the least-squares fit to the bins. With the other axes fixed and
    along an axis it is C_ii, with free ones Young's modulus; in shear (engineering strain γ) the
    shear
    modulus.

    Parameters
    ----------
    stage : direction, and whether the other axes are free
    strain : (T,) engineering
    stress : (T,) GPa, Cauchy
    before : strain that earlier stages left along the same direction; after one the stage unloads,
        or strains on: it has a curve and no modulus

    Returns
    -------
    name, unit (GPa), value and standard error (None with fewer than six bins), curve
    """
    curve = _binned(strain, stress, BINS)
    if abs(before) > 1e-9:
        unloading = before * stage.strain < 0
        return {
            "name": f"{'unloading' if unloading else 'further'}_{stage.direction}",
            "unit": "GPa",
            "value": None,
            "error": None,
            "curve": {"strain": _rounded(curve[0] + before), "stress_GPa": _rounded(curve[1])},
        }
    chosen = np.abs(strain) <= INITIAL
    x, y = _binned(strain[chosen], stress[chosen], BINS)
    value = error = None
    if len(x) >= 6:
        coefficients, covariance = np.polyfit(x, y, 2, cov=True)
        value, error = float(coefficients[1]), float(np.sqrt(covariance[1, 1]))
    kind = "shear" if VOIGT[stage.direction] > 2 else "tensile"
    if kind == "tensile" and stage.others == "free":
        kind = "young"
    return {
        "name": f"{kind}_modulus_{stage.direction}",
        "unit": "GPa",
        "value": value,
        "error": error,
        "curve": {"strain": _rounded(curve[0]), "stress_GPa": _rounded(curve[1])},
    }


def _binned(x: np.ndarray, y: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    parts = [p for p in np.array_split(np.arange(len(x)), bins) if len(p)]
    return tuple(np.array([values[p].mean() for p in parts]) for values in (x, y))


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
