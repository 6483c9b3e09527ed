"""The verdict, the potential and its papers; files: see rules/end.smk."""

import argparse
from pathlib import Path

from campaign.actions.end import End, conclude
from campaign.files import write_record
from campaign.job import Job, entry, previous_state
from campaign.report import document as report
from campaign.results import Verdict


def hand_over(plan: End, state: str, output: Path) -> Verdict:
    """Hold the evaluations against the targets; hand over the model with its papers."""
    job = Job()
    known = previous_state(job, state)
    verdict = conclude(known, plan)
    report.publish(job.campaign, known, verdict, job.campaign.folder / "result")
    write_record(output, verdict)
    return verdict


def main() -> None:
    """Parse the rule's command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=End.model_validate_json, required=True)
    parser.add_argument("--state", required=True)
    parser.add_argument("--output", type=Path, required=True)
    hand_over(**vars(parser.parse_args()))


if __name__ == "__main__":
    entry(main)
