"""How a campaign is brought to its end: limits ahead, the best model, the verdict asked for."""

from collections.abc import Iterable

from campaign.actions.end import End
from campaign.identifiers import Outcome
from campaign.situation import Situation
from campaign.verdict import open_targets
from planner.policy import parameters
from planner.policy.draft import Draft

NEARLY = 0.02
CORE_HOURS_RESERVED = 0.1


def end(sit: Situation, outcome: Outcome, reason: str, keys: Iterable[str]) -> Draft:
    """The end, with the best model there is; converged whenever that model meets the targets."""
    model = best(sit)
    if outcome != "converged" and model and not open_targets(sit.state, model):
        outcome, reason = "converged", f"{reason} Yet {model} meets every target."
    section = End(outcome=outcome, model=model, recommendation=f"{reason} {ADVICE[outcome]}"[:2000])
    return Draft(section, reason, (*keys, "models.count", "spent.labels"))


ADVICE: dict[str, str] = {
    "converged": "Use it inside the temperatures and structures it was sampled at.",
    "budget_exhausted": "Raise the limit that was reached to go on from here.",
    "blocked": "Mend the cause named here, then begin again with the same structures.",
    "failed": "Consider a higher mlp.level, more varied structures, or looser targets.",
}


def best(sit: Situation) -> str | None:
    """The evaluated model with the fewest open targets, the newest of equals, else the newest."""
    ranked = [
        (len(open_targets(sit.state, m.id)), -number, m.id)
        for number, m in enumerate(sit.state.usable_models)
        if all(sit.evaluated(s.name, m.id) for s in sit.targets)
    ]
    if ranked:
        return min(ranked)[2]
    return sit.model.id if sit.model else None


def judged(sit: Situation) -> bool:
    """Whether the newest model was evaluated on every target."""
    return bool(sit.model) and all(sit.evaluated(s.name, sit.model.id) for s in sit.targets)


def near(sit: Situation) -> str | None:
    """The limit that leaves room for the last evaluation only, in words."""
    limits, spent = sit.config.limits, sit.state.spent
    decisions = limits.decisions - sit.state.iteration
    owed = 1 + (bool(sit.active) and (bool(sit.unused) or sit.model is None))
    owed += sit.model is None or bool(sit.unused) or not judged(sit)
    if decisions <= owed:
        return f"{sit.state.iteration} of {limits.decisions} decisions taken"
    if sit.core_seconds >= (1 - CORE_HOURS_RESERVED) * limits.core_hours * 3600:
        return f"{sit.core_seconds / 3600:.2f} of {limits.core_hours:g} core-hours spent"
    room = parameters.left(sit)
    if room.labels <= NEARLY * limits.labels:
        return f"{spent.labels} of {limits.labels} labels bought"
    if room.reference_calls <= NEARLY * min(limits.labels, limits.reference_calls):
        return f"{spent.reference_calls} of {limits.reference_calls} reference calls made"
    return None


def wind_up(sit: Situation, limit: str) -> Draft:
    """Take in what was paid for, evaluate the target once, end: in so far as limits allow."""
    keys = ("iteration", "spent.labels", "spent.reference_calls", "models.count")
    decisions = sit.config.limits.decisions - sit.state.iteration
    broke = sit.core_seconds >= sit.config.limits.core_hours * 3600
    reason = f"The budget is at its end ({limit})"
    untrained = bool(sit.active) and (sit.model is None or bool(sit.unused)) and not sit.refusals
    if untrained and decisions >= (2 if sit.model is None else 3) and not broke:
        start = "continue" if sit.model else "scratch"
        section = parameters.train(sit, start, "accurate")
        return Draft(section, f"{reason}: train on all that was paid for.", keys)
    structures = [name for s in sit.targets for name in sit.baselines(s.name)]
    owed = bool(sit.model) and not judged(sit) and bool(structures)
    if owed and decisions >= 2 and not broke and sit.last("model_eval") <= sit.last("train"):
        section = parameters.model_eval(sit, sit.model.id, structures)
        return Draft(section, f"{reason}: evaluate {sit.model.id} before the verdict.", keys)
    return end(sit, "budget_exhausted", f"{reason}.", keys)
