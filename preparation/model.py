"""A model as the leader of the dialogue: live, or from a record."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from campaign.config import Config
from planner.decision import REMEDIES, HaltError
from planner.llm.consult import AskModel, Exchange
from planner.record import as_recorded, request_costs
from preparation import interview
from preparation.ask import ask, recorded
from preparation.dialogue import Dialogue


class Model:
    """Leads the dialogue through a server, or through the replies of a recording."""

    def __init__(self, config: Config, recording: Dialogue | None = None) -> None:
        self.config = config
        self.notes: list[str] = []
        self._recording = recorded(recording.exchanges, self.notes) if recording else None

    def understand(self, dialogue: Dialogue) -> bool:
        """Read what was said last, fill in the record, append the next questions."""
        settings = self.config.llm
        asked = interview.question(dialogue.answers, dialogue.talk, settings)
        with model_client(self.config, dialogue.used, self._recording) as (ask_model, host):
            out = ask(
                asked, settings, ask_model, lambda text: interview.read(text, dialogue.sentence)
            )
        dialogue.exchanges += [as_recorded(e) for e in out.exchanges]
        dialogue.used = plus(dialogue.used, out.exchanges, settings.model, host)
        if out.answer is None:
            refuse_if_halting(self.config, out.failure, out.detail)
            dialogue.fallback = f"{out.failure}: {out.detail}" if out.detail else f"{out.failure}"
            return False
        dialogue.known = out.answer.known.model_dump(
            mode="json", exclude={"sentence"}, exclude_unset=True
        )
        turn = {"remark": out.answer.remark, "questions": out.answer.questions}
        dialogue.talk.append({**turn, "said": None})
        return True


@contextmanager
def model_client(
    config: Config, used: dict[str, Any], recording: AskModel | None = None
) -> Iterator[tuple[AskModel, str]]:
    """Who answers, and its host: a recording, or the server within what is left to spend."""
    if recording is not None:
        yield recording, "replay"
        return
    from planner.llm.messages_api import Server

    settings = config.llm
    left = settings.tokens - int(used.get("tokens", 0)), settings.money - used.get("money", 0.0)
    server = Server(settings, *left)
    try:
        yield server, server.host
    finally:
        server.close()


def plus(used: dict[str, Any], exchanges: list[Exchange], model: str, host: str) -> dict[str, Any]:
    """What was used before and what these exchanges have cost."""
    if host == "replay":
        return used
    cost = request_costs(exchanges, model, host)
    return {key: round(used.get(key, 0) + cost[key], 9) for key in cost}


def refuse_if_halting(config: Config, failure: str | None, detail: str) -> None:
    """HaltError where only a person can mend the failure, or where nobody may stand in."""
    if failure in REMEDIES or config.llm.on_failure == "halt":
        remedy = REMEDIES.get(failure or "", "try again, or set llm.on_failure: rules")
        raise HaltError(f"planner LLM: {failure} ({detail}); {remedy}")
