"""The recipes of docs/references.md: each is a configuration that builds its calculator."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from atomistics.reference.catalog import recipe_of
from atomistics.reference.methods import reference_calculator
from campaign.config import Reference

PAGE = Path(__file__).resolve().parents[2] / "docs/references.md"
GIVEN = {"max_force": 50.0, "timeout": 300.0, "seconds_per_call": 2.0}


def recipes() -> dict[str, Reference]:
    """Every reference of the chapter, by its heading and place there."""
    chapter = PAGE.read_text().partition("## Recipes\n")[2]
    parts = re.findall(r"### (\S.*?)\n(.*?)(?=\n### |\Z)", chapter, re.DOTALL)
    return {
        f"{heading} {number}": Reference(**yaml.safe_load(block)["reference"], **GIVEN)
        for heading, text in parts
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL), 1)
    }


def test_there_is_one_for_every_code() -> None:
    assert {name.rpartition(" ")[0] for name in recipes()} == {
        "Quantum ESPRESSO",
        "CP2K",
        "GPAW",
        "VASP",
        "ORCA",
    }


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_builds_its_calculator(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASE_VASP_COMMAND", "vasp_std")
    monkeypatch.setenv("ASE_CONFIG_PATH", str(tmp_path / "none"))
    reference = recipes()[name]
    if (
        reference.method == "cp2k"
        or importlib.util.find_spec(
            recipe_of(reference).calculator.partition(".")[0].partition(":")[0]
        )
        is None
    ):
        return  # CP2K's shell and GPAW are run for real by tests/dft
    reference_calculator(reference, tmp_path).check(periodic=reference.method != "orca")
