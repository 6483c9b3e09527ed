"""What later trainings leave out; files: see rules/prune.smk."""

import argparse
from pathlib import Path

from campaign.actions.prune import Prune, PruneResult
from campaign.files import write_record
from campaign.job import entry


def prune(plan: Prune, output: Path) -> None:
    """Report what the plan leaves out or takes back in: data and models stay where they are."""
    result = PruneResult(
        models=plan.models, datasets=plan.datasets, frames=plan.frames, restored=plan.restore
    )
    write_record(output, result)


def main() -> None:
    """Parse the rule's command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Prune.model_validate_json, required=True)
    parser.add_argument("--output", type=Path, required=True)
    prune(**vars(parser.parse_args()))


if __name__ == "__main__":
    entry(main)
