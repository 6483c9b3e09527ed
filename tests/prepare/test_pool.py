"""Whose fault a failing builder is: a library's belongs to its structure, ours to us."""

from pathlib import Path

import numpy as np
import pytest

from atomistics.analysis.checks import Asked
from atomistics.builders.solid import build as solid
from preparation import pool

REFERENCE = {
    "method": "gfn1-xtb",
    "options": {},
    "max_force": 1e3,
    "timeout": 60.0,
    "seconds_per_call": 1.0,
}
PARAMETERS = {
    "family": "solid",
    "prototype": "fcc",
    "formula": "Cu",
    "lattice": {"a_angstrom": 3.6},
}


def order(folder: Path) -> pool.Order:
    asked = Asked(PARAMETERS, ["Cu"], 2.0)
    return pool.Order(folder, "x", "", PARAMETERS, 1, REFERENCE, 0, asked)


@pytest.mark.parametrize(
    ("wrong", "failed"),
    [
        ("np.linalg.inv(np.zeros((3, 3)))", True),  # raised inside numpy
        ("np.linalg.inv()", False),  # numpy called wrongly
        ("{}['no such key']", False),  # raised by our own line
    ],
)
def test_a_bug_of_ours_is_never_a_failed_structure(
    tmp_path, monkeypatch, wrong: str, failed: bool
) -> None:
    code = eval(f"lambda *_: {wrong}", {"np": np, "__name__": solid.__name__})
    monkeypatch.setattr(solid, "build", code)
    answer = pool.answer(order(tmp_path))
    assert (answer.get("status") == "failed") == failed
    assert ("Traceback" in answer.get("bug", "")) == (not failed)
    if failed:
        assert answer["failure"].startswith("LinAlgError: Singular matrix")


def test_a_bug_ends_the_build_with_its_traceback(tmp_path, monkeypatch) -> None:
    class Broken:
        def __init__(self, *_: object) -> None: ...

        def ask(self, *_: object) -> dict[str, str]:
            return {"bug": "Traceback (most recent call last): ..."}

        def close(self) -> None: ...

    monkeypatch.setattr(pool, "Child", Broken)
    with pytest.raises(pool.BuilderBugError, match="x: in the builder's process:\nTraceback"):
        list(pool.built([order(tmp_path)], 1, 5.0))
