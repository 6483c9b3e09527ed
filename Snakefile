"""One iteration of a campaign: the pending plan, materialized.

A campaign's own Snakefile includes this one. The iteration's folder is the working directory, so
every path below is literal, and no rule can reach a finalized iteration: nothing writes to `../`.
"""

import sys
from pathlib import Path

from snakemake.utils import min_version

from campaign import TOOLKIT
from campaign.finalize import publish
from campaign.folder import Campaign
from campaign.interrupt import end_jobs_on_signals, end_with_the_planner
from campaign.slurm import guard, launch, setup
from campaign.workflow import jobs

min_version("9.27")

CAMPAIGN = Path(workflow.main_snakefile).resolve().parent
JOBS = jobs(CAMPAIGN, begins=workflow.is_main_process)
guard(JOBS)


workdir: JOBS.folder


# an unapproved plan may be looked at with -n; should anything start all the same, it stops here
PREFIX = (
    f"{'exit 3; ' if JOBS.refusal else ''}{setup(JOBS)}set -euo pipefail; export OMP_NUM_THREADS=1 SCRIPTS='{TOOLKIT}/scripts' "
    f"PATH='{Path(sys.executable).parent}':$PATH; "
)
# Snakemake fills in what stands in braces; those of a path are no wildcard of ours
shell.prefix(PREFIX.replace("{", "{{").replace("}", "}}"))


# Items (runs/, labels/; one file each) are no outputs: Snakemake would take away those of a killed
# job. A chunk's file says which items a job has dealt with; what is on disk is not computed again.
wildcard_constraints:
    chunk="[0-9]+",


# what takes a second is not worth a place in a queue; so are the rules that say localrule
localrules:
    all,


onstart:
    if JOBS.refusal:
        sys.exit(f"mtpilot: {JOBS.refusal}")
    end_jobs_on_signals(local=workflow.local_exec)
    # SLURM's jobs live on, and the next run takes them over
    if workflow.local_exec:
        end_with_the_planner()


onsuccess:
    if JOBS.action == "end":
        publish(Campaign.at(CAMPAIGN))


rule all:
    input:
        JOBS.targets,


include: "rules/settle.smk"
include: "rules/reference_calc.smk"
include: "rules/sample.smk"
include: "rules/select_data.smk"
include: "rules/train.smk"
include: "rules/model_eval.smk"
include: "rules/prune.smk"
include: "rules/end.smk"


rule finalize:
    """Reduce the result into the next state; with state.yaml the iteration is closed for good."""
    input:
        previous=JOBS.previous,
        result=f"{JOBS.action}/result.yaml",
    output:
        ledger="ledger.jsonl",
        state="state.yaml",
    log:
        "logs/finalize.log",
    localrule: True
    shell:
        "python -m campaign.finalize --result {input.result:q} --ledger {output.ledger:q}"
        " --state {output.state:q} 2> {log:q}"
