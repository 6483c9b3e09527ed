"""The verdict, the potential and its papers; files: see rules/end.smk."""

from pathlib import Path

from campaign.actions.end import End, conclude
from campaign.files import write_record
from campaign.job import Job, previous_state
from campaign.report import document as report
from campaign.script import command_line


def end(plan: End, state: Path | None, papers: Path, output: Path) -> None:
    """Hold the evaluations against the targets; hand over the model with its papers."""
    job = Job()
    before = previous_state(job, state)
    verdict = conclude(before, plan)
    report.write_folder(job.campaign, before, verdict, papers, job.campaign.result)
    write_record(output, verdict)


def main() -> None:
    """The commands of the rules."""
    command_line(end)


if __name__ == "__main__":
    main()
