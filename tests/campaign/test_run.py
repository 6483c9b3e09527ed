"""Why `planner run` stopped: in the words of the job, or for want of any."""

from pathlib import Path

import pytest

from campaign.run import _cause

SAID = """\
Error in rule reference_md:
    message: None
    jobid: 3
    output: reference_calc/chunks/0001.json
    log: logs/reference_calc/0001.log (check log file(s) for error details)
WorkflowError:
At least one job did not complete successfully.
"""


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("one\nreference_calc: a.extxyz: No space left on device\n", "No space left on device"),
        ("Traceback\nValueError: x\n", "ValueError: x"),
        ("", "a job was killed without a word"),
        (None, "a job was killed without a word"),
    ],
)
def test_the_cause_is_what_the_job_said_or_that_it_was_killed(
    tmp_path: Path, log: str | None, why: str
) -> None:
    path = tmp_path / "logs/reference_calc/0001.log"
    path.parent.mkdir(parents=True)
    if log is not None:
        path.write_text(log)
    told = _cause(tmp_path, SAID.splitlines(keepends=True))
    assert why in told
    assert told.startswith("logs/reference_calc/0001.log: ")


def test_without_a_job_snakemake_has_the_word(tmp_path: Path) -> None:
    assert _cause(tmp_path, ["nothing\n", "LockException: locked\n"]) == "LockException: locked"
