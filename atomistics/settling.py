"""From a built structure to one that MD may start from: relaxed, then warmed, by the reference.

What a builder hands over is not at rest: packed molecules overlap, a lattice constant from a table
is not the reference's own. MD from there heats by hundreds of kelvin within steps, whatever the
potential, and a watchdog cannot tell that from a bad one.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.md.langevinbaoab import LangevinBAOAB
from ase.optimize import BFGS, FIRE
from ase.parallel import DummyMPI

from atomistics.deformation import rattle, thermal
from atomistics.md.plain import start_velocities
from atomistics.md.plain_protocol import Protocol
from atomistics.reference.convergence import LabelFailedError
from atomistics.reference.counting import CountingCalculator, labelled
from atomistics.settling_effort import Effort, most_kept

CRYSTAL = 1.0  # eV/Å: no atom of a lattice from a table is further from rest, of a packing some are
REST = 0.05  # eV/Å: where the relaxation of a crystal ends,
STRAINLESS = 0.1  # GPa, together with the stress along its axes
STIFFNESS = 40.0  # GPa: what a relaxation takes a cell for at first, between lithium and steel
COPIES = 4  # displaced copies that find the volume of a warm crystal
CALM = 0.5  # eV/Å at 300 K, as the root of the temperature: warm liquids have larger forces
FLAT = 0.08  # kT per atom in PATIENCE steps: heat that a thermostat takes in passing
PATIENCE = 10
QUIET = 0.4  # kT per atom in LULL steps: what a packing may still give off and count as settled
LULL = 40
COLD = 300.0  # K: below it FLAT and QUIET stay at 0.002 and 0.01 eV
STRIDE = 0.1  # Å, the longest way of an atom in one step of relaxation or of the warm-up
FRICTION = 20.0  # fs: takes the heat of a relaxing packing away as it comes
APART = 0.04  # Å, root mean square: frames closer than this are one label, whatever was computed


@dataclass
class Settled:
    """`frames` (N atoms each, labelled), the last being the start of everything after."""

    frames: list[Atoms] = field(default_factory=list)
    calls: int = 0
    crystal: bool = False
    relaxed: Atoms | None = None

    @property
    def gained(self) -> float:
        """Potential energy from the first frame to the lowest, eV/atom."""
        energies = [a.get_potential_energy() / len(a) for a in self.frames]
        return energies[0] - min(energies)


def settle(
    atoms: Atoms,
    calculator: Calculator | CountingCalculator,
    kelvin: float,
    timestep: float,
    seed: int,
    fixed_cell: bool = False,
    effort: Effort | None = None,
) -> Settled:
    """Relax a structure and, where it was a packing, warm it.

    A crystal (largest force below 1 eV/Å) is relaxed with its axes, unless `fixed_cell`, and warmed
    by displacements that raise its energy as heat does (see `displaced`). What is packed goes
    downhill at its own density by FIRE (Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006)), then
    through Langevin dynamics of strong friction in which no atom moves further than 0.1 Å a step.

    Parameters
    ----------
    atoms : N atoms, Å, left as they are
    calculator : counts where it is a `CountingCalculator`
    kelvin : K
    timestep : fs
    seed : of velocities and displacements
    fixed_cell : the cell stays
    effort : most steps of each part

    Returns
    -------
    labelled frames on the way, calls, and where it came to rest

    Raises
    ------
    LabelFailedError
        The reference fails; `reference_calls` says how many calls that took.
    """
    moving = atoms.copy()
    moving.calc = counting = CountingCalculator.of(calculator)
    before, settled, effort = counting.calls, Settled(), effort or Effort()
    try:
        _keep(settled, moving, 0)
        settled.crystal = not effort.packed and _largest_force(moving) < CRYSTAL
        if settled.crystal:
            for step in _rest(moving, effort.crystal, fixed_cell):
                _keep(settled, moving, step)
            settled.relaxed = _frame(moving, 0)
            if effort.warm and effort.warm_crystal:
                free = not fixed_cell and bool(moving.pbc.all())
                for step in displaced(moving, settled, kelvin, seed, free):
                    _keep(settled, moving, step)
        else:
            bath = units.kB * max(kelvin, COLD)
            for step in _downhill(moving, effort.packing, bath):
                _keep(settled, moving, step)
            settled.relaxed = _frame(moving, 0)
            heat = Protocol("nvt", kelvin, max(1, effort.warm_packing), timestep, seed=seed)
            energies = []
            for step in _warm(moving, heat) if effort.warm_packing else ():
                _keep(settled, moving, step)
                energies.append(moving.get_potential_energy() / len(moving))
                if step >= effort.warm and _quiet(energies, QUIET * bath):
                    break
    except LabelFailedError as error:
        error.reference_calls = counting.calls - before
        raise
    except ArithmeticError as error:
        raise LabelFailedError("nan", str(error)) from error
    last = _frame(moving, 0)
    if not np.array_equal(last.positions, settled.frames[-1].positions) or not np.array_equal(
        last.cell.array, settled.frames[-1].cell.array
    ):
        settled.frames.append(last)
    count = min(most_kept(len(atoms)), len(settled.frames))
    spots = np.linspace(0, len(settled.frames) - 1, count)
    settled.frames = [settled.frames[spot] for spot in spots.round().astype(int)]
    settled.calls = counting.calls - before
    return settled


def as_it_stands(atoms: Atoms, calculator: Calculator | CountingCalculator) -> Settled:
    """One label of a structure, nothing moved.

    Parameters
    ----------
    atoms : N atoms, Å, left as they are
    calculator : counts where it is a `CountingCalculator`

    Returns
    -------
    one frame, eV, eV/Å, eV/Å^3

    Raises
    ------
    LabelFailedError
        The reference fails; `reference_calls` says how many calls that took.
    """
    still = atoms.copy()
    still.calc = counting = CountingCalculator.of(calculator)
    before = counting.calls
    try:
        frame = _frame(still, 0)
    except LabelFailedError as error:
        error.reference_calls = counting.calls - before
        raise
    return Settled([frame], counting.calls - before, relaxed=frame)


def _frame(moving: Atoms, step: int) -> Atoms:
    moving.get_potential_energy()
    frame = labelled(moving)
    frame.info["step"] = step
    frame.set_momenta(np.zeros((len(frame), 3)))
    return frame


def _keep(settled: Settled, moving: Atoms, step: int) -> None:
    """One more label of what was computed anyway, if it is far enough from the last one kept."""
    if settled.frames:
        way = moving.positions - settled.frames[-1].positions
        if np.sqrt((way**2).sum(axis=1).mean()) < APART:
            return
    settled.frames.append(_frame(moving, step))


def _largest_force(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def _rest(moving: Atoms, steps: int, fixed_cell: bool) -> Iterator[int]:
    """Positions and the lengths of the axes downhill; symmetry is kept by the forces themselves.

    The cell counts in BFGS as if its strain were a displacement; scaled so that a solid of
    STIFFNESS has the curvature that ASE begins with (70 eV/Å2), it takes three to eight steps.
    """
    target, free = moving, bool(moving.pbc.all()) and not fixed_cell
    if free:
        scale = float(np.sqrt(STIFFNESS * units.GPa * moving.get_volume() / 70.0))
        target = FrechetCellFilter(moving, mask=[1, 1, 1, 0, 0, 0], exp_cell_factor=scale)
    optimiser = BFGS(target, logfile=None, maxstep=STRIDE, comm=DummyMPI())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a logarithm exact to 1e-12
        for _ in optimiser.irun(fmax=0.0, steps=steps):
            stress = moving.get_stress()[:3] / units.GPa if free else np.zeros(3)
            yield optimiser.nsteps
            if _largest_force(moving) < REST and np.abs(stress).max() < STRAINLESS:
                return


def displaced(
    moving: Atoms, settled: Settled, kelvin: float, seed: int, free: bool
) -> Iterator[int]:
    """Warm a crystal without MD: copies displaced as heat would, at the volume of no pressure.

    Each copy has the potential energy of `kelvin` (equipartition, see `deformation.thermal`), and
    its pressure with that of the momenta tells the volume at which there is none, by the bulk
    modulus that the relaxation showed. The copies' mean is taken: one alone is off by the
    fluctuation of its pressure. Ten calls in place of the hundred that MD takes to swell a cell.

    Parameters
    ----------
    moving : N atoms, Å, with a counting calculator
    settled : its relaxation; takes the frames
    kelvin : K
    seed : of the displacements
    free : whether the volume may change

    Yields
    ------
    numbers of the copies

    Raises
    ------
    LabelFailedError
        The reference fails.
    """
    rest = settled.relaxed
    modulus = _bulk_modulus(settled.frames) if free else STIFFNESS
    amplitude, _ = thermal(rest, moving.calc, kelvin, seed)
    logarithms: list[float] = []
    for copy in range(COPIES if free else 1):
        growth = float(np.clip(np.mean(logarithms), -0.1, 0.15)) if logarithms else 0.0
        shape = rest.copy()
        shape.set_cell(rest.cell.array * np.exp(growth / 3), scale_atoms=True)
        moving.set_cell(shape.cell)
        moving.set_positions(rattle(shape, amplitude, seed, copy).positions)
        if free:
            stress = moving.get_stress()[:3].mean() / units.GPa
            ideal = len(moving) * units.kB * kelvin / moving.get_volume() / units.GPa
            logarithms.append(growth + (ideal - stress) / modulus)
        yield copy


def _bulk_modulus(frames: list[Atoms]) -> float:
    """From the widest and the densest frame of a relaxation, GPa; STIFFNESS where they are one."""
    low, high = (pick(frames, key=lambda a: a.get_volume()) for pick in (min, max))
    strain = np.log(high.get_volume() / low.get_volume())
    if strain < 0.003:
        return STIFFNESS
    rise = (high.get_stress()[:3].mean() - low.get_stress()[:3].mean()) / units.GPa
    return float(np.clip(rise / strain, STIFFNESS / 8, STIFFNESS * 10))


def _downhill(moving: Atoms, steps: int, bath: float) -> Iterator[int]:
    """Steps of FIRE until forces are calm, or the energy no longer falls, beside kT (eV)."""
    optimiser = FIRE(moving, logfile=None, maxstep=STRIDE, comm=DummyMPI())
    energies = []
    calm = CALM * (bath / (units.kB * COLD)) ** 0.5
    for _ in optimiser.irun(fmax=calm, steps=steps):
        energies.append(moving.get_potential_energy() / len(moving))
        yield optimiser.nsteps
        late = energies[-PATIENCE - 1 :]
        if len(late) > PATIENCE and 0 <= late[0] - late[-1] < FLAT * bath:
            return


def _quiet(energies: list[float], still: float) -> bool:
    late = energies[-LULL:]
    half = len(late) // 2
    return 2 * (np.mean(late[:half]) - np.mean(late[half:])) < still


def _warm(moving: Atoms, heat: Protocol) -> Iterator[int]:
    start_velocities(moving, heat)
    dynamics = LangevinBAOAB(
        moving,
        heat.timestep * units.fs,
        temperature_K=heat.temperature,
        T_tau=FRICTION * units.fs,
        rng=np.random.default_rng([heat.seed, 1]),
        comm=DummyMPI(),
    )
    fastest = STRIDE / (heat.timestep * units.fs)
    for _ in dynamics.irun(heat.steps):
        velocities = moving.get_velocities()
        speed = np.linalg.norm(velocities, axis=1)
        slower = np.minimum(1.0, fastest / np.maximum(speed, 1e-12))
        if (slower < 1.0).any():
            moving.set_velocities(velocities * slower[:, None])
        if dynamics.nsteps:
            yield dynamics.nsteps
