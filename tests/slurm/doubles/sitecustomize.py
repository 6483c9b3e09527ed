"""Whoever starts Python with this on its path has an EMT that fails at one geometry in five, and
never ends at one, in a process of its own: what a program does, without a second reference."""

import hashlib
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase.calculators.calculator import SCFError
from ase.calculators.emt import EMT

sound = EMT.calculate


def calculate(self: EMT, atoms: Any = None, *arguments: Any, **options: Any) -> None:
    """Fail or hang by the geometry alone, so that a repetition does the same."""
    digest = hashlib.sha256(atoms.positions.round(6).tobytes()).hexdigest()
    if _first(digest) == digest:
        time.sleep(3600)
    if int(digest, 16) % 5 == 0:
        raise SCFError("SCF not converged in 250 cycles")
    sound(self, atoms, *arguments, **options)


def _first(digest: str) -> str:
    """The first geometry that anybody asked for, kept in the folder of the iteration."""
    path = Path("hangs")
    with suppress(FileExistsError), path.open("x") as file:
        file.write(digest)
    return path.read_text()


EMT.calculate = calculate
sys.path.append(str(Path(__file__).parents[3]))

from atomistics.reference import catalog  # noqa: E402

PATH = "ase.calculators.emt:EMT"
catalog.BY_PATH[PATH] = replace(catalog.BY_PATH[PATH], isolated=True)
