"""`planner doctor`: what a server of the Messages API can do, found out by asking it."""

import json
import threading
import time
from typing import TYPE_CHECKING

from campaign.config import Llm
from campaign.files import canonical_json
from campaign.terminal import plain
from planner.llm.consult import text_of
from planner.llm.messages_api import LOST, Server, address, client, host
from planner.llm.prices import LIST, prices
from planner.llm.requests import Request
from planner.llm.secrecy import blotted

if TYPE_CHECKING:
    import anthropic

LOOK_UP = 20.0
PROBE = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


def examine(settings: Llm) -> tuple[bool, str]:
    """Whether decisions can be asked for, and a line for each finding."""
    lines = [f"server     {host(settings)} ({address(settings).split(':')[0]})"]
    lines.append(f"model      {settings.model}: {_model(settings)}")
    plain_body = {
        "model": settings.model,
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": "Answer with the one word: ready"}],
    }
    sound, reply = _asked(settings, plain_body)
    lines.append(f"answers    {reply}")
    if not sound:
        return False, "\n".join(lines)
    output = {"format": {"type": "json_schema", "schema": PROBE}}
    if settings.effort:
        output["effort"] = settings.effort
    asked = "Name the colour of a clear sky as plain text, no JSON."
    body = {**plain_body, "messages": [{"role": "user", "content": asked}], "output_config": output}
    held, reply = _asked(settings, body)
    lines.append(f"schema     {_enforced(reply) if held else reply}")
    listed = settings.model in prices().models
    where = f"listed, {prices().date}" if listed else f"not in {LIST.name}"
    lines.append(f"price      {where}")
    return held or not settings.structured, "\n".join(lines)


def _asked(settings: Llm, body: dict) -> tuple[bool, str]:
    began = time.monotonic()
    server = Server(settings, settings.tokens, settings.money)
    try:
        reply = server(Request("doctor", body, {}))
    finally:
        server.close()
    if reply.message is None:
        return False, f"{reply.failure}: {reply.detail}"
    text = plain(text_of(reply), 80)
    if "output_config" in body:
        return True, text
    served = plain(str(reply.message.get("model")), 80)
    return True, f"in {time.monotonic() - began:.1f} s, served by {served}"


def _enforced(text: str) -> str:
    try:
        sound = canonical_json(json.loads(text)) in ('{"colour":"red"}', '{"colour":"green"}')
    except ValueError:
        sound = False
    if sound:
        return "held to by the server"
    return f"not held to ({text!r}); set llm.structured: false"


def _model(settings: Llm) -> str:
    """What the server's list of models says; a thread, for a trickle outlasts the SDK's timeout."""
    answers: list[str] = []
    sdk = client(settings)
    worker = threading.Thread(
        target=lambda: answers.append(_looked_up(sdk, settings.model)), daemon=True
    )
    worker.start()
    worker.join(min(LOOK_UP, settings.deadline))
    sdk.close()
    return answers[0] if answers else "no answer in time"


def _looked_up(sdk: "anthropic.Anthropic", name: str) -> str:
    import anthropic

    try:
        entry = sdk.models.retrieve(name, timeout=LOOK_UP)
        known_as = getattr(entry, "display_name", None)  # the SDK hands on whatever JSON came
        return (
            f"known as {plain(blotted(str(known_as)), 60)}"
            if known_as
            else "its list names no models"
        )
    except anthropic.NotFoundError:
        return "not known to the server (or it has no list of models)"
    except LOST as error:
        return f"cannot be looked up ({type(error).__name__})"
