"""`python -m campaign.finalize`, run by the rule `finalize` in an iteration's folder."""

import argparse
import json
import shutil
import sys
from pathlib import Path

from atomistics.reference.resuming import sweep
from atomistics.yaml_files import read_text
from campaign.config import Config
from campaign.errors import UserError
from campaign.files import dump_yaml, read, sha256, write_text
from campaign.folder import Campaign
from campaign.integrity import CLOSING, begun_from, file_sha256, products
from campaign.ledger import gather, totals
from campaign.reduce import after
from mtp.atomic import atomic_folder


def finalize(result: Path, ledger: Path, state: Path) -> None:
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
    made = {f"{folder.name}/{name}": digest for name, digest in products(folder).items()}
    sweep(read(Config, folder / "config.yaml").reference.keep)
    following = after(before, plan, outcome, hashes)
    files = {"files": {**before.files, **made}, "structures": begun_from(campaign, plan, before)}
    text = dump_yaml(following.model_copy(update=files))
    closing = (*CLOSING, f"{plan.action}/result.yaml")
    closes = {n: file_sha256(folder / n) for n in closing if (folder / n).is_file()}
    carried = totals(campaign.iteration(number - 1) / "ledger.jsonl")
    lines = gather(folder, plan.action, carried, {**closes, "state.yaml": sha256(text)})
    write_text(ledger, "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    write_text(state, text)


def publish(campaign: Campaign) -> None:
    """Copy what the end has handed over to `result/`, where people look; all of it or nothing.

    No rule writes outside its iteration, so Snakemake calls this when all is done, and
    `planner run` again where that was prevented.
    """
    papers = campaign.iteration(campaign.last) / "end/result"
    if not papers.is_dir():
        return
    with atomic_folder(campaign.result, replace=True) as partial:
        shutil.copytree(papers, partial, dirs_exist_ok=True)


def main() -> None:
    """Entry point of the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("result", "ledger", "state"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    try:
        finalize(**vars(parser.parse_args()))
    except UserError as error:
        sys.exit(f"finalize: {error}")


if __name__ == "__main__":
    main()
