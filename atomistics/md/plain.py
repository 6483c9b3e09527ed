"""Molecular dynamics with any ASE calculator, watched, seeded, never ending in a traceback."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator

from atomistics.errors import UserError
from atomistics.md.plain_protocol import MdEngine, Protocol
from atomistics.md.watchdog import Watchdog, temperature
from atomistics.reference.convergence import LabelFailedError
from atomistics.reference.counting import CountingCalculator, Snapshot, largest_grade

TAIL = 3  # sound frames kept from the last checks before a stop


@dataclass(frozen=True)
class Outcome:
    """Frames of a run (labelled by its calculator), in order of `info["step"]`.

    `stop` is None for a run that reached its end, else a class of the watchdog or `calculator`;
    then the last sound frames and the one of highest acceptable grade are among the frames. So is
    the one of a stop by grade that is sound otherwise, where no frame before it reaches the limits'
    `worth`: from one look to the next the run had left what the potential knows.
    """

    frames: list[Atoms]
    steps: int
    stop: str | None
    detail: str
    reference_calls: int


class StoppedError(UserError):
    """An MD that had to reach its end did not; `kind` is the class of the stop."""

    def __init__(self, kind: str, detail: str, reference_calls: int = 0, md_steps: int = 0) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.reference_calls = reference_calls
        self.md_steps = md_steps


def run(
    atoms: Atoms,
    calculator: Calculator | CountingCalculator,
    protocol: Protocol,
    watchdog: Watchdog | None = None,
    check_interval: int = 10,
    enough: Callable[[Atoms], bool] | None = None,
    engine: MdEngine = "ase",
) -> Outcome:
    """Run MD from `atoms` (N atoms, left as they are) with fresh Maxwell-Boltzmann velocities.

    Parameters
    ----------
    atoms : Atoms
        the start; for NPT periodic in three directions.
    calculator : Calculator or CountingCalculator
        energy (eV), forces (eV/Å), for NPT stress (eV/Å^3).
    protocol : Protocol
        ensemble, temperature (K), steps, timestep (fs), pressure (GPa), seed.
    watchdog : Watchdog or None
        looks every `check_interval` steps and at every kept frame.
    enough : callable or None
        asked after every step; True ends the run, which is no early stop.
    engine : ase or lammps
        whose integrator, thermostat and barostat step the atoms (`integrators`, `lammps`).

    Returns
    -------
    Outcome
        results that are not finite, and what the calculator raises, are the stop of the step where
        they appear; every other exception is a fault of ours and goes on as it is.

    Raises
    ------
    UserError
        NPT without three periodic directions, or settings with which the calculator cannot work;
        the engine lammps without LAMMPS.
    """
    moving = atoms.copy()
    counting = CountingCalculator.of(calculator)
    moving.calc = counting
    before = counting.calls
    record = Record(moving, protocol, watchdog, check_interval)
    with record.stopping():
        start_velocities(moving, protocol)
        looks = range(1, protocol.steps + 1) if enough else record.looks()
        stepping = _by_lammps(moving, protocol, looks) if engine == "lammps" else None
        with closing(stepping or _by_ase(moving, protocol)) as steps:
            for step in steps:
                if record.breach(step) or (enough and enough(moving)):
                    break
    kind, detail = record.stop or (None, "")
    return Outcome(record.frames(), record.step, kind, detail, counting.calls - before)


def _by_ase(moving: Atoms, protocol: Protocol) -> Generator[int]:
    """Every step, the start as 0."""
    from atomistics.md.integrators import integrator

    dynamics = integrator(moving, protocol)
    for _ in dynamics.irun(protocol.steps):
        yield dynamics.nsteps


def _by_lammps(moving: Atoms, protocol: Protocol, looks: Iterable[int]) -> Generator[int]:
    """The start as 0, and the steps of `looks`."""
    from atomistics.md.lammps import LammpsDynamics

    with closing(LammpsDynamics(moving, protocol)) as dynamics:
        yield from dynamics.run(looks)


class Record:
    """What one run leaves behind; `note` goes into the info of every frame."""

    def __init__(
        self, moving: Atoms, protocol: Protocol, watchdog: Watchdog | None, check_interval: int
    ) -> None:
        self.step = 0
        self.stop: tuple[str, str] | None = None
        self.note: dict[str, Any] = {"temperature": protocol.temperature}
        self._moving = moving
        self._protocol = protocol
        self._watchdog = watchdog
        self._check_interval = check_interval
        self._kept: dict[int, Snapshot] = {}
        self._tail: deque[Snapshot] = deque(maxlen=TAIL)
        self._highest: Snapshot | None = None

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """What the calculator raises inside is the stop of this run; a fault of ours stays one."""
        try:
            yield
        except LabelFailedError as error:
            if error.kind == "nan":
                self.stop = "nan", error.detail
            else:
                raised = error.__cause__
                detail = f"{type(raised).__name__}: {error.detail}" if raised else str(error)
                self.stop = "calculator", detail

    def breach(self, step: int) -> bool:
        """Look at the structure after `step`; True ends the run."""
        self.step = step
        due = step > 0 and step % self._protocol.interval == 0
        if not due and step % self._check_interval and step != self._protocol.steps:
            return False
        self.stop = self._watchdog.check(self._moving) if self._watchdog else None
        if self.stop:
            if self._extrapolates_alone():
                self._tail.append(self._look())
            return True
        look = self._look()
        self._tail.append(look)
        if look.grade is not None and (self._highest is None or look.grade > self._highest.grade):
            self._highest = look
        if due:
            self._kept[step] = look
        return False

    def _look(self) -> Snapshot:
        kelvin = round(temperature(self._moving), 1)
        return Snapshot(self._moving, step=self.step, kelvin=kelvin, **self.note)

    def _extrapolates_alone(self) -> bool:
        """Whether what the grade stopped is sound and worth a label, and nothing before it was."""
        worth = self._watchdog.limits.worth if self._watchdog else None
        if worth is None or not self._watchdog.only_grade(self._moving):
            return False
        before = self._highest.grade if self._highest else 0.0
        return before < worth <= (largest_grade(self._moving) or 0.0)

    def looks(self) -> list[int]:
        """The steps behind the start at which `breach` looks."""
        steps, spacings = self._protocol.steps, (self._protocol.interval, self._check_interval)
        due = {step for every in spacings for step in range(every, steps + 1, every)}
        return sorted(due | {steps})

    def frames(self) -> list[Atoms]:
        """Kept frames, and after an early stop the sound ones next to it.

        Returns
        -------
        in order of `info["step"]`; Å, eV, eV/Å, eV/Å^3
        """
        look_at = dict(self._kept)
        if self.stop:
            last = [*self._tail, *([self._highest] if self._highest else [])]
            look_at |= {look.info["step"]: look for look in last}
        return [look_at[step].frame() for step in sorted(look_at)]


def start_velocities(atoms: Atoms, protocol: Protocol) -> None:
    """Draw momenta from the Maxwell-Boltzmann distribution, total momentum zero.

    Removing the drift takes 3 of 3N degrees of freedom and the kinetic energy that goes with
    them: the mean temperature over 3N - 3 is unchanged.

    Parameters
    ----------
    atoms : N atoms; their momenta (N, 3) are set
    protocol : temperature (K) and seed
    """
    generator = np.random.default_rng([protocol.seed, 0])
    masses = atoms.get_masses()[:, None]
    spread = np.sqrt(masses * units.kB * protocol.temperature)
    momenta = generator.standard_normal((len(atoms), 3)) * spread
    momenta -= masses * (momenta.sum(axis=0) / masses.sum())
    atoms.set_momenta(momenta)
