"""Relaxation of positions and cell to a minimum of the enthalpy, by BFGS with a line search.

Settings carry the names of MLIP's `relax.ini`. Variables are displacements of the atoms in the
starting cell and the deformation of that cell, each in units in which the Hessian begins as 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mtp.configuration import Configuration
from mtp.engine import Engine, Evaluation
from mtp.error_report import GPA
from mtp.errors import MTPError
from mtp.neighbours import Neighbours, VerletList
from mtp.training.line_search import LinePoint, Wolfe, wolfe_point
from mtp.training.optimisers import bfgs_update

SKIN = 1.0  # Å
PUSHES = 2000
VOIGT = ((0, 5, 4), (5, 1, 3), (4, 3, 2))


class UnrelaxedError(Exception):
    """Why one relaxation ended without a minimum."""


@dataclass(frozen=True)
class RelaxationSettings:
    """What `relax.ini` may say, by its names; a tolerance of 0 keeps the atoms, or the cell.

    pressure, stress_tolerance and stress_elasticity_scale in GPa, force_tolerance in eV/Å,
    forces_elasticity_scale in eV/Å^2, energy_tolerance in eV, steps and distances in Å;
    init_mindist: least distance between atoms before the first step, one for all or a radius for
    each type.
    """

    pressure: float = 0.0
    force_tolerance: float = 1e-4
    stress_tolerance: float = 1e-3
    energy_tolerance: float = -np.inf
    iteration_limit: int = 500
    max_step: float = 0.1
    min_step: float = 1e-8
    mindist: float = 0.5
    init_mindist: float | dict[int, float] = 0.0
    bfgs_wolfe_c1: float = 1e-3
    bfgs_wolfe_c2: float = 0.7
    use_gd_method: bool = False
    correct_cell: bool = False
    forces_elasticity_scale: float = 10.0
    stress_elasticity_scale: float = 50.0


Watch = Callable[[Configuration, Neighbours], None]


@dataclass
class Relaxation:
    """One configuration on its way; `watch` sees every geometry whose energy is calculated.

    `frozen` (N,) atoms keep their place in the cell; `report` gets a line per step in MLIP's words.
    """

    engine: Engine
    start: Configuration
    settings: RelaxationSettings
    frozen: NDArray[np.bool_]
    watch: Watch = lambda *_: None
    report: Callable[[str], None] = lambda _: None
    list: VerletList = field(init=False)

    def __post_init__(self) -> None:
        self.list = VerletList(self.engine.potential.max_dist, SKIN)
        if self.settings.correct_cell:
            self.start = with_corrected_cell(self.start)
        self.start = pushed_apart(self.start, self.settings.init_mindist, self.frozen)
        self.moves_cell = self.settings.stress_tolerance > 0 and bool(np.all(self.start.pbc))
        self.moves_atoms = self.settings.force_tolerance > 0
        if not (self.moves_cell or self.moves_atoms):
            raise MTPError("nothing to relax: force_tolerance and stress_tolerance are both 0")
        self.pressure = self.settings.pressure / GPA if self.moves_cell else 0.0
        elasticity = self.settings.stress_elasticity_scale / GPA * max(self.start.volume, 1.0)
        self.cell_unit = 1.0 / np.sqrt(elasticity)
        self.atom_unit = 1.0 / np.sqrt(self.settings.forces_elasticity_scale)

    def run(self) -> Configuration:
        """Relax to the minimum.

        Returns
        -------
        the relaxed configuration (Å) with its labels (eV, eV/Å)

        Raises
        ------
        UnrelaxedError
            No minimum within iteration_limit steps, atoms nearer than mindist at the start, or
            whatever `watch` raises.
        """
        x = np.zeros(9 + 3 * len(self.start))
        value, gradient = self._enthalpy(x)
        if not np.isfinite(value):
            raise UnrelaxedError(f"atoms are nearer than mindist = {self.settings.mindist:g} Å")
        point = LinePoint(0.0, value, 0.0, x, gradient)
        inverse = None
        for step in range(self.settings.iteration_limit + 1):
            self._log(step, point)
            if self._converged(point):
                return self._labelled(point.x)
            following, inverse = self._step(point, inverse)
            moved = self._displacement(following.x - point.x, point.x)
            point = following
            if moved < self.settings.min_step and not self._converged(point):
                raise UnrelaxedError(f"steps became shorter than {self.settings.min_step:g} Å")
        raise UnrelaxedError(f"not converged in {self.settings.iteration_limit} steps")

    def _step(
        self, point: LinePoint, inverse: NDArray[np.float64] | None
    ) -> tuple[LinePoint, NDArray[np.float64] | None]:
        """The next point and the inverse Hessian there (None: still 1)."""
        settings = self.settings
        for matrix in (inverse, None):
            direction = -point.gradient if matrix is None else -(matrix @ point.gradient)
            slope = float(direction @ point.gradient)
            longest = settings.max_step / max(self._displacement(direction, point.x), 1e-300)
            wolfe = Wolfe(settings.bfgs_wolfe_c1, settings.bfgs_wolfe_c2)
            start = replace(point, step=0.0, slope=slope)
            following = slope < 0 and wolfe_point(
                self._enthalpy, start, direction, min(1.0, longest), wolfe, longest
            )
            if following:
                if settings.use_gd_method:
                    return following, None
                step, change = following.x - point.x, following.gradient - point.gradient
                return following, bfgs_update(matrix, step, change)
        raise UnrelaxedError("no step lowers the enthalpy any more")

    def _geometry(self, x: NDArray[np.float64]) -> tuple[Configuration, NDArray[np.float64]]:
        """The configuration at x, and the deformation (3, 3) of its cell."""
        deformation = np.eye(3) + self.cell_unit * x[:9].reshape(3, 3)
        positions = self.start.positions + self.atom_unit * x[9:].reshape(-1, 3)
        return replace(
            self.start, cell=self.start.cell @ deformation, positions=positions @ deformation
        ), deformation

    def _enthalpy(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Enthalpy (eV) and its gradient at x; infinite where atoms are nearer than mindist."""
        now, deformation = self._geometry(x)
        near = self.list.follow(now)
        vectors, _ = near.kernel.pairs()
        squares = np.einsum("ij,ij->i", vectors, vectors)
        if squares.min(initial=np.inf) < self.settings.mindist**2:
            return np.inf, np.zeros_like(x)
        evaluation: Evaluation = self.engine.evaluate(near)[0]
        self.watch(now, near)
        gradient = np.zeros_like(x)
        if self.moves_cell:
            work = evaluation.virial[np.array(VOIGT)] - self.pressure * now.volume * np.eye(3)
            gradient[:9] = -self.cell_unit * (np.linalg.inv(deformation).T @ work).ravel()
        if self.moves_atoms:
            own = -self.atom_unit * (evaluation.forces @ deformation.T)
            own[self.frozen] = 0.0
            gradient[9:] = own.ravel()
        return evaluation.energy + self.pressure * now.volume, gradient

    def _largest(self, point: LinePoint) -> tuple[float, float]:
        """Largest force (eV/Å) and deviation from the pressure (GPa) that can still relax."""
        now, deformation = self._geometry(point.x)
        forces = point.gradient[9:].reshape(-1, 3) @ np.linalg.inv(deformation).T / self.atom_unit
        stress = 0.0
        if self.moves_cell:
            work = deformation.T @ point.gradient[:9].reshape(3, 3) / self.cell_unit
            stress = float(np.abs(work).max()) * GPA / now.volume
        return float(np.linalg.norm(forces, axis=1).max(initial=0.0)), stress

    def _converged(self, point: LinePoint) -> bool:
        force, stress = self._largest(point)
        settings = self.settings
        low = point.value - self.pressure * self._geometry(point.x)[0].volume
        return low < settings.energy_tolerance or (
            (force <= settings.force_tolerance or not self.moves_atoms)
            and (stress <= settings.stress_tolerance or not self.moves_cell)
        )

    def _displacement(self, change: NDArray[np.float64], x: NDArray[np.float64]) -> float:
        """The farthest (Å) that a change of the variables moves an atom or a cell vector."""
        _, deformation = self._geometry(x)
        atoms = self.atom_unit * change[9:].reshape(-1, 3) @ deformation
        cell = self.start.cell @ (self.cell_unit * change[:9].reshape(3, 3))
        return float(np.sqrt(np.square(np.vstack([atoms, cell])).sum(axis=1).max()))

    def _log(self, step: int, point: LinePoint) -> None:
        force, stress = self._largest(point)
        size = len(self.start)
        volume = self._geometry(point.x)[0].volume
        self.report(
            f"itr {step}\te/a {(point.value - self.pressure * volume) / size:.6g}"
            f"\tent {point.value:.6g}\tfrc {force:.6g}\tstr {stress:.6g}"
        )

    def _labelled(self, x: NDArray[np.float64]) -> Configuration:
        now, _ = self._geometry(x)
        if self.settings.correct_cell:
            now = with_corrected_cell(now)
        evaluation = self.engine.evaluate([now])[0]
        return replace(
            now,
            energy=evaluation.energy,
            forces=evaluation.forces,
            virial=evaluation.virial if np.all(now.pbc) else None,
            site_energies=None,
            grades=None,
        )


def with_corrected_cell(configuration: Configuration) -> Configuration:
    """The same crystal without labels in its Minkowski-reduced cell, turned to lower triangular.

    Parameters
    ----------
    configuration : Å; one with a direction that is not periodic comes back as it is

    Returns
    -------
    the configuration, its atoms wrapped into the cell

    Source: P. Q. Nguyen and D. Stehlé, ACM Trans. Algorithms 5, 46 (2009), by ase.geometry.
    """
    if not np.all(configuration.pbc):
        return configuration
    from ase.cell import Cell  # half a second that other relaxations do not need
    from ase.geometry import minkowski_reduce

    reduced, _ = minkowski_reduce(configuration.cell)
    fractions = np.linalg.solve(reduced.T, configuration.positions.T).T % 1.0
    turned, _ = Cell(reduced).standard_form()
    return replace(
        configuration,
        cell=np.array(turned),
        positions=fractions @ np.array(turned),
        energy=None,
        forces=None,
        virial=None,
    )


def pushed_apart(
    configuration: Configuration,
    least: float | dict[int, float],
    frozen: NDArray[np.bool_],
) -> Configuration:
    """Move atoms until every two are at least so far apart, the cell as it is.

    Parameters
    ----------
    configuration : N atoms, Å
    least : Å, one distance for all or a radius for each type
    frozen : (N,) atoms that stay

    Returns
    -------
    the configuration with other positions

    Raises
    ------
    UnrelaxedError
        The cell has no room for such distances.
    MTPError
        A type has no radius.
    """
    if isinstance(least, dict):
        if missing := set(configuration.types.tolist()) - set(least):
            raise MTPError(f"init_mindist: type {min(missing)} has no radius; name every type")
        radii = np.array([least[kind] for kind in configuration.types.tolist()])
    else:
        radii = np.full(len(configuration), 0.5 * least)
    positions = configuration.positions.copy()
    reach = 2.0 * float(radii.max(initial=0.0))
    for _ in range(PUSHES if reach > 0 else 0):
        near = Neighbours(reach, first=1)
        near.add(replace(configuration, positions=positions))
        vectors, second = near.kernel.pairs()
        first = np.repeat(np.arange(len(positions)), np.diff(near.kernel.first))
        distances = np.linalg.norm(vectors, axis=1)
        overlaps = radii[first] + radii[second] - distances
        if overlaps.max(initial=0.0) <= 0:
            return replace(configuration, positions=positions)
        pushes = np.maximum(1.02 * overlaps, 0.0) / (2.0 * distances)
        moves = np.zeros_like(positions)
        np.add.at(moves, first, -pushes[:, None] * vectors)
        moves[frozen] = 0.0
        positions += moves
    if reach > 0:
        raise UnrelaxedError("init_mindist: the cell has no room for such distances")
    return configuration
