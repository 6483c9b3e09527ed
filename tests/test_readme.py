"""README's tree names every source file, each with what its own first line says."""

import ast
import re
import subprocess
import sys
from pathlib import Path

TOOLKIT = Path(__file__).resolve().parent.parent

README = TOOLKIT / "README.md"
BEGIN, END = "<!-- tree-begin -->\n", "<!-- tree-end -->"
LISTED = (".py", ".smk", ".cpp", ".hpp", ".md", ".j2", ".yaml", ".toml", ".txt")
OUTSIDE = ("tests/data/", "evals/scenarios/")


def tree() -> str:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=TOOLKIT, capture_output=True, text=True, check=True
    ).stdout.split()
    names = [
        name
        for name in tracked
        if (name.endswith(LISTED) or name in ("Snakefile", "Makefile", ".ci/run"))
        and not name.startswith(OUTSIDE)
        and not name.endswith("__init__.py")
    ]
    lines, folder = ["```"], None
    for name in sorted(names, key=lambda n: ("/" in n, n.rpartition("/")[0], n)):
        parent, _, own = name.rpartition("/")
        if parent != folder:
            lines.append(f"{parent}/" if parent else "")
            folder = parent
        lines.append(f"  {own:<28} {about(TOOLKIT / name)}".rstrip())
    return "\n".join(line for line in lines if line or line == "") + "\n```\n"


def about(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        first = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
    else:
        found = re.search(r'(?:"""|^#+ |^// |^\{#-? |^#: )(.+)', text, re.MULTILINE)
        first = found.group(1) if found else ""
    return first.strip().strip('"').rstrip(" -#}").strip()


def test_tree_is_current() -> None:
    text = README.read_text()
    shown = text.split(BEGIN)[1].split(END)[0]
    assert shown == tree(), "run: python tests/test_readme.py"


if __name__ == "__main__":
    head, rest = README.read_text().split(BEGIN)
    README.write_text(head + BEGIN + tree() + END + rest.split(END)[1])
    sys.stdout.write("README.md: tree written\n")
