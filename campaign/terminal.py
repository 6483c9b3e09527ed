"""What commands say on a terminal: no text from outside moves the cursor, colours or hides.

Reasons, notes and file names may come from a model or a stranger. Layout is ours, so that only the
end of a line passes; every other control, format or invisible character becomes a mark.
"""

import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, cast

MARK = "\N{REPLACEMENT CHARACTER}"
NUMBER = re.compile(r"[-+]?[0-9.,]+( ?%| [^ ]+)?$|-?$")  # with its unit, or none


def printable(text: str) -> str:
    """Text that a terminal prints as it stands."""
    return "".join(c if c == "\n" or _printed(c) else MARK for c in text)


def _printed(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")


def plain(text: str, longest: int) -> str:
    """Text on one line without control or invisible characters."""
    head = text[: 40 * longest]  # megabytes of a stranger's cost no time
    kept = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in head)
    short = " ".join(kept.split())
    return short if len(short) <= longest else short[: longest - 1] + "…"


def table(rows: list[list[str]]) -> list[str]:
    """Rows under the first of them, columns aligned: numbers to the right, words to the left."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(NUMBER.match(cell) for cell in column[1:]) for column in columns]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


class _Lasting:
    """A stream whose loss stops nothing."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write if somebody is there."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if somebody is there."""
        with suppress(OSError):
            self._stream.flush()


Redraw = Callable[[int, int, str], None]


@contextmanager
def progress_line(title: str) -> Iterator[Redraw | None]:
    """One line of a terminal that is drawn anew, with a clock: jobs done, jobs in all, and more.

    None where the output is a log, in which every line stays.
    """
    if not sys.stdout.isatty():
        yield None
        return
    from rich import progress as parts
    from rich.console import Console

    columns = (
        parts.SpinnerColumn(),
        parts.TextColumn("{task.description}", markup=False),
        parts.BarColumn(20),
        parts.MofNCompleteColumn(),
        parts.TextColumn("jobs{task.fields[more]}", markup=False),
        parts.TimeElapsedColumn(),
    )
    console = Console(file=cast("IO[str]", _Lasting(sys.stdout)), highlight=False)
    with parts.Progress(*columns, console=console, transient=True, refresh_per_second=2) as line:
        task = line.add_task(title, total=None, more="")
        yield lambda done, total, more: line.update(task, completed=done, total=total, more=more)


def say(text: str) -> None:
    """Say a line or a page; a terminal that is gone stops nothing."""
    with suppress(OSError):
        sys.stdout.write(printable(text) + "\n")
        sys.stdout.flush()


def complain(text: str) -> None:
    """An error, in one line."""
    sys.stderr.write(printable(" ".join(text.split("\n"))) + "\n")
