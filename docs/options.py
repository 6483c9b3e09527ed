"""Write docs/options.md: every option of `planner` and `mlp`, from their parsers (`make docs`)."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from mtp.cli import verbs
from mtpilot.cli import planner_parser
from preparation.build_command import OWN
from preparation.build_command import parser as build_parser

TARGET = Path(__file__).resolve().parent / "options.md"
HEAD = """\
# Options

Every option of `planner` and `mlp` as the programs themselves have it; written by `make docs`. What
the verbs do and what an exit status means: [commands.md](commands.md); `mlp` beside MLIP-3:
[engine.md](engine.md).

# `planner`

Every verb takes `--help`. The `--campaign FOLDER` of most is the campaign's folder, by default the
one they are called in.
"""


def page() -> str:
    """The page, from the parsers."""
    lines = [HEAD]
    for name, parser in choices(planner_parser()).items():
        deeper = choices(parser)
        for verb, sub in {f"{name} {n}": p for n, p in deeper.items()}.items() or [(name, parser)]:
            listed = build() if name == "build" else options(sub)
            lines += [f"## planner {verb}", "", *(list(listed) or ["No option of its own."]), ""]
    lines += ["# `mlp`", "", "`mlp help VERB` says the same. `_` and `-` are one in names.", ""]
    for name, verb in sorted(verbs().items()):
        lines += [f"## mlp {name}", "", "```", verb.usage(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Subcommands by name."""
    kinds = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return {name: sub for action in kinds for name, sub in action.choices.items()}


def options(
    parser: argparse.ArgumentParser, wanted: tuple[str, ...] | None = None
) -> Iterator[str]:
    """A line for every argument (or those wanted) but for what the head of the page tells."""
    for action in parser._actions:
        if action.dest in ("help", "campaign") or (wanted and action.dest not in wanted):
            continue
        many = " ..." if action.nargs == "+" else ""
        value = "|".join(action.choices or ()) or action.metavar or action.dest.upper()
        name = " ".join([*action.option_strings[-1:], *([] if action.nargs == 0 else [value])])
        yield f"- `{name}{many}`: {action.help}"


def build() -> Iterator[str]:
    """What all families share; their own flags are the fields of their schemas."""
    families = choices(build_parser())
    yield f"- `FAMILY`: {', '.join(families)}"
    yield from options(next(iter(families.values())), OWN)
    yield "- and a flag for every parameter: `planner build FAMILY --help`"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        stale = not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != page()
        sys.exit("docs/options.md is not what the parsers say: make docs" if stale else 0)
    TARGET.write_text(page(), encoding="utf-8")
