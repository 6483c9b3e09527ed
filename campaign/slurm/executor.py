"""snakemake-executor-plugin-slurm with its known defects guarded.

The plugin submits and cancels; how jobs are followed is ours. One `squeue` every
`slurm-init-seconds-before-status-checks` seconds, never slower and hardly ever faster, tells of
all jobs. The accounting is asked only about jobs that `squeue` has forgotten, so an outage of it
goes unnoticed; a job nobody knows any more counts by its files. Names of jobs hold campaign,
iteration and plan, so a Snakemake that is started again takes over what still runs.
"""

import asyncio
import json
import re
import shlex
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_slurm import Executor
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from campaign.files import write_text
from campaign.slurm.queue import LIVING, Entry, cancel, ended, queue

TICK = 1.0  # seconds between looks at the disk; SLURM is asked far less often
GAP = 3.0  # seconds between two questions at least
BREATH = 10.0  # seconds before SLURM is asked again when it did not answer
LOOKS = 3  # so often in a row a job must be forgotten or hopeless before that is believed
OUTAGE = 3600.0  # seconds a controller may be away while jobs wait to be submitted
SILENCE = 600.0  # seconds without an answer that are worth a warning
AWAY = re.compile(r"[Uu]nable to contact|timed out|refused|Zero Bytes|in standby|unavailable")
FULL = re.compile(r"SubmitJob")  # AssocMaxSubmitJobLimit and its kin: how many jobs may be queued


def install(name: str, folder: Path) -> None:
    """Make `executor: slurm` mean this one, for the campaign whose jobs are called `name`."""
    plugin = ExecutorPluginRegistry().get_plugin("slurm")
    plugin.executor = type("Executor", (Guarded,), {"jobs_name": name, "folder": folder})


class Guarded(Executor):
    """The plugin's executor; every override names the defect it guards against."""

    jobs_name: str
    folder: Path
    stopping = False

    def __post_init__(self, test_mode: bool = False) -> None:
        settings = self.workflow.executor_settings
        if settings.array_jobs:  # its tasks look at the first task's output (plugin #447, #473)
            raise WorkflowError(
                "slurm-array-jobs: loses results; take it out of slurm/profile.yaml:"
                " runs_per_job and label_jobs of config.yaml say how items share a job"
            )
        # else SLURM runs a job again while Snakemake submits it too (plugin #109, #353)
        settings.no_requeue = not settings.requeue
        super().__post_init__(test_mode)
        self.run_uuid = self.jobs_name
        self._taken_over: dict[str, Entry] | None = None
        self._taking_over = threading.Lock()
        self._forgotten: Counter[str] = Counter()
        self._hopeless: Counter[str] = Counter()
        self._refusals: dict[str, str] = {}
        self._asked = 0.0
        self._heard = time.monotonic()

    def cancel(self) -> None:
        """Cancel everything; a submission that waits for the controller gives up.

        The plugin cancels what it follows at this moment: not what is being submitted, nor
        anything while it looks at the queue.
        """
        self.stopping = True
        super().cancel()
        left = queue(self.workflow.workdir_init) or []
        cancel([e.id for e in left if e.living and e.name == self.jobs_name])

    def get_account_arg(self, job: JobExecutorInterface) -> Iterator[str]:
        """The account as the profile has it; the plugin asks the accounting for every job."""
        account = job.resources.get("slurm_account")
        yield f" -A {shlex.quote(str(account))}" if account else ""

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submit, unless this job is still alive from before a `kill -9` of Snakemake.

        A controller that is away, or a full queue, fails no job: it is submitted again.
        """
        until = time.monotonic() + OUTAGE
        while True:
            if before := self._living().pop(_comment(job), None):
                self._take_over(job, before)
                return
            super().run_job(job)
            if not (said := self._refusals.pop(_comment(job), "")):
                return
            if waits := bool(FULL.search(said)) or time.monotonic() < until:
                why = "queue is full for you" if FULL.search(said) else "controller is away"
                self.logger.warning(f"SLURM's {why}; the submission waits for it.")
                time.sleep(BREATH)
            if self.stopping or not waits:
                super()._report_job_error_threadsafe(SubmittedJobInfo(job), said)
                return
            self._taken_over = None  # what timed out may have been submitted all the same

    def _take_over(self, job: JobExecutorInterface, before: Entry) -> None:
        self.logger.info(f"SLURM job {before.id} still does {before.comment}; taken over.")
        log = self.slurm_logdir / _comment(job) / f"{before.id}.log"
        info = SubmittedJobInfo(job, external_jobid=before.id, aux={"slurm_logfile": log})
        self._report_job_submission_threadsafe(info)

    def _living(self) -> dict[str, Entry]:
        """Jobs of this plan that an earlier Snakemake left; those of another plan are cancelled."""
        with self._taking_over:
            until = time.monotonic() + OUTAGE
            while self._taken_over is None:
                entries = queue(self.workflow.workdir_init)
                if entries is None and time.monotonic() < until and not self.stopping:
                    time.sleep(BREATH)
                    continue
                ours = {j.external_jobid for j in self.active_jobs}
                left = [e for e in entries or () if e.living and e.id not in ours]
                cancel([e.id for e in left if e.name != self.jobs_name])
                self._taken_over = {e.comment: e for e in left if e.name == self.jobs_name}
            return self._taken_over

    def _report_job_error_threadsafe(self, job_info: SubmittedJobInfo, msg: str) -> None:
        """Keep what passes by itself for `run_job`, in whose thread this is called."""
        told = msg.partition("sbatch call:")[0]
        if not job_info.external_jobid and (AWAY.search(told) or FULL.search(told)):
            self._refusals[_comment(job_info.job)] = told
        else:
            super()._report_job_error_threadsafe(job_info, msg)

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncIterator[SubmittedJobInfo]:
        """Yield the jobs that go on; the plugin loses all of them in an accounting outage (#207)
        and looks ever more rarely, up to every three minutes."""
        self.next_seconds_between_status_checks = TICK
        entries = await asyncio.to_thread(self._look, active_jobs) if active_jobs else None
        if entries is None:
            for info in active_jobs:
                yield info
            return
        states = await asyncio.to_thread(self._states, active_jobs, entries)
        for info in active_jobs:
            if not self._concluded(info, *states[info.external_jobid]):
                yield info

    def _look(self, active_jobs: list[SubmittedJobInfo]) -> dict[str, Entry] | None:
        """What SLURM knows, if it is time to ask: also when the disk says that all are done."""
        waited = time.monotonic() - self._asked
        pause = self.workflow.executor_settings.init_seconds_before_status_checks
        if waited < pause and (waited < GAP or not all(map(_written, active_jobs))):
            return None
        self._asked = time.monotonic()
        entries = queue(self.workflow.workdir_init)
        if entries is None:
            if time.monotonic() - self._heard > SILENCE:
                self._heard = time.monotonic()
                self.logger.warning(f"squeue has not answered for {SILENCE / 60:g} min; waiting.")
            return None
        self._heard = self._asked
        known = {e.id: e for e in entries}
        known = {i.external_jobid: e for i in active_jobs if (e := _entry(i, known))}
        with suppress(OSError):  # a full disk must not end the watch over jobs
            self._record(list(known.values()))
        return known

    def _record(self, entries: list[Entry]) -> None:
        """queue.json: what `planner status` shows from anywhere."""
        living = [e for e in entries if e.living]
        seen = {
            "at": datetime.now().astimezone().isoformat(timespec="seconds"),
            "states": dict(Counter(e.state for e in living)),
            "waiting_for": dict(Counter(e.reason for e in living if e.state == "PENDING")),
        }
        write_text(self.folder / "queue.json", json.dumps(seen) + "\n")

    def _states(
        self, active_jobs: list[SubmittedJobInfo], entries: dict[str, Entry]
    ) -> dict[str, tuple[str, str]]:
        """State and detail of every job."""
        lost = [i.external_jobid for i in active_jobs if i.external_jobid not in entries]
        self._forgotten.update(lost)
        sought = [i for i in lost if self._forgotten[i] >= LOOKS]
        past = ended(sought) if sought else {}
        found: dict[str, tuple[str, str]] = {}
        for info in active_jobs:
            job = info.external_jobid
            if entry := entries.get(job):
                self._forgotten.pop(job, None)
                found[job] = (self._hope(entry), entry.reason)
            elif job not in sought:
                found[job] = ("UNSEEN", "")
            else:  # the accounting has jobs run for ever whose end it was not told
                unknown = "COMPLETED" if _written(info) else "FORGOTTEN"
                state = past.get(job, unknown)
                found[job] = (unknown if state in LIVING else state, "squeue knows it no longer")
        return found

    def _hope(self, entry: Entry) -> str:
        """The state of a job, HOPELESS once it has been seen waiting for what never comes."""
        if entry.state == "NODE_FAIL":
            self._failed_nodes.add(entry.nodes)
        if not entry.hopeless:
            self._hopeless.pop(entry.id, None)
            return entry.state
        self._hopeless[entry.id] += 1
        return "HOPELESS" if self._hopeless[entry.id] >= LOOKS else entry.state

    def _concluded(self, info: SubmittedJobInfo, state: str, detail: str) -> bool:
        """Tell Snakemake of a job that has ended, well or not."""
        log: Path = info.aux["slurm_logfile"]
        requeued = self.workflow.executor_settings.requeue and state in ("NODE_FAIL", "PREEMPTED")
        if state == "UNSEEN" or requeued or state in LIVING:
            return False
        if state == "COMPLETED":
            self.report_job_success(info)
            log.unlink(missing_ok=True)
            return True
        if state == "HOPELESS":
            cancel([info.external_jobid])
            detail += ": it could never start; mend slurm/profile.yaml"
        said = f"error: SLURM job {info.external_jobid} ({_comment(info.job)}): {state} ({detail})"
        self.report_job_error(info, msg=f"{said}. ", aux_logs=[str(log)])
        return True


def _comment(job: Any) -> str:
    """What the plugin writes into the comment of a SLURM job, its own identity in a plan."""
    wildcards = "_".join(str(w).replace("/", "_") for w in job.wildcards)
    return f"rule_{job.name}" + (f"_wildcards_{wildcards}" if wildcards else "")


def _entry(info: SubmittedJobInfo, known: dict[str, Entry]) -> Entry | None:
    """This job in the queue; a controller that lost its last seconds may give an id twice."""
    entry = known.get(str(info.external_jobid))
    return entry if entry and entry.comment == _comment(info.job) else None


def _written(info: SubmittedJobInfo) -> bool:
    return all(Path(str(path)).exists() for path in info.job.output)
