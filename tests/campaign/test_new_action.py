"""A new action is the lines of its recipe in CONTRIBUTING.md: done to a copy, and run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from campaign import TOOLKIT

MODULE = '''
"""Density of structures."""

from typing import ClassVar

from pydantic import Field

from atomistics.contract import Name
from campaign.actions.section import Change, Cost, Section
from campaign.results import Result


class WeighResult(Result):
    """weigh/result.yaml."""

    densities: dict[str, float]


class Weigh(Section):
    """Density of structures."""

    result: ClassVar = WeighResult

    structures: list[Name] = Field(min_length=1)

    def cost(self, state, protocols=None):
        return Cost(runs=len(self.structures))

    def named_structures(self):
        return [(name, None) for name in self.structures]

    def items(self, state, config):
        return {name: {"structure": name} for name in self.structures}

    def items_per_job(self, config):
        return 2

    def reduce(self, state, iteration, result):
        return Change(state, "ok", f"{len(result.densities)} structures weighed")

    def project(self, iteration, sit, bound, well):
        return WeighResult(densities=dict.fromkeys(self.structures, 1.0))
'''
SCRIPT = '''
"""Density of structures; files: see rules/weigh.smk."""

from pathlib import Path

from atomistics.analysis.observables import density
from campaign.actions.weigh import Weigh, WeighResult
from campaign.files import write_record, write_text
from campaign.job import Job, items_of
from campaign.script import Items, command_line
from campaign.spread import ItemCost, spread

RUNS = Path("weigh/runs")


def run(items: Items, output: Path) -> None:
    job = Job()

    def one(name: str, target: Path) -> ItemCost:
        write_text(target, str(density(job.atoms(items[name]["structure"]))))
        return ItemCost()

    spread(items, one, RUNS, ".txt", output)


def collect(plan: Weigh, chunks: list[Path], output: Path) -> None:
    assert items_of(chunks) == sorted(plan.structures)
    seen = {name: float((RUNS / f"{name}.txt").read_text()) for name in plan.structures}
    write_record(output, WeighResult(densities=seen))


if __name__ == "__main__":
    command_line(run, collect)
'''
RULES = """
rule weigh_chunk:
    output:
        "weigh/chunks/{chunk}.json",
    log:
        "logs/weigh/{chunk}.log",
    params:
        chunk=lookup(dpath="{chunk}", within=JOBS.chunks["weigh"]),
    shell:
        "python $SCRIPTS/weigh.py run --items {params.chunk:q} --output {output:q} 2> {log:q}"


rule weigh:
    input:
        JOBS.chunk_files("weigh"),
    output:
        "weigh/result.yaml",
    log:
        "logs/weigh/result.log",
    params:
        plan=lookup(dpath="weigh", within=JOBS.sections),
    shell:
        "python $SCRIPTS/weigh.py collect --plan {params.plan:q} --chunks {input:q}"
        " --output {output:q} 2> {log:q}"
"""
INCLUDE = 'include: "rules/{}.smk"'
EDITED = {
    "campaign/actions/__init__.py": [('"prune", "end"]', '"prune", "end", "weigh"]')],
    "campaign/plan.py": [
        ("from campaign.files", "from campaign.actions.weigh import Weigh\nfrom campaign.files"),
        ("    end: End | None", "    weigh: Weigh | None = None\n    end: End | None"),
    ],
    "Snakefile": [(INCLUDE.format("end"), INCLUDE.format("end") + "\n" + INCLUDE.format("weigh"))],
}
ADDED = {
    "campaign/actions/weigh.py": MODULE,
    "scripts/weigh.py": SCRIPT,
    "rules/weigh.smk": RULES,
    "planner/prompts/weigh.md": "Densities of structures.\n",
}


@pytest.fixture(scope="module")
def toolkit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the toolkit with the action `weigh`."""
    folder = tmp_path_factory.mktemp("toolkit")
    for name in (
        "mtp",
        "atomistics",
        "campaign",
        "planner",
        "preparation",
        "mtpilot",
        "config",
        "profiles",
        "rules",
        "scripts",
    ):
        shutil.copytree(TOOLKIT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TOOLKIT / "Snakefile", folder)
    for name, changes in EDITED.items():
        text = (folder / name).read_text()
        for old, new in changes:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        (folder / name).write_text(text)
    for name, text in ADDED.items():
        (folder / name).write_text(text.lstrip())
    return folder


def call(toolkit: Path, folder: Path, *words: str) -> str:
    known = {**os.environ, "PYTHONPATH": str(toolkit)}
    done = subprocess.run(words, cwd=folder, env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_action_is_added_by_the_recipe_and_runs(toolkit: Path, tmp_path: Path) -> None:
    planner = [sys.executable, "-m", "mtpilot.cli"]
    call(toolkit, tmp_path, *planner, "init", "dry_ice_nitrogen", "c")
    folder = tmp_path / "c"
    index = yaml.safe_load((folder / "structures/index.yaml").read_text())
    names = [entry["id"] for entry in index if not entry["held_out"]][:3]
    plan = {
        "iteration": 1,
        "action": "weigh",
        "reason": "to see",
        "evidence": [],
        "state_sha256": "start",
        "weigh": {"structures": names},
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    call(toolkit, folder, *planner, "next", "--plan", str(tmp_path / "plan.yaml"))
    told = json.loads(call(toolkit, folder, *planner, "audit", "--json"))
    assert told["jobs"]["weigh_chunk"] == 2, "three items, two a job"
    assert "optimistic" in call(toolkit, folder, *planner, "audit", "--lookahead", "1")
    call(toolkit, folder, str(Path(sys.executable).with_name("snakemake")), "-c", "1")
    result = yaml.safe_load((folder / "iterations/001/weigh/result.yaml").read_text())
    assert set(result["densities"]) == set(names)
    assert all(0.05 < value < 5 for value in result["densities"].values())
    state = yaml.safe_load((folder / "iterations/001/state.yaml").read_text())
    assert state["history"][0]["note"] == f"{len(names)} structures weighed"
    assert "weigh" in call(toolkit, folder, *planner, "status")


def test_the_recipe_names_every_line(toolkit: Path) -> None:
    recipe = (TOOLKIT / "CONTRIBUTING.md").read_text().partition("### A new action")[2]
    for name in [*EDITED, *ADDED]:
        assert f"`{name.replace('weigh', 'census')}`" in recipe.partition("###")[0], name


def test_what_a_model_may_answer_and_is_told_follows(toolkit: Path) -> None:
    code = (
        "from planner.llm.requests import schema; from planner.llm.digest import DETAILS;"
        "import json; print(json.dumps([schema(r) for r in ('single', 'weigh')]))"
    )
    told = call(toolkit, toolkit, sys.executable, "-c", code)
    assert told.count('"structures"') >= 2
