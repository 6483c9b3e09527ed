"""How a result changes the state: what every action has in common; pure."""

from campaign.plan import Plan
from campaign.results import Result
from campaign.state import HistoryEntry, State


def after(state: State, plan: Plan, result: Result, hashes: tuple[str, str]) -> State:
    """The state once `plan` has given `result`; hashes are those of the plan and of `state`."""
    changed, outcome, note = plan.parameters.reduce(state, plan.iteration, result)
    entry = HistoryEntry(
        iteration=plan.iteration,
        action=plan.action,
        rule=plan.rule,
        outcome=outcome,
        note=note,
        fingerprint=plan.fingerprint,
    )
    return changed.model_copy(
        update={
            "iteration": plan.iteration,
            "history": [*state.history, entry],
            "plan_sha256": hashes[0],
            "previous_sha256": hashes[1],
        }
    )
