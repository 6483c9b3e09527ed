"""What a plan will probably cost in core-hours, from what the same action has cost so far."""

from planner.campaign import Campaign
from planner.ledger import totals
from planner.plan import Plan


def core_hours(campaign: Campaign, plan: Plan, calls: int, steps: int) -> float:
    """Estimate from what a call or an MD step has cost so far, else from the configuration."""
    seen = _seen(campaign)
    paid = [seen[a] for a in ("reference_calc", "select_data") if seen.get(a)]
    bought = sum(a["reference_calls"] for a in paid)
    per_call = (
        sum(a["core_seconds"] for a in paid) / bought
        if bought
        else campaign.config.reference.seconds_per_call
    )
    last = seen.get("train")
    fits = max(1, len(campaign.state().models))
    training = last["core_seconds"] / fits if last and plan.action == "train" else 0.0
    own = seen.get("sample")
    moved = plan.action in ("sample", "model_eval") and steps > calls and own and own["md_steps"]
    per_step = own["core_seconds"] / own["md_steps"] if moved else 0.0
    return (calls * per_call + max(0, steps - calls) * per_step + training) / 3600


def measured(campaign: Campaign, plan: Plan) -> bool:
    """Whether the estimate rests on what this action has cost before."""
    return bool(_seen(campaign).get(plan.action)) or plan.action in ("reference_calc", "prune")


def _seen(campaign: Campaign) -> dict[str, dict[str, float]]:
    return totals(campaign.iteration(campaign.sealed) / "ledger.jsonl").get("by_action", {})
