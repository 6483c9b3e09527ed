"""The training loss over all ranks: every rank holds its share of the data, rank 0 optimises."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from mtp.configuration import Configuration
from mtp.engine import Engine, Labels, Weights
from mtp.errors import MTPError
from mtp.neighbours import MOST_SPECIES, Neighbours, neighbours
from mtp.parallel import Ranks, balanced_shares, one_blas_thread
from mtp.potential import Potential
from mtp.training.loss import LossWeights, Penalty, labels_of
from mtp.training.mean_stress import AXES, MEAN_FEATURE, MeanStresses, add_sums
from mtp.training.normal_equations import conditioned
from mtp.training.starting_point import balanced_scaling

ROWS_PER_PARAMETER = 12
MOST_BATCHES = 8
EPSILON = float(np.finfo(float).eps)

Labelled = tuple[Neighbours, Labels, Weights]


@dataclass(frozen=True)
class Assignment:
    """What one rank gets: its configurations in batches, its part of the validation set."""

    potential: Potential
    batches: list[list[Configuration]]
    validation: list[Configuration]
    weights: LossWeights


class Share:
    """The part of the sums that one rank computes; every method returns a flat array."""

    def __init__(self, assignment: Assignment) -> None:
        self.potential = assignment.potential
        self.engine = Engine(assignment.potential)
        cutoff = assignment.potential.max_dist

        def labelled(configurations: list[Configuration]) -> Labelled:
            labels = labels_of(configurations, assignment.weights)
            return neighbours(configurations, cutoff), *labels

        self.batches = [labelled(batch) if batch else None for batch in assignment.batches]
        self.validation = labelled(assignment.validation) if assignment.validation else None
        self.places = [
            [(c.features.get(MEAN_FEATURE, ""), abs(float(np.linalg.det(c.cell)))) for c in batch]
            for batch in assignment.batches
        ]

    def take(self, potential: Potential) -> NDArray[np.float64]:
        """Go on with another potential of the same basis and cutoff (its scaling has changed).

        Parameters
        ----------
        potential : coefficients included

        Returns
        -------
        (1,), zero: every method returns something to add up
        """
        self.potential, self.engine = potential, Engine(potential)
        return np.zeros(1)

    def loss_and_gradient(self, x: NDArray[np.float64], chosen: range) -> NDArray[np.float64]:
        """Loss and gradient of this rank's part of some batches.

        Parameters
        ----------
        x : (n,) coefficients
        chosen : numbers of the batches

        Returns
        -------
        (1 + n,): summed loss, then its gradient
        """
        self.engine.update(x)
        total = np.zeros(1 + len(x))
        for batch in filter(None, (self.batches[number] for number in chosen)):
            loss = self.engine.loss_and_gradient(*batch)
            total[0] += loss.value
            total[1:] += loss.gradient
        return total

    def linear_system(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Normal equations of this rank's data for the m linear coefficients.

        Parameters
        ----------
        x : (n,) coefficients, of which the radial ones stay

        Returns
        -------
        (m * m + m,): summed matrix, row by row, and right-hand side
        """
        self.engine.update(x)
        size = len(x) - self.potential.slices.species.start
        total = np.zeros(size * size + size)
        for batch in filter(None, self.batches):
            system = self.engine.linear_system(*batch)
            total += np.concatenate([system.matrix.ravel(), system.vector])
        return total

    def mean_stresses(self, x: NDArray[np.float64], names: list[str]) -> NDArray[np.float64]:
        """What the mean stresses of this rank's data are made of, see `mean_stress.add_sums`.

        Parameters
        ----------
        x : (n,) coefficients, of which the radial ones count
        names : G groups

        Returns
        -------
        (G, 3, m + 3)
        """
        self.engine.update(x)
        number = {name: i for i, name in enumerate(names)}
        total = np.zeros((len(names), AXES, len(x) - self.potential.slices.species.start + 3))
        for batch, places in zip(self.batches, self.places, strict=True):
            if batch:
                groups = np.array([number.get(name, -1) for name, _ in places])
                volumes = np.array([volume for _, volume in places])
                add_sums(total, self.engine, batch, groups, volumes)
        return total

    def gauss_newton(self, x: NDArray[np.float64], number: int) -> NDArray[np.float64]:
        """Gauss-Newton matrix of this rank's part of a batch.

        Parameters
        ----------
        x : (n,) coefficients
        number : of the batch

        Returns
        -------
        (n * n,): summed matrix, row by row
        """
        self.engine.update(x)
        batch = self.batches[number]
        return self.engine.gauss_newton(*batch).matrix.ravel() if batch else np.zeros(len(x) ** 2)

    def loss(self, x: NDArray[np.float64], chosen: range) -> NDArray[np.float64]:
        """Loss of this rank's part of some batches.

        Parameters
        ----------
        x : (n,) coefficients
        chosen : numbers of the batches

        Returns
        -------
        (1,): summed loss
        """
        self.engine.update(x)
        batches = filter(None, (self.batches[number] for number in chosen))
        return np.array([sum(self.engine.loss(*batch).value for batch in batches)], float)

    def validate(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Loss of this rank's part of the validation set, without penalty.

        Parameters
        ----------
        x : (n,) coefficients

        Returns
        -------
        (1,): summed loss
        """
        self.engine.update(x)
        return np.array([self.engine.loss(*self.validation).value if self.validation else 0.0])


class Objective:
    """`optimisers.Problem` on rank 0: loss per configuration, summed over ranks, and penalty.

    With `hold_atoms` the energies of lone atoms, the species coefficients, stay as they are.
    """

    def __init__(
        self,
        ranks: Ranks,
        potential: Potential,
        training: Sequence[Configuration],
        validation: Sequence[Configuration],
        weights: LossWeights,
        loads: Sequence[int],
        *,
        hold_atoms: bool = False,
    ) -> None:
        rows = sum(1 + 3 * len(c) + 6 for c in training)
        wanted = rows // (ROWS_PER_PARAMETER * potential.parameter_count)
        count = int(np.clip(wanted, 1, min(MOST_BATCHES, len(training))))
        batch_of = _batches(training, count)
        shares = balanced_shares(loads, ranks.size, batch_of)
        parts = [list(validation[rank :: ranks.size]) for rank in range(ranks.size)]
        assignments = [
            Assignment(
                potential,
                [[training[i] for i in share if batch_of[i] == batch] for batch in range(count)],
                part,
                weights,
            )
            for share, part in zip(shares, parts, strict=True)
        ]
        self.ranks, self.potential = ranks, potential
        self.batch_sizes, self.validation_size = np.bincount(batch_of), len(validation)
        self.use(count)
        self.penalty = Penalty(
            potential.radial_shape, weights.penalty_weight, weights.regularisation
        )
        self.linear_start = potential.slices.species.start
        self.held = potential.slices.species if hold_atoms else slice(0)
        self.groups = sorted({c.features.get(MEAN_FEATURE, "") for c in training} - {""})
        self.share = Share(ranks.scatter(assignments))

    def use(self, batches: int) -> None:
        """Go on with the first `batches` of the data; 0: all of them."""
        self.batches = batches or len(self.batch_sizes)

    def value_and_gradient(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Loss per configuration in use plus penalty.

        Parameters
        ----------
        x : (n,) coefficients

        Returns
        -------
        value and gradient (n,)
        """
        chosen = range(self.batches)
        total = self._sum("loss_and_gradient", x, chosen) / self.batch_sizes[chosen].sum()
        penalty, gradient = self.penalty.value_and_gradient(x)
        gradient += total[1:]
        gradient[self.held] = 0.0
        return float(total[0]) + penalty, gradient

    def curvature(self, x: NDArray[np.float64], batch: int) -> NDArray[np.float64]:
        """Gauss-Newton matrix from a part of the data.

        A batch has at least 12 residuals per coefficient, often enough for a good preconditioner
        at a fraction of the cost; the gradient always comes from all data.

        Parameters
        ----------
        x : (n,) coefficients
        batch : number of one in use

        Returns
        -------
        (n, n), penalty included
        """
        matrix = self._sum("gauss_newton", x, batch).reshape(len(x), len(x))
        matrix = 2.0 / self.batch_sizes[batch] * matrix + self.penalty.curvature(x)
        matrix[self.held] = matrix[:, self.held] = 0.0
        matrix[self.held, self.held] = np.eye(self.held.stop - (self.held.start or 0))
        return matrix

    def unseen_loss(self, x: NDArray[np.float64]) -> float:
        """Loss of as many batches again as are in use.

        Parameters
        ----------
        x : (n,) coefficients

        Returns
        -------
        loss per configuration, without penalty
        """
        chosen = range(self.batches, min(2 * self.batches, len(self.batch_sizes)))
        return float(self._sum("loss", x, chosen)[0]) / self.batch_sizes[chosen].sum()

    def solve_linear(
        self, x: NDArray[np.float64], free: slice = slice(None)
    ) -> NDArray[np.float64]:
        """Put species and moment coefficients at their exact minimum, the radial ones as they are.

        Parameters
        ----------
        x : (n,) coefficients
        free : which of the linear coefficients may move, counted from the first of them; none that
            is held does

        Returns
        -------
        x (n,) with these changed

        Raises
        ------
        MTPError
            The loss is not finite.
        """
        matrix, vector = self._linear_system(x)
        fixed = x[self.linear_start :].copy()
        free = np.arange(len(fixed))[free]
        free = free[free >= self.held.stop - self.linear_start]
        fixed[free] = 0.0
        matrix, vector = matrix[np.ix_(free, free)], (vector - matrix @ fixed)[free]
        scale, damped = conditioned(matrix)
        fixed[free] = scale * np.linalg.lstsq(damped, scale * vector, rcond=EPSILON)[0]
        return np.concatenate([x[: self.linear_start], fixed])

    def mean_stresses(self, x: NDArray[np.float64]) -> MeanStresses:
        """The mean stresses of the configurations whose `Feature mean_stress` is the same.

        Parameters
        ----------
        x : (n,) coefficients

        Returns
        -------
        of the groups that are large enough, with `errors` at any linear coefficients
        """
        return MeanStresses(self._sum("mean_stresses", x, self.groups))

    def with_mean_stresses(
        self, x: NDArray[np.float64], means: MeanStresses, share: float
    ) -> NDArray[np.float64]:
        """Move the linear coefficients towards the mean stresses of the labels.

        Parameters
        ----------
        x : (n,) coefficients, at the minimum of the loss or near
        means : at these radial coefficients
        share : of the loss, by which it may rise

        Returns
        -------
        x (n,) with the linear coefficients changed, those of held species excepted

        Raises
        ------
        MTPError
            The loss is not finite.
        """
        matrix, _ = self._linear_system(x)
        price = share * self.batch_sizes.sum() * self.value_and_gradient(x)[0]
        ridge = self.batch_sizes.sum() * self.penalty.regularisation
        held = max(0, self.held.stop - self.linear_start)
        linear = x[self.linear_start :]
        step = means.step(linear, matrix + ridge * np.eye(len(linear)), price, held)
        return np.concatenate([x[: self.linear_start], linear + step])

    def rescale(self) -> Potential:
        """Give the potential the scaling at which basis functions of all degrees weigh alike.

        Returns
        -------
        the potential with this scaling, which every rank now has

        Raises
        ------
        MTPError
            The loss is not finite.
        """
        matrix, _ = self._linear_system(self.potential.parameters)
        diagonal = np.diag(matrix)[self.potential.species_count :]
        return self.take_scaling(balanced_scaling(self.potential, diagonal))

    def take_scaling(self, scaling: float) -> Potential:
        """Give the potential another scaling, on every rank.

        Parameters
        ----------
        scaling : factor of all radial functions

        Returns
        -------
        the potential with this scaling
        """
        return self.take(replace(self.potential, scaling=scaling))

    def take(self, potential: Potential) -> Potential:
        """Go on with another potential of the same basis and cutoff, on every rank.

        Parameters
        ----------
        potential : coefficients included

        Returns
        -------
        the same
        """
        self.potential = potential
        self._sum("take", potential)
        return potential

    def validation_loss(self, x: NDArray[np.float64]) -> float:
        """Loss of the validation set.

        Parameters
        ----------
        x : (n,) coefficients

        Returns
        -------
        loss per configuration, without penalty
        """
        return float(self._sum("validate", x)[0]) / self.validation_size

    def close(self) -> None:
        """End this fit on the other ranks."""
        self.ranks.broadcast(None)

    def _linear_system(
        self, x: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        size = len(x) - self.linear_start
        total = self._sum("linear_system", x)
        if not np.isfinite(total).all():
            raise MTPError("the training loss is not finite: check the labels and their weights")
        return total[: size * size].reshape(size, size), total[size * size :]

    def _sum(self, operation: str, *arguments: object) -> NDArray[np.float64]:
        self.ranks.broadcast((operation, arguments))
        return self.ranks.sum(getattr(self.share, operation)(*arguments))


def _batches(training: Sequence[Configuration], count: int) -> NDArray[np.int64]:
    """Batch of each configuration, at random; the first batch holds every species if it can.

    A part of the data without a species would let its coefficients go anywhere.
    """
    batch_of = np.random.default_rng(len(training)).permutation(len(training)) % count
    for species in set(chain.from_iterable(set(c.types.tolist()) for c in training)):
        holders = np.array([i for i, c in enumerate(training) if species in c.types])
        movable = holders[np.bincount(batch_of)[batch_of[holders]] > 1]
        if len(movable) and not (batch_of[holders] == 0).any():
            batch_of[movable[0]] = 0
    return batch_of


@one_blas_thread
def serve(ranks: Ranks) -> None:
    """What every rank but the first does: compute its share of what rank 0 asks for, fit by fit."""
    while (assignment := ranks.scatter(None)) is not None:
        share = Share(assignment)
        while (command := ranks.broadcast(None)) is not None:
            operation, arguments = command
            ranks.sum(getattr(share, operation)(*arguments))


def release(ranks: Ranks) -> None:
    """Let the ranks that `serve` go: rank 0 has no further fit."""
    ranks.scatter([None] * ranks.size)


def survey(
    configurations: Sequence[Configuration], cutoff: float, species: int = MOST_SPECIES
) -> tuple[list[int], float]:
    """What a training must know of its configurations before it divides them.

    Parameters
    ----------
    cutoff : Å

    Returns
    -------
    neighbours plus atoms of each configuration, the measure of its work; the shortest distance (Å),
    infinite where no two atoms are within the cutoff

    Raises
    ------
    MTPError
        A configuration has no meaning, see `mtp.neighbours.neighbours`.
    """
    loads, shortest = [], np.inf
    for number, configuration in enumerate(configurations, 1):
        vectors, _ = neighbours([configuration], cutoff, species, number).kernel.pairs()
        loads.append(len(vectors) + len(configuration))
        if len(vectors):
            shortest = min(shortest, float(np.min(np.sum(vectors**2, axis=1)) ** 0.5))
    return loads, shortest
