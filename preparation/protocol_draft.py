"""A protocol drafted from a person's words: by a model as stages of the known kinds, or by a table.

What comes out is data of the contract, checked like a file a person wrote; it runs only once a
person has tried and approved it.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from atomistics.md.protocol import StagedProtocol
from atomistics.yaml_files import format_yaml
from campaign.config import Config, Task
from campaign.errors import UserError
from campaign.files import write_text
from campaign.material import Material
from mtp.atomic import real_path
from planner.llm import requests
from planner.llm.answer import AnswerError, faults, parsed, wire
from planner.llm.untrusted import Quotes
from planner.record import as_recorded
from preparation import purpose
from preparation.ask import Question, ask
from preparation.model import model_client, plus, refuse_if_halting
from preparation.sentence import meanings

LONGEST_WORD = 2000
HOTTEST = 1.2  # times the highest max_temperature of the task, beyond which a draft goes back


def drafted(folder: Path, path: Path, words: str, task: Task, config: Config) -> str:
    """Write a protocol for `words` to `path`, which must be new; who drafted it.

    `path` with the suffix .draft.json holds every exchange with a model. UserError where neither a
    model nor the table has an answer.
    """
    if path.exists():
        raise UserError(f"{path}: exists; edit it, or draft under another name")
    if real_path(path).parent != (folder / "protocols").resolve():
        raise UserError(f"{path}: not in {folder / 'protocols'}; name it protocols/NAME.yaml")
    protocol, source = None, "table"
    if config.planner == "anthropic":
        protocol, source = _by_model(path, words, task, config)
    if protocol is None:
        protocol = _by_table(words, task)
    data = protocol.model_dump(mode="json", exclude_defaults=True)
    head = f"# Drafted by {source} from words; edit, try and approve it before a plan names it.\n"
    write_text(path, head + format_yaml(data, width=80))
    return source


def _by_table(words: str, task: Task) -> StagedProtocol:
    """A shipped protocol at the temperatures of words and task."""
    material = task.material or Material()
    said = material.model_copy(update={"procedure": words, "properties": [], "objective": None})
    made = purpose.drafts(task.model_copy(update={"material": said}))
    if len(made) != 1:
        shipped = ", ".join(sorted(path.stem for path in purpose.PROTOCOLS.glob("*.yaml")))
        what = f"mean {', '.join(made)}" if made else "name none of them"
        raise UserError(
            f"protocol draft: without a model one of {shipped} is drafted, and the words {what};"
            " say one, or set planner: anthropic"
        )
    return next(iter(made.values()))


def _by_model(
    path: Path, words: str, task: Task, config: Config
) -> tuple[StagedProtocol | None, str]:
    asked = question(words, task, config)
    with model_client(config, {}) as (ask_model, host):
        out = ask(asked, config.llm, ask_model, lambda text: read(text, task))
    record = {
        "format": 1,
        "exchanges": [as_recorded(e) for e in out.exchanges],
        "used": plus({}, out.exchanges, config.llm.model, host),
    }
    write_text(path.with_suffix(".draft.json"), json.dumps(record, indent=1) + "\n")
    if out.answer is None:
        refuse_if_halting(config, out.failure, out.detail)
        return None, f"table, after no valid answer of {config.llm.model} ({out.failure})"
    return out.answer, config.llm.model


def question(words: str, task: Task, config: Config) -> Question:
    """What is asked: the task, the words as a quote, the contract of protocols."""
    quotes = Quotes()
    shown = {
        "task": {
            "description": quotes.quote("task.yaml: description", task.description, 1000),
            "temperature": task.temperature,
            "species": task.species,
            "hottest": max(s.max_temperature for s in task.subsystems),
        },
        "words": quotes.quote("protocol draft: words", words, LONGEST_WORD),
        "likely": sorted(meanings(words)),
    }
    shape = wire(StagedProtocol.model_json_schema())
    shape["properties"].pop("description", None)
    shape["required"] = [key for key in shape["required"] if key != "description"]
    schema_text = json.dumps(shape, separators=(",", ":"))
    prompt = requests.rendered("protocol", structured=config.llm.structured, schema=schema_text)
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return Question("protocol", prompt, [text], shape, quotes.sources)


def read(text: str, task: Task) -> StagedProtocol:
    """A checked draft; AnswerError says what is wrong with it. Its own description is dropped."""
    data = _without_nulls(parsed(text))
    data.pop("description", None)
    try:
        protocol = StagedProtocol.model_validate(data)
    except ValidationError as error:
        raise AnswerError(faults(error)) from None
    most = round(HOTTEST * max(s.max_temperature for s in task.subsystems))
    if protocol.highest > most:
        raise AnswerError([f"stages: up to {protocol.highest} K; this task goes to {most} K"])
    return protocol


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value
