"""snakemake-executor-plugin-slurm with its known defects guarded.

The plugin submits and cancels; how jobs are followed is ours. One `squeue` every
`slurm-init-seconds-before-status-checks` seconds, never slower and hardly ever faster, tells of
all jobs. The accounting is asked only about jobs that `squeue` has forgotten, so an outage of it
goes unnoticed; a job nobody knows any more counts by its files. Names of jobs hold campaign,
iteration and plan, so a Snakemake that is started again takes over what still runs. What SLURM
refuses is decided by its kind (`campaign.slurm.answers`).
"""

import asyncio
import json
import math
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

from campaign.errors import UserError
from campaign.files import write_text
from campaign.slurm.answers import Refusal, refusal
from campaign.slurm.queue import LIVING, Entry, cancel, ended, queue

DISK_INTERVAL = 1.0  # seconds between looks at the disk; SLURM is asked far less often
LEAST_INTERVAL = 3.0  # seconds between two questions at least
LOOKS = 3  # so often in a row a job must be forgotten or without hope before that is believed
PAUSES = (5.0, 5.0, 10.0, 10.0, 20.0, 30.0)  # seconds before a refused job is tried again
LONGEST_PAUSE = 60.0
# seconds a refusal may last before the job counts as failed: maintenance takes a day
PATIENCE = {"busy": 86400.0, "away": 86400.0, "unknown": 3600.0}
SILENCE = 600.0  # seconds without an answer that are worth a warning
WAITS_FOR = {
    "busy": "its queue is full for you",
    "away": "the controller is away",
    "unknown": "an answer nobody has met here",
}


def install(name: str, folder: Path) -> None:
    """Make `executor: slurm` mean this one, for the campaign whose jobs are called `name`."""
    plugin = ExecutorPluginRegistry().get_plugin("slurm")
    plugin.executor = type("Executor", (Guarded,), {"jobs_name": name, "folder": folder})


class Guarded(Executor):
    """The plugin's executor; every override names the defect it guards against."""

    jobs_name: str
    folder: Path

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
        self._without_hope: Counter[str] = Counter()
        self._refusals: dict[str, Refusal] = {}
        self._refused: dict[str, Refusal] = {}  # what waits to be submitted again
        self._mends: set[str] = set()
        self._as_at_first: set[str] = set()
        self._stopping = threading.Event()
        self._queue_record: dict[str, Any] = {"states": {}, "waiting_for": {}, "held": {}}
        self._recording = threading.Lock()
        self._asked = 0.0
        self._heard = time.monotonic()

    def cancel(self) -> None:
        """Cancel everything; a submission that waits for the controller gives up.

        The plugin cancels what it follows at this moment: not what is being submitted, nor
        anything while it looks at the queue.
        """
        self._stopping.set()
        super().cancel()
        jobs = queue(self.workflow.workdir_init) or []
        cancel([e.id for e in jobs if e.living and e.name == self.jobs_name])

    def get_account_arg(self, job: JobExecutorInterface) -> Iterator[str]:
        """The account as the profile has it; the plugin asks the accounting for every job."""
        account = job.resources.get("slurm_account")
        yield f" -A {shlex.quote(str(account))}" if account else ""

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submit, unless this job is still alive from before a `kill -9` of Snakemake.

        What passes by itself fails no job: it is submitted again, at last every minute. What a
        person must mend fails at once and is not asked for twice.
        """
        began, pauses = time.monotonic(), iter(PAUSES)
        while True:
            mends = frozenset(self._mends)
            if before := self._living().pop(_comment(job), None):
                self._take_over(job, before)
                return
            self._submit(job)
            if (refused := self._refusals.pop(_comment(job), None)) is None:
                self._note_refusal(job, None)
                return
            if refused.mend and refused.mend not in mends:
                self._submit_otherwise(refused)
                continue
            if refused.kind == "person" and job.attempt > 1 and self._ask_as_at_first(job):
                continue
            if refused.kind == "busy" and self._queue_record["states"]:
                began = time.monotonic()  # jobs of ours are on their way, room comes with their end
            waited = time.monotonic() - began
            if self._stopping.is_set() or waited >= PATIENCE.get(refused.kind, 0.0):
                self._note_refusal(job, None)
                self._give_up(job, refused)
                return
            self._note_refusal(job, refused)
            self._stopping.wait(next(pauses, LONGEST_PAUSE))
            self._taken_over = None  # what timed out may have been submitted all the same

    def _submit(self, job: JobExecutorInterface) -> None:
        """The plugin's submission, with what this site was found to ask for."""
        if _comment(job) in self._as_at_first:
            attempt, job.attempt = job.attempt, 1
            self._with_mends(job)
            super().run_job(job)
            job.attempt = attempt
        else:
            self._with_mends(job)
            super().run_job(job)

    def _with_mends(self, job: JobExecutorInterface) -> None:
        resources = job.resources
        memory = resources.get("mem_mb")
        if "no memory" in self._mends:
            vars(resources).update(mem_mb=None, mem_mb_per_cpu=None)
        elif "memory per core" in self._mends and memory and not resources.get("mem_mb_per_cpu"):
            cores = (resources.get("tasks") or 1) * max(job.threads, 1)
            vars(resources)["mem_mb_per_cpu"] = math.ceil(memory / cores)

    def _submit_otherwise(self, refused: Refusal) -> None:
        """What the site asks for holds for every job from now on."""
        if refused.mend and refused.mend not in self._mends:
            self._mends.add(refused.mend)
            self._say(f"SLURM refuses: {refused.reason}; from now on: {refused.mend}")
        if refused.mend == "script on stdin":
            self.workflow.executor_settings.pass_command_as_script = True

    def _ask_as_at_first(self, job: JobExecutorInterface) -> bool:
        """A repetition that asks for more than the site gives asks again for what it gave.

        What the first attempt has finished stands on disk, so it gets further.
        """
        new = _comment(job) not in self._as_at_first
        self._as_at_first.add(_comment(job))
        return new

    def _give_up(self, job: JobExecutorInterface, refused: Refusal) -> None:
        if refused.kind in ("person", "mendable"):
            job.attempt = job.restart_times + 1  # Snakemake would ask for the same twice more
        text = f"error: SLURM refuses {_comment(job)}: {refused.reason}. "
        super()._report_job_error_threadsafe(SubmittedJobInfo(job), text)

    def _note_refusal(self, job: JobExecutorInterface, refused: Refusal | None) -> None:
        """Say what a submission waits for, once for all jobs that wait for the same."""
        with self._recording:
            before = set(self._refused.values())
            self._refused.pop(_comment(job), None)
            if refused:
                self._refused[_comment(job)] = refused
            after = set(self._refused.values())
        if refused and refused not in before:
            why = WAITS_FOR.get(refused.kind, refused.kind)
            self._say(f"SLURM takes no job now ({why}): {refused.reason}; trying again")
        if before != after:
            self._record()

    def _say(self, text: str) -> None:
        """A line that `planner run` repeats."""
        self.logger.warning(f"mtpilot: {text}")

    def _take_over(self, job: JobExecutorInterface, before: Entry) -> None:
        self._note_refusal(job, None)
        self.logger.info(f"SLURM job {before.id} still does {before.comment}; taken over.")
        log = self.slurm_logdir / _comment(job) / f"{before.id}.log"
        info = SubmittedJobInfo(job, external_jobid=before.id, aux={"slurm_logfile": log})
        self._report_job_submission_threadsafe(info)

    def _living(self) -> dict[str, Entry]:
        """Jobs of this plan that an earlier Snakemake left; those of another plan are cancelled."""
        with self._taking_over:
            until = time.monotonic() + PATIENCE["away"]
            while self._taken_over is None:
                entries = queue(self.workflow.workdir_init)
                if entries is None and time.monotonic() < until and not self._stopping.is_set():
                    self._stopping.wait(LONGEST_PAUSE / 6)
                    continue
                ours = {j.external_jobid for j in self.active_jobs}
                others = [e for e in entries or () if e.living and e.id not in ours]
                cancel([e.id for e in others if e.name != self.jobs_name])
                self._taken_over = {e.comment: e for e in others if e.name == self.jobs_name}
            return self._taken_over

    def _report_job_error_threadsafe(self, job_info: SubmittedJobInfo, msg: str) -> None:
        """Keep SLURM's refusals for `run_job`, in whose thread this is called."""
        said, by_slurm = refused_by_slurm(msg)
        if by_slurm and not job_info.external_jobid:
            self._refusals[_comment(job_info.job)] = refusal(said)
        else:
            super()._report_job_error_threadsafe(job_info, msg)

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncIterator[SubmittedJobInfo]:
        """Yield the jobs that go on; the plugin loses all of them in an accounting outage (#207)
        and looks ever more rarely, up to every three minutes."""
        self.next_seconds_between_status_checks = DISK_INTERVAL
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
        if waited < pause and (waited < LEAST_INTERVAL or not all(map(_written, active_jobs))):
            return None
        self._asked = time.monotonic()
        entries = queue(self.workflow.workdir_init)
        if entries is None:
            if time.monotonic() - self._heard > SILENCE:
                self._heard = time.monotonic()
                self.logger.warning(f"squeue has not answered for {SILENCE / 60:g} min; waiting.")
            return None
        self._heard = self._asked
        by_id = {e.id: e for e in entries}
        ours = {i.external_jobid: e for i in active_jobs if (e := _entry(i, by_id))}
        living = [e for e in ours.values() if e.living]
        self._queue_record = {
            "states": dict(Counter(e.state for e in living)),
            "waiting_for": dict(Counter(e.reason for e in living if e.state == "PENDING")),
            "held": {e.id: e.reason for e in living if e.held},
        }
        self._record()
        return ours

    def _record(self) -> None:
        """queue.json: what `planner status` shows from anywhere."""
        with self._recording, suppress(OSError, UserError):  # a full disk ends no watch over jobs
            queue = {
                "at": datetime.now().astimezone().isoformat(timespec="seconds"),
                **self._queue_record,
                "refused": sorted({refused.reason for refused in self._refused.values()}),
            }
            write_text(self.folder / "queue.json", json.dumps(queue) + "\n")

    def _states(
        self, active_jobs: list[SubmittedJobInfo], entries: dict[str, Entry]
    ) -> dict[str, tuple[str, str]]:
        """State and detail of every job."""
        absent = [i.external_jobid for i in active_jobs if i.external_jobid not in entries]
        self._forgotten.update(absent)
        forgotten = [i for i in absent if self._forgotten[i] >= LOOKS]
        accounted = ended(forgotten) if forgotten else {}
        states: dict[str, tuple[str, str]] = {}
        for info in active_jobs:
            job = info.external_jobid
            if entry := entries.get(job):
                self._forgotten.pop(job, None)
                states[job] = (self._state(entry), entry.reason)
            elif job not in forgotten:
                states[job] = ("UNSEEN", "")
            else:  # the accounting has jobs run for ever whose end it was not told
                unknown = "COMPLETED" if _written(info) else "FORGOTTEN"
                state = accounted.get(job, unknown)
                states[job] = (unknown if state in LIVING else state, "squeue knows it no longer")
        return states

    def _state(self, entry: Entry) -> str:
        """The state of a job, NEVER_STARTS once it was seen to wait for what does not come."""
        if entry.state == "NODE_FAIL":
            self._failed_nodes.add(entry.nodes)
        if not entry.never_starts:
            self._without_hope.pop(entry.id, None)
            return entry.state
        self._without_hope[entry.id] += 1
        return "NEVER_STARTS" if self._without_hope[entry.id] >= LOOKS else entry.state

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
        if state == "NEVER_STARTS":
            cancel([info.external_jobid])
            self._as_at_first.add(_comment(info.job))
            detail += ": it could never start; mend slurm/profile.yaml"
        name = f"SLURM job {info.external_jobid} ({_comment(info.job)})"
        self.report_job_error(info, msg=f"error: {name}: {state} ({detail}). ", aux_logs=[str(log)])
        return True


def _comment(job: Any) -> str:
    """What the plugin writes into the comment of a SLURM job, its own identity in a plan."""
    wildcards = "_".join(str(w).replace("/", "_") for w in job.wildcards)
    return f"rule_{job.name}" + (f"_wildcards_{wildcards}" if wildcards else "")


def refused_by_slurm(message: str) -> tuple[str, bool]:
    """What `sbatch` answered, out of the plugin's words; False where the plugin itself objects."""
    answer = message.partition("sbatch call:")[0]
    _, marker, said = answer.partition("The error message was")
    return said.strip().strip("'.\n"), bool(marker)


def _entry(info: SubmittedJobInfo, by_id: dict[str, Entry]) -> Entry | None:
    """This job in the queue; a controller that lost its last seconds may give an id twice."""
    entry = by_id.get(str(info.external_jobid))
    return entry if entry and entry.comment == _comment(info.job) else None


def _written(info: SubmittedJobInfo) -> bool:
    return all(Path(str(path)).exists() for path in info.job.output)
