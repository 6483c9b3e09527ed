"""Pushed molecules: rigid, as near as said and no nearer, by plain ASE; nothing where none are."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.geometry import get_distances

from atomistics.contacts import CLOSEST, pushed


def water_box(count: int = 3, edge: float = 3.1) -> Atoms:
    box = Atoms(cell=[count * edge] * 3, pbc=True)
    generator = np.random.default_rng(0)
    for place in np.ndindex(count, count, count):
        one = molecule("H2O")
        one.rotate(generator.uniform(0, 360), generator.normal(size=3))
        one.translate(edge * np.array(place) - one.positions.mean(axis=0))
        box += one
    return box


def shortest(atoms: Atoms, size: int) -> dict[str, float]:
    """Shortest distance of each pair of elements in different molecules of `size` atoms."""
    _, distances = get_distances(atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    table: dict[str, float] = {}
    for i, j in zip(*np.nonzero(np.triu(np.ones_like(distances))), strict=True):
        if i // size != j // size:
            pair = "".join(sorted((atoms.symbols[i], atoms.symbols[j])))
            table[pair] = min(table.get(pair, np.inf), distances[i, j])
    return table


def test_bodies_keep_their_shape_and_come_ever_nearer():
    box = water_box()
    rest, copies = shortest(box, 3), pushed(box, 3, seed=4)
    assert len(copies) == 3
    for number, copy in enumerate(copies, start=1):
        for first in range(0, len(box), 3):
            for i, j in ((0, 1), (0, 2), (1, 2)):
                pair = first + i, first + j
                assert copy.get_distance(*pair, mic=True) == pytest.approx(
                    box.get_distance(*pair, mic=True)
                )
        part, now = 1 - (1 - CLOSEST) * number / 3, shortest(copy, 3)
        assert all(now[pair] >= part * min(rest[pair], 3.1) - 1e-9 for pair in rest)
        assert min(now[pair] / min(rest[pair], 3.1) for pair in rest) < part + 0.15
    again = pushed(box, 3, seed=4)
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(copies, again, strict=True))


def test_molecules_in_vacuum_are_drawn_together():
    cluster = molecule("CH3OH")
    for shift in ([12, 0, 0], [0, 13, 1]):
        other = molecule("CH3OH")
        other.translate(shift)
        cluster += other
    for copy in pushed(cluster, 3, seed=1):
        now = shortest(copy, 6)
        assert now["HH"] < 3.5 or now["HO"] < 3.0 or now["OO"] < 3.5
        assert min(now.values()) > 1.4


@pytest.mark.parametrize("atoms", [bulk("NaCl", "rocksalt", a=5.6), bulk("Cu"), bulk("C")])
def test_no_molecule_no_push(atoms):
    assert pushed(atoms.repeat(2), 3, seed=1) == []


def test_one_molecule_has_nothing_to_be_pushed_against():
    assert pushed(molecule("C2H6"), 3, seed=1) == []
