"""What a plan will probably cost in core-hours, from what the same action has cost so far."""

from planner.campaign import Campaign
from planner.ledger import totals
from planner.plan import Plan

MODEL_STEP = 0.002  # core-seconds of an MD step with a model, until one was measured


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
    moved = max(0, steps - calls) if plan.action in ("sample", "model_eval") else 0
    seconds = calls * per_call + moved * _seconds_per_step(campaign, seen, per_call) + training
    return seconds / 3600


def _seconds_per_step(
    campaign: Campaign, seen: dict[str, dict[str, float]], per_call: float
) -> float:
    """What a step of MD with a model has cost; the action `sample` also holds reference MD."""
    steps = campaign.state().spent.model_md_steps
    spent = sum(
        seen[action]["core_seconds"] - seen[action]["reference_calls"] * per_call
        for action in ("sample", "model_eval")
        if action in seen
    )
    return max(spent, 0.0) / steps if steps else MODEL_STEP


def measured(campaign: Campaign, plan: Plan) -> bool:
    """Whether the estimate rests on what this action has cost before."""
    return bool(_seen(campaign).get(plan.action)) or plan.action in ("reference_calc", "prune")


def _seen(campaign: Campaign) -> dict[str, dict[str, float]]:
    return totals(campaign.iteration(campaign.sealed) / "ledger.jsonl").get("by_action", {})
