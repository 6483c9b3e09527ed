"""Who decides: rules, a model behind the Messages API, a record of one, or a person.

Whoever it is, the plan passes the same gates, and the decision says where it came from. A model
that gives no valid answer is followed by the rules or by a halt, as configured, never silently.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.errors import UserError
from campaign.folder import Campaign
from campaign.situation import Situation
from planner.decision import REMEDIES, Decision, HaltError
from planner.policy import rules

if TYPE_CHECKING:
    from planner.llm.consult import Consultation


def decide(campaign: Campaign, situation: Situation) -> Decision:
    """The next plan by the configured backend; HaltError when there is none."""
    backend = campaign.config.planner
    if backend == "rules":
        return Decision(rules.decide(situation), "rules")
    if backend == "manual":
        from planner.manual import draft

        raise HaltError(
            f"{draft(campaign, situation)}: edit this plan, then `planner next --plan` it"
        )
    return _consulted(campaign, situation, backend)


def _consulted(campaign: Campaign, situation: Situation, backend: str) -> Decision:
    began = time.monotonic()  # the deadline is the decision's, imports and the digest included
    from planner.llm.consult import consult

    facts: dict[str, Any]
    if backend == "anthropic":
        import anthropic

        from planner.llm.messages_api import HALTING, Server
        from planner.spending import spent

        settings, used = campaign.config.llm, spent(campaign, campaign.finalized)
        server = Server(settings, settings.tokens - used.tokens, settings.money - used.money, began)
        try:
            consultation = consult(situation, server)
        finally:
            server.close()
        facts = {"host": server.host, "sdk": anthropic.__version__}
        timing, fatal = server.timing, HALTING
    else:
        from planner.replay import recorded_replies

        consultation = consult(situation, recorded_replies(_records(campaign), situation))
        timing, fatal, facts = [], (), {"host": "replay"}
    if consultation.plan:
        return Decision(consultation.plan, "model", consultation, facts=facts, timing=timing)
    return _without(campaign, situation, consultation, facts, timing, consultation.failure in fatal)


def _without(
    campaign: Campaign,
    situation: Situation,
    consultation: "Consultation",
    facts: dict[str, Any],
    timing: list[dict[str, Any]],
    fatal: bool,
) -> Decision:
    name, detail = consultation.failure or "no_answer", consultation.detail
    plan = rules.decide(situation)
    decision = Decision(plan, f"rules:{name}", consultation, name, detail, facts, timing)
    if fatal or campaign.config.llm.on_failure == "halt":
        decision.source = f"halt:{name}"
        remedy = REMEDIES.get(name, "try again, or set llm.on_failure: rules")
        raise HaltError(f"planner LLM: {name} ({detail}); {remedy}", decision)
    return decision


def _records(campaign: Campaign) -> Path:
    if not campaign.config.llm.records:
        raise UserError(
            f"{campaign.folder}/config.yaml: llm.records: name the campaign to replay from"
        )
    return campaign.folder / campaign.config.llm.records
