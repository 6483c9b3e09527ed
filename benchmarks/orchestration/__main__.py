"""What orchestration costs: `python -m benchmarks.orchestration real 100 | simulated | iterations`.

real N       N items that take no time, on the SLURM of SLURM_CONF: Snakemake with chunks against
             `sbatch --array` with a task an item (that runs `true`, so it pays no interpreter)
simulated    10,000 items of 60 s on 500 slots that only let time pass: 20 minutes, little CPU;
             on a busy machine under `chrt -r 1`, else the start of Snakemake waits for its turn
iterations   `snakemake -n`, `planner status` and `planner audit` at iteration 1, 20 and 100
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from atomistics.yaml_files import read_yaml
from benchmarks.orchestration import simulated
from campaign import TOOLKIT

BIN = Path(sys.executable).parent
HERE = Path(__file__).parent
START = 3.5  # seconds from the start of a job to its first item: the plugin's two Snakemakes


def cost(words: list[str], folder: Path, **more: str) -> tuple[float, float]:
    """Wall and CPU seconds of a command and its children here."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **more}
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(getattr(after, k) - getattr(before, k) for k in ("ru_utime", "ru_stime"))
    return time.monotonic() - began, cpu


def snakemake(folder: Path, items: int, jobs: int, seconds: float, ranks: int) -> list[str]:
    """The command, with the shipped profile but for what the benchmark's rule asks for."""
    profile = read_yaml(TOOLKIT / "profiles/slurm/profile.yaml")
    defaults = read_yaml(TOOLKIT / "profiles/default/profile.yaml")
    profile |= {**defaults, "latency-wait": 10}
    profile["default-resources"] |= {"mem_mb": 800}
    profile["set-resources"] = {"chunk": {"runtime": 120}}
    if ranks > 1:
        own = {"mpi": "srun --mpi=pmi2", "tasks": ranks, "mem_mb_per_cpu": 300}
        profile["set-resources"]["chunk"] |= own
    profile.pop("set-threads")
    (folder / "slurm").mkdir()
    (folder / "slurm/profile.yaml").write_text(yaml.safe_dump(profile))
    words = ["snakemake", "-s", str(HERE / "Snakefile"), "--profile", "slurm"]
    numbers = {"items": items, "per_job": -(-items // jobs), "seconds": seconds}
    return [*words, "--config", *(f"{k}={v}" for k, v in numbers.items())]


def real(items: int) -> None:
    """Both ways on a SLURM that runs here."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        wall, head = cost(snakemake(folder, items, 4, 0.0, 1), folder)
        rows = _tell("sacct", "-X", "-n", "-P", "-S", "now-1day", "-o", "JobID,WorkDir").split("\n")
        ids = [row.partition("|")[0] for row in rows if row.endswith(f"|{folder}")]
        used = _tell("sacct", "-n", "-P", "-j", ",".join(ids), "-o", "TotalCPU,JobID").split("\n")
        node = sum(_seconds(row) for row in used if row.endswith(".batch"))
        print(f"snakemake     {items:>6} items in {len(ids)} jobs: {wall:.1f} s wall,", end=" ")
        print(f"{head:.1f} CPU-s here, {node:.1f} CPU-s on nodes,", end=" ")
        print(f"{1000 * (head + node) / items:.0f} CPU-ms an item")
        array = ["sbatch", "-W", "-o", "/dev/null", "--mem=10", f"--array=1-{items}"]
        wall, head = cost([*array, "--wrap", "true"], folder)
        print(f"sbatch --array{items:>6} tasks: {wall:.1f} s wall,", end=" ")
        print(f"{1000 * wall / items:.0f} ms an item, {head:.1f} CPU-s here")


def _tell(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def _seconds(row: str) -> float:
    clock = row.partition("|")[0].replace("-", ":").split(":")
    return sum(float(part) * 60**power for power, part in enumerate(reversed(clock)))


def simulate(items: int = 10_000, slots: int = 500, jobs: int = 20, seconds: float = 60.0) -> None:
    """The real Snakemake in real time; the slots only let time pass."""
    ranks = slots // jobs
    work = -(-items // slots) * seconds
    with tempfile.TemporaryDirectory() as name:
        folder, notes = Path(name).resolve(), Path(name).resolve() / "notes"
        notes.mkdir()
        simulated.install(folder / "bin")
        path = f"{folder / 'bin'}:{BIN}:{os.environ['PATH']}"
        more = {"SIMULATED": str(notes), "SECONDS_OF_A_JOB": str(START + work), "PATH": path}
        words = snakemake(folder, items, jobs, seconds, ranks)
        wall, cpu = _timed(words, folder, more)
        asked = [line.split()[1] for line in (notes / "calls").read_text().splitlines()]
        queries = sum(name in ("squeue", "sacct", "scontrol", "sinfo") for name in asked)
        print(f"{items} items of {seconds:g} s on {slots} slots, {jobs} jobs of {ranks} ranks")
        print(f"  ideal {work:.0f} s, taken {wall:.1f} s: {100 * (wall / work - 1):.2f} % more,")
        print(f"  of which {START:g} s of node start as measured; {cpu:.1f} CPU-s here,", end=" ")
        print(f"{60 * queries / wall:.1f} queries a minute")


def _timed(words: list[str], folder: Path, more: dict[str, str]) -> tuple[float, float]:
    began = time.monotonic()
    child = subprocess.Popen(
        words,
        cwd=folder,
        env={**os.environ, **more},
        stdout=subprocess.DEVNULL,
        stderr=(folder / "said").open("w"),
    )
    _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit((folder / "said").read_text()[-2000:])
    return time.monotonic() - began, used.ru_utime + used.ru_stime


def iterations(counts: tuple[int, ...] = (1, 20, 100), repeats: int = 3) -> None:
    """A campaign whose history grows; no jobs."""
    from benchmarks.orchestration.history import grown
    from campaign.folder import Campaign

    with tempfile.TemporaryDirectory() as name:
        for count in counts:
            folder = grown(Path(name) / "campaign", count)
            action = Campaign.at(folder).plan(count).action
            for words in (["snakemake", "-n"], ["planner", "status"], ["planner", "audit"]):
                taken = [cost(words, folder)[1] for _ in range(repeats)]
                print(f"iteration {count:>3} ({action:<14}) {' '.join(words):<15}", end=" ")
                print(f"{statistics.median(taken):.2f} CPU-s ({min(taken):.2f}-{max(taken):.2f})")


if __name__ == "__main__":
    command, *rest = sys.argv[1:] or [""]
    commands = {"real": real, "simulated": simulate, "iterations": iterations}
    if command not in commands:
        sys.exit(__doc__)
    commands[command](*map(int, rest))
