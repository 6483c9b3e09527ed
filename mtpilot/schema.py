"""JSON schemas of the files people and models write, generated from the contracts."""

import json
from pathlib import Path

from atomistics.contract import Strict
from atomistics.md.protocol import StagedProtocol
from campaign.config import Config, Task
from campaign.files import write_text
from campaign.material import AnswersFile
from campaign.plan import Plan
from campaign.state import State
from preparation.structure_plan import StructurePlan

SCHEMAS: dict[str, type[Strict]] = {
    "plan": Plan,
    "state": State,
    "config": Config,
    "task": Task,
    "answers": AnswersFile,
    "structure_plan": StructurePlan,
    "protocol": StagedProtocol,
}


def schema(model: type[Strict]) -> str:
    """The schema of one contract, with the dialect that validators look for."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps({**dialect, **model.model_json_schema()}, indent=1) + "\n"


def write_schemas(folder: Path) -> None:
    """Write `<name>.json` for every contract."""
    for name, model in SCHEMAS.items():
        write_text(folder / f"{name}.json", schema(model))
