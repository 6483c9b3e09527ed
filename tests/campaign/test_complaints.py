"""Messages about files name keys and say in words how a value is written."""

from typing import Any

import pytest

from campaign.complaints import WORDS
from campaign.config import Task
from campaign.errors import UserError
from campaign.files import parse
from campaign.material import Answers


def patterns(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return {p for one in schema for p in patterns(one)}
    if not isinstance(schema, dict):
        return set()
    own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
    return own | {p for one in schema.values() for p in patterns(one)}


@pytest.mark.parametrize("model", [Answers, Task])
def test_every_pattern_of_what_people_write_has_words(model) -> None:
    assert patterns(model.model_json_schema()) <= set(WORDS)


@pytest.mark.parametrize(
    ("crystal", "said"),
    [
        ("$(x)", "answer: phases.0.crystal: String should match pattern: letters"),
        ({"spacegroup": 225}, "answer: phases.0.crystal: Value error, spacegroup: needs lattice"),
        ({"spacegroup": 999}, "answer: phases.0.crystal.spacegroup: Input should be less"),
    ],
)
def test_a_value_of_two_forms_is_judged_by_the_form_given(crystal, said) -> None:
    phase = {"name": "a", "kind": "crystal", "crystal": crystal}
    with pytest.raises(UserError) as caught:
        parse(Answers, {"phases": [phase]}, "answer")
    message = str(caught.value)
    assert message.startswith(said)
    assert "[" not in message.replace("[_", "")
    assert message.count("phases.0") == 1
