"""README and guides: short enough, and everything they name is there."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from campaign import __version__
from mtpilot.cli import _COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
CODE = r"```.*?\n(.*?)```|`([^`\n]+)`|^    (\S.*?)$"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def tracked() -> list[str]:
    """Files in git, and new ones that it does not ignore."""
    words = ["git", "ls-files", "-co", "--exclude-standard"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_readme_is_short_and_has_a_picture() -> None:
    assert len(README.splitlines()) <= 150
    pictures = re.findall(r"!\[.+\]\((.+)\)", README)
    assert pictures
    assert all("<svg" in (ROOT / name).read_text(encoding="utf-8")[:500] for name in pictures)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target and page.name != "tree.md":  # as old as its last `make docs`
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    code = "\n".join(map("".join, re.findall(CODE, text, re.S | re.M)))
    verbs = set(re.findall(r"(?<!-)\bplanner ([a-z]+)\b", code))
    assert verbs <= set(_COMMANDS), page
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([\w.-]+):", makefile, re.M))
    assert set(re.findall(r"\bmake ([a-z][\w-]+)", code)) <= known
    for name in re.findall(
        r"\b(?:tests|config|docs|benchmarks|evals|campaign|planner|atomistics)/[\w./*-]+\.\w+", code
    ):
        to_be_written = page.name == "CONTRIBUTING.md" and re.search("census|wire", name)
        assert to_be_written or any(ROOT.glob(name)), name
    for name in re.findall(r"python -m ((?:tests|benchmarks|evals)[\w.]*)", code):
        place = ROOT / name.rstrip(".").replace(".", "/")
        assert place.is_dir() or place.with_suffix(".py").is_file(), name


def test_every_verb_and_its_page() -> None:
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `planner (\w+)", page, re.M)) == set(_COMMANDS)


def test_every_option_is_in_the_docs() -> None:
    page = (ROOT / "docs/options.md").read_text(encoding="utf-8")
    assert page == runpy.run_path(str(ROOT / "docs/options.py"))["page"](), "make docs"


def test_every_folder_is_in_the_readme() -> None:
    folders = {name.partition("/")[0] for name in tracked() if "/" in name} - {".ci"}
    assert folders == {f for f in folders if f"`{f}/`" in README}


def test_every_guide_is_in_the_index() -> None:
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    guides = {p.name for p in ROOT.glob("docs/*.md") if not p.name.startswith("recipes-")}
    guides -= {"index.md"}
    assert guides == {name for name in guides if f"({name})" in index}


def test_every_source_file_says_what_it_is() -> None:
    """The tree itself is written by `make docs`; that it is current is for `make check` to say.

    So two branches that both add a file do not conflict in it.
    """
    listed = runpy.run_path(str(ROOT / "docs/tree.py"))
    page = listed["tree"]()
    for name in filter(listed["shown"], tracked()):
        assert f"(../{name})" in page
        if name.endswith((".py", ".smk", ".cpp", ".hpp")) and not name.startswith("tests/"):
            assert listed["about"](ROOT / name), name


def test_version_stands_in_one_place() -> None:
    """What names it elsewhere reads it; the changelog's newest heading is about it."""
    again = [
        name
        for name in tracked()
        if name.endswith((".py", ".toml", ".cff", ".cfg"))
        and re.search(rf"version[\W_]+{re.escape(__version__)}", (ROOT / name).read_text("utf-8"))
    ]
    assert again == ["campaign/__init__.py"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest
    assert newest[1] == __version__


def test_citation_is_whole() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()


def test_tree_is_written_by_its_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/tree.py"), "--check"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 or "make docs" in done.stderr
