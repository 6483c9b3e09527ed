"""The integrators of MD: ASE's, and two on its thermostat that change the cell's axes.

Apart from `atomistics.md`, because importing ase.md takes half a second that most jobs do not need.
"""

from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
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
FREE = {"axes": np.ones(3), "height": np.array([0.0, 0.0, 1.0])}


def integrator(atoms: Atoms, protocol: Protocol) -> MolecularDynamics:
    """The ASE integrator of the ensemble.

    NVE: velocity Verlet. NVT: stochastic velocity rescaling (Bussi, Donadio and Parrinello,
    J. Chem. Phys. 126, 014101 (2007)), canonical, and it leaves diffusion as it is. NPT with
    fixed shape: Langevin-Hoover (Quigley and Probert, J. Chem. Phys. 120, 11432 (2004)) in the
    BAOAB splitting (Leimkuhler and Matthews, J. Chem. Phys. 138, 174102 (2013)): isothermal-
    isobaric and damped, so that a strained start settles in some 0.5 ps, where a Nosé-Hoover
    barostat rings. NPT with axes free, or the third: `AxesRescaling`. None needs an aligned cell.

    Parameters
    ----------
    atoms : N atoms, Å, with calculator and momenta
    protocol : ensemble, temperature (K), pressure (GPa), timestep (fs), seed

    Returns
    -------
    the integrator, which moves `atoms`

    Raises
    ------
    UserError
        NPT is asked of a structure that is not periodic in three directions.
    """
    alone = {"comm": Alone()}
    timestep = protocol.timestep * units.fs
    kelvin = protocol.temperature
    generator = np.random.default_rng([protocol.seed, 1])
    if protocol.ensemble == "nve":
        return InPlace(atoms, timestep, **alone)
    if protocol.ensemble == "nvt":
        dynamics = InPlaceBussi(atoms, timestep, kelvin, taut=COUPLING, rng=generator, **alone)
        dynamics.ndof = max(3 * len(atoms) - 3, 3)  # ASE counts the resting centre of mass
        dynamics.target_kinetic_energy = 0.5 * dynamics.ndof * units.kB * kelvin
        return dynamics
    check_periodic(atoms)
    pressure = protocol.pressure * units.GPa
    if protocol.barostat != "isotropic":
        free = FREE[protocol.barostat]
        return AxesRescaling(atoms, timestep, kelvin, pressure, free, rng=generator, **alone)
    return LangevinBAOAB(
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


def check_periodic(atoms: Atoms) -> None:
    """Refuse NPT of a structure without a volume to control.

    Parameters
    ----------
    atoms : periodic or not

    Raises
    ------
    UserError
        Not periodic in three directions; with the remedy.
    """
    if not atoms.pbc.all():
        raise UserError(
            "ensemble: npt needs a structure periodic in x, y and z; use nvt, or say"
            " fixed_cell: true of this structure in structures/index.yaml"
        )


def set_target(dynamics: MolecularDynamics, kelvin: float) -> None:
    """Move the target temperature (K) of an ASE integrator; its time constants stay."""
    if isinstance(dynamics, Bussi):
        dynamics.temp = units.kB * kelvin
        dynamics.target_kinetic_energy = 0.5 * dynamics.ndof * dynamics.temp
    elif isinstance(dynamics, LangevinBAOAB):
        dynamics.set_temperature(kelvin)


class Alone(DummyMPI):
    """One rank: ASE would share random numbers among MPI ranks, which run different structures."""

    def broadcast(self, array: np.ndarray, rank: int) -> None:
        """Nothing, and none of ASE's checks of what is to be sent.

        Parameters
        ----------
        array : stays as it is
        rank : not used
        """


class InPlace(VelocityVerlet):
    """ASE's velocity Verlet to the last bit, without its copies and checks of every step.

    ASE's own is used where atoms are constrained.
    """

    def step(self, forces: np.ndarray | None = None) -> np.ndarray:
        """One step; positions and momenta change in their place.

        Parameters
        ----------
        forces : (N, 3) eV/Å of this geometry, where they are at hand

        Returns
        -------
        (N, 3) eV/Å of the next
        """
        atoms = self.atoms
        if atoms.constraints:
            return super().step(forces)
        momenta, positions = atoms.arrays["momenta"], atoms.arrays["positions"]
        forces = atoms.calc.get_property("forces", atoms) if forces is None else forces
        momenta += 0.5 * self.dt * forces
        positions += self.dt * momenta / self.masses
        forces = atoms.calc.get_property("forces", atoms)
        momenta += 0.5 * self.dt * forces
        return forces

    def _refresh_properties(self) -> None:
        if self.nsteps == 0:  # later the step has just asked for them
            super()._refresh_properties()


class InPlaceBussi(Bussi, InPlace):
    """ASE's stochastic velocity rescaling to the last bit, on the step of `InPlace`."""

    def scale_velocities(self) -> None:
        """Heat or cool the momenta in their place; ASE's own where atoms are constrained."""
        if self.atoms.constraints:
            super().scale_velocities()
            return
        momenta = self.atoms.arrays["momenta"]
        kinetic = 0.5 * np.vdot(momenta, momenta / self.masses)
        alpha = self.calculate_alpha(kinetic)
        momenta *= alpha
        self.transferred_energy += (alpha**2 - 1.0) * kinetic


class AxesRescaling(Bussi):
    """Bussi's thermostat with velocity Verlet while axes of the cell breathe apart, all or some.

    Stochastic cell rescaling (Bernetti and Bussi, J. Chem. Phys. 153, 114107 (2020); with more
    than one length: Del Tatto et al., Appl. Sci. 12, 1139 (2022)): of each length L
    d ln L = (P_L - P) dt / m + sqrt(2 kT dt / (V m)) N(0, 1) with m = CELL_MODULUS COUPLING and
    P_L the pressure along the axis, kinetic part included. First order, so that it does not ring;
    isothermal-isobaric; 100 fs for a solid of CELL_MODULUS, 5 ps for a liquid of 2 GPa. The cell
    changes between drift and force evaluation, so that a step is one call.
    """

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        kelvin: float,
        pressure: float,
        free: np.ndarray,
        **options: Any,
    ) -> None:
        """`timestep` in ASE's units, `pressure` in eV/Å^3; `free` (3,): 1 breathes, 0 does not."""
        super().__init__(atoms, timestep, kelvin, taut=COUPLING, **options)
        self.pressure, self.free = pressure, free
        self.ndof = max(3 * len(atoms) - 3, 3)
        self.target_kinetic_energy = 0.5 * self.ndof * self.temp

    def step(self, forces: np.ndarray | None = None) -> np.ndarray:
        """One step; the momenta follow the cell so that phase space keeps its volume.

        Parameters
        ----------
        forces : (N, 3) eV/Å of this geometry, where they are at hand

        Returns
        -------
        (N, 3) eV/Å of the next
        """
        atoms = self.atoms
        self.scale_velocities()
        forces = atoms.get_forces(md=True) if forces is None else forces
        growth = np.exp(self._strain())
        cell = atoms.cell.array
        gradient = np.linalg.solve(cell, growth[:, None] * cell)  # r' = r gradient
        momenta = atoms.get_momenta() + 0.5 * self.dt * forces
        moved = atoms.get_positions() + self.dt * momenta / self.masses
        atoms.set_cell(growth[:, None] * cell)
        atoms.set_positions(moved @ gradient)
        momenta = momenta @ np.linalg.inv(gradient).T
        forces = atoms.get_forces(md=True)
        atoms.set_momenta(momenta + 0.5 * self.dt * forces)
        return forces

    def _strain(self) -> np.ndarray:
        """Change of ln L (3,) in this step."""
        stress = self.atoms.get_stress(voigt=False, include_ideal_gas=True)
        outside = self.pressure, self.free
        return rescaled(self.atoms, -stress, outside, self.temp, self.dt, self.rng)


def rescaled(
    atoms: Atoms,
    pressure: np.ndarray,
    outside: tuple[float, np.ndarray],
    kt: float,
    dt: float,
    random: np.random.Generator,
) -> np.ndarray:
    """Change of ln L in one step of stochastic cell rescaling, as `AxesRescaling` describes it.

    Parameters
    ----------
    atoms : cell, Å
    pressure : (3, 3) of the atoms, kinetic part included, eV/Å^3
    outside : the barostat's, eV/Å^3, and which lengths it changes (3,): 1 breathes, 0 does not
    kt, dt : eV, ASE's unit of time
    random : of the noise

    Returns
    -------
    (3,)
    """
    cell, inertia = atoms.cell.array, CELL_MODULUS * COUPLING
    along = np.diag(cell @ pressure @ np.linalg.inv(cell))
    noise = np.sqrt(2 * kt * dt / (atoms.get_volume() * inertia)) * random.standard_normal(3)
    target, free = outside
    return free * ((along - target) * dt / inertia + noise)


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
        """Deformation gradient after some steps, x' = F x.

        Parameters
        ----------
        step : from 0

        Returns
        -------
        (3, 3)
        """
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
        """One step; the momenta are left to the thermostat.

        Parameters
        ----------
        forces : (N, 3) eV/Å of this geometry, where they are at hand

        Returns
        -------
        (N, 3) eV/Å of the next
        """
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
