"""`python -m campaign.finalize`, run by the rule `seal` in an iteration's folder."""

import argparse
import json
import sys
from pathlib import Path

from campaign.errors import UserError
from campaign.files import read, read_text, sha256, write_record, write_text
from campaign.folder import Campaign
from campaign.ledger import gather, totals
from campaign.reduce import after


def seal(result: Path, ledger: Path, state: Path) -> None:
    """Write the ledger, then the state: an iteration is closed by its last file."""
    folder = Path.cwd()
    campaign = Campaign.at(folder.parent.parent)
    number = int(folder.name)
    plan = campaign.plan(number)
    outcome = read(plan.parameters.result, result)
    before = campaign.state(number - 1)
    hashes = (
        sha256(read_text(folder / "plan.yaml")),
        campaign.state_sha256(number - 1),
    )
    carried = totals(campaign.iteration(number - 1) / "ledger.jsonl")
    lines = gather(folder, plan.action, carried)
    write_text(ledger, "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    write_record(state, after(before, plan, outcome, hashes))


def main() -> None:
    """Entry point of the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("result", "ledger", "state"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    try:
        seal(**vars(parser.parse_args()))
    except UserError as error:
        sys.exit(f"seal: {error}")


if __name__ == "__main__":
    main()
