"""A double of tblite's ASE calculator: EMT, but one geometry in five fails and one never ends."""

import hashlib
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from ase.calculators.emt import EMT


class TBLite(EMT):
    """What mtpilot asks of the real one."""

    default_parameters: ClassVar = {
        **EMT.default_parameters,
        **dict.fromkeys(("method", "verbosity", "cache_api")),
    }

    def __init__(self, **options: Any) -> None:
        super().__init__()

    def calculate(self, atoms: Any = None, *arguments: Any, **options: Any) -> None:
        """Fail or hang by the geometry alone, so that a repetition does the same."""
        digest = hashlib.sha256(atoms.positions.round(6).tobytes()).hexdigest()
        if _first(digest) == digest:
            time.sleep(3600)
        if int(digest, 16) % 5 == 0:
            raise RuntimeError("SCF not converged in 250 cycles")
        super().calculate(atoms, *arguments, **options)


def _first(digest: str) -> str:
    """The first geometry that anybody asked for, kept in the folder of the iteration."""
    path = Path("hangs")
    with suppress(FileExistsError), path.open("x") as file:
        file.write(digest)
    return path.read_text()
