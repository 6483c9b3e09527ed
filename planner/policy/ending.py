"""How a campaign is brought to its end: limits ahead, the best model, the verdict asked for."""

import math
from collections.abc import Iterable

from campaign.actions.end import End
from campaign.budget import left
from campaign.cost import price
from campaign.identifiers import CampaignOutcome
from campaign.situation import Situation, unjudged
from campaign.verdict import Criterion, misses, open_targets, property_targets
from planner.policy import parameters
from planner.policy.comparison import given_up, soundest
from planner.policy.draft import Draft


def end(sit: Situation, outcome: CampaignOutcome, reason: str, keys: Iterable[str]) -> Draft:
    """The end, with the best model there is; converged whenever that model meets the targets."""
    model = best(sit)
    if outcome != "converged" and model and not missed(sit, model):
        outcome, reason = "converged", f"{reason} Yet {model} meets every target."
    section = End(outcome=outcome, model=model, recommendation=f"{reason} {ADVICE[outcome]}"[:2000])
    return Draft(section, reason, (*keys, "models.count", "spent.labels"))


ADVICE: dict[str, str] = {
    "converged": "Use it inside the temperatures and structures it was sampled at.",
    "fitted": "Its errors are those on held-out frames; try it before you use it.",
    "budget_exhausted": "Raise the limit that was reached to go on from here.",
    "blocked": "Mend the cause named here, then begin again with the same structures.",
    "failed": "Consider a higher mlp.level, more varied structures, or looser targets.",
}


def missed(sit: Situation, model: str | None) -> list[str]:
    """What stands between a model and 'converged', structures without a reference included."""
    return open_targets(sit.state, model) + unjudged(sit)


def best(sit: Situation) -> str | None:
    """The evaluated model that survives; of those the one nearest to its targets, the newest of
    equals; else the newest that is not worse on common frames than one before it.

    One that collapses gives no property at all, however small its errors are on frames that
    somebody else's MD visited: survival first, and of two that collapse the later collapse.
    """
    ranked = []
    for number, m in enumerate(sit.state.usable_models):
        evaluations = [sit.evaluated(s.name, m.id) for s in sit.targets]
        if all(evaluations):
            lives = [e.picoseconds for rows in evaluations for e in rows if e.status != "ok"]
            fate = (1, -min(lives)) if lives else (0, 0.0)
            ranked.append((fate, distance(sit, m.id), -number, m.id))
    if ranked:
        return min(ranked)[3]
    return sound.id if (sound := soundest(sit)) else None


def distance(sit: Situation, model: str) -> float:
    """How far a model is from its targets: doublings of each bound that it misses, and one for
    all that is open without a number.

    Counted alone, two densities off by sixteen per cent are nearer than four forces off by eight.
    """
    asked = {s.name: property_targets(s, sit.state.targets) for s in sit.targets}
    missed = [
        c
        for s in sit.targets
        for e in sit.evaluated(s.name, model)
        for c in misses(e, s.role, sit.state.targets, asked[s.name])
    ]
    return sum(map(doublings, missed)) + len(open_targets(sit.state, model)) - len(missed)


def doublings(missed: Criterion) -> float:
    """Of its bound by what was found: 0 just beyond it, 1 where nothing was found."""
    if missed.value is None or not missed.bound:
        return 1.0
    value, bound = abs(missed.value), missed.bound
    if missed.key == "rdf_overlap":
        value, bound = 1 - value, 1 - bound
    elif missed.key in ("picoseconds", "compared_ps"):  # too little of it
        value, bound = bound, value
    return math.log2(max(1.0, value / max(bound, 1e-9)))


def wind_up(sit: Situation, limit: str) -> Draft:
    """Take in what was paid for, evaluate the target once, end: in so far as limits allow."""
    keys = ("iteration", "spent.labels", "spent.reference_calls", "models.count")
    decisions = sit.config.limits.decisions - sit.state.iteration
    seconds = left(sit).core_seconds
    reason = f"The budget is at its end ({limit})"
    unfitted = sit.model is None or (bool(sit.unused) and not given_up(sit))
    untrained = bool(sit.active) and unfitted and not sit.refusals
    if untrained and decisions >= (2 if sit.model is None else 3):
        start = "continue" if sit.model else "scratch"
        section = parameters.train(sit, start, "accurate")
        if price(section, sit).core_seconds < seconds:
            return Draft(section, f"{reason}: train on all that was paid for.", keys)
    structures = [name for s in sit.targets for name in sit.baselines(s.name)]
    sound = soundest(sit)
    owed = sound and structures and not all(sit.evaluated(s.name, sound.id) for s in sit.targets)
    if owed and decisions >= 2 and sit.last("model_eval") <= sit.last("train"):
        section = parameters.model_eval(sit, sound.id, structures)
        if price(section, sit).core_seconds < seconds:
            return Draft(section, f"{reason}: evaluate {sound.id} before the verdict.", keys)
    return end(sit, "budget_exhausted", f"{reason}.", keys)
