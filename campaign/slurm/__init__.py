"""What stands between a campaign and SLURM: guards around the plugin, the queue, the doctor."""

import os
import shlex
import sys
from typing import Any

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
    """The start of a command on the job's MPI ranks; empty where it has but one process."""
    return f"{resources.mpi} -n {resources.tasks}" if resources.mpi else ""


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
