"""Verbs about a fit without making one: calculate_loss, extract_problem, add_species."""

from pathlib import Path

import numpy as np

from mtp.arguments import Arguments, Option, Verb
from mtp.atomic import atomic_open
from mtp.commands.train import REFUSED, WEIGHT_OPTIONS, loss_weights
from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.errors import MTPError
from mtp.formats.almtp import read_potential, write_potential
from mtp.formats.cfg import read_cfg
from mtp.repulsion import without_core
from mtp.training.fit import check_labels
from mtp.training.loss import labels_of
from mtp.training.starting_point import with_species

SMALLEST_DIAGONAL = 1e-10


def _problem(arguments: Arguments) -> tuple[Engine, list[Configuration]]:
    potential = read_potential(arguments["potential"])
    if not potential.trained:
        raise MTPError(f"{arguments['potential']}: is untrained: it has no loss; train it first")
    training = read_cfg(arguments["train_set"])
    check_labels(training, arguments["train_set"])
    return Engine(potential), without_core(potential.core, training)


def calculate_loss(arguments: Arguments) -> int:
    """Print the sum of the loss over a training set, without its penalty, as MLIP-3 does."""
    engine, training = _problem(arguments)
    labels = labels_of(training, loss_weights(arguments))
    value = engine.loss(engine.neighbours(training), *labels).value
    print(f"Training Loss: {value:.6f}")
    print(f"Loss per configuration: {value / len(training):.10g}")
    return 0


def extract_problem(arguments: Arguments) -> int:
    """Write the normal equations of the linear coefficients as raw doubles, as MLIP-3 does.

    The matrix X^T W X by rows and the vector X^T W y, both in the order of species_coeffs, then
    moment_coeffs; MLIP adds 1e-10 max(1, diagonal) to the diagonal, and so does this.
    """
    engine, training = _problem(arguments)
    labels = labels_of(training, loss_weights(arguments))
    system = engine.linear_system(engine.neighbours(training), *labels)
    matrix = system.matrix.copy()
    diagonal = np.diag_indices_from(matrix)
    matrix[diagonal] += SMALLEST_DIAGONAL * np.maximum(1.0, matrix[diagonal])
    for name, values in (("matrix", matrix), ("vector", system.vector)):
        with atomic_open(arguments[name], "wb") as stream:
            stream.write(np.ascontiguousarray(values, "<f8").tobytes())
        print(f"{name} of {' x '.join(map(str, values.shape))} doubles in {arguments[name]}")
    print("Extraction Complete!")
    return 0


def add_species(arguments: Arguments) -> int:
    """Give a potential more species; those it has keep their coefficients and energies exactly."""
    potential = read_potential(arguments["potential"])
    target = arguments["save_to"] or (arguments["potential"] if arguments["overwrite"] else "")
    if not target:
        raise MTPError("mlp add_species: name the result by --save_to=FILE, or --overwrite")
    words = arguments["species"].split(",")
    if bad := [word for word in words if not (word.isdecimal() and len(word) < 4)]:
        raise MTPError(f"mlp add_species: {bad[0]!r:.20} is no type; types are 0, 1, 2, ...")
    present = {int(word) for word in words}
    if potential.trained:
        present |= set(range(potential.species_count))
    extended = with_species(potential, present, np.random.default_rng(arguments["seed"]))
    write_potential(Path(target), extended)
    print(f"{extended.species_count} species in {target}")
    return 0


LOSS_OPTIONS = (*WEIGHT_OPTIONS, Option("log", "accepted: the result is one line."))
VERBS = (
    Verb(
        "calculate_loss",
        "the loss of a potential over a training set, not divided by its size",
        calculate_loss,
        (("potential", "train_set"),),
        LOSS_OPTIONS,
        refused=REFUSED,
    ),
    Verb(
        "extract_problem",
        "write the normal equations of the linear coefficients",
        extract_problem,
        (("potential", "train_set", "matrix", "vector"),),
        LOSS_OPTIONS,
        refused=REFUSED,
    ),
    Verb(
        "add_species",
        "add species to a potential",
        add_species,
        (("potential", "species..."),),
        (
            Option("save_to", "file for the result."),
            Option("overwrite", "write over the input potential.", bool, False),
            Option("random_parameters", "accepted: see mlp train.", bool, True),
            Option("seed", "of the scatter of the new functions.", int, 0, minimum=0),
        ),
        ("set_species",),
    ),
)
