"""What later trainings leave out; files: see rules/prune.smk."""

from pathlib import Path

from campaign.actions.prune import Prune, PruneResult
from campaign.files import write_record
from campaign.script import command_line


def prune(plan: Prune, output: Path) -> None:
    """Report what the plan leaves out or takes back in: data and models stay where they are."""
    result = PruneResult(
        models=plan.models, datasets=plan.datasets, frames=plan.frames, restored=plan.restore
    )
    write_record(output, result)


def main() -> None:
    """The commands of the rules."""
    command_line(prune)


if __name__ == "__main__":
    main()
