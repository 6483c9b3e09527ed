"""What is asked of a model: system prompt from `prompts/`, the digest as the user's turn, a schema.

A request is a pure function of situation, configuration and prompt files; it holds no clock and no
path, so that a recorded one can be rendered again and compared.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jinja2

from campaign.actions import ACTIONS, Action
from campaign.config import Llm
from campaign.files import canonical_json, sha256
from campaign.situation import Situation
from campaign.terminal import plain
from planner.llm.answer import choice_schema, single_schema, specialist_schema
from planner.llm.digest import Digest, digest, everything, tokens_at_most

PROMPTS = Path(__file__).parents[1] / "prompts"
Role = Literal["decision_maker", "single"] | Action
SPECIAL = ("decision_maker", "single")
FEEDBACK = 6000


@dataclass(frozen=True)
class Request:
    """One request as it goes on the wire, and which strings from outside it quotes."""

    role: str
    body: dict[str, Any]
    quoted: dict[str, str]

    @property
    def sha256(self) -> str:
        """Hash of the body."""
        return sha256(canonical_json(self.body))

    @property
    def tokens(self) -> int:
        """Upper bound of what it costs, answer included."""
        return self.tokens_read + self.body["max_tokens"]

    @property
    def tokens_read(self) -> int:
        """Upper bound of the tokens that are read: prompts and schema."""
        content = self.body["messages"][0]["content"]
        turns = [content] if isinstance(content, str) else [block["text"] for block in content]
        shape = canonical_json(self.body.get("output_config", {}))
        return sum(map(tokens_at_most, (self.body.get("system", ""), shape, *turns)))


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(PROMPTS),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown for a model; no text from outside enters
    )


@cache
def schema(role: str) -> dict[str, Any]:
    """Schema of a role's answer."""
    if role == "decision_maker":
        return choice_schema()
    if role == "single":
        return single_schema()
    return specialist_schema(next(a for a in ACTIONS if a == role))


def rendered(name: str, **values: Any) -> str:
    """A prompt file with its values; a value that is missing is an error."""
    return _environment().get_template(f"{name}.md").render(**values)


def system(sit: Situation, role: str) -> str:
    """The system prompt of a role; from files and configuration only."""
    config = sit.config
    name = role if role in SPECIAL else "specialist"
    return rendered(
        name,
        action=role,
        temperature=sit.state.temperature,
        timestep=config.md.timestep,
        targets=sit.state.targets,
        rules=config.rules,
        select=config.select_data,
        model_sample=config.model_sample,
        structured=config.llm.structured,
        schema=json.dumps(schema(role), separators=(",", ":"), ensure_ascii=False),
    )


def feedback(answer: str, faults: list[str]) -> str:
    """An answer that did not pass, with its faults, for another try."""
    content = {"previous_answer": plain(answer, FEEDBACK // 2), "faults": faults[:12]}
    return json.dumps(content, ensure_ascii=False)


def request(
    sit: Situation,
    role: str,
    turns: list[str],
    max_tokens: int,
    shrink: int = 1,
) -> Request:
    """The request of a role; `turns` (intent, feedback) follow the digest in the same turn."""
    settings = sit.config.llm
    prompt = system(sit, role)
    fixed = tokens_at_most(prompt) + tokens_at_most(json.dumps(schema(role)))
    room = (settings.prompt_tokens - fixed - sum(map(tokens_at_most, turns)) - 100) // shrink
    digest = _digest(sit, role, room)
    texts = [digest.text, *turns]
    return Request(role, body(settings, prompt, texts, schema(role), max_tokens), digest.quoted)


def body(
    settings: Llm, prompt: str, texts: list[str], shape: dict[str, Any], max_tokens: int
) -> dict[str, Any]:
    """What goes on the wire: system prompt, one turn of several texts, the answer's schema."""
    output: dict[str, Any] = {}
    if settings.effort:
        output["effort"] = settings.effort
    if settings.structured:
        output["format"] = {"type": "json_schema", "schema": shape}
    plain_body: dict[str, Any] = {
        "model": settings.model,
        "max_tokens": max_tokens,
        "system": prompt,
        "messages": [{"role": "user", "content": [{"type": "text", "text": t} for t in texts]}],
    }
    return {**plain_body, "output_config": output} if output else plain_body


def _digest(sit: Situation, role: str, room: int) -> Digest:
    if role == "single":
        return everything(sit, room)
    return digest(sit, next((a for a in ACTIONS if a == role), None), room)
