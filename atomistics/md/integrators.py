"""The integrators of MD, all from ASE: one an ensemble, and one that strains the cell.

Apart from `atomistics.md`, because importing ase.md takes half a second that most jobs do not need.
"""

from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import MaskedMTKNPT
from ase.md.verlet import VelocityVerlet
from ase.parallel import DummyMPI

from atomistics.errors import UserError
from atomistics.md.plain_protocol import Protocol
from atomistics.md.protocol import Strain
from atomistics.md.strain import VOIGT

COUPLING = 100 * units.fs  # thermostats
CELL_FRICTION = 50 * units.fs  # below critical for solids, above for liquids
CELL_PERIOD = 200 * units.fs  # of the volume of a solid of CELL_MODULUS
CELL_MODULUS = 100 * units.GPa
AXES_COUPLING = 500 * units.fs


def integrator(atoms: Atoms, protocol: Protocol) -> MolecularDynamics:
    """Return the ASE integrator of the ensemble.

    NVE: velocity Verlet. NVT: stochastic velocity rescaling (Bussi, Donadio and Parrinello,
    J. Chem. Phys. 126, 014101 (2007)), canonical, and it leaves diffusion as it is. NPT with
    fixed shape: Langevin-Hoover (Quigley and Probert, J. Chem. Phys. 120, 11432 (2004)) in the
    BAOAB splitting (Leimkuhler and Matthews, J. Chem. Phys. 138, 174102 (2013)): isothermal-
    isobaric and damped, so that a strained start settles in some 0.5 ps, where a Nosé-Hoover
    barostat rings. NPT with free axes: Martyna, Tobias and Klein, J. Chem. Phys. 101, 4177
    (1994), with its 3N thermostatted degrees of freedom: 1/N too warm. None of them needs an
    aligned cell.
    """
    # ASE would share random numbers among MPI ranks, which here run different structures.
    alone = {"comm": DummyMPI()}
    timestep = protocol.timestep * units.fs
    kelvin = protocol.temperature
    generator = np.random.default_rng([protocol.seed, 1])
    if protocol.ensemble == "nve":
        return VelocityVerlet(atoms, timestep, **alone)
    if protocol.ensemble == "nvt":
        dynamics = Bussi(atoms, timestep, kelvin, taut=COUPLING, rng=generator, **alone)
        dynamics.ndof = max(3 * len(atoms) - 3, 3)  # ASE counts the resting centre of mass
        dynamics.target_kinetic_energy = 0.5 * dynamics.ndof * units.kB * kelvin
        return dynamics
    if not atoms.pbc.all():
        raise UserError(
            "ensemble: npt needs a structure periodic in x, y and z; use nvt, or say"
            " fixed_cell: true of this structure in structures/index.yaml"
        )
    pressure = protocol.pressure * units.GPa
    if protocol.barostat == "axes":
        return MaskedMTKNPT(
            atoms, timestep, kelvin, pressure, COUPLING, AXES_COUPLING,
            mask=np.ones(3, dtype=bool), **alone,
        )  # fmt: skip
    return LangevinHoover(
        atoms,
        timestep,
        temperature_K=kelvin,
        externalstress=-pressure,
        hydrostatic=True,
        T_tau=COUPLING,
        P_tau=CELL_FRICTION,
        P_mass=9 * atoms.get_volume() * CELL_MODULUS * (CELL_PERIOD / (2 * np.pi)) ** 2,
        rng=generator,
        **alone,
    )


def set_target(dynamics: MolecularDynamics, kelvin: float) -> None:
    """Move the target temperature (K) of an ASE integrator; its time constants stay."""
    if isinstance(dynamics, Bussi):
        dynamics.temp = units.kB * kelvin
        dynamics.target_kinetic_energy = 0.5 * dynamics.ndof * dynamics.temp
    elif isinstance(dynamics, LangevinBAOAB):
        dynamics.set_temperature(kelvin)
    elif isinstance(dynamics, MaskedMTKNPT):  # which offers no call for it
        dynamics._thermostat._kT = dynamics._barostat._kT = units.kB * kelvin


class LangevinHoover(LangevinBAOAB):
    """ASE's own, digit for digit, without Atoms.set_cell: that costs what a small model does."""

    def _barostat_BAOAB_A(self) -> None:
        old = self.atoms.cell.array
        volume = np.abs(np.linalg.det(old))
        grown = volume * np.exp(0.5 * self.dt * 3.0 * self.p_eps / self.barostat_mass)
        new = old * (grown / volume) ** (1.0 / 3.0)
        self.atoms.positions[:] = self.atoms.positions @ np.linalg.solve(old, new)
        self.atoms.cell.array[:] = new


class Straining(Bussi):
    """Bussi's thermostat with velocity Verlet while the cell is deformed at a constant rate.

    The cell and, affinely, the positions are deformed between drift and force evaluation, so that
    a step is one call. Axes left free follow their stress by weak coupling (Berendsen et al.,
    J. Chem. Phys. 81, 3684 (1984)): d ln l / dt = (stress + pressure) / (CELL_MODULUS COUPLING).
    """

    def __init__(self, atoms: Atoms, timestep: float, kelvin: float, **options: Any) -> None:
        super().__init__(atoms, timestep, kelvin, taut=COUPLING, **options)
        self.ndof = max(3 * len(atoms) - 3, 3)
        self.target_kinetic_energy = 0.5 * self.ndof * units.kB * kelvin

    def along(self, stage: Strain, steps: int) -> "Straining":
        """Strain the cell as it is now by `stage.strain` in `steps` steps."""
        self._stage, self._whole = stage, steps
        self._start = self.atoms.cell.array.copy()
        self._lengths = np.ones(3)
        self._last = np.eye(3)
        self._free = [
            axis for axis in range(3) if stage.others == "free" and axis != VOIGT[stage.direction]
        ]
        return self

    def deformation(self, step: int) -> np.ndarray:
        """Deformation gradient (3, 3) after `step` steps, x' = F x."""
        strain = self._stage.strain * step / self._whole
        gradient = np.diag(self._lengths)
        index = VOIGT[self._stage.direction]
        if index < 3:
            gradient[index, index] = 1 + strain
            return gradient
        row, column = ("xyz".index(letter) for letter in self._stage.direction)
        shear = np.eye(3)
        shear[row, column] = strain
        return shear @ gradient

    def step(self, forces: np.ndarray | None = None) -> np.ndarray:
        """One step; the momenta are left to the thermostat."""
        atoms = self.atoms
        self.scale_velocities()
        if self._free:
            self._relax()
        forces = atoms.get_forces(md=True) if forces is None else forces
        momenta = atoms.get_momenta() + 0.5 * self.dt * forces
        moved = atoms.get_positions() + self.dt * momenta / self.masses
        gradient = self.deformation(self.nsteps + 1)
        atoms.set_cell(self._start @ gradient.T)
        atoms.set_positions(moved @ np.linalg.solve(self._last.T, gradient.T))
        self._last = gradient
        forces = atoms.get_forces(md=True)
        atoms.set_momenta(momenta + 0.5 * self.dt * forces)
        return forces

    def _relax(self) -> None:
        stress = self.atoms.get_stress(include_ideal_gas=True)[self._free]
        excess = stress + self._stage.pressure * units.GPa
        self._lengths[self._free] *= np.exp(-self.dt * excess / (CELL_MODULUS * COUPLING))
