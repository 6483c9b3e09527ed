"""What a job finds in its iteration's folder: configuration, campaign, state, calculators."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ase import Atoms, units
from ase.calculators.calculator import Calculator

from atomistics.analysis.observables import density
from atomistics.md.plain_protocol import Ensemble
from atomistics.md.watchdog import Limits
from atomistics.reference.counting import CountingCalculator, LabelFailedError
from atomistics.reference.methods import label, reference_calculator
from atomistics.structures import Structure, check, load, read_index
from campaign.config import Config
from campaign.errors import UserError
from campaign.files import read, read_json
from campaign.folder import Campaign
from campaign.state import State
from mtp.calculator import MTP
from mtp.potential import Potential
from mtp.runner.mlp_program import MlpProgram


@dataclass(frozen=True)
class Job:
    """The view of a job that runs in `iterations/NNN`."""

    folder: Path = Path()

    @cached_property
    def campaign(self) -> Campaign:
        """The campaign this iteration belongs to."""
        return Campaign.at(self.folder.resolve().parent.parent)

    @cached_property
    def config(self) -> Config:
        """The configuration frozen with the plan."""
        return read(Config, self.folder / "config.yaml")

    @cached_property
    def species(self) -> list[str]:
        """Elements in the order of MTP types."""
        return list(self.campaign.task.species)

    @cached_property
    def structures(self) -> dict[str, Structure]:
        """The campaign's structures by id."""
        return {s.id: s for s in read_index(self.campaign.folder / "structures")}

    def structure(self, name: str) -> Structure:
        """One entry of the index."""
        if name not in self.structures:
            raise UserError(f"structures/index.yaml: no structure {name}; put it back")
        return self.structures[name]

    def atoms(self, structure: str) -> Atoms:
        """One structure, with its provenance in `info`."""
        atoms = load(self.structure(structure))
        check(atoms, self.species, self.config.mlp.cutoff)
        return atoms

    def ensemble(self, structure: str, asked: Ensemble) -> Ensemble:
        """The ensemble asked for, at constant volume where the index says fixed_cell and where a
        structure is not periodic in three directions: it has no volume to control."""
        if asked != "npt":
            return asked
        entry = self.structure(structure)
        return "nvt" if entry.fixed_cell or not load(entry).pbc.all() else "npt"

    def reference(self) -> Calculator:
        """The reference method as ASE calculator."""
        return reference_calculator(self.config.reference, self.campaign.folder)

    def model(self, potential: Potential) -> Calculator:
        """A fitted potential as ASE calculator, with extrapolation grades."""
        return MTP(potential, species=self.species, grades=True)

    def mlp_program(self, launcher: str = "") -> MlpProgram:
        """The `mlp` of this workplace, below `launcher` if one is given."""
        mlp = self.config.mlp
        words = (tuple(shlex.split(line)) for line in (mlp.command, launcher))
        return MlpProgram(mlp.flavour, *words)

    def limits(self, atoms: Atoms, temperature: float, state: State) -> Limits:
        """When an MD is stopped.

        Bands are relative to the start of the run, because a subsystem's structures differ in
        composition: potential energy may rise by 3/2 kT for each of kinetic and potential energy
        (equipartition) plus `energy_margin` (eV/atom), density may differ by `density_margin`.

        Parameters
        ----------
        atoms
            The start, its calculator attached; it is labelled once.
        temperature
            Of the thermostat, K.
        state
            Its reference MD gives the shortest distance, times `min_distance_factor` (Å); none
            where there was none of the subsystem.

        Returns
        -------
        Limits
            Temperature K, energy eV/atom, density g/cm3 (None where the cell is not periodic in
            three directions), distance Å, extrapolation grade.

        Raises
        ------
        LabelFailedError
            Where the start itself gets no label.
        """
        watch = self.config.watchdog
        start = label(atoms, atoms.calc).get_potential_energy() / len(atoms)
        rho = density(atoms)
        seen = [
            r.min_distance
            for r in state.reference
            if r.subsystem == atoms.info["subsystem"] and r.min_distance is not None
        ]
        return Limits(
            temperature=watch.temperature_factor * temperature,
            energy=(
                start - watch.energy_margin,
                start + watch.energy_margin + 3 * units.kB * temperature,
            ),
            density=(rho * (1 - watch.density_margin), rho * (1 + watch.density_margin))
            if rho
            else None,
            min_distance=watch.min_distance_factor * min(seen) if seen else None,
            grade=watch.grade,
        )


def previous_state(job: Job, path: Path | None) -> State:
    """The state the plan was decided from; there is no file of it in the first iteration."""
    return read(State, path) if path else job.campaign.state(0)


def trajectory(state: State, structure: str) -> Path:
    """The reference trajectory of a held-out structure: the last one made."""
    for past in reversed(state.history):
        path = Path(f"../{past.iteration:03d}/reference_calc/runs/{structure}.h5")
        if past.action == "reference_calc" and path.is_file():
            return path
    raise UserError(f"reference_calc/runs/{structure}.h5: no iteration has this trajectory")


def model_file(model: str) -> Path:
    """The potential of a model id, seen from an iteration's folder."""
    return Path(f"../{int(model[1:]):03d}/train/model.almtp")


def dataset_file(name: str) -> Path:
    """The frames of a data set id; they were sampled, selected or imported."""
    folder = Path(f"../{int(name[1:]):03d}")
    for made_by in ("sample", "select_data", "import"):
        path = folder / made_by / "dataset.h5"
        if path.is_file():
            return path
    raise UserError(f"{folder}: data set {name}: no dataset.h5; restore it or prune {name}")


@contextmanager
def billed(counting: CountingCalculator) -> Iterator[None]:
    """Reference calls made inside are charged even if what they were made for fails."""
    before = counting.calls
    try:
        yield
    except LabelFailedError as error:
        error.reference_calls = counting.calls - before
        raise


def items_of(chunks: list[Path]) -> list[str]:
    """Names of all items of all chunks, sorted."""
    return sorted(name for chunk in chunks for name in read_json(chunk, "items")["items"])


def costs_of(runs: Path) -> list[dict[str, Any]]:
    """What each item of a folder has cost, in the order of their names."""
    keys = ("reference_calls", "md_steps")
    return [read_json(path, *keys) for path in sorted(runs.glob("*.cost.json"))]


def failure(failed: Path) -> str:
    """The class of an item's failure; `lost` where the item left no word of it."""
    return str(read_json(failed, "class")["class"]) if failed.exists() else "lost"
