"""The bill of a campaign: its ledger's totals by action, held against what the state counted."""

from dataclasses import dataclass, field

from campaign.errors import UserError
from campaign.ledger import totals
from campaign.report.story import Story


@dataclass
class ActionCost:
    """What something cost; core-seconds are by the clock, everything else is counted."""

    iterations: int = 0
    labels: int = 0
    reference_calls: int = 0
    explorer_calls: int = 0
    md_steps: int = 0
    core_seconds: float = 0.0

    @property
    def calls_per_label(self) -> float | None:
        """Reference calls paid for each label kept."""
        return self.reference_calls / self.labels if self.labels else None


@dataclass
class Bill:
    """ActionCost by action and in all; `remarks` name what does not add up."""

    actions: dict[str, ActionCost] = field(default_factory=dict)
    total: ActionCost = field(default_factory=ActionCost)
    remarks: list[str] = field(default_factory=list)


def settle(story: Story) -> Bill:
    """The running totals of the last finalized ledger, with labels and iterations by action."""
    bill = Bill(total=ActionCost(iterations=story.state.iteration, labels=story.state.spent.labels))
    for number, plan in story.plans.items():
        if number <= story.state.iteration:
            cost = bill.actions.setdefault(plan.action, ActionCost())
            cost.iterations += 1
            result = story.results.get(number)
            cost.labels += result.labels_kept() if result else 0
    path = story.campaign.iteration(story.state.iteration) / "ledger.jsonl"
    try:
        ledger = totals(path)
        for action, counted in ledger.get("by_action", {}).items():
            vars(bill.actions.setdefault(action, ActionCost())).update(counted)
        vars(bill.total).update({k: v for k, v in ledger.items() if k != "by_action"})
    except (OSError, UserError, ValueError, KeyError, TypeError, AttributeError):
        bill.remarks.append(f"{path.parent.name}/ledger.jsonl: cannot be read; costs are missing")
    bill.remarks += _disagreements(story, bill)
    return bill


def _disagreements(story: Story, bill: Bill) -> list[str]:
    spent, total = story.state.spent, bill.total
    counts = (
        ("labels", sum(cost.labels for cost in bill.actions.values()), spent.labels),
        ("reference calls", total.reference_calls, spent.reference_calls),
        ("explorer calls", total.explorer_calls, spent.explorer_calls),
        ("MD steps", total.md_steps, spent.md_steps),
    )
    return [
        f"{name}: {counted_here} by results and ledger, {counted} by the state"
        for name, counted_here, counted in counts
        if counted_here != counted
    ]
