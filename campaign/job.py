"""What a job finds in its iteration's folder: configuration, campaign, state, calculators."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator

from atomistics import dataset
from atomistics.analysis.layers import layers_of
from atomistics.analysis.observables import density
from atomistics.md.plain import StoppedError
from atomistics.md.plain_protocol import Barostat, PlainEnsemble
from atomistics.md.watchdog import Limits
from atomistics.reference.convergence import LabelFailedError
from atomistics.reference.counting import CountingCalculator
from atomistics.reference.methods import label, reference_calculator
from atomistics.structure_index import Structure, read_index
from atomistics.structures import check, load
from campaign.config import Config
from campaign.errors import UserError
from campaign.files import parse, read, read_json
from campaign.folder import Campaign
from campaign.results import SettledStructure
from campaign.state import State, read_state
from mtp.calculator import MTP
from mtp.potential import Potential, untrained
from mtp.repulsion import RepulsiveCore
from mtp.runner.mlp_program import MlpProgram

SETTLED = Path("settle/runs")


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

    def formulas(self, structures: Iterable[str]) -> dict[str, str]:
        """Reduced formula of each of these structures."""
        as_built = {name: load(self.structure(name)).symbols.formula for name in structures}
        return {name: f"{formula.reduce()[0]:hill}" for name, formula in as_built.items()}

    def atoms(self, structure: str) -> Atoms:
        """One structure, with its provenance in `info`.

        Parameters
        ----------
        structure : an id of the index

        Returns
        -------
        N atoms, Å, without calculator

        Raises
        ------
        UserError
            No calculation can start from it, see `atomistics.structures.check`.
        """
        atoms = load(self.structure(structure))
        check(atoms, self.species, self.config.mlp.cutoff)
        return atoms

    def start(self, structure: str) -> Atoms:
        """What MD of a structure starts from: settled by the reference, else as it was built.

        Parameters
        ----------
        structure : an id of the index

        Returns
        -------
        N atoms, Å, without calculator and velocities

        Raises
        ------
        UserError
            As `atoms`.
        """
        atoms = self.atoms(structure)
        if path := self.settled(structure):
            last = dataset.read(path)[-1]
            atoms.set_cell(last.cell)
            atoms.set_positions(last.positions)
        return atoms

    def settled(self, structure: str) -> Path | None:
        """The frames of a structure's settling, by this action or the first that used it."""
        here = self.folder / SETTLED / f"{structure}.h5"
        if here.is_file():
            return here
        number = int(self.folder.resolve().name)
        for record in self.campaign.state(number - 1).settled if number > 1 else ():
            if record.structure == structure and record.status == "ok":
                path = self.folder / f"../{record.iteration:03d}" / SETTLED / f"{structure}.h5"
                if not path.is_file():
                    raise UserError(f"{path}: the settled start of {structure} is gone; restore it")
                return path
        return None

    def settlings(self) -> list[SettledStructure]:
        """What this action settled, for its result; one that failed begins as it was built."""
        records = []
        for path in sorted((self.folder / SETTLED).glob("*.cost.json")):
            name = path.name.removesuffix(".cost.json")
            report = path.with_name(f"{name}.report.json")
            if path.with_name(f"{name}.h5").is_file():
                records.append(parse(SettledStructure, read_json(report), str(report)))
                continue
            records.append(
                SettledStructure(
                    structure=name,
                    subsystem=self.structure(name).subsystem,
                    status="failed",
                    failure=failure(path.with_name(f"{name}.failed.json")),
                    reference_calls=int(read_json(path, "reference_calls")["reference_calls"]),
                    explorer_calls=int(read_json(path).get("explorer_calls", 0)),
                    temperature=self.campaign.task.temperature,
                )
            )
        number = int(self.folder.resolve().name)
        return [record.model_copy(update={"iteration": number}) for record in records]

    def ensemble(self, structure: str, asked: PlainEnsemble) -> PlainEnsemble:
        """The ensemble asked for, at constant volume where the index says fixed_cell and where a
        structure is not periodic in three directions: it has no volume to control."""
        if asked != "npt":
            return asked
        entry = self.structure(structure)
        return "nvt" if entry.fixed_cell or not load(entry).pbc.all() else "npt"

    def reference(self) -> Calculator:
        """The reference method as ASE calculator."""
        return reference_calculator(self.config.reference, self.campaign.folder)

    def explorer(self) -> Calculator:
        """The cheap method as ASE calculator; UserError where the configuration names none."""
        if self.config.explorer is None:
            raise UserError("config.yaml: explorer: missing; name one, or plan with the reference")
        return reference_calculator(self.config.explorer, self.campaign.folder)

    def model(self, potential: Potential) -> Calculator:
        """A fitted potential as ASE calculator, with extrapolation grades.

        Parameters
        ----------
        potential : of an `.almtp` file

        Returns
        -------
        the calculator: eV, eV/Å, eV/Å^3

        Raises
        ------
        MTPError
            It has no active set, or not as many species as the campaign.
        """
        return MTP(potential, species=self.species, grades=True)

    def blank(
        self,
        shortest: float | None = None,
        level: int | None = None,
        cutoff: float | None = None,
        radial_basis: int | None = None,
    ) -> Potential:
        """An untrained potential of the shape asked for, else configured.

        Parameters
        ----------
        shortest : Å, distance of two atoms, where the data's own is known
        level, radial_basis : size of the basis; None as configured
        cutoff : Å; None as configured

        Returns
        -------
        a template without coefficients
        """
        mlp = self.config.mlp
        cutoff = cutoff or mlp.cutoff
        template = untrained(
            level or mlp.level,
            len(self.species),
            min(shortest or np.inf, 0.9 * cutoff / 5),
            cutoff,
            radial_basis or mlp.radial_basis,
        )
        return replace(template, core=self.core)

    @property
    def core(self) -> RepulsiveCore | None:
        """The repulsion under every potential, where `mlp.zbl` asks for one."""
        return RepulsiveCore.of_elements(self.species) if self.config.mlp.zbl else None

    def mlp_program(self, launcher: str = "") -> MlpProgram:
        """The `mlp` of this workplace, below `launcher` if one is given."""
        mlp = self.config.mlp
        words = (tuple(shlex.split(line)) for line in (mlp.command, launcher))
        return MlpProgram(mlp.flavour, *words)

    def limits(self, atoms: Atoms, temperature: float, state: State) -> Limits:
        """When an MD is stopped.

        Bands are those of the reference's own MD of the subsystem, as far as it drifted from its
        start, laid round the start of this run (structures of a subsystem differ in composition),
        and widened. Potential energy: by 3/2 kT for each of kinetic and potential energy
        (equipartition) and `energy_margin` (eV/atom). Density: by `density_margin`, more above
        the temperature of use, as things expand. Temperature: `temperature_factor`, six standard
        deviations of the canonical ensemble in a small cell, or a quarter above what the
        reference reached. The shortest distance is that of the reference MD times
        `min_distance_factor` (Å). False alarms of a class widen its margin by half each time,
        those of the grade threefold, ninefold where nearly all of ten or more were false.

        Parameters
        ----------
        atoms
            The start, its calculator attached; it is labelled once.
        temperature
            Of the thermostat, K.
        state
            Its reference MD gives drift, heat and the shortest distance of the subsystem.

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
        watch, name = self.config.watchdog, atoms.info["subsystem"]
        drift = Drift.of(state, name)
        settled = next((s for s in state.settled if s.structure == atoms.info["structure"]), None)
        wider = next((s.widened for s in state.subsystems if s.name == name), {})
        energy = watch.energy_margin * widening(wider, "energy")
        start = label(atoms, atoms.calc).get_potential_energy() / len(atoms)
        hotter = max(1.0, temperature / state.temperature)
        # the density that an explorer settled at is its own, not the reference's
        others = 2.0 if settled and settled.explorer_calls else 1.0
        margin = min(0.9, watch.density_margin * others * widening(wider, "density") * hotter)
        rho = (settled and settled.relaxed_density) or density(atoms)
        fluctuation = 1 + 6 * (2 / (3 * len(atoms))) ** 0.5
        factor = max(watch.temperature_factor, fluctuation) * widening(wider, "temperature")
        return Limits(
            temperature=max(factor * temperature, 1.25 * drift.hottest),
            energy=(
                start - energy - drift.energy_down,
                start + energy + drift.energy_up + 3 * units.kB * temperature,
            ),
            density=(
                rho * drift.density_low * (1 - margin),
                rho * drift.density_high * (1 + margin),
            )
            if rho
            else None,
            min_distance=watch.min_distance_factor * drift.shortest if drift.shortest else None,
            grade=watch.grade * widening(wider, "grade"),
            worth=self.config.select_data.grade,
        )


def barostat(start: Atoms) -> Barostat:
    """The height alone where layers meet, along which they are stacked: their base is that of the
    crystal among them. A cell that keeps its shape lets a liquid that contracts press the solid
    beside it; one that is free in all directions pulls the sheets of graphite apart."""
    return "height" if len(layers_of(start)) > 1 else "isotropic"


def widening(wider: Mapping[str, int], kind: str) -> float:
    """Factor on a margin of the watchdog after so many findings of false alarms of the kind."""
    if kind == "grade":  # a scale of orders of magnitude
        return min(30.0, 3.0 ** wider.get(kind, 0))
    return min(4.0, 1.5 ** wider.get(kind, 0))


@dataclass(frozen=True)
class Drift:
    """How far the reference's own MD of a subsystem went from its starts: what is no fault."""

    density_low: float = 1.0
    density_high: float = 1.0
    energy_down: float = 0.0
    energy_up: float = 0.0
    hottest: float = 0.0
    shortest: float | None = None

    @classmethod
    def of(cls, state: State, subsystem: str) -> "Drift":
        """From the ranges of the subsystem's reference MD; density as a ratio, energy eV/atom."""
        own = [r for r in state.reference if r.subsystem == subsystem and r.status == "ok"]
        ratios, ways = [1.0], [0.0]
        for r in own:
            if r.start_density and r.visited_density:
                ratios += [v / r.start_density for v in vars(r.visited_density).values()]
            if r.start_energy is not None and r.visited_energy:
                ways += [v - r.start_energy for v in vars(r.visited_energy).values()]
        return cls(
            min(ratios),
            max(ratios),
            -min(ways),
            max(ways),
            max((r.hottest or 0.0 for r in own), default=0.0),
            min((r.min_distance for r in own if r.min_distance is not None), default=None),
        )


def previous_state(job: Job, path: Path | None) -> State:
    """The state the plan was decided from; there is no file of it in the first iteration."""
    return read_state(path) if path else job.campaign.state(0)


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


def spaced(frames: list[Atoms], count: int) -> list[Atoms]:
    """At most `count` frames, evenly over the list.

    Parameters
    ----------
    frames : in order of time
    count : 0 or less for none

    Returns
    -------
    some of `frames`, in their order
    """
    spots = np.linspace(0, len(frames) - 1, max(0, min(count, len(frames)))).round().astype(int)
    return [frames[spot] for spot in spots]


def late(frames: list[Atoms]) -> list[Atoms]:
    """A run without its first fifth, Å: what labels of its own MD are taken from."""
    return frames[len(frames) // 5 :]


def labelled(
    frames: list[Atoms], reference: CountingCalculator, fatal: str = ""
) -> tuple[list[Atoms], LabelFailedError | None]:
    """Labels of the frames that get one.

    Parameters
    ----------
    frames : Å
    reference : counts its calls
    fatal : class of failure that is raised

    Returns
    -------
    labelled frames (eV, eV/Å, eV/Å^3), and the last failure where a frame got no label

    Raises
    ------
    LabelFailedError
        Of the class `fatal`.
    """
    labels, failure = [], None
    for atoms in frames:
        try:
            labels.append(label(atoms, reference))
        except LabelFailedError as error:
            if error.kind == fatal:
                raise
            failure = error
    return labels, failure


@contextmanager
def billed(counting: CountingCalculator, whose: str = "reference") -> Iterator[None]:
    """Calls made inside are charged, to reference or explorer, even if what they were for fails."""
    before = counting.calls
    try:
        yield
    except (LabelFailedError, StoppedError) as error:
        error.reference_calls = 0
        setattr(error, f"{whose}_calls", counting.calls - before)
        raise


def items_of(chunks: list[Path]) -> list[str]:
    """Names of all items of all chunks, sorted."""
    return sorted(name for chunk in chunks for name in read_json(chunk, "items")["items"])


def costs_of(runs: Path) -> list[dict[str, Any]]:
    """What each item of a folder has cost, in the order of their names."""
    keys = ("reference_calls", "md_steps")
    costs = [read_json(path, *keys) for path in sorted(runs.glob("*.cost.json"))]
    return [{"explorer_calls": 0, **cost} for cost in costs]


def failure(failed: Path) -> str:
    """The class of an item's failure; `lost` where the item left no word of it."""
    return str(read_json(failed, "class")["class"]) if failed.exists() else "lost"
