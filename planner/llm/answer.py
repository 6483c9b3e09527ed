"""What a model may answer, as schemas and as checks of our own.

Schemas on the wire hold what servers enforce: types, enums, closed objects with every key
required. Bounds stand in descriptions and are enforced here, because no server does. Seeds, ids of
the iteration, hashes and the values of evidence are never asked of a model: code fills them in.
"""

import json
import re
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from atomistics.contract import Strict
from campaign.actions import ACTIONS, Action
from campaign.actions.section import MeasuredStructure
from campaign.budget import left
from campaign.evidence import evidence_at, has_value
from campaign.files import flags_for_numbers
from campaign.plan import SECTIONS, Plan
from campaign.situation import Situation
from campaign.terminal import plain
from planner.policy import parameters, rules

BOUNDS = {
    "minimum": ">=",
    "maximum": "<=",
    "exclusiveMinimum": ">",
    "exclusiveMaximum": "<",
    "minItems": "items >=",
    "maxItems": "items <=",
    "maxLength": "characters <=",
    "pattern": "pattern",
}
LONGEST = 200_000  # characters of an answer; 20,000 tokens are fewer
MOST_BRACES = 200  # that open no object, in an answer with prose
THOUGHT = re.compile(
    r"[<\[◁](/?)(?:think(?:ing)?|thoughts?|reasoning|analysis|scratchpad|reflection)"
    r"(?:\s[^<>{}]{0,80})?[>\]▷]",
    re.IGNORECASE,
)
CHANNEL = "<|message|>"  # begins what is said on one; the last is the answer
FENCED = re.compile(r"```[a-zA-Z]*\n(.*?)```", re.DOTALL)
KEPT = ("type", "enum", "const", "$ref")
FILLED_IN = ("seed", "properties")  # by code: properties are those that task.yaml asks for
Key = Annotated[str, StringConstraints(max_length=128)]


class Choice(Strict):
    """The decision maker's answer: which action, and what it is meant to achieve."""

    action: Action
    intent: str = Field(max_length=800, description="what the action's specialist must achieve")
    reason: str = Field(max_length=600, description="why this action now, for the scientist")
    evidence: list[Key] = Field(min_length=1, max_length=20, description="state keys it rests on")
    confidence: Literal["low", "medium", "high"]


class AnswerError(Exception):
    """An answer that is no plan; `faults` are fed back to the model."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def wire(schema: dict[str, Any]) -> dict[str, Any]:
    """A pydantic schema as structured output takes it."""
    out: dict[str, Any] = {key: schema[key] for key in KEPT if key in schema}
    for key in ("anyOf", "oneOf"):
        if key in schema:
            out["anyOf"] = [wire(choice) for choice in schema[key]]
    if "items" in schema:
        out["items"] = wire(schema["items"])
    if "properties" in schema:
        names = {k: wire(v) for k, v in schema["properties"].items() if k not in FILLED_IN}
        out |= {"properties": names, "required": list(names), "additionalProperties": False}
    if "$defs" in schema:
        shared = {k: wire(v) for k, v in schema["$defs"].items()}
        used = json.dumps([out, *shared.values()])
        out["$defs"] = {k: v for k, v in shared.items() if f'"#/$defs/{k}"' in used}
    bounds = [f"{sign} {schema[key]}" for key, sign in BOUNDS.items() if key in schema]
    notes = [*([schema["description"]] if "description" in schema else []), *bounds]
    if notes and "$ref" not in out and "properties" not in out:
        out["description"] = "; ".join(notes)
    return out


def section_schema(action: Action) -> dict[str, Any]:
    """Parameters of one action."""
    return wire(SECTIONS[action].model_json_schema())


def choice_schema() -> dict[str, Any]:
    """The decision maker's answer."""
    return wire(Choice.model_json_schema())


def specialist_schema(action: Action) -> dict[str, Any]:
    """Parameters of the action, or an objection to it."""
    section = section_schema(action)
    return _closed(
        {
            "parameters": {"anyOf": [_bare(section), {"type": "null"}]},
            "objection": {
                "anyOf": [{"type": "string"}, {"type": "null"}],
                "description": "null, or why the intent cannot be carried out (parameters: null)",
            },
        },
        section.get("$defs", {}),
    )


def single_schema() -> dict[str, Any]:
    """Action and parameters in one answer."""
    sections = {action: section_schema(action) for action in ACTIONS}
    steps = [
        _closed({"action": {"type": "string", "const": action}, "parameters": _bare(section)}, {})
        for action, section in sections.items()
    ]
    head = choice_schema()["properties"]
    common = {k: head[k] for k in ("reason", "evidence", "confidence")}
    shared = {k: v for s in sections.values() for k, v in s.get("$defs", {}).items()}
    return _closed({**common, "step": {"anyOf": steps}}, shared)


def _closed(properties: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {**schema, "$defs": shared} if shared else schema


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in schema.items() if k != "$defs"}


def parsed(text: str, key: str | None = None) -> dict[str, Any]:
    """The one JSON object of an answer; thoughts, fences and prose around it are forgiven.

    Where several stand side by side the one that holds `key` is meant; where nobody knows which,
    the model is asked again.
    """
    if len(text) > LONGEST:
        raise AnswerError([f"longer than {LONGEST} characters"])
    body = _spoken(text.rpartition(CHANNEL)[2]).strip() or text.strip()
    try:
        data = DECODER.decode(body)
        data = DECODER.decode(data) if isinstance(data, str) else data
    except (ValueError, RecursionError) as error:
        fenced = FENCED.findall(body)
        objects = _objects(fenced[0] if len(fenced) == 1 else body)
        meant = [item for item in objects if key in item]
        objects = meant if len(meant) == 1 else objects
        if len(objects) > 1:
            raise AnswerError([f"{len(objects)} JSON objects; answer with exactly one"]) from None
        if not objects:
            raise AnswerError([f"not JSON: {plain(str(error), 200)}"]) from None
        data = objects[0]
    if not isinstance(data, dict):
        raise AnswerError(["not a JSON object"])
    return data


def _spoken(text: str) -> str:
    """An answer without thoughts in tags; those without a beginning or an end too."""
    spoken, thought, depth, end = "", "", 0, 0
    for tag in [*THOUGHT.finditer(text), None]:
        piece = text[end : tag.start() if tag else len(text)]
        spoken, thought = (spoken, thought + piece) if depth else (spoken + piece, "")
        if tag is None:
            break
        spoken = "" if tag[1] and not depth else spoken
        depth, end = max(0, depth + (-1 if tag[1] else 1)), tag.end()
    return spoken + thought


def _objects(text: str) -> list[dict[str, Any]]:
    """The different JSON objects that stand in a text, those within others left out."""
    objects: list[dict[str, Any]] = []
    position, failures = text.find("{"), 0
    while position >= 0 and failures < MOST_BRACES:
        try:
            data, end = DECODER.raw_decode(text, position)
        except DuplicateKeyError as error:
            raise AnswerError([str(error)]) from None
        except (ValueError, RecursionError):
            failures, end = failures + 1, position + 1
        else:
            objects += [data] if data not in objects else []
        position = text.find("{", end)
    return objects


class DuplicateKeyError(ValueError):
    """An object with a key given twice: which value is meant?"""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise DuplicateKeyError(f"key {plain(twice, 60)} is given twice")
    return data


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse, strict=False)


def choice(text: str) -> Choice:
    """The decision maker's answer, checked."""
    try:
        return Choice.model_validate(parsed(text, "action"))
    except ValidationError as error:
        raise AnswerError(faults(error)) from None


def specified(text: str) -> dict[str, Any]:
    """The parameters of a specialist's answer; its objection is a fault of the choice."""
    data = parsed(text, "parameters")
    if data.get("objection") and data.get("parameters") is None:
        raise AnswerError([f"objection: {plain(str(data['objection']), 400)}"])
    if set(data) - {"parameters", "objection"} or not isinstance(data.get("parameters"), dict):
        raise AnswerError(["document: exactly the keys parameters (an object) and objection"])
    return data["parameters"]


def single(text: str) -> tuple[Choice, dict[str, Any]]:
    """Choice and parameters of an answer to one call."""
    data = parsed(text, "step")
    step = data.pop("step", None)
    if not isinstance(step, dict) or set(step) != {"action", "parameters"}:
        raise AnswerError(["step: exactly the keys action and parameters"])
    if not isinstance(step["parameters"], dict):
        raise AnswerError(["step.parameters: must be an object"])
    chosen = choice(json.dumps({**data, "action": step["action"], "intent": ""}))
    return chosen, step["parameters"]


def _names(given: object) -> bool:
    return isinstance(given, list) and all(isinstance(name, str) for name in given)


def _asked(sit: Situation, action: Action, structures: list[str]) -> list[MeasuredStructure]:
    """What task.yaml asks of these structures; of the reference no more than limits allow."""
    by_task = parameters.measured(sit, dict.fromkeys(structures))
    if action == "model_eval":
        return by_task
    return parameters.affordable(by_task, left(sit).reference_calls // 2)


def require_evidence(sit: Situation, chosen: Choice) -> None:
    """Raise AnswerError for evidence that the state does not hold, before more is paid for."""
    unknown = [plain(key, 128) for key in chosen.evidence if not has_value(sit.state, key)]
    if unknown:
        raise AnswerError([f"evidence: no such state key: {key}" for key in unknown])


def plan_of(sit: Situation, chosen: Choice, section: dict[str, Any]) -> Plan:
    """The plan an answer stands for; AnswerError lists what is wrong with it."""
    require_evidence(sit, chosen)
    filled = {k: v for k, v in section.items() if k not in FILLED_IN}
    model = section_schema(chosen.action)
    if "seed" in SECTIONS[chosen.action].model_fields:
        filled["seed"] = parameters.seed(sit)
    names = filled.get("structures")
    if "properties" in SECTIONS[chosen.action].model_fields and _names(names):
        filled["properties"] = [m.model_dump() for m in _asked(sit, chosen.action, names)]
    if surplus := sorted(set(section) - set(model["properties"])):
        raise AnswerError([f"{chosen.action}: unknown key {plain(key, 60)}" for key in surplus])
    if chosen.action == "end" and isinstance(filled.get("recommendation"), str):
        filled["recommendation"] = plain(filled["recommendation"], 2000)
    data = {
        "iteration": sit.iteration,
        "action": chosen.action,
        "reason": plain(chosen.reason, 600),
        "evidence": evidence_at(sit.state, chosen.evidence),
        "state_sha256": sit.state_sha256,
        chosen.action: filled,
    }
    try:
        plan = Plan.model_validate(data)
    except ValidationError as error:
        raise AnswerError(faults(error)) from None
    if flags := list(flags_for_numbers(data, plan)):
        raise AnswerError([f"{plain(key, 100)}: true or false is no number" for key in flags[:12]])
    return _with_rule(plan, sit)


def _with_rule(plan: Plan, sit: Situation) -> Plan:
    """An end that a rule asks for as well bears its name: what the rule may end, a model may."""
    if plan.end is None:
        return plan
    own = rules.decide(sit)
    same = own.end and (own.end.outcome, own.end.model) == (plan.end.outcome, plan.end.model)
    return plan.model_copy(update={"rule": own.rule}) if same else plan


def faults(error: ValidationError) -> list[str]:
    """Faults by key, short enough to be sent back."""
    return [
        f"{plain('.'.join(map(str, e['loc'])), 100)}: {plain(e['msg'], 200)}"
        for e in error.errors()[:12]
    ]
