"""What DESIGN.md claims and a test can see: files, rules, names."""

import importlib
import re
from pathlib import Path
from typing import get_args

import pytest

from campaign.actions import ACTIONS
from campaign.config import Config
from campaign.create import SNAKEFILE

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = ("recipes-", "CONTRIBUTING", "CHANGELOG", "tree")  # to be written, or of their time
PAGES = [
    page
    for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
    if not page.name.startswith(LEFT_OUT)
]
DESIGN = (ROOT / "DESIGN.md").read_text(encoding="utf-8")
RULES = {path.name: path.read_text() for path in [ROOT / "Snakefile", *ROOT.glob("rules/*.smk")]}
BLOCK = r"^( +){}:\n((?:\1 +.*\n|\n)+)"


def patterns() -> dict[str, str]:
    """Regular expression of every file that the table names, with the row's writer."""
    table = DESIGN.partition("| file | written by |")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    for row in table.splitlines()[2:]:
        names, writer, _ = row.strip("| ").split(" | ")
        for name in re.findall(r"`([^`]+)`", names):
            expression = re.escape(name).replace("NNN", "[0-9]{3,4}")
            expression = re.sub(r"/\\\*$", "/.+", expression).replace(r"\*", "[^/]+")
            assert expression not in found, f"{name} stands in two rows"
            found[expression] = writer
    return found


def writers(file: str) -> list[str]:
    """Who writes a file of a campaign: the row of its own name, or else those that cover it."""
    table = patterns()
    own = re.escape(re.sub(r"^iterations/[0-9]+/", "iterations/NNN/", file))
    own = own.replace("NNN", "[0-9]{3,4}")
    return [table[own]] if own in table else [w for e, w in table.items() if re.fullmatch(e, file)]


@pytest.mark.parametrize(
    ("file", "writer"),
    [
        ("iterations/003/state.yaml", "rule `finalize`"),
        ("iterations/1003/sample/runs/dense-nvt-300k.cost.json", "one job item"),
        ("iterations/017/model_eval/plots/thin-rdf.svg", "the item; rule `model_eval`"),
        ("structures/plan.yaml", "`planner prepare`"),
        ("structures/a.extxyz", "the user"),
    ],
)
def test_a_file_has_one_writer(file: str, writer: str) -> None:
    (only,) = writers(file)
    assert only.startswith(writer)


def test_rules_write_below_their_iteration_and_no_file_twice() -> None:
    declared = [
        name
        for text in RULES.values()
        for _, block in re.findall(BLOCK.format("output"), text, re.M)
        for name in re.findall(r'"([^"]+)"', block)
    ]
    assert len(declared) > 10
    assert not [name for name in declared if name.startswith(("..", "/"))]
    assert len(declared) == len(set(declared))
    outside = [p.name for p in ROOT.glob("scripts/*.py") if '"result"' in p.read_text()]
    assert outside == []


def test_every_rule_has_a_log_and_says_what_it_does() -> None:
    for name, text in RULES.items():
        for rule, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", text, re.M):
            if rule != "all":
                assert re.match(r'    """.+', body), f"{name}: {rule}"
                assert re.search(r"^    log:", body, re.M), f"{name}: {rule}"
                assert re.search(r"^    shell:", body, re.M), f"{name}: {rule}"


def test_rules_are_static_and_know_no_site() -> None:
    for name, text in RULES.items():
        code = re.sub(r'""".*?"""|#.*', "", text, flags=re.S)
        assert not re.search(r"\brun:|\blambda\b|\bfor \w+ in\b|^\s*checkpoint ", code, re.M), name
        assert not re.search(r"partition|account|runtime|mem_mb|\bsrun\b|module load", code), name


def test_results_are_collected_where_snakemake_runs_but_the_errors_of_a_fit() -> None:
    collected = {a: RULES[f"{a}.smk"].partition(f"\nrule {a}:\n")[2] for a in ACTIONS}
    assert all(collected.values())
    assert [a for a, body in collected.items() if "localrule: True" not in body] == ["train"]


def test_who_decides_is_one_of_the_four_that_are_named() -> None:
    said = DESIGN.partition("`planner:` names one of four.")[2].partition("`planner next")[0]
    kinds = get_args(Config.model_fields["planner"].annotation)
    assert sorted(re.findall(r"`(\w+)`", said)) == sorted(kinds)


def test_a_campaigns_snakefile_only_includes_ours() -> None:
    code = [line for line in SNAKEFILE.splitlines() if line and not line.startswith("#")]
    assert code[:2] == ["from campaign import TOOLKIT", 'include: TOOLKIT / "Snakefile"']
    assert code[2:] == ["rule campaign:", "    input:", "        rules.all.input,"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_a_page_speaks_of_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    packages = r"(?!planner\.lock)(?:mtp|atomistics|campaign|planner|preparation|evals|benchmarks)"
    for name in re.findall(r"`([\w./]+)`", text):
        if re.fullmatch(packages + r"/[\w/]+\.py", name):
            assert (ROOT / name).exists(), name
        elif re.fullmatch(packages + r"(?:\.\w+)+", name):
            assert dotted(name), name


def dotted(name: str) -> object:
    """A module, or something in one."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, own = name.rpartition(".")
        return getattr(importlib.import_module(module), own) is not None
