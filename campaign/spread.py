"""Items of one job over MPI ranks (mpi4py if there is more than one): a file per item.

writes  {folder}/{item}{suffix}       the result, by the caller's `work`
        {folder}/{item}.failed.json   instead of it: class and detail of what went wrong
        {folder}/{item}.cost.json     last of all, so that its presence means the item is done
"""

import functools
import json
import multiprocessing
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atomistics.reference.launching import core_seconds, together
from atomistics.reference.resuming import for_item
from campaign.errors import UserError
from campaign.files import write_text
from mtp.errors import MTPError
from mtp.parallel import Ranks, balanced_shares, communicator

_work: list[Callable[[str], None]] = []  # of a forked worker


@dataclass(frozen=True)
class ItemCost:
    """What an item took; core-seconds are measured, not given."""

    reference_calls: int = 0
    explorer_calls: int = 0
    md_steps: int = 0
    core_seconds: float = 0.0


def spread(
    items: Mapping[str, Mapping[str, Any]],
    work: Callable[[str, Path], ItemCost],
    folder: Path,
    suffix: str,
    output: Path | None = None,
    comm: Any = None,
) -> None:
    """Call `work(item, target)` for every item without result or failure, each on one rank.

    `target` is a temporary name in `folder`, renamed when `work` returns. The load is balanced
    by `items[name]["size"]` (any unit, 1 by default). A UserError or MTPError of an item, its
    `kind` being the class, becomes its failure record; anything else (a full disk, a defect)
    ends all ranks. `output` is written at the end and lists the items.
    """
    comm = comm or communicator()
    rank, size = (comm.rank, comm.size) if comm else (0, 1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pending = [name for name in sorted(items) if not _done(folder, name, suffix)]
        if rank == 0:
            _clear(folder, pending)
        if comm:
            pending = comm.bcast(pending)
        own = shares({n: float(items[n].get("size", 1)) for n in pending}, size)[rank]
        _all(own, functools.partial(_one, work=work, folder=folder, suffix=suffix))
        if comm:
            comm.Barrier()
        if output and rank == 0:
            write_text(output, json.dumps({"items": sorted(items)}) + "\n")
    except BaseException as error:
        if not comm:
            raise
        _abort(comm, error)


def _all(names: list[str], one: Callable[[str], None]) -> None:
    """`one` of each name: in turn, or so many at the same time as the job has calculations.

    The processes are forks, as they only wait for programs that a launcher starts.
    """
    if (workers := min(together(), len(names))) < 2:
        for name in names:
            one(name)
        return
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, fork, _remember, (one, os.getpid())) as pool:
        waiting = [pool.submit(_remembered, name) for name in names]
        try:
            for future in as_completed(waiting):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _remember(one: Callable[[str], None], parent: int) -> None:
    """Keep in a forked worker what cannot be sent to it; it ends with the job's own process."""
    _work.append(one)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _remembered(name: str) -> None:
    _work[0](name)


def shares(sizes: Mapping[str, float], ranks: int) -> list[list[str]]:
    """Names for each rank, largest first, of nearly equal total size; deterministic."""
    names = sorted(sizes, key=lambda n: (-sizes[n], n))
    return [
        [names[i] for i in share] for share in balanced_shares([sizes[n] for n in names], ranks)
    ]


def _one(name: str, work: Callable[[str, Path], ItemCost], folder: Path, suffix: str) -> None:
    before = core_seconds()
    # a copy of this job may still be at work on a node that SLURM has given up
    partial = folder / f".{name}.partial-{socket.gethostname()}-{os.getpid()}{suffix}"
    try:
        with for_item(f"{folder}/{name}"):
            cost = work(name, partial)
        partial.replace(_path(folder, name, suffix))
        _path(folder, name, ".failed.json").unlink(missing_ok=True)
    except (UserError, MTPError) as error:
        partial.unlink(missing_ok=True)
        counted = ("reference_calls", "explorer_calls", "md_steps")
        cost = ItemCost(**{key: getattr(error, key, 0) for key in counted})
        record = {
            "class": getattr(error, "kind", "input"),
            "detail": getattr(error, "detail", str(error)),
        }
        write_text(_path(folder, name, ".failed.json"), json.dumps(record) + "\n")
    spent = asdict(cost) | {"core_seconds": round(core_seconds() - before, 3)}
    if not cost.explorer_calls:
        del spent["explorer_calls"]
    write_text(_path(folder, name, ".cost.json"), json.dumps(spent) + "\n")


def _done(folder: Path, name: str, suffix: str) -> bool:
    """Whether the item's cost stands beside its result or failure; who deletes a result wants it
    made anew."""
    made = any(_path(folder, name, end).exists() for end in (suffix, ".failed.json"))
    return made and _path(folder, name, ".cost.json").exists()


def _clear(folder: Path, pending: list[str]) -> None:
    """Take away what killed jobs had begun of the pending items; a copy of one ends by it."""
    for path in folder.glob(".*.partial*"):
        if path.name.lstrip(".").partition(".")[0] in pending:
            path.unlink(missing_ok=True)


def _path(folder: Path, name: str, suffix: str) -> Path:
    return folder / f"{name}{suffix}"


def _abort(comm: Any, error: BaseException) -> None:
    """End every rank: the others would wait for this one for ever."""
    if isinstance(error, (UserError, MTPError, OSError)):
        message = str(error)
    else:
        message = "".join(traceback.format_exception(error))
    sys.stderr.write(f"rank {comm.rank} of {comm.size}: {message}\n")
    Ranks(comm).abort(1)
