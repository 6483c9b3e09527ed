"""Ways to lead a campaign besides rules and a model: chance within the gates, and one shot."""

import random
from collections.abc import Callable

from atomistics.contract import Strict
from campaign import budget
from campaign.actions.end import End
from campaign.actions.prune import Prune
from campaign.gates import check
from campaign.plan import ACTION_OF, Plan
from campaign.situation import Situation
from planner.policy import ending, parameters, rules

Policy = Callable[[Situation, random.Random], Plan]


def by_rules(sit: Situation, _: random.Random) -> Plan:
    """The rules planner."""
    return rules.decide(sit)


def by_chance(sit: Situation, rng: random.Random) -> Plan:
    """A random action with random parameters, the first that passes every gate."""
    if not budget.reached(sit):
        makers = [_reference, _by_reference, _by_model, _selection, _fit, _evaluation, _pruning]
        rng.shuffle(makers)
        for maker in makers:
            section = maker(sit, rng)
            plan = _plan(sit, section, "chance") if section else None
            if plan and not any(v.verdict == "deny" for v in check(plan, sit)):
                return plan
    return _ended(sit)


def by_schedule(sit: Situation, _: random.Random) -> Plan:
    """One shot, as in the paper's Ablation B: all labels by reference MD, one fit, one look."""
    return _scheduled(sit, fits=1)


def by_patience(sit: Situation, _: random.Random) -> Plan:
    """The same with eight fits, each continuing the last: as long at the optimiser as the rules."""
    return _scheduled(sit, fits=8)


def _scheduled(sit: Situation, fits: int) -> Plan:
    done = [h.action for h in sit.state.history]
    names = [s.id for s in sit.structures if s.held_out]
    again = "continue" if sit.model else "scratch"
    steps: list[Callable[[], Strict | None]] = [
        lambda: parameters.reference_calc(sit, names),
        lambda: _all_by_reference(sit),
        *[lambda: parameters.train(sit, again, "accurate")] * fits,
        lambda: parameters.model_eval(sit, sit.model.id, names) if sit.model else None,
    ]
    section = steps[len(done)]() if len(done) < len(steps) else None
    return _plan(sit, section, "schedule") if section else _ended(sit)


def _all_by_reference(sit: Situation) -> Strict | None:
    """The first sampling of the rules with MD as long as all labels and calls allow."""
    section = parameters.reference_sample(sit, sit.state.subsystems, 1.0)
    room = budget.left(sit)
    while section and section.steps:
        longer = section.model_copy(update={"steps": section.steps + section.interval})
        bound = longer.cost(sit.state)
        if bound.labels > room.labels or bound.reference_calls > room.reference_calls:
            break
        section = longer
    return section


DECISIONS = {"fixed": 5, "patient": 12}  # of a schedule: all that its limits hold, `end` included
POLICIES: dict[str, Policy] = {
    "rules": by_rules,
    "random": by_chance,
    "fixed": by_schedule,
    "patient": by_patience,
}


def _plan(sit: Situation, section: Strict, why: str) -> Plan:
    action = ACTION_OF[type(section)]
    return Plan.model_validate(
        {
            "iteration": sit.iteration,
            "action": action,
            "reason": f"By {why}.",
            "evidence": [],
            "state_sha256": sit.state_sha256,
            action: section,
        }
    )


def _ended(sit: Situation) -> Plan:
    model = ending.best(sit)
    return _plan(sit, End(outcome="budget_exhausted", model=model), "the budget")


def _reference(sit: Situation, rng: random.Random) -> Strict | None:
    with_reference = {r.structure for r in sit.state.reference}
    missing = [s.id for s in sit.structures if s.held_out and s.id not in with_reference]
    chosen = [name for name in missing if rng.random() < 0.7]
    return parameters.reference_calc(sit, chosen) if chosen else None


def _subset(sit: Situation, rng: random.Random) -> list:
    able = [s for s in sit.state.subsystems if sit.training(s.name)]
    return rng.sample(able, rng.randint(1, len(able))) if able else []


def _by_reference(sit: Situation, rng: random.Random) -> Strict | None:
    return parameters.reference_sample(sit, _subset(sit, rng), rng.uniform(0.1, 0.6))


def _by_model(sit: Situation, rng: random.Random) -> Strict | None:
    if sit.model is None or sit.pending:
        return None
    windows = {}
    for s in _subset(sit, rng):
        low = min(sit.task.temperature, s.max_temperature)
        windows[s.name] = (low, rng.randint(low, s.max_temperature))
    return parameters.model_sample(sit, windows)


def _selection(sit: Situation, rng: random.Random) -> Strict | None:
    section = parameters.select_data(sit) if sit.pending and sit.model else None
    if section is None:
        return None
    share = rng.uniform(0.02, 0.4)
    groups = [g.model_copy(update={"fraction": share}) for g in section.groups]
    return section.model_copy(update={"groups": groups})


def _fit(sit: Situation, rng: random.Random) -> Strict | None:
    if not sit.active:
        return None
    start = rng.choice(["scratch", "continue"]) if sit.model else "scratch"
    return parameters.train(sit, start, rng.choice(["quick", "accurate"]))


def _evaluation(sit: Situation, _: random.Random) -> Strict | None:
    names = [name for s in sit.state.subsystems for name in sit.baselines(s.name)]
    return parameters.model_eval(sit, sit.model.id, names) if sit.model and names else None


def _pruning(sit: Situation, rng: random.Random) -> Strict | None:
    models = [m.id for m in sit.state.usable_models]
    return Prune(models=[rng.choice(models)]) if len(models) > 1 and rng.random() < 0.3 else None
