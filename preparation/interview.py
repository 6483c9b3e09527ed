"""The dialogue led by a model: it reads what was said and fills in the record; code judges it."""

import json
from typing import Annotated, Any

from pydantic import Field, ValidationError

from atomistics.contract import Strict
from campaign.config import Llm
from campaign.material import Answers
from planner.llm import requests
from planner.llm.answer import AnswerError, faults, parsed, wire
from planner.llm.untrusted import Quotes
from preparation.ask import Question
from preparation.missing import open_points
from preparation.substances import listed

LONGEST_WORD = 2000


class Turn(Strict):
    """A model's answer to what the scientist said last."""

    known: Answers
    remark: str = Field(max_length=1000)
    questions: list[Annotated[str, Field(max_length=400)]] = Field(max_length=3)


def schema() -> dict[str, Any]:
    """Schema of a turn; the sentence is the scientist's own and is not asked for."""
    shape = wire(Turn.model_json_schema())
    record = shape["$defs"]["Answers"]
    record["properties"].pop("sentence")
    record["required"].remove("sentence")
    return shape


def question(answers: Answers, talk: list[dict[str, Any]], settings: Llm) -> Question:
    """The request for the next turn, from the record and what was said."""
    quotes = Quotes()
    shown = {
        "known": answers.model_dump(mode="json", exclude={"sentence"}, exclude_unset=True),
        "missing": [
            {"key": point.key, "what": point.fault or point.question, "needed": point.needed}
            for point in open_points(answers)
        ],
        "listed": listed(),
        "talk": [_said(number, turn, quotes) for number, turn in enumerate(talk)],
    }
    shape = schema()
    schema_text = json.dumps(shape, separators=(",", ":"))
    prompt = requests.rendered("dialogue", structured=settings.structured, schema=schema_text)
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return Question("dialogue", prompt, [text], shape, quotes.sources)


def _said(number: int, turn: dict[str, Any], quotes: Quotes) -> dict[str, Any]:
    said = quotes.quote(f"dialogue: turn {number + 1}", turn["said"], LONGEST_WORD)
    return {"asked": turn["questions"], "scientist": said}


def read(text: str, sentence: str | None) -> Turn:
    """A checked turn; AnswerError says what is wrong with it."""
    data = parsed(text)
    record = data.get("known")
    if isinstance(record, dict):
        data["known"] = _without_nulls({**record, "sentence": sentence})
    try:
        return Turn.model_validate(data)
    except ValidationError as error:
        raise AnswerError(faults(error)) from None


def _without_nulls(value: Any) -> Any:
    """Nulls stand for what nobody has said; dropped, so that it counts as not said."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value
