"""One process or many: what a training exchanges between ranks, by mpi4py under an MPI launcher.

Rank 0 decides everything; the others only sum their share, so ranks can never disagree.
"""

import heapq
import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mtp.errors import MTPError

# A training repeats bit for bit however many cores a job has: BLAS sums differ with its threads.
one_blas_thread = threadpool_limits.wrap(limits=1, user_api="blas")
HEARD = 0.5  # s in which a launcher passes on what a rank said last; an abort can overtake it
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS")
RANKS = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


class Ranks:
    """A group of ranks; without an MPI communicator, this process alone."""

    def __init__(self, communicator: Any = None) -> None:
        self.communicator = communicator
        self.rank = communicator.Get_rank() if communicator else 0
        self.size = communicator.Get_size() if communicator else 1

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0, on every rank."""
        return self.communicator.bcast(value) if self.size > 1 else value

    def scatter(self, values: Sequence[Any] | None) -> Any:
        """One value of rank 0's sequence to each rank."""
        return self.communicator.scatter(values) if self.size > 1 else values[0]

    def gather(self, value: Any) -> list[Any] | None:
        """The values of all ranks in rank order on rank 0, None elsewhere."""
        return self.communicator.gather(value) if self.size > 1 else [value]

    def sum(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add arrays up over the ranks.

        Parameters
        ----------
        array : this rank's share, of one shape on every rank

        Returns
        -------
        the sum on rank 0; on another rank its own share
        """
        if self.size == 1:
            return array
        total = np.empty_like(array) if self.rank == 0 else None
        self.communicator.Reduce(np.ascontiguousarray(array), total)
        return array if total is None else total

    def abort(self, code: int) -> None:
        """End every rank of the job; returns only where there is no other rank."""
        sys.stdout.flush()
        sys.stderr.flush()
        if self.size > 1:
            time.sleep(HEARD)
            self.communicator.Abort(code)


def launched_rank() -> int:
    """This process's number among those a launcher started, before MPI is asked; 0 alone."""
    return _launched(RANKS, 0)


def launched_size() -> int:
    """How many processes a launcher started, before MPI is asked; 1 alone."""
    return _launched(SIZES, 1)


def communicator() -> Any:
    """MPI.COMM_WORLD of a parallel launch; None where this process is alone.

    MTPError where the launcher started more ranks than MPI knows of: an MPI library of another
    make would let every rank do all the work.
    """
    launched = launched_size()
    if launched == 1 and "mpi4py.MPI" not in sys.modules:
        return None
    if importlib.util.find_spec("mpi4py") is None:
        raise MTPError(f"{launched} ranks were started but mpi4py is missing: pip install mpi4py")
    from mpi4py import MPI

    if MPI.COMM_WORLD.size < launched:
        raise MTPError(
            f"MPI: {launched} ranks were launched but mpi4py sees {MPI.COMM_WORLD.size}; "
            "use the launcher of the MPI library that mpi4py loads"
        )
    return MPI.COMM_WORLD if MPI.COMM_WORLD.size > 1 else None


def _launched(names: Sequence[str], alone: int) -> int:
    """The first of these variables that is a number: the innermost launcher stands first."""
    words = (os.environ.get(name, "") for name in names)
    return next((int(word) for word in words if word.isdecimal()), alone)


def run_on_ranks(work: Callable[[Ranks], int]) -> int:
    """Run `work` on every rank; a rank that fails ends all of them with its error, never a hang."""
    ranks = Ranks(communicator())
    if ranks.size == 1:
        return work(ranks)
    try:
        return work(ranks)
    except MTPError as error:
        print(f"ERROR: {error}", file=sys.stderr)
    except BaseException as error:
        if not isinstance(error, (OSError, MemoryError, KeyboardInterrupt)):
            traceback.print_exception(error)
        name = type(error).__name__
        print(f"ERROR: rank {ranks.rank} of {ranks.size}: {name}: {error}", file=sys.stderr)
    ranks.abort(1)
    return 1


def balanced_shares(
    loads: Sequence[float], shares: int, groups: Sequence[int] | None = None
) -> list[list[int]]:
    """Indices of `loads` in `shares` lists of nearly equal total, each in ascending order.

    Largest first to the emptiest share (Graham 1969: at most 4/3 of the best makespan), one group
    after the other, so that the first groups alone are balanced too.
    """
    groups = [0] * len(loads) if groups is None else groups
    heap = [(0.0, share) for share in range(shares)]
    members: list[list[int]] = [[] for _ in range(shares)]
    for index in sorted(range(len(loads)), key=lambda i: (groups[i], -loads[i], i)):
        total, share = heapq.heappop(heap)
        members[share].append(index)
        heapq.heappush(heap, (total + loads[index], share))
    return [sorted(share) for share in members]
