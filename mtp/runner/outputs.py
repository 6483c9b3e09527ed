"""Output files of an `mlp`: whole, finite, in order, of the right atoms, or an MlpRunError."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtp.configuration import Configuration
from mtp.errors import MlpRunError, MTPError
from mtp.formats.almtp import read_potential
from mtp.formats.cfg import read_cfg, write_cfg
from mtp.potential import Potential


def stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written anew; None where there is none."""
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None


def ended(log: Path, text: str, why: str) -> str:
    """A failure with the line of the log that says most about it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    last = (errors or lines or ["nothing was printed"])[-1]
    return f"{why}; {log} ends: {last[:200]}"


def check_trained(result: Path, before: Potential, train_set: Path) -> None:
    """Check that an `mlp` has left a potential: whole, finite, and of the species asked for.

    Parameters
    ----------
    result : the file that it wrote
    before : the potential it started from
    train_set : the .cfg it was given, for the error

    Raises
    ------
    MlpRunError
        silent, diverged, truncated or species.
    """
    try:
        after = read_potential(result)
    except MTPError as error:
        raise MlpRunError(_kind_of(error), str(error)) from None
    if not after.trained:
        raise MlpRunError("silent", f"{result.name} was not trained; its coefficients are missing")
    if not np.isfinite(after.parameters).all():
        raise MlpRunError("diverged", f"{result.name} holds coefficients that are not finite")
    if after.species_count != before.species_count:
        raise MlpRunError(
            "species",
            f"the result has {after.species_count} species, {before.species_count} were asked for; "
            f"{train_set} lacks one: add a configuration with it",
        )


def _kind_of(error: MTPError) -> str:
    words = set(re.findall(r"[a-z]+", str(error).lower()))
    return "diverged" if words & {"nan", "inf", "finite", "infinity"} else "truncated"


def read_output(path: Path, log: Path) -> list[Configuration]:
    """Read configurations that an `mlp` wrote.

    Parameters
    ----------
    path : the .cfg
    log : what it printed, for the error

    Returns
    -------
    configurations, Å and eV

    Raises
    ------
    MlpRunError
        They are cut off, or not finite.
    """
    try:
        return read_cfg(path)
    except MTPError as error:
        raise MlpRunError(_kind_of(error), f"{error} (see {log})") from None


def joined(path: Path, log: Path, text: str) -> list[Configuration]:
    """Read one output of an `mlp`; that of P ranks lies in pieces, number k in piece k % P.

    Parameters
    ----------
    path : the output, PATH.0, PATH.1, ... where it lies in pieces
    log, text : file and content of what the `mlp` printed, for the error

    Returns
    -------
    configurations in the order of the input, Å and eV

    Raises
    ------
    MlpRunError
        Nothing was written, it is cut off, or the pieces do not fit together.
    """
    pieces = {p.suffix[1:]: p for p in path.parent.glob(f"{path.name}.*") if p.suffix[1:].isdigit()}
    if not pieces:
        if not path.exists():
            raise MlpRunError("silent", ended(log, text, "no output was written"))
        return read_output(path, log)
    ranks = [read_output(pieces[str(r)], log) for r in range(len(pieces)) if str(r) in pieces]
    total, size = sum(map(len, ranks)), len(ranks)
    expected = [len(range(rank, total, size)) for rank in range(size)]
    if size != len(pieces) or [len(piece) for piece in ranks] != expected:
        raise MlpRunError("truncated", f"the pieces of {size} ranks do not fit together; see {log}")
    return [ranks[number % size][number // size] for number in range(total)]


def merge(structures: Path, calculated: list[Configuration], output: Path, wanted: str) -> int:
    """Write the structures, at their full precision, with what was calculated for them.

    Parameters
    ----------
    structures : .cfg of what went in
    calculated : what came out, in the same order (eV, eV/Å)
    output : .cfg to write
    wanted : "energy" for energy, forces and virial, "grade" for extrapolation grades

    Returns
    -------
    how many were written

    Raises
    ------
    MlpRunError
        Some are missing, came back with other atoms, or lack what was wanted.
    """
    given = read_cfg(structures)
    if len(calculated) != len(given):
        raise MlpRunError(
            "truncated", f"{len(given)} configurations went in, {len(calculated)} came out"
        )
    merged = []
    for number, (before, after) in enumerate(zip(given, calculated, strict=True)):
        if not np.array_equal(before.types, after.types):
            raise MlpRunError("truncated", f"configuration {number} came back with other atoms")
        if wanted == "energy":
            if after.energy is None or after.forces is None:
                raise MlpRunError("silent", f"configuration {number} has no energy or forces")
            labels = {"energy": after.energy, "forces": after.forces, "virial": after.virial}
            merged.append(replace(before, **labels))
            continue
        if "MV_grade" not in after.features:
            raise MlpRunError("silent", f"configuration {number} has no grade")
        grade = {"MV_grade": after.features["MV_grade"]}
        features = before.features | grade
        merged.append(replace(before, grades=after.grades, features=features))
    return write_cfg(output, merged)
