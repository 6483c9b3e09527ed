"""The schemas on disk are those of the contracts: `planner schema config/schema` rewrites them."""

import json

import pytest

from campaign import TOOLKIT
from mtpilot.schema import SCHEMAS, schema


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_on_disk_is_current(name: str) -> None:
    path = TOOLKIT / "config/schema" / f"{name}.json"
    assert path.read_text() == schema(SCHEMAS[name]), "run: planner schema config/schema"


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_object_refuses_unknown_keys(name: str) -> None:
    document = json.loads(schema(SCHEMAS[name]))
    objects = [document, *document.get("$defs", {}).values()]
    assert all(o["additionalProperties"] is False for o in objects if o.get("type") == "object")
