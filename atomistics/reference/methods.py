"""Reference methods behind one ASE calculator, and the labels they give."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from atomistics.errors import UserError
from atomistics.reference import building
from atomistics.reference.catalog import Recipe, Settings, recipe_of
from atomistics.reference.convergence import LabelFailedError
from atomistics.reference.counting import CountingCalculator, labelled
from atomistics.reference.isolated import Child, DiedError
from atomistics.reference.launching import ENDING, charged, is_launched
from atomistics.reference.resuming import current_item

# One thread per rank: sums of several threads differ in the last bits from run to run.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class ReferenceCalculator(Calculator):
    """A reference method in a child process, or in this one where it is cheap and pure Python.

    Parameters
    ----------
    recipe : Recipe
        which calculator, built how.
    max_force : float
        the largest force (eV/Å) that `label` accepts.
    timeout : float
        wall-clock limit of one call, s; the child is killed then.
    folder : Path or None
        where the user's own modules are looked for after the installed ones: the campaign.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(
        self, recipe: Recipe, max_force: float, timeout: float, folder: Path | None = None
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.max_force = max_force
        self.timeout = timeout
        self._session = building.Session(recipe)
        self._child: Child | None = None
        if recipe.isolated:
            environment = {} if recipe.program else ONE_THREAD
            patience = ENDING if is_launched(recipe) else 0.0
            self._child = Child(building.answer, environment, (folder,) if folder else (), patience)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill `results`: energy (eV), forces (N, 3) in eV/Å, stress (6,) in eV/Å^3 for cells.

        Parameters
        ----------
        atoms : N atoms, Å; None for those of the last call
        properties : not used: all are found
        system_changes : names of ASE's `all_changes`

        Raises
        ------
        LabelFailedError
            for this geometry: unconverged, crashed, timeout.
        UserError
            for settings that can never work.
        """
        super().calculate(atoms, properties, system_changes)
        bare = Atoms(
            numbers=self.atoms.numbers,
            positions=self.atoms.positions,
            cell=self.atoms.cell,
            pbc=self.atoms.pbc,
            charges=self.atoms.get_initial_charges(),
            magmoms=self.atoms.get_initial_magnetic_moments(),
        )
        if self._child is None and "numbers" in system_changes:
            self._session.forget()  # cheap, and the last bits do not depend on other structures
        results = self._ask(bare)
        assert isinstance(results, building.Results)
        self.results = {
            name: value for name, value in results._asdict().items() if value is not None
        }

    def check(self, periodic: bool) -> None:
        """Build the calculator without a calculation.

        Raises
        ------
        UserError
            in one line with the key of config.yaml: no such module or name, no calculator,
            options it does not take, no forces, or no stress where there are `periodic` structures.
        """
        try:
            properties = self._ask(None)
        except LabelFailedError as error:
            raise UserError(
                f"config.yaml: reference: {self.recipe.calculator}: {error}; is it installed whole?"
            ) from None
        if periodic and "stress" not in properties:
            raise UserError(f"config.yaml: {building.no_stress(self.recipe)}")

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.close()

    def _ask(self, atoms: Atoms | None) -> "building.Results | tuple[str, ...]":
        try:
            if self._child is None:
                reply = self._session.answer(atoms)
            else:
                with charged(self.recipe):
                    request = building.WorkerRequest(self.recipe, atoms, current_item())
                    reply = self._child.ask(request, self.timeout)
        except TimeoutError as error:
            reply = building.Failed("timeout", str(error))
        except DiedError as error:
            reply = building.Failed("crashed", f"{self.recipe.calculator} died: {error}")
        if isinstance(reply, building.Failed) and self._child is not None and atoms is not None:
            reply = building.killed(self.recipe, atoms, self._child.number, reply)
        if isinstance(reply, building.Unusable):
            raise UserError(f"config.yaml: {reply.line}")
        if isinstance(reply, building.Failed):
            raise LabelFailedError(*reply)
        return reply


def reference_calculator(settings: Settings, folder: Path | None = None) -> ReferenceCalculator:
    """Return the ASE calculator of `settings` (energy eV, forces eV/Å, stress eV/Å^3).

    `folder` is the campaign's: the user's own modules and `./` paths are looked for there.
    """
    recipe = recipe_of(settings, folder)
    return ReferenceCalculator(recipe, settings.max_force, settings.timeout, folder)


def label(atoms: Atoms, calculator: Calculator | CountingCalculator) -> Atoms:
    """Label a structure.

    Parameters
    ----------
    atoms : N atoms, Å, left as they are
    calculator : `max_force` (eV/Å), where it has one, is the largest force that makes a label

    Returns
    -------
    a copy with energy (eV), forces (N, 3) in eV/Å and, where it is periodic, stress (6,) in eV/Å^3,
    Voigt order and sign of ASE

    Raises
    ------
    LabelFailedError
        unconverged, nan, crashed, timeout, or forces_too_large.
    UserError
        for settings with which no label can come.
    """
    counting = CountingCalculator.of(calculator)
    work = atoms.copy()
    work.calc = counting
    forces = counting.get_property("forces", work)
    largest = float(np.linalg.norm(forces, axis=1).max())
    allowed = getattr(counting.calculator, "max_force", np.inf)
    if largest > allowed:
        detail = f"largest force {largest:.4g} eV/Å is beyond {allowed:g} eV/Å"
        raise LabelFailedError("forces_too_large", detail)
    return labelled(work)
