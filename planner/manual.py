"""A person's plan: a draft to start from, and the way in through the same gates."""

from pathlib import Path

from atomistics.yaml_files import read_yaml
from campaign.errors import UserError
from campaign.files import dump_yaml, parse, write_text
from campaign.folder import Campaign
from campaign.plan import Plan
from campaign.situation import Situation
from planner.decision import Decision
from planner.policy import rules

DRAFT = "draft.yaml"
HEAD = "# What the rules would do. Change it at will, then: planner next --plan draft.yaml\n"


def draft(campaign: Campaign, situation: Situation) -> Path:
    """The rules' plan as a draft beside task.yaml; one for this iteration is left alone."""
    path = campaign.folder / DRAFT
    existing = read_yaml(path) if path.is_file() else None
    if not isinstance(existing, dict) or existing.get("iteration") != situation.iteration:
        write_text(path, HEAD + dump_yaml(rules.decide(situation)))
    return path


def brought(path: Path, situation: Situation) -> Decision:
    """The plan in a file, for the iteration and state at hand unless it names others."""
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise UserError(f"{path}: must be a mapping of plan keys (see `planner next`)")
    filled = {
        "iteration": situation.iteration,
        "state_sha256": situation.state_sha256,
        "evidence": [],
        "reason": "",
        **data,
    }
    plan = parse(Plan, filled, str(path))
    if plan.rule and plan.fingerprint != rules.decide(situation).fingerprint:
        plan = plan.model_copy(update={"rule": None})  # no rule stands behind it
    return Decision(plan, "manual")
