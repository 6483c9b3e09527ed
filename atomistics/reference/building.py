"""A calculator built from its recipe and fed one geometry after another; runs where the child runs.

What the calculator of others raises is an answer (`Failed`, `Unusable`); what is raised here beside
that is a fault of ours and stays an exception.
"""

import contextlib
import importlib
import inspect
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    CalculatorSetupError,
    FileIOCalculator,
    InputError,
    PropertyNotImplementedError,
)
from ase.calculators.genericfileio import GenericFileIOCalculator

from atomistics.errors import UserError
from atomistics.reference import outputs, resuming
from atomistics.reference.catalog import NAMED, Recipe
from atomistics.reference.convergence import (
    LabelFailedError,
    energy_of_forces,
    failure,
    last_words,
    unconverged,
)
from atomistics.reference.launching import launched
from atomistics.reference.per_structure import settings_for

ESPRESSO = "EspressoProfile"
FILE_BASED = (FileIOCalculator, GenericFileIOCalculator)


class Unusable(NamedTuple):
    """Settings that can never work: the key of config.yaml, its value, the remedy."""

    line: str


class Failed(NamedTuple):
    """No label of this geometry; kinds are those of `LabelFailedError`."""

    kind: str
    detail: str


class Results(NamedTuple):
    """A label: energy in eV, forces (N, 3) in eV/Å, stress (6,) in eV/Å^3, Voigt order of ASE."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None


class WorkerRequest(NamedTuple):
    """What the child is asked: a label, or (no atoms) which properties the calculator has."""

    recipe: Recipe
    atoms: Atoms | None
    item: str = ""  # of the job, whose killed calculation may be gone on with


WorkerReply = Results | Failed | Unusable | tuple[str, ...]


class _UnusableError(Exception):
    """Carries the line of `Unusable`."""


class _DiedError(Exception):
    """A program that ended before it took its input."""


class Session:
    """A calculator and the one Atoms object it is attached to.

    Some calculators read their files anew at every attachment (CPUNEP of calorine: 1 s), so that
    geometries are put into the same Atoms object as long as the calculator is used.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._calculator: Any = None
        self._atoms = Atoms()

    def answer(self, atoms: Atoms | None, item: str = "") -> WorkerReply:
        """Label a structure, or say which properties the calculator has.

        Parameters
        ----------
        atoms : N atoms, Å; None to ask for the properties
        item : of the job

        Returns
        -------
        `Results` (eV, eV/Å, eV/Å^3), names of properties, or what went wrong: `Failed`, `Unusable`
        """
        try:
            factory = _factory(self._recipe)
            by_files = bool(self._recipe.program or self._recipe.log) or (
                inspect.isclass(factory) and issubclass(factory, FILE_BASED)
            )
            if by_files:
                return _in_folder(self._recipe, factory, atoms, item)
            if self._calculator is None or not self._recipe.reuse:
                self._calculator = _built(self._recipe, factory, None, atoms)
                self._atoms = Atoms()
            if atoms is None:
                return _properties(self._calculator)
            return self._label(atoms)
        except _UnusableError as error:
            return Unusable(str(error))

    def forget(self) -> None:
        """Begin with a new calculator: neighbour lists with a skin depend on where they began."""
        self._calculator = None

    def _label(self, atoms: Atoms) -> Results | Failed:
        attached = self._atoms
        attached.arrays, attached.cell, attached.pbc = atoms.arrays, atoms.cell, atoms.pbc
        if attached.calc is not self._calculator:
            attached.calc = self._calculator
        reply = _results(self._recipe, attached)
        if isinstance(reply, Failed):  # what it leaves behind must not reach the next label
            self._calculator = None
        return reply


_sessions: dict[str, Session] = {}


def answer(request: WorkerRequest) -> WorkerReply:
    """Body of the child process: one session, kept from request to request."""
    session = _sessions.setdefault(repr(request.recipe), Session(request.recipe))
    return session.answer(request.atoms, request.item)


def _in_folder(
    recipe: Recipe, factory: Callable[..., Any], atoms: Atoms | None, item: str
) -> Results | Failed | tuple[str, ...]:
    """Run a program in a folder of its own, of which `recipe.keep` says whether it is kept."""
    folder = resuming.folder_for(recipe, atoms, item)
    try:
        if atoms is None:
            return _properties(_built(recipe, factory, folder, None))
        resumed = bool(resuming.starts(recipe, folder))
        reply = _calculated(recipe, factory, folder, atoms.copy())
        if resumed and isinstance(reply, Failed):
            resuming.emptied(folder)
            reply = _calculated(recipe, factory, folder, atoms.copy())
        return _kept(recipe, atoms, folder, reply, resumed)
    finally:
        _remove(folder)


def _calculated(
    recipe: Recipe, factory: Callable[..., Any], folder: Path, atoms: Atoms
) -> Results | Failed:
    try:
        calculator = _built(recipe, factory, folder, atoms)
        if isinstance(calculator, GenericFileIOCalculator) and recipe.profile == ESPRESSO:
            atoms = _for_espresso(recipe, calculator, atoms)
        atoms.calc = calculator
    except _DiedError as error:
        return Failed("crashed", str(error))
    return _checked(_results(recipe, atoms), calculator, folder)


def _for_espresso(recipe: Recipe, calculator: GenericFileIOCalculator, atoms: Atoms) -> Atoms:
    from atomistics.reference import espresso

    calculator.template = espresso.WithoutBands()
    try:
        return espresso.with_polarization(atoms, recipe.options)
    except UserError as error:
        raise _UnusableError(f"{recipe.where}: {error}") from None


def _remove(folder: Path) -> None:
    resuming.removed(folder)
    with contextlib.suppress(OSError):  # others are at work in it, or something is kept
        folder.parent.rmdir()


def killed(recipe: Recipe, atoms: Atoms, process: int, reply: Failed) -> Failed:
    """Keep what a child process, killed or dead, left of its program's calculation.

    Parameters
    ----------
    recipe
        Says whether it is kept.
    atoms
        The structure (Å) that was calculated.
    process
        The number of the child, in the name of the folder in which its program ran.
    reply
        Why there is no label.

    Returns
    -------
    Failed
        `reply` with the program's last words and the place of its files.
    """
    for folder in outputs.FOLDER.glob(f".*-{process}-*"):
        words = last_words(folder)
        reply = reply._replace(detail=f"{words}; {reply.detail}" if words else reply.detail)
        reply = _kept(recipe, atoms, folder, reply)
        _remove(folder)
    return reply


def _kept(
    recipe: Recipe,
    atoms: Atoms,
    folder: Path,
    reply: Results | Failed,
    resumed: bool = False,
) -> Results | Failed:
    """`reply`, its calculation packed where that is asked for; a failure says where."""
    failed = isinstance(reply, Failed)
    if recipe.keep == "none" or (recipe.keep == "failed" and not failed):
        return reply
    record = {
        "input_sha256": outputs.input_digest(recipe.calculator, recipe.options, atoms),
        "calculator": recipe.calculator,
        "formula": str(atoms.symbols),
        "resumed": resumed,
        **(reply._asdict() if failed else {"energy": reply.energy}),
    }
    archive = outputs.keep(folder, _program(recipe), atoms, record)
    return reply._replace(detail=f"{reply.detail}; its files are in {archive}") if failed else reply


def _program(recipe: Recipe) -> str:
    return recipe.calculator.rpartition(":")[2].lower()


def _checked(reply: Results | Failed, calculator: Any, folder: Path) -> Results | Failed:
    """Results that the program's own output says to be converged, or why not."""
    if callable(close := getattr(calculator, "close", None)):
        close()  # CP2K writes the rest of its output when its shell ends
    try:
        fault = unconverged(folder, ended=isinstance(reply, Results))
        free = energy_of_forces(folder) if isinstance(reply, Results) and not fault else None
    except LabelFailedError as error:
        reply = Failed(error.kind, error.detail)
    else:
        reply = Failed("unconverged", fault) if fault else reply
    if isinstance(reply, Results):
        return reply if free is None else reply._replace(energy=free)
    words = last_words(folder) if reply.kind == "crashed" else ""
    return Failed(reply.kind, f"{words}; {reply.detail}" if words else reply.detail)


def _factory(recipe: Recipe) -> Callable[..., Any]:
    """Import what the recipe names."""
    module_name, _, name = recipe.calculator.partition(":")
    try:
        factory: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise _UnusableError(_missing(recipe, error)) from None
    except Exception as error:  # a module of others raises anything
        said = f"importing {module_name} raised {_said(error)}"
        raise _UnusableError(f"reference.calculator: {recipe.calculator}: {said}") from None
    for part in name.split("."):
        if not hasattr(factory, part):
            public = [word for word in dir(factory) if not word.startswith("_")]
            near = ", ".join(get_close_matches(part, public, 3, 0.4))
            raise _UnusableError(
                f"reference.calculator: {recipe.calculator}: {module_name} has no {part}"
                + (f"; did you mean {near}?" if near else "; give package.module:Name")
            )
        factory = getattr(factory, part)
    if not callable(factory):
        raise _UnusableError(
            f"reference.calculator: {recipe.calculator}: is a {type(factory).__name__}; name a"
            " class of an ASE calculator, or a function that returns one"
        )
    return factory


def _missing(recipe: Recipe, error: ModuleNotFoundError) -> str:
    package = recipe.package or str(error.name).partition(".")[0]
    remedy = f"install it (pip install '{package}'), or put its file into the campaign's folder"
    return f"reference.calculator: {recipe.calculator}: no module {error.name} here; {remedy}"


def _built(
    recipe: Recipe, factory: Callable[..., Any], folder: Path | None, atoms: Atoms | None
) -> Any:
    """Return the calculator for `atoms`; _UnusableError for what it does not take."""
    _refuse_unknown(recipe, factory)
    try:
        options = settings_for(recipe, Atoms() if atoms is None else atoms)
        if atoms is not None:
            options = launched(recipe, options)
            if folder is not None:
                options = resuming.beginning(recipe, options, folder)
    except UserError as error:
        raise _UnusableError(str(error)) from None
    if recipe.profile is not None:
        module = importlib.import_module(recipe.calculator.partition(":")[0])
        profile = getattr(module, recipe.profile)
        options["profile"] = profile(**{name: options.pop(name) for name in recipe.needs})
    if folder is not None and recipe.log:
        options.setdefault(recipe.log, str(folder / f"{_program(recipe)}.log"))
    elif folder is not None:
        short = recipe.calculator == NAMED["cp2k"].calculator
        options["directory"] = str(resuming.short_path(folder) if short else folder)
    try:
        calculator = factory(**options)
    except ModuleNotFoundError as error:
        raise _UnusableError(_missing(recipe, error)) from None
    except Exception as error:  # and so does a constructor
        if recipe.program and atoms is not None and isinstance(error, RuntimeError):
            raise _DiedError(_said(error)) from None  # CP2K's shell, which is started in it
        complaint = f"{recipe.where}: {recipe.calculator} does not take them: {_said(error)}"
        raise _UnusableError(complaint) from None
    if atoms is not None and folder is not None:
        resuming.leave_starts(recipe, calculator, folder)
    if not callable(getattr(calculator, "get_property", None)):
        raise _UnusableError(
            f"reference.calculator: {recipe.calculator}: gives a {type(calculator).__name__},"
            " which is no ASE calculator (it has no get_property)"
        )
    lacking = {"energy", "forces"} - set(_properties(calculator))
    if lacking:
        raise _UnusableError(
            f"reference.calculator: {recipe.calculator}: has no {' and no '.join(sorted(lacking))};"
            " choose a calculator that has"
        )
    return calculator


def _refuse_unknown(recipe: Recipe, factory: Callable[..., Any]) -> None:
    """Name misspelt options where the class says which it has: ASE takes any without a word."""
    defaults = getattr(factory, "default_parameters", None)
    if not (inspect.isclass(factory) and issubclass(factory, Calculator) and defaults):
        return
    if issubclass(factory, FILE_BASED) or recipe.program:
        return  # their parameters go on to the program
    own = {*defaults, *_parameters(factory)}
    inherited = {name for kind in factory.__mro__[:-1] for name in _parameters(kind)}
    unknown = sorted(recipe.options.keys() - own - inherited)
    if unknown:
        top = recipe.calculator.partition(".")[0]
        name = factory.__name__ if top == "ase" else top
        has = ", ".join(sorted(own))
        raise _UnusableError(
            f"{recipe.where}: {name} has no option {', '.join(unknown)}; it has {has}"
        )


def _parameters(kind: type) -> list[str]:
    """Names that a class takes, without self, *args and **kwargs."""
    return [
        name
        for name, one in inspect.signature(kind.__init__).parameters.items()
        if name != "self" and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]


def _properties(calculator: Any) -> tuple[str, ...]:
    return tuple(getattr(calculator, "implemented_properties", ("energy", "forces", "stress")))


def _results(recipe: Recipe, atoms: Atoms) -> Results | Failed:
    """Energy, forces and stress of one functional: with smearing that of the free energy."""
    stress = None
    start = atoms.positions.copy()
    try:
        energy, forces = _energy(atoms), atoms.get_forces(apply_constraint=False)
        if atoms.pbc.all():
            try:
                stress = atoms.get_stress(apply_constraint=False)
            except NotImplementedError as error:
                raise _UnusableError(no_stress(recipe, _said(error))) from None
    except _UnusableError:
        raise
    except Exception as error:  # nothing but the calculator runs above
        setup = isinstance(error, CalculatorSetupError)
        if setup and not isinstance(error, InputError):  # an InputError is about the geometry
            raise _UnusableError(f"{recipe.where}: {_said(error)}") from None
        failed = failure(error, atoms.calc)
        return Failed(failed.kind, failed.detail)
    if not np.array_equal(start, atoms.positions):
        raise _UnusableError(
            f"{recipe.where}: {recipe.calculator} moved the atoms; a label is of the structure it"
            " is given: ask for a single point (VASP: no nsw; Quantum ESPRESSO: calculation scf)"
        )
    if getattr(atoms.calc, "converged", None) is False:  # VASP: ASE notes it and goes on
        return Failed("unconverged", "not converged")
    return Results(energy, forces, stress)


def _energy(atoms: Atoms) -> float:
    """The energy (eV) whose derivatives the forces are: the free one where the code has two.

    With electronic smearing codes also give an extrapolation to none (VASP's sigma -> 0, GPAW's),
    of which neither forces nor stress are derivatives.
    """
    energy = float(atoms.get_potential_energy())
    if "free_energy" in _properties(atoms.calc):
        with contextlib.suppress(PropertyNotImplementedError):
            return float(atoms.get_potential_energy(force_consistent=True))
    return energy


def no_stress(recipe: Recipe, said: str = "") -> str:
    """The line for a calculator that cannot label cells."""
    detail = f" ({said})" if said else ""
    return (
        f"reference.calculator: {recipe.calculator}: gives no stress{detail}, which labels of"
        " periodic structures need; choose another, or options with which it does"
    )


def _said(error: Exception) -> str:
    """Its class and words; of an assertion without words what was asserted, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    words = str(error) or (
        f"{frames[-1].line} ({Path(frames[-1].filename).name})" if frames else ""
    )
    return f"{type(error).__name__}: {' '.join(words.split())[-300:]}".removesuffix(": ")
