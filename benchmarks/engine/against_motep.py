"""CPU time per atom of this engine and of motep's C engine, interleaved in one run on one core.

    python benchmarks/engine/against_motep.py [--cfg train.cfg.gz] [--levels 8 12 16 20]

Same potentials (random coefficients), same configurations, neighbours cached in both. The default
data are the Li-C-O-H cells of ../shared/data/mtp; any .cfg file with energies and forces will do.
The limit of the machine is what dgemm reaches in the same run.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import gzip
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from motep.io.mlip.mtp import read_mtp
from motep.loss import LossFunction, LossSetting
from motep.potentials.mtp.cext.engine import CExtMTPEngine

from mtp.engine import Engine, Labels, Weights
from mtp.formats.almtp import write_potential
from mtp.formats.cfg import read_cfg
from mtp.neighbours import neighbours
from mtp.potential import Potential, untrained

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

    from mtp.configuration import Configuration

SHARED = Path(__file__).parents[3] / "shared/data/mtp/train.cfg.gz"
SPECIES = ["Li", "C", "O", "H"]
CONFIGURATIONS = {8: 10, 12: 6, 16: 4, 20: 2}
TARGET = {8: (8, 80), 12: (9, 150), 16: (10, 300), 20: (10, 900)}
ROUNDS = 5


def main() -> None:
    """Print one line per level."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cfg", type=Path, default=SHARED)
    parser.add_argument("--levels", type=int, nargs="+", default=list(CONFIGURATIONS))
    arguments = parser.parse_args()
    configurations = read(arguments.cfg)
    limit = dgemm_rate()
    print(f"dgemm on this core: {limit / 1e9:.1f} Gflop/s; microseconds of CPU per atom")
    print("level  EFS  motep  ratio goal  limit | gradient  motep  ratio goal  limit | neighbours")
    for level in arguments.levels:
        print(line(level, configurations[: CONFIGURATIONS.get(level, 4)], limit), flush=True)


def read(path: Path) -> list[Configuration]:
    """Configurations of a plain or gzipped file."""
    if path.suffix != ".gz":
        return read_cfg(path)
    with tempfile.NamedTemporaryFile(suffix=".cfg") as file:
        file.write(gzip.decompress(path.read_bytes()))
        file.flush()
        return read_cfg(file.name)


def dgemm_rate() -> float:
    """Floating-point operations per second of a matrix product that stays in the caches."""
    a = np.random.default_rng(0).normal(size=(768, 768))
    return 2 * 768**3 / best([lambda: a @ a], 10)[0]


def best(functions: list[Callable[[], object]], rounds: int) -> list[float]:
    """Smallest CPU seconds of each function, called in turn."""
    times = np.full((rounds, len(functions)), np.inf)
    for round_number in range(rounds):
        for number, function in enumerate(functions):
            start = time.process_time()
            function()
            times[round_number, number] = time.process_time() - start
    return times.min(axis=0).tolist()


def line(level: int, configurations: list[Configuration], limit: float) -> str:
    """One line of the table: times, ratios, goals and shares of the machine's limit."""
    potential = random_potential(level)
    engine = Engine(potential)
    near = neighbours(configurations, potential.max_dist)
    targets, weights = data(configurations)
    motep_efs, motep_gradient = motep_functions(potential, configurations)
    motep_efs(), motep_gradient()
    efs = best([lambda: repeat(lambda: engine.evaluate(near), 20), motep_efs], ROUNDS)
    gradient = best(
        [
            lambda: repeat(lambda: engine.loss_and_gradient(near, targets, weights), 20),
            motep_gradient,
        ],
        ROUNDS if level < 20 else 2,
    )
    listing = best([lambda: repeat(lambda: neighbours(configurations, 5.0), 5)], ROUNDS)[0] / 5
    atoms = near.atom_count
    flops = operations(potential, near.kernel.pair_count / atoms)
    text = f"{level:5d}"
    for (mine, other), count, goal in zip(
        ((efs[0] / 20, efs[1]), (gradient[0] / 20, gradient[1])), flops, TARGET[level], strict=True
    ):
        share = count * atoms / mine / limit
        text += f"{mine / atoms * 1e6:9.2f}{other / atoms * 1e6:9.1f}{other / mine:7.1f}{goal:5d}"
        text += f"{share:7.0%} |"
    return text + f"{listing / atoms * 1e6:7.2f}"


def data(configurations: list[Configuration]) -> tuple[Labels, Weights]:
    """Labels of all configurations, and the weights of MLIP-3."""
    labels = Labels(
        np.array([c.energy for c in configurations]),
        np.concatenate([c.forces for c in configurations]),
        np.array([c.virial for c in configurations]),
    )
    return labels, Weights(*(np.full(len(configurations), w) for w in (1.0, 0.01, 0.001)))


def repeat(function: Callable[[], object], times: int) -> None:
    """Call a short function often enough to be timed."""
    for _ in range(times):
        function()


def random_potential(level: int) -> Potential:
    """Smooth random radial functions, and coefficients that fall with the number of moments."""
    template = untrained(level, 4, 0.7, 5.0, 8)
    rng = np.random.default_rng(level)
    parameters = 0.01 * rng.normal(size=template.parameter_count)
    return template.with_parameters(parameters)


def motep_functions(
    potential: Potential, configurations: list[Configuration]
) -> tuple[Callable[[], object], Callable[[], object]]:
    """EFS of all configurations, and the loss with its gradient, by motep."""
    with tempfile.TemporaryDirectory() as folder:
        write_potential(Path(folder) / "potential.mtp", potential)
        data = read_mtp(Path(folder) / "potential.mtp")
    images = [labelled(c) for c in configurations]
    data.species = [3, 6, 8, 1]
    engines = [(CExtMTPEngine(data), atoms) for atoms in images]
    loss = LossFunction(images, data, LossSetting())
    parameters = data.parameters

    def efs() -> None:
        for engine, atoms in engines:
            engine.calculate(atoms)

    def gradient() -> None:
        for atoms in loss.images:
            atoms.calc.reset()
        loss(parameters)
        loss.jac(parameters)

    return efs, gradient


def labelled(configuration: Configuration) -> Atoms:
    """ASE atoms with the labels motep trains on."""
    atoms = configuration.to_atoms(SPECIES)
    stress = -configuration.virial / atoms.get_volume()
    atoms.calc = SinglePointCalculator(
        atoms, energy=configuration.energy, forces=configuration.forces, stress=stress
    )
    return atoms


def operations(potential: Potential, pairs: float) -> tuple[float, float]:
    """Floating-point operations per atom of EFS and of loss with gradient in this kernel.

    Per neighbour: Chebyshev recurrences, two sums per radial function, one product per monomial,
    then a multiplication and an addition per moment and pass; per product of the graph 3 operations
    forward, 5 backward, and 7 and 12 when both carry a tangent.
    """
    basic, products = potential.alpha_index_basic, len(potential.alpha_index_times)
    functions, size = potential.radial_funcs_count, potential.radial_basis_size
    top = [basic[basic[:, 0] == mu, 1:].sum(axis=1).max() for mu in range(functions)]
    below = sum(d * (d + 1) * (d + 2) // 6 for d in top)
    monomials = (top[0] + 1) * (top[0] + 2) * (top[0] + 3) // 6
    moments = len(basic)
    radial = 20 + 8 * size + 4 * functions * size
    polynomials = 2 * moments + 6 * below
    efs = pairs * (radial + monomials + 2 * moments + polynomials + 8 * functions + 30)
    tangent = radial + monomials + polynomials + 2 * moments + 20 * functions
    projection = 8 * size + 4 * functions * size
    gradient = efs + pairs * (tangent + projection + 40) + products * (7 + 12)
    return efs + 8 * products, gradient + 8 * products


if __name__ == "__main__":
    main()
