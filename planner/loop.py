"""`planner run`: next, audit, snakemake, and again until the campaign ends."""

from collections.abc import Callable
from pathlib import Path

from campaign.approval import require_approved
from campaign.errors import GateError
from campaign.files import write_text
from campaign.finalize import publish
from campaign.folder import Campaign
from campaign.interrupt import hang_up_ignored
from campaign.lock import locked
from campaign.run import Iteration, carry_out
from planner.audit import audit, render
from planner.decide import next_plan


def run(folder: Path, profile: str | None, say: Callable[[str], None]) -> Campaign:
    """Carry the campaign on to its verdict; every stop before it is a UserError."""
    with hang_up_ignored(), locked(folder, "planner run") as lock:
        while True:
            campaign = Campaign.at(folder)
            if campaign.pending is None and campaign.state().verdict:
                if not campaign.result.is_dir():
                    publish(campaign)
                return campaign
            plan = next_plan(campaign)
            audited = audit(campaign)
            write_text(campaign.iteration(plan.iteration) / "audit.json", audited.as_json() + "\n")
            say(render(audited))
            if audited.denied:
                raise GateError("; ".join(audited.denied))
            require_approved(campaign, plan)
            carry_out(Iteration(campaign, plan, lock, profile), say)
