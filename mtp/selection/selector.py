"""Active learning: extrapolation grades, and the active set of environments or configurations.

E. V. Podryabinkin et al., J. Chem. Phys. 159, 084112 (2023) (MLIP-3): in neighbourhood mode a row
is the derivative of one site energy by all coefficients, in configuration mode the derivative of
the energy of one configuration, divided by N^(weight_scaling / 2).
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.errors import MTPError
from mtp.formats.cfg import append_cfg, parse_cfg
from mtp.neighbours import Neighbours
from mtp.potential import Potential
from mtp.selection.active_set import ActiveSet
from mtp.selection.maxvol import INITIAL, THRESHOLD, MaxVol, RowLabel
from mtp.training.loss import configuration_weight

ROW_BYTES = 48 * 2**20  # rows that compete with each other in one batch
GRADE_BYTES = 8 * 2**20  # rows graded at a time: fits a cache, and memory
MODES = ("cfg", "nbh")
DISPLACED = 4  # copies of a frame, at most
LABELS = ("energy", "forces", "virial", "site_energies", "grades")


@dataclass(frozen=True)
class RowWeights:
    """Which equations are rows: the energy of a configuration, its site energies, or both."""

    energy: float = 0.0
    site: float = 0.0
    scaling: int = 2

    @classmethod
    def of_mode(cls, mode: str) -> "RowWeights":
        """Configuration ("cfg") or neighbourhood ("nbh") mode."""
        if mode not in MODES:
            raise MTPError(f"selection mode {mode!r:.40} is unknown; valid are {', '.join(MODES)}")
        return cls(energy=float(mode == "cfg"), site=float(mode == "nbh"))


@dataclass(frozen=True)
class Graded:
    """A configuration with its extrapolation grade; grades (N,) per atom in neighbourhood mode."""

    configuration: Configuration
    grade: float
    grades: NDArray[np.float64] | None


class Selector:
    """A potential with its active set: grades configurations, and takes them in by MaxVol."""

    def __init__(self, potential: Potential, weights: RowWeights, initial: float = INITIAL) -> None:
        """Start with an empty active set of `initial` times identity."""
        if not potential.trained:
            raise MTPError("the potential is untrained; train it before selecting with it")
        self.engine, self.potential, self.weights = Engine(potential), potential, weights
        self.maxvol = MaxVol.start(potential.parameter_count, initial)
        self.sources: dict[int, Configuration] = {}
        self.next_key = 0

    @classmethod
    def stored(cls, potential: Potential, path: str = "potential") -> "Selector":
        """Continue with the active set that a potential carries (`#MVS_v1.1`).

        Parameters
        ----------
        potential : of an `.almtp` file
        path : what errors call it

        Returns
        -------
        the selector, whose next configurations compete with the stored ones

        Raises
        ------
        MTPError
            There is no active set, it weighs forces or stresses, or it is damaged.
        """
        active = potential.active_set
        if active is None:
            raise MTPError(
                f"{path}: has no active set (#MVS_v1.1); "
                "make one by mlp train --al_mode=nbh or mlp select_add"
            )
        if (
            active.force_weight
            or active.stress_weight
            or not (active.energy_weight or active.site_en_weight)
        ):
            raise MTPError(
                f"{path}: the active set weighs forces or stresses; "
                "grades exist for energies (cfg) and site energies (nbh): select again"
            )
        weights = RowWeights(active.energy_weight, active.site_en_weight, active.weight_scaling)
        selector = cls(potential, weights)
        configurations = parse_cfg(active.configurations.splitlines(), f"{path} (active set)")
        selector.sources = dict(enumerate(configurations))
        selector.next_key = len(selector.sources)
        pairs = zip(active.cfg_indices.tolist(), active.eqn_indices.tolist(), strict=True)
        labels = [None if key < 0 else (key, equation) for key, equation in pairs]
        if any(label and label[0] >= selector.next_key for label in labels):
            raise MTPError(f"{path}: the active set names configurations it lacks; truncated?")
        selector.maxvol = MaxVol(active.matrix.copy(), active.inverse.copy(), labels)
        if not selector.maxvol.consistent():
            raise MTPError(
                f"{path}: the matrices of the active set do not fit; damaged, select again"
            )
        return selector

    def add(
        self,
        configurations: Iterable[Configuration],
        threshold: float = THRESHOLD,
        limit: int | None = None,
        types: NDArray[np.int64] | None = None,
    ) -> int:
        """Take configurations in where they enlarge the volume of the active set.

        Parameters
        ----------
        threshold : a row enters above this grade
        limit : most swaps; None for no limit
        types : of whose site energies alone the rows compete; None: all rows

        Returns
        -------
        number of swaps

        Raises
        ------
        MTPError
            A configuration has no finite energy, or a type that is not in the potential.
        """
        before, first = len(self.maxvol.swaps), 1
        for batch in _batches(configurations, self._rows_per_batch(ROW_BYTES)):
            keys = range(self.next_key, self.next_key + len(batch))
            self.next_key += len(batch)
            rows, labels = self._rows(batch, keys, self.engine.neighbours(batch, first))
            first += len(batch)
            if types is not None:
                mine = np.isin(np.concatenate([c.types for c in batch]), types)
                rows, labels = rows[mine], [labels[n] for n in np.flatnonzero(mine)]
            left = None if limit is None else limit - (len(self.maxvol.swaps) - before)
            self.maxvol.add(rows, labels, threshold, left)
            candidates = self.sources | dict(zip(keys, batch, strict=True))
            active = {label[0] for label in self.maxvol.labels if label}
            self.sources = {key: candidates[key] for key in sorted(active)}
        return len(self.maxvol.swaps) - before

    def add_displaced(self, configurations: Sequence[Configuration], displacement: float) -> int:
        """Let environments around the labelled ones stand beside them where a species has few.

        Rows are site energies, one an atom, but a fit is made to forces as well, which say how
        energies change around every frame. A species of fewer environments than coefficients of its
        own (an ion in a cell of solvent, a dopant) leaves dummy rows, and has a grade of hundreds
        as soon as it moves, however well its forces are fitted. Of such a species, and of no other,
        the environments of displaced copies compete, as many as there are coefficients and at most
        four copies of a frame.

        Parameters
        ----------
        configurations : what the potential was fitted to, Å; those without forces are left out
        displacement : standard deviation along each axis, Å; 0: no copies

        Returns
        -------
        number of swaps

        Raises
        ------
        MTPError
            As `add`.
        """
        if not displacement or not self.weights.site or self.weights.energy:
            return 0
        fitted = [c for c in configurations if c.forces is not None]
        counts = np.bincount(
            np.concatenate([np.zeros(0, int), *(c.types for c in fitted)]),
            minlength=self.potential.species_count,
        )
        own = self.potential.radial_coeffs[0].size + 1
        copies = np.minimum(-(-own // np.maximum(counts, 1)) - 1, DISPLACED)
        generator, swaps = np.random.default_rng(0), 0
        for number in range(copies.max()):
            few = np.flatnonzero(copies > number)
            here = [c for c in fitted if np.isin(c.types, few).any()]
            moved = (
                replace(
                    c,
                    positions=c.positions + generator.normal(0.0, displacement, c.positions.shape),
                    **dict.fromkeys(LABELS),
                )
                for c in here
            )
            swaps += self.add(moved, types=few)
        return swaps

    def grade(self, configurations: Iterable[Configuration]) -> Iterator[Graded]:
        """Extrapolation grades, one configuration after the other, in the memory of a batch.

        Parameters
        ----------
        configurations : Å

        Yields
        ------
        each with its grade, the largest of its rows; above 1 it extrapolates

        Raises
        ------
        MTPError
            A configuration has no finite energy, or a type that is not in the potential.

        Source: Podryabinkin and Shapeev, Comput. Mater. Sci. 140, 171 (2017).
        """
        first = 1
        for batch in _batches(configurations, self._rows_per_batch(GRADE_BYTES)):
            yield from self.grade_neighbours(batch, self.engine.neighbours(batch, first))
            first += len(batch)

    def grade_neighbours(self, batch: list[Configuration], near: Neighbours) -> list[Graded]:
        """Extrapolation grades of configurations whose neighbour lists exist already.

        Parameters
        ----------
        batch : configurations, Å
        near : their lists, which reach max_dist

        Returns
        -------
        each with its grade, as of `grade`

        Raises
        ------
        MTPError
            As `grade`.
        """
        energies, sites = self._equations(batch, near)
        graded, begin = [], near.atom_begin
        whole = np.zeros(len(batch)) if energies is None else self.maxvol.grades(energies)
        per_atom = None if sites is None else self.maxvol.grades(sites)
        for key, configuration in enumerate(batch):
            own = None if per_atom is None else per_atom[begin[key] : begin[key + 1]]
            largest = whole[key] if own is None else max(whole[key], own.max())
            graded.append(Graded(configuration, float(largest), own))
        return graded

    def active_set(self) -> ActiveSet:
        """The active set as an `.almtp` file keeps it."""
        keys = sorted({label[0] for label in self.maxvol.labels if label})
        index = {key: position for position, key in enumerate(keys)}
        text = io.StringIO()
        for key in keys:
            append_cfg(text, self._marked(key))
        labels = [
            (index[label[0]], label[1]) if label else (-1, -1) for label in self.maxvol.labels
        ]
        return ActiveSet(
            matrix=self.maxvol.rows,
            inverse=self.maxvol.inverse,
            cfg_indices=np.array([cfg for cfg, _ in labels]),
            eqn_indices=np.array([equation for _, equation in labels]),
            configurations=text.getvalue(),
            energy_weight=self.weights.energy,
            force_weight=0.0,
            stress_weight=0.0,
            site_en_weight=self.weights.site,
            weight_scaling=self.weights.scaling,
        )

    def with_active_set(self) -> Potential:
        """Put this active set into the potential.

        Returns
        -------
        the potential, to be written as an `.almtp` file
        """
        return replace(self.potential, active_set=self.active_set())

    def taken(self, keys: range) -> list[Configuration]:
        """Configurations that are in the active set.

        Parameters
        ----------
        keys : numbers of configurations in the order in which they came, those of `stored` first

        Returns
        -------
        configurations (Å), marked as MLIP-3 marks them
        """
        return [self._marked(key) for key in self.sources if key in keys]

    def entry_grades(self) -> dict[int, float]:
        """The largest grade at which a row of each configuration entered, by its key."""
        grades: dict[int, float] = {}
        for swap in self.maxvol.swaps:
            if swap.entered:
                key = swap.entered[0]
                grades[key] = max(swap.grade, grades.get(key, 0.0))
        return grades

    def _marked(self, key: int) -> Configuration:
        equations = sorted(label[1] for label in self.maxvol.labels if label and label[0] == key)
        source = self.sources[key]
        marks = {"selected_eqn_inds": ",".join(map(str, equations))}
        return replace(source, features=source.features | marks)

    def _rows_per_batch(self, size: int) -> int:
        return max(1, size // (8 * self.potential.parameter_count))

    def _equations(
        self, batch: list[Configuration], near: Neighbours
    ) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """Rows of the energies (C, n) and of the site energies (N, n), None where not selected by.

        A ghost has no equation: its row is zero.
        """
        sites, energies = self.engine.site_rows(near), None
        if near.ghosts is not None:
            sites[near.ghosts] = 0.0
        if not np.isfinite(sites).all():
            raise MTPError("a configuration has no finite energy; atoms on top of each other?")
        if self.weights.energy:
            sizes = np.array([_real_atoms(c) for c in batch]) ** (self.weights.scaling / 2)
            energies = np.add.reduceat(sites, near.atom_begin[:-1])
            energies *= (self.weights.energy / sizes)[:, None]
        if not self.weights.site:
            return energies, None
        if self.weights.site != 1.0:
            sites *= self.weights.site
        return energies, sites

    def _rows(
        self, batch: list[Configuration], keys: range, near: Neighbours
    ) -> tuple[NDArray[np.float64], list[RowLabel]]:
        """Rows of the equations of a batch, with the numbers MLIP-3 gives these equations.

        What weighs less in a fit informs it less: times the root of its `Feature weight`.
        """
        energies, sites = self._equations(batch, near)
        roots = np.sqrt([configuration_weight(c) for c in batch])
        if energies is not None:
            energies *= roots[:, None]
        if sites is not None:
            sites *= np.repeat(roots, [len(c) for c in batch])[:, None]
        labels = [] if energies is None else [(key, 0) for key in keys]
        if sites is None:
            return energies, labels
        for key, configuration in zip(keys, batch, strict=True):
            first = 10 + 3 * _real_atoms(configuration)
            labels += [(key, first + atom) for atom in range(len(configuration))]
        if energies is not None:
            sites = np.vstack([energies, sites])
        return sites, labels


def _real_atoms(configuration: Configuration) -> int:
    """Atoms that have an energy of their own: all but ghosts."""
    ghosts = configuration.ghosts
    return len(configuration) - (0 if ghosts is None else int(ghosts.sum()))


def _batches(items: Iterable[Configuration], rows: int) -> Iterator[list[Configuration]]:
    """Consecutive configurations with about `rows` atoms together, at least one."""
    batch, count = [], 0
    for item in items:
        if batch and count + len(item) > rows:
            yield batch
            batch, count = [], 0
        batch.append(item)
        count += len(item)
    if batch:
        yield batch
