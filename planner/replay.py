"""Campaigns decided again from their records: offline, without a model, byte for byte.

`planner replay` rebuilds every plan from its state and the recorded answers, follows the chain of
hashes, and says where today's prompts, schemas, rules or inputs differ from the recorded ones.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from atomistics.yaml_files import read_text
from campaign.config import Config
from campaign.errors import UserError
from campaign.estimate import rates
from campaign.files import canonical_json, dump_yaml, parse, read, sha256
from campaign.folder import Campaign
from campaign.integrity import changed_parts
from campaign.plan import Plan
from campaign.protocols import all_protocols
from campaign.situation import Situation
from planner import record
from planner.llm.consult import AskModel, Reply, consult
from planner.llm.requests import Request
from planner.policy import rules


@dataclass
class Replayed:
    """One iteration replayed: faults break the record, notes say what is different today."""

    iteration: int
    source: str
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def replay(campaign: Campaign) -> list[Replayed]:
    """Replay every decision of a campaign."""
    findings = []
    for number in range(1, campaign.last + 1):
        finding = Replayed(number, "unknown")
        try:
            _check(campaign, number, finding)
        except UserError as error:
            finding.faults.append(str(error))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            path = campaign.iteration(number) / "decision.json"
            finding.faults.append(f"{path}: no whole record ({error!r})")
        findings.append(finding)
    return findings


def _check(campaign: Campaign, number: int, finding: Replayed) -> None:
    folder = campaign.iteration(number)
    data = record.load(folder)
    finding.source = str(data.get("source"))
    if data.get("previous_decision_sha256") != record.fingerprint(campaign.iteration(number - 1)):
        finding.faults.append("chain: the record before this one is not the one it followed")
    finding.faults += [
        f"{key}: changed since the record was written" for key in changed_parts(data)
    ]
    on_disk = read_text(folder / "plan.yaml")
    kept = dump_yaml(parse(Plan, data.get("plan"), f"{folder}/decision.json: plan"))
    if sha256(kept) != data.get("plan_sha256"):
        finding.faults.append("plan: the recorded plan does not have the recorded hash")
    if on_disk != kept:
        finding.notes.append("plan.yaml was edited by hand after the decision")
    finding.faults += _closing(campaign, number, on_disk)
    situation = _situation(campaign, number, data)
    finding.notes += _inputs(campaign, situation, data)
    rebuilt = _rebuilt(situation, data, finding)
    if rebuilt is not None and dump_yaml(rebuilt) != kept:
        finding.faults.append(f"plan: rebuilt otherwise ({_first_difference(rebuilt, kept)})")


def _closing(campaign: Campaign, number: int, plan: str) -> list[str]:
    """Whether plan and state are those that the finalized iteration went on from."""
    if number > campaign.finalized:
        return []
    state = campaign.state(number)
    pairs = {
        f"iterations/{number:03d}/plan.yaml": (state.plan_sha256, sha256(plan)),
        f"iterations/{number - 1:03d}/state.yaml": (
            state.previous_sha256,
            campaign.state_sha256(number - 1),
        ),
    }
    return [
        f"{name}: changed since it was used" for name, (was, now) in pairs.items() if was != now
    ]


def _situation(campaign: Campaign, number: int, data: dict[str, Any]) -> Situation:
    config = read(Config, campaign.iteration(number) / "config.yaml")
    return Situation(
        state=campaign.state(number - 1),
        task=campaign.task,
        config=config,
        structures=campaign.structures,
        core_seconds=float(data.get("core_seconds", 0.0)),
        state_sha256=campaign.state_sha256(number - 1),
        protocols=all_protocols(campaign.folder),
        rates=rates(campaign.state(number - 1), config, campaign.bill),
        bill=campaign.bill(number - 1) if number > 1 else {},
        earlier_decision=cache(campaign.earlier_decision),
    )


def _inputs(campaign: Campaign, situation: Situation, data: dict[str, Any]) -> list[str]:
    places = {
        "state_sha256": f"iterations/{situation.state.iteration:03d}/state.yaml",
        "config_sha256": f"iterations/{situation.iteration:03d}/config.yaml",
        "task_sha256": "task.yaml",
        "structures_sha256": "structures/index.yaml",
    }
    today = record.inputs(campaign, situation)
    return [
        f"{place}: differs from what was decided on"
        for key, place in places.items()
        if data.get(key) != today[key]
    ]


def _rebuilt(situation: Situation, data: dict[str, Any], finding: Replayed) -> Plan | None:
    """The plan from rules or recorded answers; None for a person's plan."""
    source = finding.source
    recorded = replies_in_order(data, finding) if data.get("exchanges") else None
    consultation = consult(situation, recorded) if recorded else None
    if source == "model":
        if consultation is None or consultation.plan is None:
            why = consultation and consultation.failure
            finding.faults.append(f"plan: the recorded answers give none ({why})")
        return consultation.plan if consultation else None
    if consultation and source != f"rules:{consultation.failure}":
        finding.faults.append(f"source: {source} recorded, the answers give {consultation.failure}")
    return rules.decide(situation) if source.startswith("rules") else None


def replies_in_order(data: dict[str, Any], finding: Replayed) -> AskModel:
    """Speaks the recorded replies in their order, and notes how today's requests differ."""
    left = list(data["exchanges"])

    def ask_model(request: Request) -> Reply:
        if not left:
            return Reply(failure="not_recorded", detail="more is asked today than was answered")
        kept = left.pop(0)
        if canonical_json(request.body) != canonical_json(kept["request"]):
            finding.notes += [
                f"{request.role}: {part} differs from the recorded request"
                for part in parts_that_differ(request.body, kept["request"])
            ]
        if sha256(canonical_json(kept["request"])) != kept["request_sha256"]:
            finding.faults.append(f"{request.role}: the recorded request does not have its hash")
        return _reply(kept)

    return ask_model


def _reply(kept: dict[str, Any]) -> Reply:
    return Reply(kept["response"], kept["failure"], kept.get("detail", ""), kept.get("tries", []))


def parts_that_differ(today: dict[str, Any], kept: dict[str, Any]) -> list[str]:
    """Names of the parts of a request that are not the same."""
    views = {
        "system prompt": lambda b: b.get("system"),
        "digest": lambda b: b["messages"][0]["content"][0],
        "later turns": lambda b: b["messages"][0]["content"][1:],
        "schema": lambda b: b.get("output_config", {}).get("format"),
        "model": lambda b: b.get("model"),
        "limits": lambda b: (b.get("max_tokens"), b.get("output_config", {}).get("effort")),
    }
    return [name for name, view in views.items() if view(today) != view(kept)]


def recorded_replies(folder: Path, situation: Situation) -> AskModel:
    """The backend `replay`: answers of another campaign's record, to the very same request only."""
    data = record.load(folder / "iterations" / f"{situation.iteration:03d}")
    by_request: dict[str, list[dict[str, Any]]] = {}
    for kept in data.get("exchanges", []):
        by_request.setdefault(kept["request_sha256"], []).append(kept)

    def ask_model(request: Request) -> Reply:
        matching = by_request.get(request.sha256)
        if matching:
            return _reply(matching.pop(0))
        detail = f"{folder}: iteration {situation.iteration}: no answer to this request"
        return Reply(failure="not_recorded", detail=detail)

    return ask_model


def _first_difference(rebuilt: Plan, kept: str) -> str:
    pairs = zip(dump_yaml(rebuilt).splitlines(), kept.splitlines(), strict=False)
    mine, other = next(((a, b) for a, b in pairs if a != b), ("length", "length"))
    return f"{mine.strip()[:80]!r} today, {other.strip()[:80]!r} recorded"


def render(findings: list[Replayed]) -> str:
    """A line an iteration, its faults and notes below."""
    lines = []
    for f in findings:
        state = "differs" if f.faults else "same plan"
        lines.append(f"{f.iteration:>4} {state:<10} {f.source}")
        lines += [f"       fault: {text}" for text in f.faults]
        lines += [f"       note:  {text}" for text in dict.fromkeys(f.notes)]
    same = sum(not f.faults for f in findings)
    return "\n".join([*lines, f"{same} of {len(findings)} decisions rebuilt byte for byte"])
