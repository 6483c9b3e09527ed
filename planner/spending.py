"""What the planner itself has used up: tokens, money, calls, and time on the wall.

Totals are carried from record to record, as the ledger's are; what a decision cost that came to
nothing stands in `halts.jsonl` of the iteration it was for.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atomistics.yaml_files import read_text
from campaign.errors import UserError
from campaign.folder import Campaign
from campaign.gates import WARN_AT, GateVerdict
from planner.record import load

COUNTED = ("calls", "tokens", "money")


@dataclass(frozen=True)
class Spending:
    """Totals of a campaign's decisions."""

    calls: int = 0
    tokens: int = 0
    money: float = 0.0

    def plus(self, used: dict[str, Any]) -> "Spending":
        """These and some more."""
        return Spending(
            self.calls + int(used.get("calls", 0)),
            self.tokens + int(used.get("tokens", 0)),
            round(self.money + float(used.get("money", 0.0)), 9),
        )


def spent(campaign: Campaign, upto: int) -> Spending:
    """All decisions up to iteration `upto`, and those for the next that came to nothing."""
    folder = campaign.iteration(upto)
    recorded = load(folder) if upto and (folder / "decision.json").is_file() else {}
    try:
        total = Spending().plus(recorded.get("spent", {}))
        for line in halted_decisions(campaign.iteration(upto + 1)):
            total = total.plus(line.get("used", {}))
    except (AttributeError, TypeError, ValueError):
        raise UserError(f"{folder}/decision.json: spent: no sum of calls, tokens, money") from None
    return total


def halted_decisions(folder: Path) -> list[dict[str, Any]]:
    """Decisions of an iteration that ended in a halt; a torn last line is passed over."""
    path = folder / "halts.jsonl"
    halts = []
    for line in read_text(path).splitlines() if path.is_file() else ():
        try:
            halts.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return halts


def verdicts(campaign: Campaign, upto: int) -> list[GateVerdict]:
    """The planner's own limits as gates: denied at the limit, warned before."""
    used, settings = spent(campaign, upto), campaign.config.llm
    rows: list[tuple[str, float, float]] = []
    if used.calls:
        rows += [("llm.tokens", used.tokens, settings.tokens)]
        rows += [("llm.money", used.money, settings.money)]
    if campaign.config.limits.wall_hours:
        rows += [("limits.wall_hours", campaign.wall_hours, campaign.config.limits.wall_hours)]
    verdicts_given = []
    for key, value, limit in rows:
        kind = "warn" if value > WARN_AT * limit else "pass"
        if value >= limit and key == "limits.wall_hours":
            kind = "deny"
        detail = f"{key}: {value:.4g} of {limit:g}"
        if value >= limit and key != "limits.wall_hours":
            detail += "; no model is asked any more"  # the plan at hand has cost what it cost
        verdicts_given.append(GateVerdict(gate="planner", verdict=kind, detail=detail))
    return verdicts_given
