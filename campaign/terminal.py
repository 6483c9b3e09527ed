"""What commands say on a terminal: no text from outside moves the cursor, colours or hides.

Reasons, notes and file names may come from a model or a stranger. Layout is ours, so that only the
end of a line passes; every other control, format or invisible character becomes a mark.
"""

import re
import sys
import unicodedata
from contextlib import suppress

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


def say(text: str) -> None:
    """Say a line or a page; a terminal that is gone stops nothing."""
    with suppress(OSError):
        sys.stdout.write(printable(text) + "\n")
        sys.stdout.flush()


def complain(text: str) -> None:
    """An error, in one line."""
    sys.stderr.write(printable(" ".join(text.split("\n"))) + "\n")
