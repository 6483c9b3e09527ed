"""How a result changes the state: what every action has in common; pure."""

from campaign.plan import Plan
from campaign.results import Result, SettledStructure
from campaign.state import HistoryEntry, State


def after(state: State, plan: Plan, result: Result, hashes: tuple[str, str]) -> State:
    """The state once `plan` has given `result`; hashes are those of the plan and of `state`."""
    changed, outcome, note = plan.parameters.reduce(state, plan.iteration, result)
    if settled := getattr(result, "settled", []):
        changed = changed.model_copy(update={"settled": [*state.settled, *settled]})
        note += _settled_note(settled)
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


def _settled_note(settled: list[SettledStructure]) -> str:
    failed = [s.structure for s in settled if s.status == "failed"]
    calls = sum(s.reference_calls for s in settled)
    note = f"; {len(settled) - len(failed)} structures settled in {calls} reference calls"
    return note + (f", not {', '.join(failed)}: begun as built" if failed else "")
