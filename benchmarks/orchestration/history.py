"""A campaign that has gone on for long, without physics: drawn results, real plans and seals."""

from pathlib import Path

from campaign.folder import Campaign
from planner.decide import next_plan
from tests.llm.scene import carried_on, folder
from tests.planner.simulation import World

ENDLESS = {
    "limits": {"labels": 10**6, "reference_calls": 10**7, "core_hours": 1e6, "decisions": 500},
    "rules": {"max_rounds": 500},
}


def grown(path: Path, iterations: int) -> Path:
    """The folder of a campaign whose plan number `iterations` waits to be run."""
    if not (path / "task.yaml").exists():
        folder(path, ENDLESS)
    world = World(seed=iterations, unstable=0.95, learning=1.0)
    campaign = Campaign.at(path)
    carried_on(path, world, iterations - 1 - campaign.sealed)
    for trained in Campaign.at(path).state().models:
        model = campaign.iteration(int(trained.id[1:])) / "train/model.almtp"
        model.parent.mkdir(exist_ok=True)
        model.touch()
    next_plan(Campaign.at(path))
    return path
