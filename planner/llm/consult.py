"""The dialogue with a model: choice, parameters, checks, at most two repairs.

Nothing here knows where answers come from: `AskModel` is a live server or a record. Every request
is whole in itself; a repair sends the state again with the answer that failed and its faults.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from campaign.gates import check
from campaign.plan import Plan
from campaign.situation import Situation
from campaign.terminal import plain
from planner.llm import answer
from planner.llm.answer import AnswerError, Choice
from planner.llm.requests import Request, feedback, request

LARGEST_ANSWER = 20_000


@dataclass(frozen=True)
class Reply:
    """What came back: an answer as the Messages API gives it, or the name of a failure."""

    message: dict[str, Any] | None = None
    failure: str | None = None
    detail: str = ""
    tries: list[dict[str, Any]] = field(default_factory=list)


AskModel = Callable[[Request], Reply]


class NoAnswerError(Exception):
    """The dialogue ended without a plan; `name` says why."""

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(f"{name}: {detail}" if detail else name)
        self.name, self.detail = name, detail


@dataclass
class Exchange:
    """One request with its reply and what was wrong with the answer."""

    request: Request
    reply: Reply
    faults: list[str] = field(default_factory=list)


@dataclass
class Consultation:
    """The whole dialogue of one decision."""

    exchanges: list[Exchange] = field(default_factory=list)
    plan: Plan | None = None
    choice: Choice | None = None
    failure: str | None = None
    detail: str = ""


def consult(sit: Situation, ask_model: AskModel) -> Consultation:
    """Ask until a plan passes every gate, or say why there is none."""
    consultation = _Dialogue(sit, ask_model)
    try:
        consultation.run()
    except NoAnswerError as error:
        consultation.log.failure, consultation.log.detail = error.name, error.detail
    return consultation.log


class _Dialogue:
    def __init__(self, sit: Situation, ask_model: AskModel) -> None:
        self.sit, self.ask_model, self.log = sit, ask_model, Consultation()
        self.shrink = 1

    def run(self) -> None:
        """Rounds of choice and parameters; a specialist fails once before the choice is redone."""
        settings = self.sit.config.llm
        choice, notes, failed = None, [], 0
        for _ in range(1 + settings.repairs):
            try:
                if settings.calls == 1:
                    return self._single(notes)
                if choice is None:
                    choice, failed = self._choose(notes), 0
                    notes = []
                return self._specify(choice, notes)
            except AnswerError as error:
                last = self.log.exchanges[-1]
                last.faults = error.faults
                notes = [feedback(text_of(last.reply), error.faults)]
                failed += 1
                objected = error.faults[0].startswith("objection:")
                if choice is not None and (failed > 1 or objected):
                    choice = None
        raise NoAnswerError("invalid_answer", "; ".join(self.log.exchanges[-1].faults)[:300])

    def _choose(self, notes: list[str]) -> Choice:
        chosen = answer.choice(self._ask("decision_maker", notes))
        answer.require_evidence(self.sit, chosen)
        return chosen

    def _specify(self, choice: Choice, notes: list[str]) -> None:
        intent = choice.model_dump_json(include={"action", "intent", "reason"})
        section = answer.specified(self._ask(choice.action, [intent, *notes]))
        self._accept(choice, section)

    def _single(self, notes: list[str]) -> None:
        self._accept(*answer.single(self._ask("single", notes)))

    def _accept(self, choice: Choice, section: dict[str, Any]) -> None:
        plan = answer.plan_of(self.sit, choice, section)
        denied = [v for v in check(plan, self.sit) if v.verdict == "deny"]
        if denied:
            raise AnswerError([f"{v.gate}: {plain(v.detail, 200)}" for v in denied[:12]])
        self.log.plan, self.log.choice = plan, choice

    def _ask(self, role: str, turns: list[str]) -> str:
        """The text of an answer; once with more room if it was cut, once with a shorter digest."""
        tokens = self.sit.config.llm.max_tokens
        longer = shorter = False
        while True:
            sent = request(self.sit, role, turns, tokens, self.shrink)
            reply = self.ask_model(sent)
            self.log.exchanges.append(Exchange(sent, reply))
            failure = reply.failure or stopped(reply)
            if failure is None:
                return text_of(reply)
            if failure == "truncated" and not longer and tokens < LARGEST_ANSWER:
                longer, tokens = True, min(2 * tokens, LARGEST_ANSWER)
            elif failure == "context_overflow" and not shorter:
                shorter, self.shrink = True, 2
            else:
                raise NoAnswerError(failure, reply.detail or _category(reply))


def stopped(reply: Reply) -> str | None:
    """The failure that a stop reason stands for; None for a whole answer."""
    message = reply.message or {}
    reason = message.get("stop_reason")
    named = {
        "end_turn": None,
        "stop_sequence": None,
        "stop": None,  # as chat completions word it, passed on by gateways
        "max_tokens": "truncated",
        "length": "truncated",
        "content_filter": "refusal",
        "refusal": "refusal",
        "model_context_window_exceeded": "context_overflow",
    }
    if reason is None:  # not said: whether it is whole shows when it is read
        return None
    return named.get(reason, "unexpected_stop") if isinstance(reason, str) else "unexpected_stop"


def _category(reply: Reply) -> str:
    message = reply.message or {}
    details = message.get("stop_details")
    category = details.get("category") if isinstance(details, dict) else message.get("stop_reason")
    return plain(str(category or ""), 80)


def text_of(reply: Reply) -> str:
    """The text blocks of an answer; thinking and others are passed over."""
    blocks = (reply.message or {}).get("content")
    texts = [
        block["text"]
        for block in (blocks if isinstance(blocks, list) else [])
        if isinstance(block, dict)
        and block.get("type") == "text"
        and isinstance(block.get("text"), str)
    ]
    return "".join(texts)
