"""MLIP's error report: text as `mlp check_errors` prints it, read back by the site adapter."""

import re
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mtp.configuration import Configuration

GPA = 160.21766208  # eV/Å^3 in GPa, CODATA 2018
HEAD = "_________________Errors report_________________"
RULE = "_" * 47
TITLES = {
    "energy": ("Energy:", "configurations"),
    "energy_per_atom": ("Energy per atom:", "configurations"),
    "forces": ("Forces:", "atoms"),
    "virial": ("Stresses (in energy units):", "configurations"),
    "stress": ("Virial stresses (in pressure units):", "configurations"),
}
READ_TITLES = {title: name for name, (title, _) in TITLES.items()} | {
    "Stresses (in eV):": "virial",
    "Stresses (in GPa):": "stress",
}
READ_LINES = {
    "count": r"Errors checked for (\S+)",
    "maximum": r"Maximal absolute difference = (\S+)",
    "average": r"Average absolute difference = (\S+)",
    "rms": r"RMS +absolute difference = (\S+)",
    "relative_maximum": r"Max\(\w+\) / Max\(\w+\) = (\S+)",
    "relative_rms": r"RMS\(\w+\) / RMS\(\w+\) = (\S+)",
}
RELATIVE = {"forces": "Force", "virial": "Stres", "stress": "Stres"}


class Prediction(Protocol):
    """What a potential says of one configuration, see mtp.engine.Evaluation."""

    energy: float
    forces: NDArray[np.float64]
    virial: NDArray[np.float64]


@dataclass
class QuantityErrors:
    """Count, maximum, mean and RMS of |difference|, and the same of |reference| where printed.

    Energies eV; forces eV/Å, Euclidean norm of each atom's vector; virial (eV) and stress (GPa)
    Frobenius norm of the 3x3 tensor.
    """

    count: int = 0
    maximum: float = 0.0
    average: float = 0.0
    rms: float = 0.0
    relative_maximum: float | None = None
    relative_rms: float | None = None


@dataclass
class _Sums:
    count: int = 0
    maximum: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    reference_maximum: float = 0.0
    reference_squares: float = 0.0

    def add(self, difference: NDArray[np.float64], reference: NDArray[np.float64]) -> None:
        self.count += len(difference)
        self.maximum = max(self.maximum, float(difference.max()))
        self.total += float(difference.sum())
        self.squares += float(difference @ difference)
        self.reference_maximum = max(self.reference_maximum, float(reference.max()))
        self.reference_squares += float(reference @ reference)

    def errors(self, relative: bool) -> QuantityErrors:
        count, tiny = max(self.count, 1), 1e-300
        result = QuantityErrors(
            self.count, self.maximum, self.total / count, (self.squares / count) ** 0.5
        )
        if relative:
            result.relative_maximum = self.maximum / (self.reference_maximum + tiny)
            result.relative_rms = (self.squares / (self.reference_squares + tiny)) ** 0.5
        return result


@dataclass
class ErrorReport:
    """Sums differences between labels and predictions; configurations without a label count not."""

    sums: dict[str, _Sums] = field(default_factory=lambda: {name: _Sums() for name in TITLES})

    def add(self, labelled: Configuration, predicted: Prediction) -> dict[str, float]:
        """Take one configuration in.

        Parameters
        ----------
        labelled : a configuration with labels (eV, eV/Å)
        predicted : what the potential says of it (eV, eV/Å)

        Returns
        -------
        by quantity that has a label its largest difference, in the units of `QuantityErrors`
        """
        compared = differences(labelled, predicted)
        for name, (difference, reference) in compared.items():
            self.sums[name].add(difference, reference)
        return {name: float(difference.max()) for name, (difference, _) in compared.items()}

    def errors(self) -> dict[str, QuantityErrors]:
        """Errors by quantity: energy, energy_per_atom, forces, virial (eV), stress (GPa)."""
        return {name: sums.errors(name in RELATIVE) for name, sums in self.sums.items()}

    def text(self) -> str:
        """The report, byte for byte in MLIP-3's layout."""
        blocks = "\n".join(_block(name, errors) for name, errors in self.errors().items())
        return f"{HEAD}\n{blocks}{RULE}\n\n"


def differences(
    labelled: Configuration, predicted: Prediction
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Norms of the differences and of the labels, for each label that exists.

    Parameters
    ----------
    labelled : a configuration with labels (eV, eV/Å)
    predicted : what the potential says of it (eV, eV/Å)

    Returns
    -------
    by quantity a pair of arrays in the units of `QuantityErrors`, one value per atom for forces,
    else one value; "stress" (GPa) only where the volume is defined
    """
    compared = {}
    if labelled.energy is not None:
        difference = np.array([abs(labelled.energy - predicted.energy)])
        reference = np.array([abs(labelled.energy)])
        compared["energy"] = (difference, reference)
        compared["energy_per_atom"] = (difference / len(labelled), reference / len(labelled))
    if labelled.forces is not None:
        difference = np.linalg.norm(labelled.forces - predicted.forces, axis=1)
        compared["forces"] = (difference, np.linalg.norm(labelled.forces, axis=1))
    if labelled.virial is not None:
        norms = [_norm(labelled.virial - predicted.virial), _norm(labelled.virial)]
        compared["virial"] = (np.array(norms[:1]), np.array(norms[1:]))
        if labelled.volume > 0:
            scale = GPA / labelled.volume
            compared["stress"] = (scale * compared["virial"][0], scale * compared["virial"][1])
    return compared


def _norm(tensor: NDArray[np.float64]) -> float:
    weights = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    return float(np.sqrt(weights @ np.square(tensor)))


def _block(name: str, errors: QuantityErrors) -> str:
    title, unit = TITLES[name]
    lines = [
        title,
        f"\tErrors checked for {errors.count} {unit}",
        f"\tMaximal absolute difference = {errors.maximum:g}",
        f"\tAverage absolute difference = {errors.average:g}",
        f"\tRMS     absolute difference = {errors.rms:g}",
    ]
    if name in RELATIVE:
        word = RELATIVE[name]
        lines.append(f"\tMax({word}Diff) / Max({word}) = {errors.relative_maximum:g}")
        lines.append(f"\tRMS({word}Diff) / RMS({word}) = {errors.relative_rms:g}")
    return "\n".join(lines) + "\n"


def parse_report(text: str) -> dict[str, QuantityErrors]:
    """The last error report in a log of MLIP-3, MLIP-2 or this package; empty when it has none.

    Numbers are taken as they stand, NaN included; a word that is no number becomes NaN.
    """
    errors_of: dict[str, QuantityErrors] = {}
    current = None
    for line in map(str.strip, text.splitlines()):
        if line in READ_TITLES:
            current = errors_of[READ_TITLES[line]] = QuantityErrors()
        elif current is not None:
            for name, pattern in READ_LINES.items():
                if match := re.match(pattern, line):
                    _set(current, name, match.group(1))
    return errors_of


def _set(errors: QuantityErrors, name: str, word: str) -> None:
    try:
        setattr(errors, name, int(word) if name == "count" else float(word))
    except ValueError:
        setattr(errors, name, 0 if name == "count" else float("nan"))
