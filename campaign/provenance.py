"""Who a plan comes from, in the words that begin what is said of it."""

from pathlib import Path
from typing import Any

from atomistics.yaml_files import read_text
from campaign.approval import edited
from campaign.errors import UserError
from campaign.files import read_json, sha256
from campaign.folder import Campaign
from campaign.plan import Plan
from campaign.terminal import plain

EDITED = ", EDITED by hand since"


def source(campaign: Campaign, plan: Plan) -> str:
    """The source of a plan, EDITED where a hand has changed it since."""
    path = campaign.iteration(plan.iteration) / "decision.json"
    if not path.is_file():
        return "manual, without a record"
    try:
        record = read_json(path, "source")
    except UserError:
        return "its record cannot be read"
    return source_of(record) + (EDITED if edited(campaign, plan) else "")


def source_now(record: dict[str, Any], folder: Path) -> str:
    """As `source`, of the record of the iteration in `folder`, whose plan may be none any more."""
    plan = folder / "plan.yaml"
    same = not plan.is_file() or sha256(read_text(plan)) == record.get("plan_sha256")
    return source_of(record) + ("" if same else EDITED)


def source_of(record: dict[str, Any]) -> str:
    """Who decided, by the decision record alone."""
    name = str(record["source"])
    if name == "model":
        served = record.get("model_served")
        models = served if isinstance(served, list) and served else [record.get("model_asked")]
        return f"model {plain(', '.join(map(str, models)), 200)}"
    if name.startswith("rules:"):
        why = f"{record.get('failure')} {record.get('detail') or ''}".strip()
        return f"FALLBACK: rules, because the model gave no plan: {plain(why, 200)}"
    if name == "rules" and record.get("rule"):
        return f"rules, rule {plain(str(record['rule']), 60)}"
    return plain(name, 200)
