"""The decision record: what was asked, answered, checked and chosen, chained by hash.

`decision.json` holds no clock, so that a record can be rebuilt and compared; latencies and request
ids stand beside it in `timing.json`. Each record names the hash of the one before it.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomistics.yaml_files import read_text
from campaign import __version__
from campaign.cost import cost
from campaign.errors import UserError
from campaign.files import canonical_json, dump_yaml, sha256, write_text
from campaign.folder import Campaign
from campaign.integrity import hashes
from campaign.plan import Plan
from campaign.situation import Situation
from planner.decision import Decision
from planner.policy import rules

if TYPE_CHECKING:
    from planner.llm.consult import Consultation, Exchange

FORMAT = 1


def record(
    campaign: Campaign, situation: Situation, decision: Decision, gates: list[Any]
) -> dict[str, Any]:
    """Everything about one decision, ready to be written."""
    plan, consultation = decision.plan, decision.consultation
    return {
        "format": FORMAT,
        "iteration": plan.iteration,
        "backend": campaign.config.planner,
        "source": decision.source,
        "planner": __version__,
        **inputs(campaign, situation),
        "failure": decision.failure,
        "detail": decision.detail,
        **decision.facts,
        **(_dialogue(campaign, consultation) if consultation else {}),
        "action": plan.action,
        "rule": plan.rule,
        "plan": plan.model_dump(mode="json", exclude_none=True),
        "plan_sha256": sha256(dump_yaml(plan)),
        "cost": cost(plan, situation).model_dump(),
        "gates": [verdict.model_dump() for verdict in gates],
        "rules": baseline(plan, situation),
        "used": used(campaign, consultation, decision.facts.get("host", "")),
        "previous_decision_sha256": fingerprint(campaign.iteration(plan.iteration - 1)),
    }


def inputs(campaign: Campaign, situation: Situation) -> dict[str, Any]:
    """What a decision is taken from, by hash; replay names the ones that have changed."""
    structures = [s.model_dump(mode="json") for s in campaign.structures]
    return {
        "state_sha256": situation.state_sha256,
        "config_sha256": sha256(dump_yaml(situation.config)),
        "task_sha256": sha256(canonical_json(campaign.task.model_dump(mode="json"))),
        "structures_sha256": sha256(canonical_json(structures)),
        "core_seconds": situation.core_seconds,
    }


def baseline(plan: Plan, situation: Situation) -> dict[str, Any]:
    """What the rules would have done, and whether it agrees."""
    own = rules.decide(situation)
    return {
        "rule": own.rule,
        "action": own.action,
        "reason": own.reason,
        "agrees": own.action == plan.action,
        "same_parameters": own.fingerprint == plan.fingerprint,
        "parameters": own.parameters.model_dump(mode="json", exclude_none=True),
        "cost": cost(own, situation).model_dump(),
    }


def used(campaign: Campaign, consultation: "Consultation | None", host: str) -> dict[str, Any]:
    """Calls, tokens and money of one decision."""
    if consultation is None or host == "replay":
        return {"calls": 0, "tokens": 0, "money": 0.0}
    return request_costs(consultation.exchanges, campaign.config.llm.model, host)


def request_costs(exchanges: list["Exchange"], model: str, host: str) -> dict[str, Any]:
    """What requests have cost; a reply that tells none is booked at its bounds."""
    from planner.llm.prices import counted, money

    counts = [counted(e.request, e.reply.message) for e in exchanges if e.reply.message is not None]
    read, written = (sum(side) for side in zip((0, 0), *counts, strict=True))
    return {
        "calls": sum(max(1, len(e.reply.tries)) for e in exchanges),
        "tokens_read": read,
        "tokens_written": written,
        "tokens": read + written,
        "money": round(money(model, host, read, written), 9),
    }


def _dialogue(campaign: Campaign, consultation: "Consultation") -> dict[str, Any]:
    from planner.llm.prices import fingerprint as prices_sha256
    from planner.llm.requests import schema

    settings = campaign.config.llm
    served = [(e.reply.message or {}).get("model") for e in consultation.exchanges]
    roles = dict.fromkeys(e.request.role for e in consultation.exchanges)
    prompts = {e.request.role: sha256(e.request.body["system"]) for e in consultation.exchanges}
    quoted: dict[str, str] = {}
    for exchange in consultation.exchanges:
        quoted |= exchange.request.quoted
    return {
        "model_asked": settings.model,
        "model_served": sorted({str(name)[:200] for name in served if name}),
        "effort": settings.effort,
        "prices_sha256": prices_sha256(),
        "prompts": prompts,
        "schemas": {role: sha256(canonical_json(schema(role))) for role in roles},
        "choice": consultation.choice.model_dump() if consultation.choice else None,
        "exchanges": [as_recorded(e) for e in consultation.exchanges],
        "untrusted": quoted,
    }


def as_recorded(exchange: "Exchange") -> dict[str, Any]:
    """One request with its reply, as it stands in a record."""
    return {
        "role": exchange.request.role,
        "request_sha256": exchange.request.sha256,
        "request": exchange.request.body,
        "tries": exchange.reply.tries,
        "failure": exchange.reply.failure,
        "detail": exchange.reply.detail,
        "response": exchange.reply.message,
        "faults": exchange.faults,
    }


def fingerprint(folder: Path) -> str:
    """Hash of the record in an iteration's folder; 'start' where there is none."""
    path = folder / "decision.json"
    return sha256(read_text(path)) if path.exists() else "start"


def load(folder: Path) -> dict[str, Any]:
    """The record of an iteration; UserError when it is missing or damaged."""
    path = folder / "decision.json"
    if not path.exists():
        raise UserError(f"{path}: no decision record here")
    try:
        data = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a decision record ({error})") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UserError(f"{path}: format: not a decision record of this version")
    return data


def write(folder: Path, data: dict[str, Any], timing: list[dict[str, Any]]) -> None:
    """Write record and timing; the record is one text whatever a model answered."""
    data = {**data, "hashes": hashes(data)}
    if timing:
        write_text(folder / "timing.json", json.dumps(timing, indent=1) + "\n")
    write_text(folder / "decision.json", json.dumps(data, indent=1) + "\n")


def keep_halted(folder: Path, data: dict[str, Any]) -> None:
    """Keep a decision that came to nothing, and what it cost."""
    path = folder / "halts.jsonl"
    before = read_text(path) if path.is_file() else ""
    write_text(path, before + json.dumps(data) + "\n")
