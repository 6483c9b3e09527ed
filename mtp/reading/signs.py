"""By what each code says that a self-consistent field converged, in the words of its own source.

A field that stopped at its limit of iterations gives numbers, and they are wrong. Codes go on with
a line in their output (CP2K before 2023.1, Quantum ESPRESSO, DFTB+), or say the same as if they had
converged: VASP 5 (`mtp.reading.vasp`), and pw.x where `scf_must_converge` is false.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

ACCURACY = re.compile(r"estimated scf accuracy\s*<\s*([\d.]+(?:E[-+]\d+)?) Ry")
THRESHOLD = re.compile(r"scf convergence threshold\s*=\s*([\d.]+(?:E[-+]\d+)?)")
DIGITS = 1.1, 5e-9  # what pw.x rounds off: of a threshold its second digit, of an accuracy 1e-8 Ry


class Sign(NamedTuple):
    """What a code prints of its self-consistent field (patterns of one line each).

    Where `began` is found and neither `reached` nor `failed` is, nothing says that it converged.
    """

    code: str
    failed: re.Pattern[str]
    began: re.Pattern[str] | None = None
    reached: re.Pattern[str] | None = None


SIGNS = (
    Sign(
        "CP2K",
        re.compile(r"SCF run NOT converged|outer SCF loop FAILED to converge"),
        re.compile(r"SCF WAVEFUNCTION OPTIMIZATION|Leaving inner SCF loop after reaching"),
        re.compile(r"SCF run converged in|outer SCF loop converged in"),
    ),
    Sign(
        "Quantum ESPRESSO",
        re.compile(r"convergence NOT achieved"),
        re.compile(r"Self-consistent Calculation"),
        re.compile(r"convergence has been achieved"),
    ),
    Sign(
        "ORCA",
        re.compile(
            r"(SCF|[Ww]avefunction) (is |IS |has |HAS )?(not|NOT) "
            r"(yet |YET |fully |FULLY |\(fully\) )?(converged|CONVERGED)"
        ),
        re.compile(r"^\s*ORCA (LEAN-)?SCF\s*$|^\s*(LEAN-)?SCF ITERATIONS\s*$"),
        re.compile(r"SCF CONVERGED AFTER"),
    ),
    Sign(
        "GPAW",
        re.compile(r"Did not converge!"),
        re.compile(r"^\s*iter:\s+1\s"),
        re.compile(r"Converged after \d+ iterations"),
    ),
    Sign("DFTB+", re.compile(r"SCC is NOT converged")),
    Sign("ABACUS", re.compile(r"convergence has (NOT|not) been achieved")),
    Sign("FHI-aims", re.compile(r"[Ss]elf-consistency cycle not converged")),
    Sign("CASTEP", re.compile(r"max\. SCF cycles performed but system has not reached")),
    Sign("SIESTA", re.compile(r"SCF_NOT_CONV|SCF did not converge")),
    Sign("ABINIT", re.compile(r"was not enough SCF cycles to converge")),
)


def against(lines: Iterable[str], name: str = "its output", ended: bool = True) -> str:
    """What the output of a code says against its convergence.

    Parameters
    ----------
    lines : of its output
    name : of that file, for the words
    ended : whether the code ended well; of another only what it says itself counts

    Returns
    -------
    the code and its words; empty where nothing speaks against it
    """
    began, reached = set(), set()
    threshold = accuracy = None
    for line in lines:
        for sign in SIGNS:
            if sign.failed.search(line):
                return f"{sign.code}: {' '.join(line.split())[:120]}"
            if sign.began and sign.began.search(line):
                began.add(sign.code)
            if sign.reached and sign.reached.search(line):
                reached.add(sign.code)
        if match := THRESHOLD.search(line):
            threshold = float(match[1])
        elif match := ACCURACY.search(line):
            accuracy = float(match[1])
    for code in sorted(began - reached) if ended else ():
        return f"{code}: {name} does not say that the self-consistent field converged"
    factor, rounded = DIGITS
    if threshold and accuracy and accuracy > factor * threshold + rounded and ended:
        return (
            f"Quantum ESPRESSO: an estimated scf accuracy of {accuracy:g} Ry where conv_thr is"
            f" {threshold:g} Ry"
        )
    return ""
