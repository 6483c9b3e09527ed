"""Verbs that evaluate a potential: check_errors, calculate_efs, mindist."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO

import numpy as np

from mtp.arguments import Arguments, Option, Verb
from mtp.atomic import atomic_open
from mtp.configuration import Configuration
from mtp.engine import Engine, Evaluation
from mtp.error_report import ErrorReport
from mtp.errors import MTPError
from mtp.formats.almtp import read_potential
from mtp.formats.cfg import iterate_cfg, write_cfg
from mtp.geometry import minimal_distances

BATCH_ATOMS = 4096


@contextmanager
def log_stream(name: str | None) -> Iterator[IO[str] | None]:
    """The stream a `--log` option names: stdout, stderr, a file, or None for "none"."""
    if name in {None, "", "none"}:
        yield None
    elif name in {"stdout", "stderr"}:
        yield getattr(sys, name)
    else:
        with atomic_open(name) as stream:
            yield stream


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Errors in the block name the file."""
    try:
        yield
    except MTPError as error:
        text = str(error)
        raise MTPError(text if text.startswith(path) else f"{path}: {text}") from None


def evaluated(engine: Engine, path: str) -> Iterator[tuple[int, Configuration, Evaluation]]:
    """Evaluate every configuration of a .cfg file, in batches.

    Parameters
    ----------
    engine : the potential
    path : the .cfg file

    Yields
    ------
    number from 0, configuration as in the file (Å, eV), evaluation (eV, eV/Å)

    Raises
    ------
    MTPError
        The file cannot be read, is malformed or empty, or a configuration cannot be evaluated.
    """
    source, first = iterate_cfg(path), 0
    while batch := _batch(source):
        with naming(path):
            evaluations = engine.evaluate(batch, first + 1)
        for offset, pair in enumerate(zip(batch, evaluations, strict=True)):
            yield first + offset, *pair
        first += len(batch)
    if not first:
        raise MTPError(f"{path}: holds no configuration")


def _batch(source: Iterator[Configuration]) -> list[Configuration]:
    batch, atoms = [], 0
    for configuration in source:
        batch.append(configuration)
        atoms += len(configuration)
        if atoms >= BATCH_ATOMS:
            break
    return batch


def check_errors(arguments: Arguments) -> int:
    """Compare a potential with labels; the report is MLIP-3's."""
    engine, report = Engine(read_potential(arguments["potential"])), ErrorReport()
    with log_stream(arguments["log"]) as log:
        for number, labelled, evaluation in evaluated(engine, arguments["database"]):
            largest = report.add(labelled, evaluation)
            if log:
                words = "\t".join(f"{name} {value:.6g}" for name, value in largest.items())
                print(f"cfg# {number}\t{words}", file=log)
    if not any(errors.count for errors in report.errors().values()):
        raise MTPError(f"{arguments['database']}: has no energy, force or stress to compare with")
    with log_stream(arguments["report_to"]) as stream:
        if stream:
            stream.write(report.text())
    return 0


def mark_of(engine: Engine) -> dict[str, str]:
    """The feature by which MLIP-3 says which potential calculated a configuration."""
    return {"EFS_by": f"MultiMTP{len(engine.potential.alpha_moment_mapping) + 1}"}


def calculate_efs(arguments: Arguments) -> int:
    """Write energies, forces and stresses; into another file, or over the input when told so."""
    output = arguments.files.get("output") or arguments["output_filename"]
    if not output:
        raise MTPError(
            "mlp calculate_efs: name the result by --output_filename=FILE "
            "(the input's own name there overwrites the input)"
        )
    engine = Engine(read_potential(arguments["potential"]))
    mark = mark_of(engine)
    count = write_cfg(
        output,
        (
            replace(
                configuration,
                energy=evaluation.energy,
                forces=evaluation.forces,
                virial=evaluation.virial if np.all(configuration.pbc) else None,
                site_energies=evaluation.site_energies if arguments["site_energies"] else None,
                features=configuration.features | mark,
            )
            for _, configuration, evaluation in evaluated(engine, arguments["structures"])
        ),
    )
    print(f"EFS calculation complete: {count} configurations in {output}")
    return 0


def mindist(arguments: Arguments) -> int:
    """Print the smallest distance overall, and of every pair of types."""
    smallest: dict[tuple[int, int], float] = {}
    marked = []
    for configuration in iterate_cfg(arguments["structures"]):
        distances = minimal_distances(configuration)
        for pair, distance in distances.items():
            smallest[pair] = min(distance, smallest.get(pair, np.inf))
        if arguments["output_filename"]:
            marked.append(_with_mindists(configuration, distances))
    if not smallest:
        raise MTPError(f"{arguments['structures']}: holds no two atoms")
    if not arguments["no_types"]:
        for (first, second), distance in sorted(smallest.items()):
            print(f"mindist({first}, {second}) = {distance:g}")
    print(f"Global mindist: {min(smallest.values()):g}")
    if arguments["output_filename"]:
        write_cfg(arguments["output_filename"], marked)
    return 0


def _with_mindists(
    configuration: Configuration, distances: dict[tuple[int, int], float]
) -> Configuration:
    words = ",".join(f"({i},{j}):{distance:g}" for (i, j), distance in sorted(distances.items()))
    return replace(configuration, features=configuration.features | {"mindists": words})


VERBS = (
    Verb(
        "check_errors",
        "compare a potential with labelled configurations",
        check_errors,
        (("potential", "database"),),
        (
            Option("report_to", "where the report goes: stdout or a file.", default="stdout"),
            Option("log", "largest differences of each configuration: stdout or a file."),
        ),
        ("calc_errors",),
    ),
    Verb(
        "calculate_efs",
        "calculate energies, forces and stresses",
        calculate_efs,
        (("potential", "structures"), ("potential", "structures", "output")),
        (
            Option("output_filename", "file for the result; may be the input's own name."),
            Option("site_energies", "write the energy of each atom too.", bool, False),
        ),
        ("calc_efs",),
    ),
    Verb(
        "mindist",
        "smallest interatomic distances",
        mindist,
        (("structures",),),
        (
            Option("no_types", "print the global value only.", bool, False),
            Option("no_overwrite", "accepted; the input is never overwritten.", bool, True),
            Option("output_filename", "write the configurations with a mindists feature here."),
        ),
    ),
)
