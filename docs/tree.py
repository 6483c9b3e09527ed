"""Write docs/tree.md: every source file with what its own first line says (`make docs`)."""

import ast
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs/tree.md"
LISTED = (".py", ".smk", ".cpp", ".hpp", ".md", ".j2", ".yaml", ".toml", ".cff")
WITHOUT_SUFFIX = ("Snakefile", "Makefile", ".ci/run")
OUTSIDE = ("tests/data/", "evals/scenarios/", "docs/tree.md")
HEAD = """\
# The tree

Every source file with its own first line. Written by `make docs`; [DESIGN.md](../DESIGN.md) says
why the packages are these.
"""


def tree() -> str:
    """The page, from what git tracks in the checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-c", "-o", "--exclude-standard", "--deduplicate"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    names = sorted(name for name in listed if shown(name) and (ROOT / name).is_file())
    page = [HEAD]
    for folder, files in groupby(sorted(names, key=folder_of), key=folder_of):
        page.append(f"\n## {folder or 'Top'}\n")
        init = ROOT / folder / "__init__.py"
        if folder and init.is_file() and about(init):
            page.append(f"{about(init)}\n")
        for name in files:
            own = name.rpartition("/")[2]
            purpose = about(ROOT / name)
            page.append(f"- [{own}](../{name})" + (f": {purpose}" if purpose else ""))
    return "\n".join(page) + "\n"


def folder_of(name: str) -> str:
    """The folder a file lies in; empty at the top."""
    return name.rpartition("/")[0]


def shown(name: str) -> bool:
    """Whether a file has a line of its own."""
    return (
        (name.endswith(LISTED) or name in WITHOUT_SUFFIX)
        and not name.startswith(OUTSIDE)
        and not name.endswith("__init__.py")
    )


def about(path: Path) -> str:
    """A file's own first line: docstring, heading or comment."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
    first = re.search(r'^(?:"""|#+ |// |\{#-? )(.+)', text, re.MULTILINE)
    return re.sub(r'\s*("""|-?#\})$', "", first.group(1)).strip() if first else ""


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        stale = not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != tree()
        sys.exit("docs/tree.md is not what the tree says: make docs" if stale else 0)
    TARGET.write_text(tree(), encoding="utf-8")
