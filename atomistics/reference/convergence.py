"""Whether a reference calculation is converged: what each code says, and where it says it.

tblite and GPAW end with an error; the words of other codes are in `mtp.reading.signs`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import SCFError
from ase.units import Hartree

from atomistics.errors import UserError
from mtp.errors import MTPError
from mtp.reading.signs import against

if TYPE_CHECKING:
    from mtp.reading.frames import Reading

UNCONVERGED = re.compile(
    r"(not|n't|never)\W+(\w+\W+)?converg|convergence\W+(\w+\W+)?not|unconverged|ConvergenceError",
    re.I,
)
OF_FORCES = r"(?m)^\s*Force related energy:\s*(-?\d+\.\d+(?:[Ee][-+]?\d+)?)\s+H\b"
LONGEST_LINE = 500
OUTPUTS = (".pwo", ".out", ".castep", ".abo", ".log", ".err")


def unconverged(folder: Path, ended: bool = True) -> str | None:
    """What the outputs of a program in `folder` say against its convergence; None: nothing.

    Of a program that has not `ended` well only what it says itself counts.

    Raises
    ------
    LabelFailedError
        where an OUTCAR cannot be read, so that nothing is known.
    """
    for path in sorted(folder.rglob("*")):
        if path.name == "OUTCAR":
            fault = _unconverged_vasp(path) if ended else None
        elif path.is_file() and path.suffix in (*OUTPUTS, ""):
            fault = against(_lines(path), path.name, ended)
        else:
            continue
        if fault:
            return fault
    return None


def _unconverged_vasp(path: Path) -> str | None:
    from mtp.reading.frames import UNCONVERGED as STOPPED
    from mtp.reading.vasp import UNKNOWN

    left = _outcar(path).left_out
    if left[STOPPED]:
        return f"VASP: {STOPPED}, NELM was reached"
    return f"VASP: {UNKNOWN}" if left[UNKNOWN] else None


def energy_of_forces(folder: Path) -> float | None:
    """The energy (eV) of which forces are derivatives, where ASE's reader takes another one.

    VASP: F = E - TS of the only step in an OUTCAR below (vasprun.xml holds F + PV under PSTRESS).
    DFTB+: the last "Force related energy" of detailed.out, beside which "Total energy" lacks -TS of
    a filling with temperature.
    """
    for path in folder.rglob("OUTCAR"):
        reading = _outcar(path)
        if not reading.frames:
            raise LabelFailedError("crashed", f"OUTCAR: {reading.line(())}")
        return reading.frames[-1].get_potential_energy()
    for path in folder.rglob("detailed.out"):
        if values := re.findall(OF_FORCES, path.read_text(errors="replace")):
            return float(values[-1]) * Hartree
    return None


def _outcar(path: Path) -> "Reading":
    from mtp.errors import MTPError
    from mtp.reading.frames import ReadOptions
    from mtp.reading.vasp import read_outcar

    try:
        return read_outcar(path, ReadOptions())
    except MTPError as error:
        raise LabelFailedError("crashed", str(error)) from None


def _lines(path: Path) -> Iterator[str]:
    """Lines of a text file; binary files (wavefunctions) have none."""
    with path.open("rb") as file:
        if b"\0" in file.read(4096):
            return
        file.seek(0)
        for line in file:
            yield line[:LONGEST_LINE].decode(errors="replace")


def last_words(folder: Path) -> str:
    """Last lines of a program's output in `folder`, and of its launcher's; empty: none."""
    said = []
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix in OUTPUTS]
    for path in sorted(paths, key=lambda one: (OUTPUTS.index(one.suffix), one.name)):
        lines = [" ".join(line.strip(" \t\r\n*-=%").split()) for line in _lines(path)]
        words = [line for line in lines if len(line) > 3]
        if words and (not said or path.suffix == ".err"):
            said.append(f"{path.name} ends: {' / '.join(words[-2:])[:200]}")
    return "; ".join(said)


class LabelFailedError(UserError):
    """A reference calculation without a usable result.

    `kind` is one of unconverged, nan, forces_too_large, crashed, timeout; `detail` says more.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.kind, self.detail)


def failure(error: Exception, calculator: Any = None) -> LabelFailedError:
    """Classify what a calculator raised; a defect in one of ours is raised as it is.

    Calculators of `mtp` and `atomistics` say what they cannot label by MTPError or UserError.
    """
    if isinstance(error, LabelFailedError):
        return error
    own = type(calculator).__module__.partition(".")[0] in ("mtp", "atomistics")
    if own and not isinstance(error, MTPError):
        raise error
    text = " ".join(str(error).split())[-300:] or type(error).__name__
    if isinstance(error, CalledProcessError):
        program = error.cmd if isinstance(error.cmd, str) else error.cmd[0]
        text = f"{program.split()[0]} ended with exit status {error.returncode}"
    unconverged = isinstance(error, SCFError) or UNCONVERGED.search(
        f"{type(error).__name__}: {text}"
    )
    return LabelFailedError("unconverged" if unconverged else "crashed", text)
