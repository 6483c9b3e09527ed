"""`planner next`: one decision, written as the next iteration's plan with its record."""

from pathlib import Path

from campaign.errors import GateError, UserError
from campaign.files import write_record
from campaign.folder import Campaign
from campaign.gates import check, require
from campaign.plan import Plan
from campaign.situation import Situation
from planner import backends, record, spending
from planner.decision import Decision, HaltError

BLANK = ("plan", "rules", "action", "rule", "plan_sha256", "cost", "gates")


def next_plan(campaign: Campaign, brought: Path | None = None) -> Plan:
    """Return the pending plan, or decide, check and write the next one.

    A plan that a person brings takes the place of a pending one that has not begun. `plan.yaml` is
    written last: an iteration without it does not exist, so a decision that was interrupted is
    simply taken again.
    """
    if (pending := campaign.pending) and brought is None:
        return pending
    state = campaign.state()
    if state.verdict:
        raise UserError(f"{campaign.folder}: the campaign has ended: {state.verdict.outcome}")
    situation = campaign.situation()
    if pending:
        _not_begun(campaign, pending)
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
    if overruled:
        data["overrules"] = record.load(folder)
        before = before.plus(data["overrules"]["used"])
    data["spent"] = vars(before.plus(data["used"]))
    write_record(folder / "config.yaml", campaign.config)
    record.write(folder, data, decision.timing)
    write_record(folder / "plan.yaml", plan)
    vars(campaign).pop("last", None)
    return plan


def _not_begun(campaign: Campaign, pending: Plan) -> None:
    folder = campaign.iteration(pending.iteration) / pending.action
    if folder.exists():
        raise UserError(
            f"{folder}: iteration {pending.iteration} has begun; its plan can no longer be replaced"
        )
