"""What the labels have cost in reference calls: all of them, and what each kind went into.

A label is a frame in a data set that fits are made of. Settling, the reference's own MD and checks
of a model's MD are calls that make none, or few: they stand apart, and the ratio counts them all.
"""

from typing import NamedTuple

from campaign.folder import Campaign
from campaign.identifiers import iteration_of
from campaign.ledger import totals

KINDS = {
    "settle": "settling",
    "reference_calc": "reference MD",
    "sample": "first data",
    "select_data": "selection",
    "model_eval": "evaluation",
}


class Calls(NamedTuple):
    """Calls a label in all and of the selections alone (None without a label), calls by kind."""

    a_label: float | None
    a_selected_label: float | None
    by_kind: dict[str, int]

    def __str__(self) -> str:
        """One line; empty before the first label."""
        if self.a_label is None:
            return ""
        parts = ", ".join(f"{kind} {count}" for kind, count in self.by_kind.items())
        chosen = self.a_selected_label
        alone = "" if chosen is None else f"; of the selection alone {chosen:.2f}"
        return f"{self.a_label:.2f} reference calls a label, all counted ({parts}){alone}"


def calls(campaign: Campaign) -> Calls:
    """From the last finalized ledger and the state."""
    state = campaign.state()
    spent = totals(campaign.iteration(state.iteration) / "ledger.jsonl").get("by_action", {})
    by = {KINDS[k]: n for k in KINDS if (n := spent.get(k, {}).get("reference_calls", 0))}
    chosen = {e.iteration for e in state.history if e.action == "select_data"}
    labels = sum(d.labels for d in state.datasets if iteration_of(d.id) in chosen)
    return Calls(
        state.spent.reference_calls / state.spent.labels if state.spent.labels else None,
        by.get("selection", 0) / labels if labels else None,
        by,
    )
