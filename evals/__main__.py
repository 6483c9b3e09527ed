"""`python -m evals`: the benchmark for rules, a record, or any live model, with intervals.

python -m evals                                              rules
python -m evals --backend anthropic --model MODEL --repeats 5 --record answers.jsonl
python -m evals --backend anthropic --base-url http://127.0.0.1:8080 --llm structured=false
python -m evals --backend replay --record answers.jsonl      the same answers, offline
"""

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from campaign.config import Llm
from campaign.errors import UserError
from campaign.files import parse
from campaign.plan import Plan
from campaign.situation import Situation
from evals.judge import verdict, wilson
from evals.states import Scenario, everything
from evals.transforms import TRANSFORMS, same_decision
from planner.llm.consult import Consultation, Reply, consult
from planner.llm.requests import Request
from planner.policy import rules


@dataclass
class Tally:
    """What came of all decisions."""

    verdicts: Counter[str] = field(default_factory=Counter)
    agrees: int = 0
    first_try: int = 0
    repairs: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    tokens: list[tuple[int, int]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


class Decider:
    """Takes one decision by rules, a live server, or the answers of an earlier run."""

    def __init__(self, backend: str, record: Path | None) -> None:
        self.backend, self.record = backend, record
        self.recorded: dict[str, list[dict[str, Any]]] = {}
        if backend == "replay":
            if record is None or not record.is_file():
                raise UserError("--record: name the answers of an earlier run")
            for line in record.read_text(encoding="utf-8").splitlines():
                kept = json.loads(line)
                self.recorded.setdefault(kept["request_sha256"], []).append(kept)

    def __call__(self, situation: Situation) -> tuple[Plan | None, Consultation | None]:
        """The plan, if there is one, and the dialogue it came of."""
        if self.backend == "rules":
            return rules.decide(situation), None
        consultation = (
            consult(situation, self._recorded) if self.recorded else self._live(situation)
        )
        return consultation.plan, consultation

    def _recorded(self, request: Request) -> Reply:
        answers = self.recorded.get(request.sha256)
        if not answers:
            return Reply(failure="not_recorded")
        kept = answers.pop(0)
        answers.append(kept)
        return Reply(kept["response"], kept["failure"])

    def _live(self, situation: Situation) -> Consultation:
        from planner.llm.messages_api import Server

        settings = situation.config.llm
        server = Server(settings, settings.tokens, settings.money)
        try:
            consultation = consult(situation, server)
        finally:
            server.close()
        if self.record:
            with self.record.open("a", encoding="utf-8") as file:
                for e in consultation.exchanges:
                    kept = {
                        "request_sha256": e.request.sha256,
                        "response": e.reply.message,
                        "failure": e.reply.failure,
                    }
                    file.write(json.dumps(kept) + "\n")
        return consultation


def run(chosen: list[Scenario], decide: Decider, repeats: int, metamorphic: bool) -> Tally:
    """Decide every scenario so often, and its variants once."""
    tally = Tally()
    for scenario in chosen:
        plans = [_one(scenario, decide, tally) for _ in range(repeats)]
        for name, transform in TRANSFORMS.items() if metamorphic and plans[0] else ():
            other, _ = decide(transform(scenario.situation))
            tally.asked[name] += 1
            same = other and same_decision(name, scenario.situation, plans[0], other)
            tally.kept[name] += bool(same)
            if not same:
                tally.lines.append(f"{scenario.name}: {name}: another decision")
    return tally


def _one(scenario: Scenario, decide: Decider, tally: Tally) -> Plan | None:
    began = time.monotonic()
    plan, consultation = decide(scenario.situation)
    tally.seconds.append(time.monotonic() - began)
    judged = (
        verdict(scenario, plan) if plan else f"none:{consultation.failure if consultation else ''}"
    )
    tally.verdicts[judged] += 1
    if judged != "acceptable":
        what = f"{plan.action}: {plan.reason[:120]}" if plan else "no plan"
        tally.lines.append(f"{scenario.name}: {judged}: {what} (sound: {scenario.why})")
    if plan:
        tally.agrees += rules.decide(scenario.situation).action == plan.action
    if consultation:
        from planner.llm.prices import tokens

        counts = [tokens(e.reply.message or {}) for e in consultation.exchanges]
        tally.tokens.append((sum(c[0] for c in counts), sum(c[1] for c in counts)))
        faulty = sum(bool(e.faults) for e in consultation.exchanges)
        tally.first_try += plan is not None and not faulty
        tally.repairs += faulty
    return plan


def report(tally: Tally, model: str | None, host: str) -> str:
    """Shares with their 95 % intervals, cost and latency."""
    total = sum(tally.verdicts.values())
    lines = [*tally.lines, "", f"{total} decisions"]
    shares = {**dict(tally.verdicts.most_common()), "agrees with the rules": tally.agrees}
    if tally.tokens:
        shares["valid at first try"] = tally.first_try
    for name, hits in shares.items():
        low, high = wilson(hits, total)
        lines.append(f"  {name:<24} {hits:>4}  {hits / total:6.1%}  ({low:.1%} to {high:.1%})")
    for name, asked in tally.asked.items():
        kept = tally.kept[name]
        low, high = wilson(kept, asked)
        lines.append(
            f"  same when {name:<14} {kept:>4}  {kept / asked:6.1%}  ({low:.1%} to {high:.1%})"
        )
    worst = sorted(tally.seconds)[min(total - 1, int(0.95 * total))]
    median = statistics.median(tally.seconds)
    lines.append(f"  latency                  median {median:.3f} s, 95 % below {worst:.3f} s")
    if tally.tokens and model:
        from planner.llm.prices import money, prices

        read, written = (sum(t[i] for t in tally.tokens) for i in (0, 1))
        usd, repairs = money(model, host, read, written) / total, tally.repairs / total
        lines.append(
            f"  cost of a decision       {read / total:.0f} tokens read, {written / total:.0f}"
            f" written, {usd:.4f} USD (prices of {prices().date}), {repairs:.2f} repairs"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; status 1 when a decision was forbidden, denied or missing."""
    parser = argparse.ArgumentParser(prog="python -m evals", description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("rules", "anthropic", "replay"), default="rules")
    parser.add_argument("--model")
    parser.add_argument("--base-url")
    parser.add_argument("--calls", type=int, choices=(1, 2))
    parser.add_argument("--effort", choices=("none", "low", "medium", "high", "xhigh", "max"))
    parser.add_argument(
        "--llm", action="append", default=[], metavar="KEY=VALUE", help="of llm in config.yaml"
    )
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    parser.add_argument("--record", type=Path, help="where answers are kept")
    parser.add_argument("--no-metamorphic", action="store_true")
    given = parser.parse_args(argv)
    try:
        chosen = _chosen(given)
        decide = Decider(given.backend, given.record)
        tally = run(chosen, decide, given.repeats, not given.no_metamorphic)
    except UserError as error:
        sys.stderr.write(f"evals: {error}\n")
        return 1
    settings = chosen[0].situation.config.llm
    host = settings.base_url or "api.anthropic.com"
    sys.stdout.write(report(tally, settings.model, host) + "\n")
    return 1 if set(tally.verdicts) - {"acceptable", "other"} else 0


def _chosen(given: argparse.Namespace) -> list[Scenario]:
    scenarios = [_with(s, given) for s in everything() if given.only in s.name]
    if not scenarios or given.repeats < 1:
        raise UserError("--only, --repeats: nothing is left to decide")
    return scenarios


def _with(scenario: Scenario, given: argparse.Namespace) -> Scenario:
    options = {"model": given.model, "base_url": given.base_url, "calls": given.calls}
    chosen: dict[str, Any] = {k: v for k, v in options.items() if v is not None}
    if given.effort:
        chosen["effort"] = None if given.effort == "none" else given.effort
    config = scenario.situation.config
    for option in given.llm:
        key, _, value = option.partition("=")
        chosen[key] = yaml.safe_load(value)
    llm = parse(Llm, {**config.llm.model_dump(), **chosen}, "--llm")
    config = config.model_copy(update={"llm": llm})
    return replace(scenario, situation=replace(scenario.situation, config=config))


if __name__ == "__main__":
    sys.exit(main())
