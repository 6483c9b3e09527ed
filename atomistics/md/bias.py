"""Metadynamics by PLUMED: its input from a stage, and forces with the bias, labels without it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.abc import GetPropertiesMixin
from ase.parallel import DummyMPI

from atomistics.errors import UserError
from atomistics.md.collective import Coordination, Position, Variable
from atomistics.md.protocol import Metadynamics, StagedProtocol
from atomistics.reference.counting import CountingCalculator

KEYWORD = {"distance": "DISTANCE", "angle": "ANGLE", "torsion": "TORSION"}


def require_plumed(protocol: StagedProtocol) -> None:
    """UserError where a stage needs PLUMED and it cannot be loaded."""
    if not any(isinstance(stage, Metadynamics) for stage in protocol.stages):
        return
    try:
        from plumed import Plumed

        Plumed().finalize()
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"metadynamics: PLUMED does not load ({error}); install its kernel and set"
            " PLUMED_KERNEL to libplumedKernel.so, then `pip install plumed`, or have both by"
            " `conda install -c conda-forge py-plumed`"
        ) from None


class Biased(GetPropertiesMixin):
    """Forces (eV/Å) with a bias; energy (eV), stress (eV/Å^3) and `results` without it.

    So an integrator follows the bias while labels, grades and the watchdog's energy stay those of
    the calculator itself. `hills` holds PLUMED's Gaussians once it has ended.
    """

    def __init__(self, plain: CountingCalculator, plumed: Any) -> None:
        self.plain = plain
        self.whole = CountingCalculator(plumed)
        self.hills = ""

    @property
    def results(self) -> dict[str, Any]:
        """What the calculator itself found."""
        return self.plain.results

    @property
    def implemented_properties(self) -> list[str]:
        """What the calculator itself can find."""
        return self.plain.implemented_properties

    @property
    def bias(self) -> float:
        """Bias potential of the last geometry, eV."""
        return float(self.whole.results["energy"] - self.plain.results["energy"])

    def get_property(self, name: str, atoms: Atoms, allow_calculation: bool = True) -> Any:
        """One result; PLUMED advances by a step with every new geometry."""
        forces = self.whole.get_property("forces", atoms, allow_calculation)
        if name == "forces" or forces is None:
            return forces
        return self.plain.get_property(name, atoms)


@contextmanager
def biased(
    atoms: Atoms, plain: CountingCalculator, stage: Metadynamics, timestep: float
) -> Iterator[Biased]:
    """`atoms` under the bias of `stage` while inside.

    Metadynamics: Laio and Parrinello, PNAS 99, 12562 (2002); well-tempered: Barducci, Bussi and
    Parrinello, Phys. Rev. Lett. 100, 020603 (2008); `timestep` in fs.
    """
    from ase.calculators import plumed as interface

    # ASE would have rank 0 alone bias and tell the others, which here run other structures
    interface.world, interface.broadcast = DummyMPI(), lambda bias: bias
    with TemporaryDirectory(prefix="plumed-") as folder:
        hills = Path(folder) / "HILLS"
        plumed = interface.Plumed(
            calc=plain,
            input=plumed_input(stage, atoms, timestep, hills),
            timestep=timestep * units.fs,
            atoms=atoms.copy(),
            kT=units.kB * stage.temperature,
            log=str(Path(folder) / "log"),
        )
        calculator = Biased(plain, plumed)
        atoms.calc = calculator
        try:
            yield calculator
        finally:
            atoms.calc = plain
            plumed.plumed.finalize()  # writes what it has held back
            calculator.hills = hills.read_text() if hills.is_file() else ""


def plumed_input(stage: Metadynamics, atoms: Atoms, timestep: float, hills: Path) -> list[str]:
    """Lines of a PLUMED input in Å, eV and fs (PLUMED 2 manual: UNITS, METAD).

    Every word is composed here from enums, numbers and the structure; a stage has no free text.
    """
    energy, picosecond = units.mol / units.kJ, 0.001
    labels = [f"v{number}" for number in range(1, len(stage.variables) + 1)]
    pace = max(1, round(stage.every / timestep))
    lines = [f"UNITS LENGTH=A ENERGY={energy!r} TIME={picosecond!r}"]
    lines += [_line(f"v{n}", v, atoms) for n, v in enumerate(stage.variables, 1)]
    arguments = [
        label + (f".{variable.axis}" if isinstance(variable, Position) else "")
        for label, variable in zip(labels, stage.variables, strict=True)
    ]
    words = [
        f"ARG={','.join(arguments)}",
        f"SIGMA={','.join(repr(v.width) for v in stage.variables)}",
        f"HEIGHT={stage.height!r}",
        f"PACE={pace}",
        f"TEMP={float(stage.temperature)!r}",
        f"FILE={hills}",
    ]
    if stage.bias_factor:
        words.append(f"BIASFACTOR={stage.bias_factor!r}")
    return [*lines, f"bias: METAD {' '.join(words)}"]


def _line(label: str, variable: Variable, atoms: Atoms) -> str:
    if isinstance(variable, Coordination):
        one, other = (_numbers(atoms, e) for e in (variable.element, variable.others))
        groups = f"GROUPA={one}" + (
            "" if variable.element == variable.others else f" GROUPB={other}"
        )
        return f"{label}: COORDINATION {groups} R_0={variable.radius!r}"
    if isinstance(variable, Position):
        return f"{label}: POSITION ATOM={_number(atoms, variable.atom)} NOPBC"
    chosen = ",".join(_number(atoms, index) for index in variable.atoms)
    return f"{label}: {KEYWORD[variable.variable]} ATOMS={chosen}"


def _number(atoms: Atoms, index: int) -> str:
    if index >= len(atoms):
        raise UserError(f"atoms: {index} is given, the structure ends at {len(atoms) - 1}")
    return str(index + 1)  # PLUMED counts from 1


def _numbers(atoms: Atoms, element: str) -> str:
    found = np.flatnonzero(np.array(atoms.get_chemical_symbols()) == element)
    if not len(found):
        raise UserError(f"element: {element} is not in the structure")
    return ",".join(str(i + 1) for i in found)
