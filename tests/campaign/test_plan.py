"""The plan as a contract: what it refuses, and that it survives the disk."""

from pathlib import Path
from typing import Any

import pytest

from campaign.errors import UserError
from campaign.files import dump_yaml, parse, read, write_record
from campaign.plan import Plan
from planner.policy.rules import decide
from tests.planner.states import COMPONENTS, DATA, SELECT, TRAIN, at


@pytest.mark.parametrize("number", range(1, 12))
def test_every_plan_survives_the_disk(number: int, tmp_path: Path) -> None:
    plan = decide(at(number))
    write_record(tmp_path / "plan.yaml", plan)
    assert read(Plan, tmp_path / "plan.yaml") == plan
    assert dump_yaml(read(Plan, tmp_path / "plan.yaml")) == (tmp_path / "plan.yaml").read_text()


def refused(number: int, section: dict[str, Any], **top: Any) -> str:
    plan = decide(at(number)).model_dump(exclude_none=True)
    plan[plan["action"]] |= section
    with pytest.raises(UserError) as error:
        parse(Plan, plan | top, "plan.yaml")
    assert str(error.value).startswith("plan.yaml: ")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("number", "section", "key"),
    [
        (COMPONENTS, {"colour": 1}, "sample.colour"),
        (COMPONENTS, {"steps": -1}, "sample.steps"),
        (COMPONENTS, {"steps": float("nan")}, "sample.steps"),
        (COMPONENTS, {"model": "../m003"}, "sample.model"),
        (COMPONENTS, {"model": None}, "sample"),
        (COMPONENTS, {"rattle": 3}, "rattle"),
        (COMPONENTS, {"groups": []}, "sample.groups"),
        (DATA, {"compression": [0.5]}, "sample.compression.0"),
        (DATA, {"model": "m001"}, "sample"),
        (
            DATA,
            {
                "groups": [
                    {
                        "subsystem": "$(reboot)",
                        "structures": ["a"],
                        "temperatures": [300],
                        "ensembles": ["nvt"],
                    }
                ]
            },
            "subsystem",
        ),
        (SELECT, {"groups": [{"subsystem": "oxide"}]}, "either fraction or count"),
        (SELECT, {"groups": [{"subsystem": "oxide", "fraction": 1.2}]}, "fraction"),
        (SELECT, {"method": "all"}, "select_data"),
        (SELECT, {"max_labels": 0}, "max_labels"),
        (TRAIN, {"start": "scratch"}, "train"),
        (TRAIN, {"datasets": []}, "train.datasets"),
        (TRAIN, {"seed": 2**31}, "train.seed"),
    ],
)
def test_nonsense_is_refused_by_key(number: int, section: dict, key: str) -> None:
    assert key in refused(number, section)


def test_one_section_only() -> None:
    other = decide(at(TRAIN)).train.model_dump(exclude_none=True)
    assert "exactly the section" in refused(COMPONENTS, {}, train=other)
    assert "exactly the section" in refused(COMPONENTS, {}, action="train")
    assert "frobnicate" in refused(COMPONENTS, {}, frobnicate=True)


def test_runs_are_every_structure_ensemble_and_temperature() -> None:
    runs = decide(at(COMPONENTS)).sample.runs()
    assert len(runs) == 2 * 2 * 2 * 2
    assert runs["oxide-t0-npt-1000k"] == {
        "structure": "oxide-t0",
        "subsystem": "oxide",
        "kind": "npt",
        "temperature": 1000,
    }
    kinds = [leaf["kind"] for leaf in decide(at(DATA)).sample.runs().values()]
    assert (kinds.count("compression"), kinds.count("rattle")) == (4, 4)
