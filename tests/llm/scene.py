"""Situations of a small campaign, and campaign folders without physics, for the planner LLM."""

import json
from pathlib import Path

import yaml

from campaign.create import SNAKEFILE
from campaign.files import sha256, write_record, write_text
from campaign.folder import Campaign
from campaign.integrity import begun_from
from campaign.reduce import after
from campaign.situation import Situation
from planner.decide import next_plan
from planner.policy import rules
from tests.planner.simulation import SMALL, World, campaign, config_of, structures_of, task_of


def situations(llm: dict | None = None, world: World | None = None) -> list[Situation]:
    """Every situation of one simulated campaign."""
    config, task = config_of(llm=llm or {}), task_of(SMALL)
    run = campaign(world or World(seed=3, unstable=0.6), task, config)
    structures = structures_of(task)
    return [
        Situation(state, task, config, structures, 1.0 * n, f"{n:064x}")
        for n, state in enumerate(run.states[:-1], start=1)
    ]


def folder(path: Path, config: dict | None = None, description: str = "") -> Campaign:
    """A campaign folder; of the structures' files the planner looks only whether they are there."""
    task = task_of(SMALL).model_dump(mode="json") | {"description": description}
    (path / "structures").mkdir(parents=True)
    entries = [
        s.model_dump(mode="json")
        | {"file": f"{s.id}.extxyz", "family": "solid", "description": s.description or s.id}
        for s in structures_of(task_of(SMALL))
    ]
    (path / "structures/index.yaml").write_text(yaml.safe_dump(entries))
    for entry in entries:
        (path / "structures" / entry["file"]).touch()
    (path / "task.yaml").write_text(yaml.safe_dump(task))
    (path / "config.yaml").write_text(yaml.safe_dump(config or {}))
    (path / "Snakefile").write_text(SNAKEFILE)
    return Campaign.at(path)


def finalized(campaign: Campaign, world: World) -> None:
    """Carry out the pending plan with drawn results and finalize it, as the rule does."""
    plan, number = campaign.pending, campaign.last
    situation = campaign.situation()
    here = campaign.iteration(number)
    result = world.result(plan, situation)
    hashes = (sha256((here / "plan.yaml").read_text()), campaign.state_sha256(number - 1))
    line = {"total": {"core_seconds": 10.0 * number, "by_action": {}}}
    write_text(here / "ledger.jsonl", json.dumps(line) + "\n")
    following = after(situation.state, plan, result, hashes)
    used = begun_from(campaign, plan, situation.state)
    write_record(here / "state.yaml", following.model_copy(update={"structures": used}))


def carried_on(path: Path, world: World, most: int) -> Campaign:
    """Decide and finalize up to `most` iterations or to the verdict."""
    for _ in range(most):
        here = Campaign.at(path)
        if here.state().verdict:
            break
        next_plan(here)
        finalized(Campaign.at(path), world)
    return Campaign.at(path)


def rules_plan(situation: Situation):
    return rules.decide(situation)
