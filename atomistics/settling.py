"""From a built structure to one that MD may start from: relaxed, then warmed, by the reference.

What a builder hands over is not at rest: packed molecules overlap, a lattice constant from a table
is not the reference's own. MD from there heats by hundreds of kelvin within steps, whatever the
potential, and a watchdog cannot tell that from a bad one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.md.langevinbaoab import LangevinBAOAB
from ase.optimize import BFGS, FIRE
from ase.parallel import DummyMPI

from atomistics.md.plain import start_velocities
from atomistics.md.plain_protocol import Protocol
from atomistics.reference.convergence import LabelFailedError
from atomistics.reference.counting import CountingCalculator, labelled
from atomistics.settling_effort import KEEP, Effort

CRYSTAL = 1.0  # eV/Å: no atom of a lattice from a table is further from rest, of a packing some are
REST = 0.03  # eV/Å and, per atom, eV of strain: where the relaxation of a crystal ends
CALM = 0.5  # eV/Å: warm liquids have larger forces than this, so nothing is gained beyond
FLAT = 0.002  # eV/atom in PATIENCE steps: 23 K of heat, which a thermostat takes in passing
PATIENCE = 10
QUIET = 0.01  # eV/atom in LULL steps: what a packing may still give off once it counts as settled
LULL = 40
STRIDE = 0.1  # Å, the longest way of an atom in one step of relaxation or of the warm-up
FRICTION = 20.0  # fs: takes the heat of a relaxing packing away as it comes
SOFTNESS = 0.05  # 1/GPa, compressibility of rock salt: with it volume follows pressure in SWELLING
SWELLING = 50.0  # fs


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
    """Relax `atoms` (left as they are) and, where it was a packing, warm it to `kelvin`.

    A crystal (largest force below 1 eV/Å) is relaxed with its axes, unless `fixed_cell`. What is
    packed goes downhill at its own density by FIRE (Bitzek et al., Phys. Rev. Lett. 97, 170201
    (2006)), then through Langevin dynamics of strong friction at `timestep` fs in which no atom
    moves further than 0.1 Å a step; a crystal that is warmed begins with twice the kinetic energy,
    half of which becomes potential (equipartition), and its volume follows the pressure as in
    Berendsen et al., J. Chem. Phys. 81, 3684 (1984). Raises LabelFailedError where the reference
    fails.
    """
    moving = atoms.copy()
    moving.calc = counting = CountingCalculator.of(calculator)
    before, found, effort = counting.calls, Settled(), effort or Effort()
    try:
        found.frames.append(_frame(moving, 0))
        found.crystal = _largest_force(moving) < CRYSTAL
        if found.crystal:
            _rest(moving, effort.crystal, fixed_cell)
            found.relaxed = _frame(moving, 0)
            steps = effort.warm if effort.warm_crystal else 0
        else:
            for step in _downhill(moving, effort.packing):
                if step % KEEP == 0:
                    found.frames.append(_frame(moving, step))
            found.relaxed = _frame(moving, 0)
            steps = effort.warm_packing
        free = found.crystal and not fixed_cell and bool(moving.pbc.all())
        heat = Protocol("nvt", kelvin * (1 + found.crystal), max(1, steps), timestep, seed=seed)
        energies = []
        for step in _warm(moving, heat, kelvin, free) if steps else ():
            if step % KEEP == 0:
                found.frames.append(_frame(moving, step))
            energies.append(moving.get_potential_energy() / len(moving))
            if step >= effort.warm and _quiet(energies):
                break
    except LabelFailedError as error:
        error.reference_calls = counting.calls - before
        raise
    except ArithmeticError as error:
        raise LabelFailedError("nan", str(error)) from error
    last = _frame(moving, 0)
    if not np.array_equal(last.positions, found.frames[-1].positions) or not np.array_equal(
        last.cell.array, found.frames[-1].cell.array
    ):
        found.frames.append(last)
    found.calls = counting.calls - before
    return found


def _frame(moving: Atoms, step: int) -> Atoms:
    moving.get_potential_energy()
    frame = labelled(moving)
    frame.info["step"] = step
    frame.set_momenta(np.zeros((len(frame), 3)))
    return frame


def _largest_force(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def _rest(moving: Atoms, steps: int, fixed_cell: bool) -> None:
    """Positions and the lengths of the axes downhill; symmetry is kept by the forces themselves."""
    target = moving
    if moving.pbc.all() and not fixed_cell:
        target = FrechetCellFilter(moving, mask=[1, 1, 1, 0, 0, 0])
    BFGS(target, logfile=None, maxstep=STRIDE, comm=DummyMPI()).run(fmax=REST, steps=steps)


def _downhill(moving: Atoms, steps: int) -> Iterator[int]:
    """Steps of FIRE until the forces are calm or the energy no longer falls by much."""
    optimiser = FIRE(moving, logfile=None, maxstep=STRIDE, comm=DummyMPI())
    energies = []
    for _ in optimiser.irun(fmax=CALM, steps=steps):
        energies.append(moving.get_potential_energy() / len(moving))
        yield optimiser.nsteps
        late = energies[-PATIENCE - 1 :]
        if len(late) > PATIENCE and 0 <= late[0] - late[-1] < FLAT:
            return


def _quiet(energies: list[float]) -> bool:
    late = energies[-LULL:]
    half = len(late) // 2
    return 2 * (np.mean(late[:half]) - np.mean(late[half:])) < QUIET


def _warm(moving: Atoms, heat: Protocol, kelvin: float, free: bool) -> Iterator[int]:
    start_velocities(moving, heat)
    dynamics = LangevinBAOAB(
        moving,
        heat.timestep * units.fs,
        temperature_K=kelvin,
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
        if free:
            stress = moving.get_stress(include_ideal_gas=True)[:3] / units.GPa
            growth = np.exp(np.clip(stress * -SOFTNESS * heat.timestep / SWELLING / 3, -0.01, 0.01))
            moving.set_cell(moving.cell.array * growth, scale_atoms=True)
