"""A staged protocol run: ramps, strain, bias and imposed fluxes on the machinery of plain MD."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.parallel import DummyMPI

from atomistics.errors import UserError
from atomistics.md import plain as md
from atomistics.md.bias import Biased, biased, plumed_input, require_narrow
from atomistics.md.protocol import Metadynamics, ReverseMd, Stage, StagedProtocol, Strain
from atomistics.md.rnemd import VelocitySwaps
from atomistics.md.strain import stress_of, stress_strain
from atomistics.md.watchdog import Watchdog, temperature
from atomistics.reference.counting import CountingCalculator

if TYPE_CHECKING:
    from ase.md.md import MolecularDynamics

SAMPLED = 5  # MD steps between two readings of temperature, stress and slabs
CHECKED = 10  # MD steps between two looks of the watchdog


@dataclass
class StageReport:
    """One stage as it went: MD steps, mean and last temperature (K), what it measured.

    Each of `properties` has name, unit, value, error (standard error; None if there is none) and
    curve; `hills` is PLUMED's list of Gaussians (Å, rad, eV, fs).
    """

    stage: str
    steps: int = 0
    temperature: float = 0.0
    last_temperature: float = 0.0
    properties: list[dict[str, Any]] = field(default_factory=list)
    hills: str = ""


@dataclass(frozen=True)
class StagedOutcome(md.Outcome):
    """Frames with `info["step"]` counted over all stages, `info["stage"]` from 1."""

    stages: list[StageReport]

    @property
    def properties(self) -> list[dict[str, Any]]:
        """What all stages measured."""
        return [one for stage in self.stages for one in stage.properties]


def run(
    atoms: Atoms,
    calculator: Calculator | CountingCalculator,
    protocol: StagedProtocol,
    interval: int,
    seed: int,
    watchdog: Watchdog | None = None,
    most: int | None = None,
) -> StagedOutcome:
    """Run all stages of a protocol.

    Velocities are drawn once, at the first target temperature, and handed from stage to stage.
    A stop ends the protocol; the stage it fell into reports no property.

    Parameters
    ----------
    atoms : N atoms, Å, left as they are
    calculator : counts where it is a `CountingCalculator`
    protocol : stages and timestep (fs)
    interval : steps between kept frames
    seed : of velocities and thermostats
    watchdog : may stop the run
    most : steps of every stage; None: all, a number makes a trial

    Returns
    -------
    frames (Å, eV, eV/Å, eV/Å^3), reports by stage, and why it stopped if it did

    Raises
    ------
    UserError
        A stage cannot be done with this structure.
    """
    require_suitable(atoms, protocol)
    moving = atoms.copy()
    counting = CountingCalculator.of(calculator)
    moving.calc = counting
    before = counting.calls
    lengths = [min(steps, most or steps) for steps in protocol.lengths]
    first = protocol.stages[0].knots(protocol.timestep)[0][1]
    whole = md.Protocol("nvt", first, sum(lengths), protocol.timestep, interval, seed=seed)
    record = md.Record(moving, whole, watchdog, CHECKED)
    reports: list[StageReport] = []
    with record.stopping():
        md.start_velocities(moving, whole)
        for number, (stage, steps) in enumerate(zip(protocol.stages, lengths, strict=True), 1):
            record.note["stage"] = number
            reports.append(StageReport(stage.stage))
            course = _Course(moving, counting, stage, protocol.timestep, 100 * seed + number)
            course.before = strained(protocol.stages[: number - 1], stage)
            with course.prepared(reports[-1]):
                course.run(record, steps, reports[-1])
            if record.stop:
                break
    kind, detail = record.stop or (None, "")
    calls = counting.calls - before
    return StagedOutcome(record.frames(), record.step, kind, detail, calls, reports)


def strained(earlier: Sequence[Stage], stage: Stage) -> float:
    """Strain that earlier stages have left along the direction of a strain stage."""
    if not isinstance(stage, Strain):
        return 0.0
    own = [s for s in earlier if isinstance(s, Strain) and s.direction == stage.direction]
    return sum(s.strain for s in own)


def require_suitable(atoms: Atoms, protocol: StagedProtocol) -> None:
    """Check that every stage can be done with this structure, before a call is paid.

    Parameters
    ----------
    atoms : N atoms, Å
    protocol : its stages

    Raises
    ------
    UserError
        Names the stage and what it needs.
    """
    for number, stage in enumerate(protocol.stages, 1):
        if isinstance(stage, ReverseMd):
            VelocitySwaps(atoms, stage)
        elif isinstance(stage, Metadynamics):
            plumed_input(stage, atoms, protocol.timestep, Path("HILLS"))
            require_narrow(stage, atoms)
        npt = getattr(stage, "ensemble", None) == "npt"
        if (npt or isinstance(stage, Strain)) and not atoms.pbc.all():
            raise UserError(
                f"stage {number}, {stage.stage}: needs a structure periodic in x, y and z"
            )


class _Course:
    """One stage under way; `seed` is its own, so a change of one stage leaves the others alone."""

    def __init__(
        self, moving: Atoms, counting: CountingCalculator, stage: Stage, timestep: float, seed: int
    ) -> None:
        self._moving = moving
        self._counting = counting
        self._stage = stage
        self._timestep = timestep
        self._knots = np.array(stage.knots(timestep), float)
        self._seed = seed
        self._kelvins: list[float] = []
        self._readings: list[tuple[float, float]] = []
        self._exchange = VelocitySwaps(moving, stage) if isinstance(stage, ReverseMd) else None
        self._bias: Biased | None = None
        self.before = 0.0  # strain of earlier stages along the direction of this one

    @contextmanager
    def prepared(self, report: StageReport) -> Iterator[None]:
        """The structure under the bias of this stage, where it has one."""
        if not isinstance(self._stage, Metadynamics):
            yield
            return
        with biased(self._moving, self._counting, self._stage, self._timestep) as self._bias:
            yield
        report.hills = self._bias.hills

    def run(self, record: md.Record, steps: int, report: StageReport) -> None:
        """Do `steps` steps; the report is filled as it goes."""
        offset, dynamics = record.step, self._dynamics()
        for _ in dynamics.irun(steps):
            step = dynamics.nsteps
            record.note["temperature"] = self._target(step)
            if self._bias:
                record.note["bias"] = self._bias.bias
            if (step or not offset) and record.breach(offset + step):
                break
            self._after(dynamics, step)
            report.steps, report.last_temperature = step, self._kelvins[-1]
            report.temperature = float(np.mean(self._kelvins))
        record.note.pop("bias", None)
        if not record.stop:
            report.properties = self._properties()

    def _target(self, step: int) -> float:
        return float(np.interp(step, self._knots[:, 0], self._knots[:, 1]))

    def _after(self, dynamics: "MolecularDynamics", step: int) -> None:
        """Read what the stage measures, then change what the next step shall find."""
        moving, stage = self._moving, self._stage
        if step % SAMPLED == 0:
            self._kelvins.append(temperature(moving))
            if isinstance(stage, Strain):
                strain = stage.strain * step / self._knots[-1, 0]
                self._readings.append((strain, stress_of(moving, stage.direction)))
            picoseconds = step * self._timestep / 1000
            if self._exchange and picoseconds >= stage.settle:
                self._exchange.sample(moving, step * dynamics.dt)
        if self._exchange and step and step % max(1, round(stage.every / self._timestep)) == 0:
            self._exchange.swap(moving)
        if len(self._knots) > 2:
            from atomistics.md.integrators import set_target

            set_target(dynamics, self._target(step + 1))

    def _properties(self) -> list[dict[str, Any]]:
        if self._exchange:
            return [self._exchange.result()]
        if isinstance(self._stage, Strain):
            return [stress_strain(self._stage, *np.array(self._readings).T, before=self.before)]
        return []

    def _dynamics(self) -> "MolecularDynamics":
        """The integrator of the stage; ramps and holds use those of plain MD."""
        from atomistics.md.integrators import Straining, integrator

        stage, kelvin = self._stage, self._target(0)
        if isinstance(stage, Strain):
            generator = np.random.default_rng([self._seed, 1])
            options = {"rng": generator, "comm": DummyMPI()}
            straining = Straining(self._moving, self._timestep * units.fs, kelvin, **options)
            return straining.along(stage, int(self._knots[-1, 0]))
        if isinstance(stage, ReverseMd):
            ensemble = {"ensemble": "nve"}
        elif isinstance(stage, Metadynamics):
            ensemble = {"ensemble": "nvt"}
        else:
            names = ("ensemble", "pressure", "barostat")
            ensemble = {name: getattr(stage, name) for name in names}
        steps = int(self._knots[-1, 0])
        plain = md.Protocol(
            **ensemble, temperature=kelvin, steps=steps, timestep=self._timestep, seed=self._seed
        )
        return integrator(self._moving, plain)
