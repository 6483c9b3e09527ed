"""Variants by a model: one category at a time, held to the builders' contract and to the rules.

The categories are code's; a model varies what is in them. An answer that stays invalid after its
repairs leaves the category to the rules, and `source` says so.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from atomistics.builders.families import FAMILIES
from atomistics.contract import Name, Strict
from campaign.config import Config, Task
from campaign.files import canonical_json, parse, write_text
from campaign.terminal import plain
from planner.llm import requests
from planner.llm.answer import AnswerError, faults, parsed, wire
from planner.llm.untrusted import Quotes
from planner.record import as_recorded
from preparation import dialogue
from preparation.ask import Question, ask
from preparation.model import model_client, plus, refuse_if_halting
from preparation.structure_plan import Category, StructurePlan, Variant

FILE = "planning.json"
MOST_ATOMS = 5000


class Proposed(Strict):
    """A model's variants of one category."""

    held_out: Name = Field(description="id of the one variant that is never trained on")
    variants: list[Variant] = Field(min_length=2, max_length=8)


def varied(
    folder: Path,
    task: Task,
    plan: StructurePlan,
    config: Config,
    tell: Callable[[str], None],
) -> StructurePlan:
    """The rules' plan with each category's variants by the model where it gives valid ones."""
    record: dict[str, Any] = {"format": 1, "exchanges": [], "categories": {}, "used": {}}
    done: list[Category] = []
    talk = dialogue.load(folder)
    with model_client(config, talk.used if talk else {}) as (ask_model, host):
        for category in plan.categories:
            out = ask(
                question(task, category, config),
                config.llm,
                ask_model,
                lambda text, own=category: read(text, own, done),
            )
            record["exchanges"] += [as_recorded(e) for e in out.exchanges]
            record["used"] = plus(record["used"], out.exchanges, config.llm.model, host)
            record["categories"][category.name] = out.failure or "model"
            write_text(folder / FILE, json.dumps(record, indent=1) + "\n")
            if out.answer is None:
                refuse_if_halting(config, out.failure, out.detail)
                tell(f"{category.name}: no valid answer ({out.failure}); variants by rules")
            source = "model" if out.answer else f"rules:{out.failure}"
            done.append((out.answer or category).model_copy(update={"source": source}))
    return parse(StructurePlan, {"seed": plan.seed, "categories": done}, "structures/plan.yaml")


def question(task: Task, category: Category, config: Config) -> Question:
    """What is asked for one category: the task, the rules' variants, the parameters' schema."""
    quotes = Quotes()
    family = category.variants[0].parameters.family
    shown = {
        "task": {
            "description": quotes.quote("task.yaml: description", task.description, 1000),
            "temperature": task.temperature,
            "species": task.species,
        },
        "category": category.model_dump(mode="json", include={"name", "stage", "role"}),
        "rules": [
            v.model_dump(mode="json", exclude_defaults=True)
            | {"parameters": v.parameters.model_dump(mode="json", exclude_none=True)}
            for v in category.variants
        ],
    }
    shape = schema(family)
    schema_text = json.dumps(shape, separators=(",", ":"))
    prompt = requests.rendered(
        "structure_plan", family=family, structured=config.llm.structured, schema=schema_text
    )
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return Question("structure_plan", prompt, [text], shape, quotes.sources)


def schema(family: str) -> dict[str, Any]:
    """Variants whose parameters are those of one family."""
    own = wire(FAMILIES[family].model_json_schema())
    shared = own.pop("$defs", {})
    text = {"type": "string"}
    variant = {"id": text, "description": text, "parameters": own}
    return {
        **_closed({"held_out": text, "variants": {"type": "array", "items": _closed(variant)}}),
        "$defs": shared,
    }


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read(text: str, category: Category, done: list[Category]) -> Category:
    """The category with the model's variants; AnswerError lists what is wrong with them."""
    data = parsed(text)
    family = category.variants[0].parameters.family
    entries = data.get("variants")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("parameters"), dict):
            entry["parameters"] = _stripped({"family": family, **entry["parameters"]})
            entry["held_out"] = entry.get("id") == data.get("held_out")
    try:
        proposed = Proposed.model_validate(data)
        made = category.model_dump() | {"variants": [v.model_dump() for v in proposed.variants]}
        answered = Category.model_validate(made)
        StructurePlan(categories=[*done, answered])
    except ValidationError as error:
        raise AnswerError(faults(error)) from None
    if wrong := [*_strange(answered, category, family), *_substances(answered, category)]:
        raise AnswerError(wrong)
    return answered


def _strange(proposed: Category, rules: Category, family: str) -> list[str]:
    wrong = [
        f"{v.id}: family: {v.parameters.family}, must be {family}"
        for v in proposed.variants
        if v.parameters.family != family
    ]
    wrong += [
        f"{v.id}: id: must begin with {rules.name}-"
        for v in proposed.variants
        if not v.id.startswith(f"{rules.name}-")
    ]
    ids_by_content: dict[str, str] = {}
    for variant in proposed.variants:
        key = canonical_json(variant.parameters.model_dump(mode="json"))
        if twin := ids_by_content.get(key):
            wrong.append(f"{variant.id}: the same parameters as {twin}")
        ids_by_content.setdefault(key, variant.id)
    return wrong


def _substances(proposed: Category, rules: Category) -> list[str]:
    """Whatever chemistry the task does not have: SMILES, formulas, files, ids of databases."""
    allowed = {s for v in rules.variants for s in _chemistry(v.parameters.model_dump())}
    return [
        f"{v.id}: {plain(strange, 100)}: not in the task"
        for v in proposed.variants
        for strange in sorted(set(_chemistry(v.parameters.model_dump())) - allowed)
    ]


CHEMISTRY = (
    "smiles",
    "formula",
    "file",
    "materials_project",
    "optimade_id",
    "element",
    "by",
    "repeat_unit",
    "head",
    "tail",
)


def _chemistry(value: Any) -> list[str]:
    if isinstance(value, list):
        return [name for entry in value for name in _chemistry(entry)]
    if not isinstance(value, dict):
        return []
    own = [f"{key} {value[key]}" for key in CHEMISTRY if isinstance(value.get(key), str)]
    return own + [name for entry in value.values() for name in _chemistry(entry)]


def _stripped(value: Any) -> Any:
    """Nulls stand for what is not given."""
    if isinstance(value, dict):
        return {k: _stripped(v) for k, v in value.items() if v is not None}
    return [_stripped(v) for v in value] if isinstance(value, list) else value
