"""The basis of moment tensor contractions of a level.

A basis function contracts moments M[mu, nu] (radial index mu, tensor rank nu) to a scalar. It is a
multigraph: a vertex per moment, an edge per contracted pair of indices, so vertex i has nu_i edges.
The level of a function is the sum of 2 + 4 mu + nu over its moments (Gubaev et al., Comput. Mater.
Sci. 156, 148, 2019); a basis of a level holds all functions of at most four moments up to it.
Intermediate tensors are the same graphs with some indices left free. The order of functions and of
intermediates is that of the templates distributed with MLIP.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement, permutations, product
from typing import TYPE_CHECKING

import numpy as np

from mtp.errors import MTPError

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_LEVEL = 28
MOST_MOMENTS = 4

Moment = tuple[int, int]  # (mu, nu)
MomentComponent = tuple[
    tuple[int, ...], ...
]  # the free indices (0, 1, 2) of every vertex, ascending


@dataclass(frozen=True, eq=False)
class Basis:
    """Contraction graph in MLIP's index form.

    alpha_index_basic (n, 4): radial index and powers of x, y, z; alpha_index_times (m, 4): rows
    (a, b, c, d) for moment[d] += c moment[a] moment[b]; alpha_moment_mapping (K,): the scalars.
    """

    alpha_moments_count: int
    alpha_index_basic: np.ndarray
    alpha_index_times: np.ndarray
    alpha_moment_mapping: np.ndarray
    radial_funcs_count: int


@dataclass(frozen=True)
class Contraction:
    """Vertices with the number of edges between them (upper triangle, by rows)."""

    moments: tuple[Moment, ...]
    edges: tuple[tuple[int, ...], ...]  # edges[i][j - i - 1] between i < j

    def between(self, i: int, j: int) -> int:
        """Number of edges between two vertices."""
        i, j = min(i, j), max(i, j)
        return 0 if i == j else self.edges[i][j - i - 1]

    @cached_property
    def free(self) -> tuple[int, ...]:
        """Number of indices of each vertex that are not contracted."""
        size = range(len(self.moments))
        return tuple(self.moments[i][1] - sum(self.between(i, j) for j in size) for i in size)

    @cached_property
    def key(self) -> tuple:
        """What the templates are sorted by: radial indices, then rank and edges of each vertex."""
        ranks = (nu for _, nu in self.moments)
        rows = tuple((nu, *row) for nu, row in zip(ranks, self.edges, strict=True))
        return (len(self.moments), tuple(mu for mu, _ in self.moments), rows)

    def take(self, order: tuple[int, ...]) -> Contraction:
        """The graph of the given vertices in the given order."""
        rows = (tuple(self.between(i, j) for j in order[n + 1 :]) for n, i in enumerate(order))
        return Contraction(tuple(self.moments[i] for i in order), tuple(rows))

    @cached_property
    def canonical_order(self) -> tuple[int, ...]:
        """The order of vertices with the smallest key."""
        return min(permutations(range(len(self.moments))), key=lambda order: self.take(order).key)

    def canonical(self) -> Contraction:
        """The same graph with its vertices in canonical order."""
        return self.take(self.canonical_order)

    @property
    def symmetric(self) -> bool:
        """Whether the tensor is the product of a moment with itself."""
        return len(self.moments) == 2 and len(set(self.moments)) == 1

    def components(self) -> Iterator[MomentComponent]:
        """Independent components of the tensor."""
        choices = [tuple(combinations_with_replacement(range(3), n)) for n in self.free]
        for component in product(*choices):
            if not self.symmetric or component[0] <= component[1]:
                yield component

    def split(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Vertices of the two factors: one moment of lowest rank and the rest, or two scalars."""
        size = len(self.moments)
        for j in range(1, size if size == 4 else 1):
            rest = tuple(k for k in range(1, size) if k != j)
            if self.between(0, j) and self.between(*rest) and not self._joined((0, j), rest):
                return tuple(sorted([(0, j), rest], key=lambda part: self.take(part).key))
        edges = [nu - free for (_, nu), free in zip(self.moments, self.free, strict=True)]
        left = 0 if size == 2 else min(range(size), key=lambda i: (edges[i], i))
        return (left,), tuple(i for i in range(size) if i != left)

    def _joined(self, left: tuple[int, ...], right: tuple[int, ...]) -> bool:
        return any(self.between(i, j) for i in left for j in right)


def level_basis(level: int) -> Basis:
    """Basis of a level (even, 2 to 28) with MLIP's functions in MLIP's order.

    Levels 8, 12 and 16 equal the distributed templates number for number. Raises MTPError for a
    level that does not exist.
    """
    if level not in range(2, LARGEST_LEVEL + 1, 2):
        raise MTPError(f"level {level} is not an even number from 2 to {LARGEST_LEVEL}")
    return _Builder(level_scalars(level)).basis()


def level_scalars(level: int) -> list[Contraction]:
    """The functions of a level in MLIP's order; those of a lower level are among them."""
    return sorted(set(_scalars(level)), key=lambda graph: graph.key)


def _scalars(level: int) -> Iterator[Contraction]:
    """All contractions to a scalar, in canonical form; some more than once."""
    moments = [
        (mu, nu)
        for mu in range((level - 2) // 4 + 1)
        for nu in range(level)
        if _cost((mu, nu)) + (_cost((0, nu)) if nu else 0) <= level
    ]
    for count in range(1, MOST_MOMENTS + 1):
        for chosen in combinations_with_replacement(moments, count):
            if sum(map(_cost, chosen)) <= level:
                for edges in _graphs(tuple(nu for _, nu in chosen)):
                    yield Contraction(chosen, edges).canonical()


def _cost(moment: Moment) -> int:
    return 2 + 4 * moment[0] + moment[1]


def _graphs(degrees: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """All multigraphs without loops whose vertices have the given degrees."""
    if len(degrees) == 1:
        if degrees[0] == 0:
            yield ((),)
        return
    for row in product(*(range(min(degrees[0], degree) + 1) for degree in degrees[1:])):
        if sum(row) == degrees[0]:
            rest = tuple(degree - n for degree, n in zip(degrees[1:], row, strict=True))
            yield from ((row, *rows) for rows in _graphs(rest))


class _Builder:
    """Numbers the components of all graphs and writes down the products between them."""

    def __init__(self, scalars: list[Contraction]) -> None:
        self.scalars = scalars
        self.number: dict[Contraction, dict[MomentComponent, int]] = {}
        self.count = 0
        self.basic: list[tuple[int, ...]] = []
        self._number_basic()

    def _number_basic(self) -> None:
        moments = {moment for graph in self.scalars for moment in graph.moments}
        highest = {mu: max(nu for m, nu in moments if m == mu) for mu, _ in sorted(moments)}
        for mu, top in highest.items():
            for nu in range(top + 1):
                graph = Contraction(((mu, nu),), ((),))
                self._number(graph)
                for component in graph.components():
                    self.basic.append((mu, *(component[0].count(axis) for axis in range(3))))

    def _number(self, graph: Contraction) -> None:
        numbers = self.number[graph] = {}
        for component in graph.components():
            numbers[component] = self.count
            if graph.symmetric:
                numbers[component[::-1]] = self.count
            self.count += 1

    def basis(self) -> Basis:
        graphs = self._intermediates()
        for graph in graphs:
            self._number(graph)
        times = [row for graph in graphs for row in self._products(graph)]
        mapping = [self.number[graph][((),) * len(graph.moments)] for graph in self.scalars]
        return Basis(
            alpha_moments_count=self.count,
            alpha_index_basic=np.array(self.basic, np.int32),
            alpha_index_times=np.array(times, np.int32).reshape(-1, 4),
            alpha_moment_mapping=np.array(mapping, np.int32),
            radial_funcs_count=self.basic[-1][0] + 1,
        )

    def _intermediates(self) -> list[Contraction]:
        """Every graph of more than one moment needed; products of two scalars first."""
        contracted: set[Contraction] = set()
        waiting = list(self.scalars)
        while waiting:
            graph = waiting.pop()
            if len(graph.moments) > 1 and graph not in contracted:
                contracted.add(graph)
                waiting.extend(graph.take(part).canonical() for part in graph.split())
        return sorted(contracted, key=lambda g: (len(g.moments), -len(g.split()[0]), g.key))

    def _products(self, graph: Contraction) -> Iterator[tuple[int, int, int, int]]:
        """Rows (a, b, how often, target) of all components, summed over contracted indices."""
        left, right = graph.split()
        factors = [self._numbers_of(graph, part) for part in (left, right)]
        pairs = [(i, j) for i in left for j in right for _ in range(graph.between(i, j))]
        contracted = list(product(range(3), repeat=len(pairs)))
        for component in graph.components():
            terms: Counter[tuple[int, ...]] = Counter()
            for values in contracted:
                indices = [list(free) for free in component]
                for (i, j), value in zip(pairs, values, strict=True):
                    indices[i].append(value)
                    indices[j].append(value)
                legs = [tuple(sorted(index)) for index in indices]
                terms[tuple(n[tuple(legs[i] for i in order)] for n, order in factors)] += 1
            for (a, b), times in sorted(terms.items()):
                yield (a, b, times, self.number[graph][component])

    def _numbers_of(
        self, graph: Contraction, part: tuple[int, ...]
    ) -> tuple[dict[MomentComponent, int], tuple[int, ...]]:
        """Numbers of a factor's components, and the order of vertices of `graph` they go by."""
        factor = graph.take(part)
        order = factor.canonical_order
        return self.number[factor.take(order)], tuple(part[i] for i in order)
