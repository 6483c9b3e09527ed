"""A campaign that has gone on for long, without physics: real plans, the worst results."""

import json
from pathlib import Path

import yaml

from campaign.cost import cost
from campaign.create import create
from campaign.files import sha256, write_record, write_text
from campaign.folder import Campaign
from campaign.reduce import after
from planner.decide import next_plan

ENDLESS = {
    "limits": {"labels": 10**6, "reference_calls": 10**7, "core_hours": 1e6, "decisions": 500},
    "rules": {"max_rounds": 500},
}


def grown(path: Path, iterations: int) -> Path:
    """The folder of a campaign whose plan number `iterations` waits to be run."""
    if not (path / "task.yaml").exists():
        create("dry_ice_nitrogen", path)
        config = yaml.safe_load((path / "config.yaml").read_text())
        for section, values in ENDLESS.items():
            config[section] = {**config.get(section, {}), **values}
        (path / "config.yaml").write_text(yaml.safe_dump(config))
    while Campaign.at(path).finalized < iterations - 1:
        next_plan(Campaign.at(path))
        _finalize(Campaign.at(path))
    next_plan(Campaign.at(path))
    return path


def _finalize(campaign: Campaign) -> None:
    """Close the pending iteration as if its jobs had gone ill."""
    plan, situation = campaign.pending, campaign.situation()
    folder = campaign.iteration(plan.iteration)
    bound = cost(plan, situation)
    result = plan.parameters.project(plan.iteration, situation, bound, well=False)
    hashes = (sha256((folder / "plan.yaml").read_text()), campaign.state_sha256())
    total = {"core_seconds": 10.0 * plan.iteration, "by_action": {}}
    write_text(folder / "ledger.jsonl", json.dumps({"total": total}) + "\n")
    if plan.action == "train":
        (folder / "train").mkdir()
        (folder / "train/model.almtp").touch()
    write_record(folder / "state.yaml", after(situation.state, plan, result, hashes))
