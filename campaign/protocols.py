"""Protocols of a campaign: which there are, which a person has approved, what gates say of them.

An approval is bound to the bytes of the file, as that of a plan is (planner/approval.py).
"""

import getpass
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from atomistics.md.protocol import StagedProtocol
from campaign.errors import UserError
from campaign.files import sha256, write_text
from campaign.protocol_files import ProtocolInfo, protocol_name, read_protocol
from campaign.situation import Situation
from mtp.atomic import real_path

FOLDER = "protocols"


@dataclass(frozen=True)
class Approved:
    """A protocol as it was approved."""

    name: str
    sha256: str
    protocol: StagedProtocol


def approve(campaign: Path, path: Path) -> dict[str, Any]:
    """Let plans use `path`, one of the campaign's protocols, as it stands."""
    if real_path(path).parent != (campaign / FOLDER).resolve():
        raise UserError(f"{path}: not in {campaign / FOLDER}; move it there and approve it again")
    read_protocol(path)
    given = {
        "sha256": _hash(path),
        "by": getpass.getuser(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_text(_record(path), json.dumps(given, indent=1) + "\n")
    return given


def require_approved(campaign: Path, name: str) -> Approved:
    """The protocol of that name; UserError when it is missing, broken or not approved as it is."""
    path = campaign / FOLDER / f"{name}.yaml"
    if fault := _fault(path):
        raise UserError(fault)
    return Approved(name, _hash(path), read_protocol(path))


def all_protocols(campaign: Path) -> dict[str, ProtocolInfo]:
    """Every protocol file of a campaign by name, broken ones with their fault."""
    protocols = {}
    for path in sorted((campaign / FOLDER).glob("*.yaml")):
        try:
            protocol = read_protocol(path)
        except UserError as error:
            fault = str(error).replace(str(path), _place(path))
            protocols[path.stem] = ProtocolInfo(name=path.stem, fault=fault)
            continue
        protocols[path.stem] = ProtocolInfo(
            name=protocol_name(path),
            steps=protocol.steps,
            highest=protocol.highest,
            stages=[stage.stage for stage in protocol.stages],
            fault=_fault(path),
        )
    return protocols


def findings(
    wanted: Iterable[tuple[str | None, int]], sit: Situation
) -> Iterator[tuple[Literal["warn", "deny"], str]]:
    """What a gate says of the protocols a plan names, each with the highest temperature (K)."""
    for name, ceiling in wanted:
        if name is None:
            continue
        info = sit.protocols.get(name)
        if info is None:
            usable = ", ".join(n for n, i in sit.protocols.items() if not i.fault) or "none"
            yield "deny", f"protocol: no protocols/{name}.yaml; approved: {usable}"
        elif info.fault:
            yield "deny", f"protocol: {info.fault}"
        elif ceiling and info.highest > ceiling:
            yield "warn", f"protocol: {name} goes to {info.highest} K, max_temperature is {ceiling}"


def _fault(path: Path) -> str:
    """Why the file may not be used; empty when it is approved as it stands."""
    place = _place(path)
    if not path.is_file():
        return f"{place}: no such protocol; write it, `planner protocol check`, `try`, `approve`"
    try:
        given = json.loads(_record(path).read_text(encoding="utf-8")).get("sha256")
    except (OSError, ValueError, AttributeError, RecursionError):
        return f"{place}: not approved; `planner protocol try` it, then `planner protocol approve`"
    if given != _hash(path):
        return f"{place}: changed since its approval; `planner protocol approve` it again"
    return ""


def _place(path: Path) -> str:
    """How a campaign's own files are called: what gates say is recorded, and holds no path."""
    return f"{FOLDER}/{path.name}"


def _record(path: Path) -> Path:
    return path.with_name(f"{path.stem}.approval.json")


def _hash(path: Path) -> str:
    try:
        return sha256(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
