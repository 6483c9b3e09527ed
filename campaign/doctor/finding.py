"""What `planner doctor` found out about one thing, and how to mend it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """`ok`, `note` (a campaign runs all the same, or it could not be tried), or `FAIL`."""

    what: str
    detail: str
    level: str = "ok"
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.level:<5} {self.what:<10} {self.detail}{remedy}"


def fail(what: str, detail: str, remedy: str) -> Finding:
    """A campaign could not run."""
    return Finding(what, detail, "FAIL", remedy)


def note(what: str, detail: str, remedy: str = "") -> Finding:
    """Worth knowing."""
    return Finding(what, detail, "note", remedy)
