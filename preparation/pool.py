"""One structure after another in processes of their own: a hung or dying builder harms no other."""

import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from ase import Atoms, io
from pydantic import ValidationError

from atomistics.analysis import checks
from atomistics.builders.building import build
from atomistics.builders.families import PARAMETERS
from atomistics.reference.isolated import Child, DiedError
from atomistics.reference.methods import ONE_THREAD, reference_calculator
from atomistics.relaxation import relax
from campaign.config import Reference
from campaign.errors import UserError
from mtp.atomic import atomic_open

SLACK = 30.0  # s, of a child's start
OURS = ("mtp", "atomistics", "campaign", "planner", "preparation")
CALLED_WRONGLY = (
    TypeError,
    AttributeError,
    NameError,
    AssertionError,
    ImportError,
    ValidationError,
)


class BuilderBugError(RuntimeError):
    """A builder of ours is wrong: the traceback of its process, for whoever mends it."""


class Order(NamedTuple):
    """What a child builds."""

    folder: Path
    name: str
    fingerprint: str
    parameters: dict[str, Any]
    seed: int
    reference: dict[str, Any]
    relax_steps: int
    asked: checks.Asked


def built(
    orders: list[Order], workers: int, timeout: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Report entries as they come; `timeout` in s of one structure."""
    children: list[Child] = []

    def one(order: Order) -> dict[str, Any]:
        child = children.pop() if children else Child(answer, ONE_THREAD)
        try:
            return child.ask(order, timeout + SLACK)
        except TimeoutError:
            return {"status": "failed", "failure": f"not built within {timeout:g} s"}
        except DiedError as error:
            return {"status": "failed", "failure": f"builder died: {error}"[:300]}
        finally:
            children.append(child)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        futures = {pool.submit(one, order): order for order in orders}
        try:
            for future in as_completed(futures):
                order, result = futures[future], future.result()
                if bug := result.get("bug"):
                    raise BuilderBugError(f"{order.name}: in the builder's process:\n{bug}")
                mark = {"seed": order.seed, "fingerprint": order.fingerprint}
                yield order.name, {**result, **mark}
        finally:
            for future in futures:
                future.cancel()
            for child in children:
                child.close()


def answer(order: Order) -> dict[str, Any]:
    """In the child: one structure built, relaxed where asked, checked, written; or its failure."""
    try:
        parameters = PARAMETERS.validate_python(order.parameters)
        quench = order.parameters.get("melt_quench") or {}
        needed = order.relax_steps or quench.get("potential") == "reference"
        reference = Reference.model_validate(order.reference)
        calculator = reference_calculator(reference, order.folder) if needed else None
        atoms = build(parameters, order.seed, order.folder, calculator)
        if order.relax_steps:
            relax(atoms, calculator, order.relax_steps)
        faults = checks.check(atoms, order.asked)
        if not faults:
            _store(atoms, order.folder / "structures" / f"{order.name}.extxyz")
        return outcome(atoms, faults)
    except UserError as error:
        return {"status": "failed", "failure": _line(error)}
    except Exception as error:
        if not of_a_library(error):
            return {"bug": traceback.format_exc()}
        return {"status": "failed", "failure": f"{type(error).__name__}: {_line(error)}"}


def of_a_library(error: Exception) -> bool:
    """Whether a library gave up on this structure, rather than that our code is wrong.

    Raised inside a library, and of no kind that says it was called wrongly.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    module = str(frames[-1][0].f_globals.get("__name__", "")).partition(".")[0]
    return module not in OURS and not isinstance(error, CALLED_WRONGLY)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def outcome(atoms: Atoms, faults: list[str]) -> dict[str, Any]:
    """What the report says of a structure."""
    facts = checks.facts(atoms)
    if faults:
        return {"status": "failed", "failure": "; ".join(faults)[:300], **facts}
    notes = checks.notes(atoms)
    return {"status": "ok", **facts, **({"notes": notes} if notes else {})}


def _store(atoms: Atoms, path: Path) -> None:
    with atomic_open(path) as file:
        io.write(file, atoms, format="extxyz")
