"""SLURM's answers by kinds: what passes is waited for, what a person must mend is named whole."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from benchmarks.orchestration.__main__ import snakemake
from campaign.create import create
from campaign.doctor.slurm import cluster
from campaign.run import _cause
from campaign.slurm.answers import held, never_starts, reason_of, refusal
from campaign.status import render, status
from planner.decide import next_plan
from tests.campaign.slurm_double import install, submissions

BIN = Path(sys.executable).parent
FAILED = "sbatch: error: Batch job submission failed: "
POLICY = FAILED + (
    "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
)
NO_CONFIGURATION = (
    "sbatch: error: Invalid user for SlurmUser slurm, ignored\n"
    "sbatch: fatal: Unable to process configuration file"
)
NO_MEMORY_BY_NODE = (
    "sbatch: error: lua: Requesting memory by node is not supported. Use --mem-per-cpu.\n"
    "sbatch: error: cli_filter plugin terminated with error"
)
UNSPECIFIED = f"\n{FAILED}Unspecified error"


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("busy", POLICY),
        ("busy", f"sbatch: error: AssocMaxSubmitJobLimit\n{POLICY}"),
        ("busy", f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{POLICY}"),
        ("busy", FAILED + "Slurm temporarily unable to accept job, sleeping and retrying"),
        ("busy", FAILED + "Pending job limit reached"),
        ("busy", f"sbatch: error: You have too many pending jobs already{UNSPECIFIED}"),
        ("busy", f"sbatch: error: RPC rate limit exceeded{UNSPECIFIED}"),
        ("away", FAILED + "Unexpected message received"),
        ("away", NO_CONFIGURATION),
        ("away", FAILED + "Connection reset by peer"),
        ("away", FAILED + "Transport endpoint is not connected"),
        ("away", FAILED + "Protocol authentication error"),
        ("away", FAILED + "Socket timed out on send/recv operation"),
        ("away", FAILED + "Resource temporarily unavailable"),
        ("away", FAILED + "Incompatible versions of client and server code"),
        ("person", f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}"),
        ("person", f"sbatch: error: AssocMaxCpuPerJobLimit\n{POLICY}"),
        ("person", f"sbatch: error: You must specify an account!{UNSPECIFIED}"),
        ("person", FAILED + "Invalid account or account/partition combination specified"),
        ("person", FAILED + "Requested time limit is invalid (missing or exceeds some limit)"),
        ("person", FAILED + "User's group not permitted to use this partition"),
        ("person", f"sbatch: error: The budget of proj17 is used up{UNSPECIFIED}"),
        ("mendable", NO_MEMORY_BY_NODE),
        ("mendable", "/bin/sh: 1: sbatch: Argument list too long"),
        ("busy", FAILED + "Required partition not available (inactive or drain)"),
        ("busy", FAILED + "Required node not available (down, drained or reserved)"),
        ("busy", FAILED + "Partition is in drained state"),
        (
            "busy",
            FAILED + "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher",
        ),
        ("busy", FAILED + "Reservation is not usable now"),
        ("busy", f"sbatch: error: You have reached your maximum of 100 queued jobs{UNSPECIFIED}"),
        ("busy", f"sbatch: error: slurmctld is throttling RPCs, please slow down{UNSPECIFIED}"),
        ("busy", f"sbatch: error: please wait 10 minutes before submitting{UNSPECIFIED}"),
        ("away", FAILED + "Zero Bytes were transmitted or received"),
        ("away", FAILED + "Message receive failure"),
        ("away", FAILED + "Slurm database connection failure"),
        ("away", FAILED + "Header lengths are longer than data received"),
        ("away", f"sbatch: error: cluster is in maintenance until Monday{UNSPECIFIED}"),
        ("away", f"sbatch: error: The cluster is down for maintenance{UNSPECIFIED}"),
        ("person", f"sbatch: error: AssocGrpCPUMinutesLimit\n{POLICY}"),
        ("person", f"sbatch: error: QOSGrpNodeLimit\n{POLICY}"),
        ("busy", f"sbatch: error: AssocGrpSubmitJobsLimit\n{POLICY}"),
        ("person", f"sbatch: error: This job needs a GPU: add --gres{UNSPECIFIED}"),
        ("person", FAILED + "Requested node configuration is not available"),
        ("person", FAILED + "Requested partition configuration not available now"),
        ("person", FAILED + "Job dependency problem"),
        # a site's own line says more than the general one that SLURM ends with
        ("person", f"sbatch: error: Job aborted, your project ran out of CPU quota.\n{POLICY}"),
        ("person", f"sbatch: error: Project abc123 has used 104% of its hours\n{POLICY}"),
        ("person", f"sbatch: error: ERROR: No account given. Aborting.\n{POLICY}"),
        ("person", f"sbatch: error: AssocGrpBillingMinutes\n{POLICY}"),
        ("busy", f"sbatch: Using account proj17\n{POLICY}"),
        ("busy", f"sbatch: error: QOSMaxJobsPerUserLimit\n{POLICY}"),
        ("busy", f"sbatch: error: AssocGrpJobsLimit\n{POLICY}"),
        ("person", FAILED + "Requested account has breached requested QOS usage threshold"),
        ("person", "sbatch: error: Unable to open file /home/u/x.sh"),
        ("person", f"sbatch: error: Your home directory is over quota{UNSPECIFIED}"),
        ("person", f"sbatch: error: Please choose a project with --account{UNSPECIFIED}"),
        ("busy", FAILED + "Requested nodes are busy"),
        ("busy", FAILED + "System submissions disabled"),
        ("busy", FAILED + "Partition in DOWN state"),
        ("busy", FAILED + "Unable to create job record, try again"),
        ("busy", f"sbatch: error: You already have 50 jobs queued{UNSPECIFIED}"),
        ("away", FAILED + "Slurm backup controller in standby mode"),
        ("away", FAILED + "I/O error writing script/environment to file"),
        ("away", FAILED + "Job can not start due to maintenance reservation."),
        ("away", FAILED + "Message send failure"),
        ("away", f"sbatch: error: Munge decode failed: Expired credential\n{FAILED}Job credential"),
        ("away", "/bin/sh: 1: sbatch: Cannot allocate memory"),
        ("unknown", FAILED + "Unspecified error"),
        ("unknown", "sbatch: error: the moon is full\n" + FAILED + "Unspecified error"),
        ("unknown", ""),
    ],
)
def test_an_answer_is_decided_by_its_kind(kind: str, answer: str) -> None:
    assert refusal(answer).kind == kind


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (f"sbatch: error: Say an account!{UNSPECIFIED}", "Say an account!"),
        (FAILED + "Unspecified error", "Unspecified error"),
        ("sbatch: info: hello\nsbatch: error: first\nsbatch: error: second", "first; second"),
        (
            "allocation failure: Requested node configuration is not available",
            "Requested node configuration is not available",
        ),
        ("", "no reason given"),
    ],
)
def test_the_reason_is_the_sites_own_words(answer: str, reason: str) -> None:
    assert reason_of(answer) == reason


def test_reasons_of_waiting_jobs_are_read_in_both_spellings() -> None:
    requeued = ["launch failed requeued held", "user env retrieval failed requeued held"]
    for reason in [*requeued, *(r.replace(" ", "_") for r in requeued), "JobHoldMaxRequeue"]:
        assert never_starts(reason)
        assert not held(reason)
    for reason in ("JobHeldUser", "JobHeldAdmin", "job requeued in held state"):
        assert held(reason)
        assert not never_starts(reason)
    for reason in ("BadConstraints", "DependencyNeverSatisfied", "QOSMinGRES", "InvalidAccount"):
        assert never_starts(reason)
    passing = ("PartitionDown", "ReqNodeNotAvail, UnavailableNodes:n1", "AssocGrpCPUMinutesLimit")
    ordinary = ("Priority", "Resources", "QOSMaxJobsPerUserLimit", "AssocGrpCpuLimit", "None")
    for reason in passing + ordinary:
        assert not held(reason)
        assert not never_starts(reason)


def run(tmp_path: Path, **answers: object) -> tuple[int, str, float]:
    """Two jobs on a site that answers so: exit status, what was said, seconds."""
    path = f"{install(tmp_path / 'site', **answers)}:{BIN}:{os.environ['PATH']}"
    words = snakemake(tmp_path, items=2, jobs=2, seconds=0.0, ranks=1)
    profile = yaml.safe_load((tmp_path / "slurm/profile.yaml").read_text())
    profile["slurm-init-seconds-before-status-checks"] = 3
    (tmp_path / "slurm/profile.yaml").write_text(yaml.safe_dump(profile))
    began = time.monotonic()
    done = subprocess.run(
        words,
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "SITE": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr, time.monotonic() - began


@pytest.mark.parametrize(
    "text", [POLICY, FAILED + "Unexpected message received", "the moon is full"]
)
def test_what_passes_costs_no_job(tmp_path: Path, text: str) -> None:
    """Limits, outages and what nobody knows: more refusals than Snakemake has retries."""
    status, said, _ = run(tmp_path, refusal=text, times=5)
    assert status == 0, said[-3000:]
    assert len(submissions(tmp_path / "site")) == 7
    assert said.count("mtpilot: SLURM takes no job now") <= 2
    assert reason_of(text) in said


def test_what_a_person_must_mend_ends_at_once_in_the_sites_words(tmp_path: Path) -> None:
    text = f"sbatch: error: You must specify an account!{UNSPECIFIED}"
    status, said, _ = run(tmp_path, refusal=text, times=99)
    assert status == 1
    assert len(submissions(tmp_path / "site")) == 2  # no job is asked for again
    cause = _cause(tmp_path, said.splitlines(keepends=True))
    assert re.fullmatch(r"SLURM refuses rule_chunk\S*: You must specify an account!", cause)


def test_a_site_that_forbids_memory_by_node_is_asked_by_core(tmp_path: Path) -> None:
    text = "sbatch: error: --mem is not allowed here, use --mem-per-cpu" + UNSPECIFIED
    status, said, _ = run(tmp_path, forbidden={"--mem": text})
    assert status == 0, said[-3000:]
    assert "--mem-per-cpu 800" in submissions(tmp_path / "site")[-1]


@pytest.mark.parametrize("reason", ["launch_failed_requeued_held", "launch failed requeued held"])
def test_a_job_slurm_gave_up_is_cancelled_and_runs_again(tmp_path: Path, reason: str) -> None:
    status, said, _ = run(tmp_path, pending=reason)
    assert status == 0, said[-3000:]
    assert (tmp_path / "site/1.cancelled").exists()
    assert len(submissions(tmp_path / "site")) == 3


def test_status_names_held_jobs_and_what_submissions_wait_for(tmp_path: Path) -> None:
    campaign = create("dry_ice_nitrogen", tmp_path / "c")
    next_plan(campaign)
    queue = {
        "at": "12:00",
        "states": {"PENDING": 2},
        "waiting_for": {"JobHeldAdmin": 1, "Priority": 1},
        "held": {"17": "JobHeldAdmin"},
        "refused": ["Pending job limit reached"],
    }
    (tmp_path / "c/iterations/001/queue.json").write_text(json.dumps(queue))
    text = render(status(type(campaign).at(campaign.folder)))
    assert "held: job 17 by an administrator (JobHeldAdmin)" in text
    assert "SLURM takes no job now: Pending job limit reached" in text


def doctored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, account: str, **answers: object
) -> dict[str, str]:
    """Findings of `planner doctor` on such a site, by what they are about."""
    campaign = create("dry_ice_nitrogen", tmp_path / "c")
    profile = yaml.safe_load((campaign.folder / "slurm/profile.yaml").read_text())
    profile["default-resources"] |= {"slurm_account": account}
    (campaign.folder / "slurm/profile.yaml").write_text(yaml.safe_dump(profile))
    path = install(tmp_path / "site", **answers)
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
    monkeypatch.setenv("SITE", str(tmp_path / "site"))
    return {finding.what: str(finding) for finding in cluster(campaign.folder)}


@pytest.mark.parametrize("account", ["my project", "proja", "ProjA"])
def test_accounts_with_blanks_and_capitals_are_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, account: str
) -> None:
    findings = doctored(tmp_path, monkeypatch, account, accounts="my project\nprojA\n")
    assert findings["account"].startswith("ok")


def test_an_account_that_is_not_there_is_named_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = doctored(tmp_path, monkeypatch, "my", accounts="my project\nprojA\n")
    assert findings["account"].startswith("FAIL")
    assert "one of my project, projA" in findings["account"]


@pytest.mark.parametrize(
    ("answer", "level", "said"),
    [
        (
            f"sbatch: error: You must specify an account!{UNSPECIFIED}",
            "FAIL",
            "You must specify an account!; mend its resources",
        ),
        (
            "sbatch: error: lua: --mem is not supported, use --mem-per-cpu" + UNSPECIFIED,
            "note",
            "campaigns submit: memory per core",
        ),
        (POLICY, "note", "campaigns wait and try again"),
    ],
)
def test_the_doctor_gives_the_sites_own_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, level: str, said: str
) -> None:
    findings = doctored(tmp_path, monkeypatch, "acc", test_only=answer)
    assert findings["jobs"].startswith(level)
    assert said in findings["jobs"]
    assert "Unspecified" not in findings["jobs"]
