"""One question to a model with a checked answer: validation, repairs, everything kept.

`AskModel` is a live server or a record. What the answer must be is the caller's `read`; its faults
go back at most `llm.repairs` times, then there is no answer and the caller falls back visibly.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from campaign.config import Llm
from campaign.files import canonical_json
from planner.llm.answer import AnswerError
from planner.llm.consult import LARGEST_ANSWER, AskModel, Exchange, Reply, stopped, text_of
from planner.llm.requests import Request, body, feedback

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Question:
    """What is asked: a role, its system prompt, texts of the turn, and the schema of the answer."""

    role: str
    system: str
    texts: list[str]
    schema: dict[str, Any]
    quoted: dict[str, str] = field(default_factory=dict)

    def request(self, settings: Llm, notes: list[str], max_tokens: int) -> Request:
        """The request as it goes on the wire."""
        texts = [*self.texts, *notes]
        return Request(
            self.role, body(settings, self.system, texts, self.schema, max_tokens), self.quoted
        )


@dataclass
class Inquiry(Generic[Answer]):
    """The checked answer, or the name of the failure, with all exchanges."""

    answer: Answer | None = None
    failure: str | None = None
    detail: str = ""
    exchanges: list[Exchange] = field(default_factory=list)


def ask(
    question: Question, settings: Llm, ask_model: AskModel, read: Callable[[str], Answer]
) -> Inquiry[Answer]:
    """Ask until `read` accepts the answer; it raises AnswerError with the faults otherwise."""
    out: Inquiry[Answer] = Inquiry()
    notes: list[str] = []
    tokens, repairs = settings.max_tokens, 0
    while True:
        sent = question.request(settings, notes, tokens)
        reply = ask_model(sent)
        out.exchanges.append(Exchange(sent, reply))
        failure = reply.failure or stopped(reply)
        if failure == "truncated" and tokens < min(2 * settings.max_tokens, LARGEST_ANSWER):
            tokens = min(2 * settings.max_tokens, LARGEST_ANSWER)
            continue
        if failure:
            out.failure, out.detail = failure, reply.detail
            return out
        try:
            out.answer = read(text_of(reply))
        except AnswerError as error:
            out.exchanges[-1].faults = error.faults
            notes, repairs = [feedback(text_of(reply), error.faults)], repairs + 1
            if repairs > settings.repairs:
                out.failure, out.detail = "invalid_answer", "; ".join(error.faults)[:300]
                return out
        else:
            return out


def recorded(exchanges: list[dict[str, Any]], notes: list[str]) -> AskModel:
    """Speaks recorded replies in their order; `notes` learns where today's requests differ."""
    left = list(exchanges)

    def ask_model(request: Request) -> Reply:
        if not left:
            return Reply(failure="not_recorded", detail="more is asked today than was answered")
        kept = left.pop(0)
        if canonical_json(request.body) != canonical_json(kept["request"]):
            notes.append(f"{request.role}: today's request differs from the recorded one")
        return Reply(kept["response"], kept["failure"], kept["detail"], kept["tries"])

    return ask_model
