"""Small potentials and configurations that the tests make themselves."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtp.cli import main
from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.potential import Potential, untrained

SPECIES = ["Li", "C", "O"]
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "mtp"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no shared interoperability data")


def potential(level: int = 6, species: int = 3, seed: int = 0, max_dist: float = 4.0) -> Potential:
    """A smooth potential with random coefficients."""
    rng = np.random.default_rng(seed)
    template = untrained(level, species, 1.2, max_dist, 5)
    count = template.parameter_count
    template = replace(template, scaling=0.05)
    return template.with_parameters(rng.normal(size=count) * 0.3)


def configuration(
    seed: int = 0, atoms: int = 8, species: int = 3, pbc: tuple[bool, bool, bool] = (True,) * 3
) -> Configuration:
    """Atoms of all species on a rattled grid of 2.2 angstrom in a slightly skewed cell."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(atoms ** (1 / 3)))
    grid = np.array([(i, j, k) for i in range(side) for j in range(side) for k in range(side)])
    cell = np.eye(3) * side * 2.2 + rng.uniform(-0.2, 0.2, (3, 3))
    positions = (grid[:atoms] / side) @ cell + rng.normal(0, 0.15, (atoms, 3))
    types = rng.permutation(np.arange(atoms) % species)
    periodic = np.array(pbc)
    return Configuration(np.where(periodic[:, None], cell, 0.0), types, positions, pbc=periodic)


def labelled(configurations: list[Configuration], teacher: Potential) -> list[Configuration]:
    """The same with energies, forces and virials of another potential."""
    found = Engine(teacher).evaluate(configurations)
    return [
        replace(c, energy=e.energy, forces=e.forces, virial=e.virial)
        for c, e in zip(configurations, found, strict=True)
    ]


def training_set(count: int = 12, seed: int = 0, teacher: Potential | None = None) -> list:
    """Labelled periodic configurations."""
    structures = [configuration(seed + k, atoms=6 + k % 4) for k in range(count)]
    return labelled(structures, teacher or potential(seed=1))


def shared(name: str, folder: Path) -> Path:
    """A file of the shared data, unpacked into `folder`."""
    source, target = SHARED / f"{name}.gz", folder / name
    if not source.exists():
        return SHARED / name
    target.write_bytes(gzip.decompress(source.read_bytes()))
    return target


def refused(capsys, *words, says):
    """`mlp` ends with one line that says so."""
    assert main(list(words)) == 1
    error = capsys.readouterr().err
    assert says in error, error
    assert error.count("\n") == 1
