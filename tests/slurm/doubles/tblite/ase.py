"""A double of tblite's ASE calculator: EMT, but one geometry in five fails and one never ends."""

import hashlib
import time
from typing import Any, ClassVar

from ase.calculators.emt import EMT


class TBLite(EMT):
    """What mtpilot asks of the real one."""

    default_parameters: ClassVar[dict[str, Any]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__()

    def calculate(self, atoms: Any = None, *arguments: Any, **options: Any) -> None:
        """Fail or hang by the geometry alone, so that a repetition does the same."""
        digest = hashlib.sha256(atoms.positions.round(6).tobytes()).digest()[0] % 10
        if digest < 2:
            raise RuntimeError("SCF not converged in 250 cycles")
        if digest == 2:
            time.sleep(3600)
        super().calculate(atoms, *arguments, **options)
