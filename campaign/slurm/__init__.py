"""What stands between a campaign and SLURM: guards around the plugin, the queue, the doctor."""

import math
import os
import shlex
import sys
from typing import Any

from atomistics.reference.launching import LAUNCHER, RANKS, THREADS, TOGETHER
from campaign.workflow import Jobs

PLUGIN = "snakemake_executor_plugin_slurm"
KEPT = "MTPILOT_SLURM_CONF"


def setup(jobs: Jobs) -> str:
    """The beginning of every command: inside a job the site's own slurm/setup.sh, if there is one.

    It is no option of the profile: the plugin lets the login node's shell expand those.
    """
    script = shlex.quote(str(jobs.folder.resolve().parent.parent / "slurm/setup.sh"))
    return f'if test -n "$SLURM_JOB_ID" -a -e {script}; then . {script} || exit 1; fi; '


def launch(_wildcards: object, resources: Any) -> str:
    """The start of a command on the job's MPI ranks; empty where it has but one process.

    With `calculation_tasks` it is the reference's program that `mpi` starts, on so many ranks of
    `cpus_per_task` threads, as many at a time as the job's tasks have room for.
    """
    if not resources.mpi:
        return ""
    ranks, here = getattr(resources, "calculation_tasks", None), tasks(resources)
    if not ranks:
        return f"{resources.mpi} -n {here}"
    threads = getattr(resources, "cpus_per_task", 1)
    words = f"env OMP_NUM_THREADS={threads} {resources.mpi} -n {ranks}"
    if shlex.split(resources.mpi)[0] == "srun":
        words += f" {_step(resources, ranks, threads)}"
    variables = {LAUNCHER: words, RANKS: ranks, THREADS: threads, TOGETHER: max(1, here // ranks)}
    return " ".join(f"{name}={shlex.quote(str(value))}" for name, value in variables.items())


def tasks(resources: Any) -> int:
    """Tasks of a job, given as such or by node."""
    by_node = getattr(resources, "tasks_per_node", None)
    return by_node * getattr(resources, "nodes", 1) if by_node else resources.tasks


def _step(resources: Any, ranks: int, threads: int) -> str:
    """What a step of `srun` asks for, so that steps of one job leave room to each other.

    Without its memory a step takes all of its job's; without nodes it lies on all of them. Unless
    told to, `srun` may leave the other ranks waiting for one that died, until reference.timeout.
    """
    by_node = getattr(resources, "tasks_per_node", None)
    nodes = str(math.ceil(ranks / by_node)) if by_node else f"1-{ranks}"
    memory = getattr(resources, "mem_mb_per_cpu", None)
    words = f"-c {threads} -N {nodes} --exact --kill-on-bad-exit=1"
    return words + (f" --mem-per-cpu={memory}" if memory else "")


def guard(jobs: Jobs) -> None:
    """Called by the Snakefile: put our executor in the place of the plugin's, keep SLURM_CONF.

    The plugin takes SLURM_CONF out of the environment of what runs inside a job, so that `srun`
    there finds no cluster where the site keeps its configuration elsewhere than /etc/slurm.
    """
    if conf := os.environ.get("SLURM_CONF") or os.environ.get(KEPT):
        os.environ |= {"SLURM_CONF": conf, KEPT: conf}
    if PLUGIN in sys.modules and jobs.name:
        from campaign.slurm.executor import install

        install(jobs.name, jobs.folder)
