"""What a rank of the doctor's trial job sees: `python -m campaign.doctor.trial_rank FOLDER`."""

import json
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path


def main(folder: Path) -> None:
    """Print one line of JSON a rank."""
    from mpi4py import MPI

    ranks = MPI.COMM_WORLD
    lock, shared, won = folder / ".doctor.lock", True, False
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        won = True
    except FileExistsError:
        pass
    except OSError:
        shared = False
    ranks.Barrier()
    if won:
        lock.unlink(missing_ok=True)
    facts = {
        "size": ranks.size,
        "library": MPI.Get_library_version().split("\n")[0].split(",")[0].replace("\t", " "),
        "node": os.environ.get("SLURMD_NODENAME", socket.gethostname()),
        "shared": shared,
        "won": won,
        "scratch_mb": shutil.disk_usage(tempfile.gettempdir()).free // 2**20,
    }
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
