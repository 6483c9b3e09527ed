"""One process or many: what a training exchanges between ranks, by mpi4py under an MPI launcher.

Rank 0 decides everything; the others only sum their share, so ranks can never disagree.
"""

import heapq
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mtp.errors import MTPError

# A training repeats bit for bit however many cores a job has: BLAS sums differ with its threads.
one_blas_thread = threadpool_limits.wrap(limits=1, user_api="blas")
HEARD = 0.5  # s in which a launcher passes on what a rank said last; an abort can overtake it
LAUNCHED_SIZE = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS")


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
        """Sum over the ranks on rank 0; on another rank its own share."""
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


def start() -> Ranks:
    """Join the ranks the launcher started; alone when there was none.

    Refuses to run N times the same work, which happens when the launcher and mpi4py's library
    belong to different MPI implementations.
    """
    sizes = [os.environ.get(name, "") for name in LAUNCHED_SIZE]
    launched = next((int(size) for size in sizes if size.isdecimal()), 1)
    if launched == 1:
        return Ranks()
    if importlib.util.find_spec("mpi4py") is None:
        raise MTPError(f"{launched} ranks were started but mpi4py is missing: pip install mpi4py")
    from mpi4py import MPI

    ranks = Ranks(MPI.COMM_WORLD)
    if ranks.size == 1:
        raise MTPError(
            f"the launcher started {launched} ranks but each one sees only itself: "
            "use the mpiexec of the MPI library that mpi4py loads"
        )
    return ranks


def run_on_ranks(work: Callable[[Ranks], int]) -> int:
    """Run `work` on every rank; a rank that fails ends all of them with one line, never a hang."""
    ranks = start()
    try:
        return work(ranks)
    except MTPError as error:
        if ranks.size == 1:
            raise
        print(f"ERROR: {error}", file=sys.stderr)
    except BaseException as error:
        if ranks.size == 1:
            raise
        name = type(error).__name__
        print(f"ERROR: rank {ranks.rank} of {ranks.size}: {name}: {error}", file=sys.stderr)
    ranks.abort(1)
    return 1


def balanced_shares(
    loads: Sequence[int], shares: int, groups: Sequence[int] | None = None
) -> list[list[int]]:
    """Indices of `loads` in `shares` lists of nearly equal total, each in ascending order.

    Largest first to the emptiest share (Graham 1969: at most 4/3 of the best makespan), one group
    after the other, so that the first groups alone are balanced too.
    """
    groups = [0] * len(loads) if groups is None else groups
    heap = [(0, share) for share in range(shares)]
    members: list[list[int]] = [[] for _ in range(shares)]
    for index in sorted(range(len(loads)), key=lambda i: (groups[i], -loads[i], i)):
        total, share = heapq.heappop(heap)
        members[share].append(index)
        heapq.heappush(heap, (total + loads[index], share))
    return [sorted(share) for share in members]
