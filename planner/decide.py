"""`planner next`: one decision, written as the next iteration's plan with its record."""

from pathlib import Path

from campaign.actions import ACTIONS
from campaign.errors import GateError, UserError
from campaign.files import write_record
from campaign.folder import Campaign
from campaign.gates import check, require
from campaign.integrity import require_unchanged
from campaign.plan import Plan
from campaign.situation import Situation
from planner import backends, record, spending
from planner.decision import Decision, HaltError

BLANK = ("plan", "rules", "action", "rule", "plan_sha256", "cost", "gates")


def next_plan(campaign: Campaign, brought: Path | None = None, again: bool = False) -> Plan:
    """Return the pending plan, or decide, check and write the next one.

    A plan that a person brings, or one decided `again`, with the configuration as it is now, takes
    the place of a pending one that has not begun. What was changed by hand is named first.
    `plan.yaml` is written last: an iteration without it does not exist, so a decision that was
    interrupted is simply taken again.
    """
    pending = campaign.pending if not again else _readable(campaign)
    replaced = again or brought is not None
    require_unchanged(campaign, None if replaced else pending)
    if pending and not replaced:
        return pending
    state = campaign.state()
    if state.verdict:
        raise UserError(f"{campaign.folder}: the campaign has ended: {state.verdict.outcome}")
    situation = campaign.situation()
    if campaign.last > campaign.finalized:
        _not_begun(campaign, campaign.last)
    decision = _decided(campaign, situation, brought)
    require(decision.plan, situation)
    return _write(campaign, situation, decision, overruled=pending)


def _decided(campaign: Campaign, situation: Situation, brought: Path | None) -> Decision:
    if brought:
        from planner.manual import brought as read

        return read(brought, situation)
    own = spending.verdicts(campaign, campaign.finalized)
    if over := [v.detail for v in own if v.verdict == "deny" and "wall" in v.detail]:
        raise GateError(f"{campaign.folder}/config.yaml: {over[0]}; raise the limit to go on")
    try:
        return backends.decide(campaign, situation)
    except HaltError as halt:
        if halt.decision:
            folder = campaign.iteration(situation.iteration)
            data = record.record(campaign, situation, halt.decision, [])
            record.keep_halted(folder, {k: v for k, v in data.items() if k not in BLANK})
        raise


def _write(
    campaign: Campaign, situation: Situation, decision: Decision, overruled: Plan | None
) -> Plan:
    plan = decision.plan
    folder = campaign.iteration(plan.iteration)
    gates = [*check(plan, situation), *spending.verdicts(campaign, campaign.finalized)]
    before = spending.spent(campaign, campaign.finalized)
    data = record.record(campaign, situation, decision, gates)
    if overruled and (folder / "decision.json").is_file():
        data["overrules"] = record.load(folder)
        before = before.plus(data["overrules"]["used"])
    data["spent"] = vars(before.plus(data["used"]))
    (folder / "approval.json").unlink(missing_ok=True)  # it was of the plan that is replaced
    write_record(folder / "config.yaml", campaign.config)
    record.write(folder, data, decision.timing)
    write_record(folder / "plan.yaml", plan)
    vars(campaign).pop("last", None)
    return plan


def _readable(campaign: Campaign) -> Plan | None:
    """The pending plan, None where it was edited into what is no plan: it is replaced."""
    try:
        return campaign.pending
    except UserError:
        return None


def _not_begun(campaign: Campaign, number: int) -> None:
    for folder in (campaign.iteration(number) / kind for kind in ("settle", *ACTIONS)):
        if folder.exists():
            raise UserError(
                f"{folder}: iteration {number} has begun; its plan can no longer be replaced,"
                " unless no job of it runs and you delete this folder with what it has computed"
            )
