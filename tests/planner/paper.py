"""The paper's run, step by step: task, configuration, and what every action reported."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from atomistics.yaml_files import read_yaml
from campaign.config import Task
from campaign.files import parse
from campaign.plan import SECTIONS, Plan
from campaign.reduce import after
from campaign.situation import Situation, StructureInfo
from campaign.state import start
from planner.policy.rules import decide
from tests.planner.simulation import config_of

if TYPE_CHECKING:
    from campaign.results import Result

SOURCE = Path(__file__).parents[1] / "data" / "paper" / "run.yaml"


class Step(NamedTuple):
    """One of the 21 decisions: where it was taken, what was planned, what the log says."""

    situation: Situation
    plan: Plan
    action: str
    expect: dict[str, Any]


@cache
def run() -> list[Step]:
    """Lead the rules through the observations, whatever they decide."""
    data = read_yaml(SOURCE)
    task, config = Task.model_validate(data["task"]), config_of(**data["config"])
    structures = [StructureInfo.model_validate(s) for s in data["structures"]]
    state, steps = start(task), []
    for number, step in enumerate(data["steps"]):
        situation = Situation(state, task, config, structures, 0.0, f"{number:064x}")
        plan = decide(situation)
        steps.append(Step(situation, plan, step["action"], step["expect"]))
        if plan.action != step["action"]:
            break
        result: Result = parse(
            SECTIONS[step["action"]].result, step["result"], f"step {number + 1}"
        )
        state = after(state, plan, result, ("plan", "state"))
    return steps
