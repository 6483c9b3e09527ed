"""The bill by the clock: one line an item, and the running total of the campaign.

Each job leaves `<item>.cost.json` beside its result; `finalize` gathers them into the iteration's
`ledger.jsonl`, whose last line carries the totals of all iterations so far. An item appears once:
its cost file is written with its result and never again.
"""

import json
import math
from pathlib import Path
from typing import Any

from atomistics.yaml_files import read_text
from campaign.errors import UserError
from campaign.files import canonical_json, read_json, sha256

COUNTED = ("reference_calls", "explorer_calls", "md_steps", "core_seconds")


def gather(
    folder: Path, action: str, carried: dict[str, Any], closes: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Lines of the ledger of the iteration in `folder`; the last one is the total.

    `closes` are the hashes, by name, of the files that close the iteration with it.
    """
    lines = []
    kinds = dict(carried.get("by_action", {}))
    for kind in ("settle", action):
        for path in sorted(folder.glob(f"{kind}/**/*.cost.json")):
            cost = read_json(path, "core_seconds")
            name = path.relative_to(folder).as_posix().removesuffix(".cost.json")
            counted = {k: cost.get(k, 0) for k in COUNTED}
            lines.append({"item": name, "kind": kind, **_nonzero(counted)})
        of_kind = [line for line in lines if line["kind"] == kind]
        if of_kind or kind == action:
            before = kinds.get(kind, {})
            kinds[kind] = _sum(before, of_kind)
    total = _sum(carried, lines)
    lines.append({"total": {**total, "by_action": kinds}})
    if closes:
        lines[-1] |= {"iteration": int(folder.name), "closes": closes}
    return [*lines[:-1], {**lines[-1], "sha256": _fingerprint(lines)}]


def _nonzero(counted: dict[str, float]) -> dict[str, float]:
    """Without the explorer's calls where there are none: most campaigns have no explorer."""
    return {k: v for k, v in counted.items() if v or k != "explorer_calls"}


def _sum(before: dict[str, Any], lines: list[dict[str, Any]]) -> dict[str, float]:
    """`before` with what these lines count added."""
    own = {k: before.get(k, 0) + sum(line.get(k, 0) for line in lines) for k in COUNTED}
    return _nonzero(own)


def intact(path: Path) -> bool:
    """Whether a ledger is as it was written; one without a hash of its own is taken as it is."""
    try:
        lines = [json.loads(line) for line in read_text(path).splitlines()]
    except (ValueError, RecursionError):
        return False
    written = lines[-1].pop("sha256", None)
    return written is None or written == _fingerprint(lines)


def closed_with(path: Path) -> tuple[int | None, dict[str, str]]:
    """Iteration whose ledger this is, and hashes of the files that closed it; none of an old one.

    To be asked of a ledger that is whole and intact.
    """
    last = json.loads(read_text(path).splitlines()[-1])
    return last.get("iteration"), last.get("closes", {})


def _fingerprint(lines: list[dict[str, Any]]) -> str:
    return sha256(canonical_json(lines))


def totals(path: Path) -> dict[str, Any]:
    """The running totals at the end of a ledger; empty before the first iteration.

    A ledger that is gone is an error: limits would count from nothing.
    """
    if path.parent.name == "000":
        return {}
    try:
        total = json.loads(read_text(path).splitlines()[-1])["total"]
        sound = math.isfinite(total["core_seconds"]) and isinstance(total["by_action"], dict)
    except (UserError, ValueError, LookupError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise UserError(
            f"{path}: last line: no total of core-seconds and calls; put the file back, or delete"
            " state.yaml beside it: the next run finalizes the iteration again"
        )
    return total
