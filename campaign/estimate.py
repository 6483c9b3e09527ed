"""What a plan will probably cost in core-hours, from what the same action has cost so far."""

from campaign.actions.section import Cost
from campaign.folder import Campaign
from campaign.identifiers import iteration_of
from campaign.ledger import totals
from campaign.plan import Plan

MODEL_STEP = 0.002  # core-seconds of an MD step with a model, until one was measured


def core_hours(campaign: Campaign, plan: Plan, price: Cost) -> float:
    """Estimate from what a call or an MD step has cost so far, else from the configuration."""
    calls, steps = price.reference_calls, price.md_steps
    spent = _spent(campaign, campaign.finalized)
    labelling = [spent[a] for a in ("settle", "reference_calc", "select_data") if spent.get(a)]
    labelling = [a for a in labelling if not a.get("explorer_calls")]
    calls_made = sum(a["reference_calls"] for a in labelling)
    per_call = (
        sum(a["core_seconds"] for a in labelling) / calls_made
        if calls_made
        else campaign.config.reference.seconds_per_call
    )
    fits_so_far = spent.get("train")
    fits = max(1, len(campaign.state().models))
    training = fits_so_far["core_seconds"] / fits if fits_so_far and plan.action == "train" else 0.0
    moving = 0.0
    exploring = price.explorer_calls * _seconds_per_exploring(campaign, spent)
    if plan.action in ("sample", "model_eval") and steps > calls and not price.explorer_calls:
        moving = (steps - calls) * _seconds_per_step(campaign, plan.action, per_call)
    return (calls * per_call + exploring + moving + training) / 3600


def _seconds_per_exploring(campaign: Campaign, spent: dict[str, dict[str, float]]) -> float:
    """What a call of the explorer cost in settling, which nothing else has a part in."""
    settled, explorer = spent.get("settle", {}), campaign.config.explorer
    if calls := settled.get("explorer_calls"):
        return settled["core_seconds"] / calls
    return explorer.seconds_per_call if explorer else 0.0


def _seconds_per_step(campaign: Campaign, action: str, per_call: float) -> float:
    """What a step cost in the newest evaluation (for one) or the newest sampling with a model.

    Sampling by the reference stands under the same action in the ledger, hence the differences.
    """
    state = campaign.state()
    moved = {
        "sample": [iteration_of(s.id) for s in state.samples if s.method == "model"],
        "model_eval": [e.iteration for e in state.evaluations],
    }
    for kind in dict.fromkeys((action, "sample")):
        for number in moved[kind][-1:]:
            now, before = _spent(campaign, number).get(kind), _spent(campaign, number - 1).get(kind)
            own = {key: value - (before or {}).get(key, 0) for key, value in (now or {}).items()}
            if own.get("md_steps", 0) > 0:
                seconds = own["core_seconds"] - own["reference_calls"] * per_call
                return max(seconds, 0.0) / own["md_steps"]
    return MODEL_STEP


def measured(campaign: Campaign, plan: Plan) -> bool:
    """Whether the estimate rests on what this action has cost before."""
    return bool(_spent(campaign, campaign.finalized).get(plan.action)) or plan.action in (
        "reference_calc",
        "prune",
    )


def _spent(campaign: Campaign, number: int) -> dict[str, dict[str, float]]:
    return totals(campaign.iteration(number) / "ledger.jsonl").get("by_action", {})
