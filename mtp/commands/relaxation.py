"""The verb relax: positions and cell to the minimum of enthalpy, grades watched on the way."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.filters import UnitCellFilter
from ase.optimize import LBFGS
from ase.units import GPa

from mtp.arguments import Arguments, Option, Verb, unknown
from mtp.calculator import MTP
from mtp.configuration import Configuration, from_atoms
from mtp.errors import MTPError
from mtp.formats.almtp import read_potential
from mtp.formats.cfg import iterate_cfg, write_cfg

LONGEST_STEP = 0.1
SETTINGS = (
    Option("pressure", "external pressure, GPa.", float, 0.0),
    Option("force_tolerance", "largest force, eV/Å.", float, 1e-4, minimum=1e-9),
    Option("stress_tolerance", "largest stress, GPa; 0: cell stays.", float, 1e-3, minimum=0),
    Option("iteration_limit", "most steps.", int, 500, minimum=1),
)


class _UnrelaxedError(Exception):
    """Why one relaxation ended without a minimum."""


@dataclass
class _Relaxer:
    arguments: Arguments
    settings: dict
    calculator: MTP
    preselected: list[Configuration]

    def relax(self, configuration: Configuration) -> Configuration:
        """LBFGS until forces and stress are below their tolerances; else _UnrelaxedError."""
        atoms = configuration.to_atoms(self.calculator.species)
        atoms.calc = self.calculator
        for _ in self._steps(atoms):
            self._watch(atoms, configuration)
            if self._converged(atoms):
                relaxed = from_atoms(atoms, self.calculator.species)
                features = configuration.features | {"from": "relaxation_OK"}
                return replace(relaxed, features=features, columns=configuration.columns)
        raise _UnrelaxedError(f"not converged in {self.settings['iteration_limit']} steps")

    def _steps(self, atoms: Atoms) -> Iterator[object]:
        if not np.isfinite(atoms.get_forces()).all():
            raise _UnrelaxedError("forces are not finite")
        mobile: Atoms | UnitCellFilter = atoms
        if self._moves_cell(atoms):
            pressure = self.settings["pressure"] * GPa
            mobile = UnitCellFilter(atoms, scalar_pressure=pressure)
        optimizer = LBFGS(mobile, logfile=None, maxstep=LONGEST_STEP)
        return optimizer.irun(fmax=0.0, steps=self.settings["iteration_limit"])

    def _moves_cell(self, atoms: Atoms) -> bool:
        return bool(self.settings["stress_tolerance"]) and bool(np.all(atoms.pbc))

    def _converged(self, atoms: Atoms) -> bool:
        forces = np.linalg.norm(atoms.get_forces(), axis=1).max(initial=0.0)
        if forces > self.settings["force_tolerance"]:
            return False
        if not self._moves_cell(atoms):
            return True
        stress = atoms.get_stress() / GPa
        stress[:3] += self.settings["pressure"]
        return bool(np.abs(stress).max() <= self.settings["stress_tolerance"])

    def _watch(self, atoms: Atoms, origin: Configuration) -> None:
        if self.calculator.selector is None:
            return
        grade = atoms.calc.get_property("max_grade", atoms)
        if grade > self.arguments["threshold_save"]:
            extrapolating = from_atoms(atoms, self.calculator.species)
            features = origin.features | {"MV_grade": f"{grade:.6f}"}
            grades = atoms.calc.results.get("grades")
            unlabelled = {"energy": None, "forces": None, "virial": None, "site_energies": None}
            self.preselected.append(
                replace(extrapolating, grades=grades, features=features, **unlabelled)
            )
        if grade > self.arguments["threshold_break"]:
            raise _UnrelaxedError(f"Breaking threshold exceeded, grade {grade:g}")


def relax(arguments: Arguments) -> int:
    """Relax every configuration of a file; those that fail are named, and kept when asked."""
    potential = read_potential(arguments["potential"])
    species = chemical_symbols[1 : potential.species_count + 1]
    calculator = MTP(potential, species, grades=arguments["extrapolation_control"])
    relaxer = _Relaxer(arguments, _settings(arguments), calculator, [])
    relaxed, failed = [], []
    for number, configuration in enumerate(iterate_cfg(arguments["structures"]), 1):
        try:
            relaxed.append(relaxer.relax(configuration))
        except (_UnrelaxedError, MTPError) as error:
            print(f"Relaxation of cfg#{number} failed: {error}")
            features = configuration.features | {"from": "relaxation_FAILED"}
            failed.append(replace(configuration, features=features))
    total = len(relaxed) + len(failed)
    if not total:
        raise MTPError(f"{arguments['structures']}: holds no configuration")
    write_cfg(arguments["output"], relaxed)
    if arguments["extrapolation_control"]:
        write_cfg(arguments["save_extrapolative_to"], relaxer.preselected)
    if arguments["save_unrelaxed"]:
        write_cfg(arguments["save_unrelaxed"], failed)
    print(f"From {total} configurations {len(relaxed)} were relaxed successfully")
    if failed and not arguments["save_unrelaxed"]:
        raise MTPError(
            f"{len(failed)} of {total} configurations were not relaxed and are not in "
            f"{arguments['output']}; keep them by --save_unrelaxed=FILE"
        )
    return 0


def _settings(arguments: Arguments) -> dict:
    """Settings of the file, overruled by those of the command line."""
    options = {option.name: option for option in SETTINGS}
    settings = {name: arguments[name] for name in options}
    path = arguments["relaxation_settings"] or arguments.files.get("settings")
    if not path:
        return settings
    try:
        lines = Path(path).read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise MTPError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].replace("=", " ").split()
        if not words:
            continue
        name = words[0].removeprefix("relax:").replace("-", "_")
        if name not in options or len(words) != 2:
            raise unknown(f"{path}:{number}: relaxation setting", " ".join(words), list(options))
        if name not in arguments.given:
            settings[name] = options[name].convert(words[1])
    return settings


VERBS = (
    Verb(
        "relax",
        "relax configurations",
        relax,
        (("potential", "structures", "output"),),
        (
            *SETTINGS,
            Option("relaxation_settings", "file with the settings above, one per line."),
            Option("extrapolation_control", "watch grades.", bool, False),
            Option("threshold_save", "keep configurations above this grade.", float, 2.1),
            Option("threshold_break", "give up above this grade.", float, 10.0),
            Option("save_extrapolative_to", "where to keep them.", default="preselected.cfg"),
            Option("save_unrelaxed", "where to keep configurations that failed."),
        ),
    ),
)
