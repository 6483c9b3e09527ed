"""Reference methods behind one ASE calculator, and the labels they give."""

import importlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    CalculatorSetupError,
    InputError,
    SCFError,
    all_changes,
    get_calculator_class,
)

from atomistics.errors import UserError
from atomistics.reference.counting import LabelFailedError, Metered, labelled
from atomistics.reference.isolated import Child, DiedError

TIGHT_BINDING = {"gfn1-xtb": "GFN1-xTB", "gfn2-xtb": "GFN2-xTB"}
IN_PROCESS = {"emt": ("ase.calculators.emt", "EMT"), "lj": ("ase.calculators.lj", "LennardJones")}
PROFILES = {"espresso": "EspressoProfile", "orca": "OrcaProfile"}
PROGRAMS = ("vasp", "cp2k", *PROFILES)
UNCONVERGED = re.compile(
    r"(not|n't|never)\W+(\w+\W+)?converg|convergence\W+(\w+\W+)?not|unconverged", re.I
)
# One thread per rank: sums of several threads differ in the last bits from run to run.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Settings(Protocol):
    """What `reference_calculator` reads of a configuration."""

    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def options(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def max_force(self) -> float: ...  # noqa: D102
    @property
    def timeout(self) -> float: ...  # noqa: D102


def reference_calculator(settings: Settings) -> Calculator:
    """Return the ASE calculator of `settings.method` (energy eV, forces eV/Å, stress eV/Å^3).

    `emt` and `lj` (tests) run in this process, all others in a child that is killed after
    `settings.timeout` seconds without an answer.
    """
    options = dict(settings.options)
    if settings.method in IN_PROCESS:
        module, name = IN_PROCESS[settings.method]
        calculator = getattr(importlib.import_module(module), name)(**options)
    elif settings.method in (*TIGHT_BINDING, *PROGRAMS, "chgnet"):
        calculator = Isolated(settings.method, options, settings.timeout)
    else:
        known = ", ".join((*TIGHT_BINDING, "chgnet", *PROGRAMS, *IN_PROCESS))
        raise UserError(f"reference.method: {settings.method!r} is unknown; use one of {known}")
    calculator.max_force = settings.max_force
    return calculator


def label(atoms: Atoms, calculator: Calculator | Metered) -> Atoms:
    """Return a copy of `atoms` with energy (eV), forces (eV/Å) and stress (eV/Å^3).

    Raises LabelFailedError; forces are too large beyond `calculator.max_force`, where it has one.
    """
    metered = Metered.of(calculator)
    work = atoms.copy()
    work.calc = metered
    try:
        forces = metered.get_property("forces", work)
    except UserError:
        raise
    except Exception as error:
        raise failure(error) from error
    largest = float(np.linalg.norm(forces, axis=1).max())
    allowed = getattr(metered.calculator, "max_force", np.inf)
    if largest > allowed:
        detail = f"largest force {largest:.4g} eV/Å is beyond {allowed:g} eV/Å"
        raise LabelFailedError("forces_too_large", detail)
    return labelled(work)


def failure(error: Exception) -> LabelFailedError:
    """Classify what a calculator raised."""
    if isinstance(error, LabelFailedError):
        return error
    text = " ".join(str(error).split())[-300:] or type(error).__name__
    unconverged = isinstance(error, SCFError) or UNCONVERGED.search(text)
    return LabelFailedError("unconverged" if unconverged else "crashed", text)


class Isolated(Calculator):
    """A reference method in a child process, started afresh for every geometry.

    tblite starts its self-consistent field from the last density it has seen: labels then
    depend on history (8e-6 eV/Å measured for BN). A new calculator per call takes 0.1 ms and
    gives the same bits whatever was computed before.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, method: str, options: dict[str, Any], timeout: float) -> None:
        super().__init__()
        self._method = method
        self._options = options
        self._timeout = timeout
        self._child = Child(answer, {} if method in PROGRAMS else ONE_THREAD)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill `results`; LabelFailedError or, for settings that cannot work, UserError."""
        super().calculate(atoms, properties, system_changes)
        bare = Atoms(
            numbers=self.atoms.numbers,
            positions=self.atoms.positions,
            cell=self.atoms.cell,
            pbc=self.atoms.pbc,
            charges=self.atoms.get_initial_charges(),
            magmoms=self.atoms.get_initial_magnetic_moments(),
        )
        try:
            status, value = self._child.ask((self._method, self._options, bare), self._timeout)
        except TimeoutError as error:
            raise LabelFailedError("timeout", str(error)) from None
        except DiedError as error:
            raise LabelFailedError("crashed", f"{self._method} died: {error}") from None
        if status == "settings":
            raise UserError(f"reference.options of {self._method}: {value}")
        if status == "failed":
            raise LabelFailedError(*value)
        self.results = value


def answer(request: tuple[str, dict[str, Any], Atoms]) -> tuple[str, Any]:
    """Run in the child: ("done", results), ("failed", (kind, detail)) or ("settings", line)."""
    method, options, atoms = request
    if method not in PROGRAMS:
        return _attempt(method, options, atoms, None)
    folder = Path(tempfile.mkdtemp(prefix=f"{method}-", dir="."))
    status, value = _attempt(method, options, atoms, folder)
    if status == "failed":
        return status, (value[0], f"{value[1]}; its files are in {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    return status, value


def _attempt(
    method: str, options: dict[str, Any], atoms: Atoms, folder: Path | None
) -> tuple[str, Any]:
    try:
        atoms.calc = _build(method, dict(options), folder)
    except Exception as error:
        return "settings", _settings_fault(method, error)
    try:
        return "done", _results(atoms)
    except Exception as error:
        setup = isinstance(error, CalculatorSetupError)
        if setup and not isinstance(error, InputError):  # an InputError is about the geometry
            return "settings", _settings_fault(method, error)
        failed = failure(error)
        return "failed", (failed.kind, failed.detail)


def _settings_fault(method: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"the Python package {error.name} is missing; install mtpilot[{method}]"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return " ".join(str(error).split())


def _results(atoms: Atoms) -> dict[str, Any]:
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if atoms.pbc.all():
        results["stress"] = atoms.get_stress()
    if getattr(atoms.calc, "converged", None) is False:  # VASP: ASE notes it and goes on
        raise SCFError("not converged")
    return results


def _build(method: str, options: dict[str, Any], folder: Path | None) -> Calculator:
    if method in TIGHT_BINDING:
        from tblite.ase import TBLite

        unknown = options.keys() - TBLite.default_parameters.keys()
        if unknown:
            raise ValueError(f"tblite has no option {', '.join(sorted(unknown))}")
        return TBLite(method=TIGHT_BINDING[method], verbosity=0, cache_api=False, **options)
    if method == "chgnet":
        return _chgnet(**options)
    if method in PROFILES:
        module = importlib.import_module(f"ase.calculators.{method}")
        names = ("command", "pseudo_dir") if method == "espresso" else ("command",)
        profile = getattr(module, PROFILES[method])(**{n: options.pop(n) for n in names})
        options["profile"] = profile
    return get_calculator_class(method)(directory=str(folder), **options)


_MODELS: dict[str, Any] = {}


def _chgnet(model: str = "r2scan", **options: Any) -> Calculator:
    """Return CHGNet on one CPU thread; the weights are read once per process."""
    import torch
    from chgnet.model import CHGNet, CHGNetCalculator

    torch.set_num_threads(1)
    if model not in _MODELS:
        _MODELS[model] = CHGNet.load(model_name=model, use_device="cpu", verbose=False)
    return CHGNetCalculator(model=_MODELS[model], use_device="cpu", **options)
