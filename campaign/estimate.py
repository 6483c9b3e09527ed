"""What calls, MD steps and fits have cost so far, from the ledgers: what plans are priced by."""

from collections.abc import Callable, Mapping
from typing import Any

from campaign.config import Config
from campaign.identifiers import iteration_of
from campaign.situation import CostByAction, Rates
from campaign.state import State


def rates(state: State, config: Config, bill: Callable[[int], CostByAction]) -> Rates:
    """Core-seconds of each thing as the bills of `state`'s iterations show them."""
    spent = bill(state.iteration)
    labelling = [spent[a] for a in ("settle", "reference_calc", "select_data") if spent.get(a)]
    labelling = [a for a in labelling if not a.get("explorer_calls")]
    calls = sum(a["reference_calls"] for a in labelling)
    call = sum(a["core_seconds"] for a in labelling) / calls if calls else None
    fits = sum(m.frames * config.mlp.passes(m.effort) for m in state.models)
    paid = spent.get("train", {}).get("core_seconds", 0.0)
    return Rates(
        reference_call=call,
        explorer_call=_explorer_call(spent.get("settle", {})),
        model_step=_model_steps(state, bill, call or config.reference.seconds_per_call),
        frame_iteration=paid / fits if fits and paid else None,
    )


def _explorer_call(settling: Mapping[str, float]) -> float | None:
    """What a call of the explorer cost in settling, which nothing else has a part in."""
    calls = settling.get("explorer_calls", 0)
    return settling["core_seconds"] / calls if calls and not settling["reference_calls"] else None


def _model_steps(
    state: State, bill: Callable[[int], CostByAction], call: float
) -> dict[str, float]:
    """What a step cost in the newest evaluation and in the newest sampling with a model.

    Sampling by the reference stands under the same action in the ledger, hence the differences.
    """
    moved = {
        "sample": [iteration_of(s.id) for s in state.samples if s.method == "model"],
        "model_eval": [e.iteration for e in state.evaluations],
    }
    totals: dict[str, float] = {}
    for action, numbers in moved.items():
        for number in numbers[-1:]:
            now, before = bill(number).get(action, {}), bill(number - 1).get(action, {})
            own: dict[str, Any] = {key: now[key] - before.get(key, 0) for key in now}
            if own.get("md_steps", 0) > 0:
                seconds = own["core_seconds"] - own["reference_calls"] * call
                totals[action] = max(seconds, 0.0) / own["md_steps"]
    return totals
