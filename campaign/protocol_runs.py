"""Approved protocols in the jobs of a campaign: read, watched, reported, compared."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms

from atomistics.md import stages
from atomistics.md.bias import require_plumed
from atomistics.md.protocol import Anneal, MeltQuench, StagedProtocol, Strain
from atomistics.md.watchdog import Limits, Watchdog
from campaign.files import read_json
from campaign.job import Job, failure
from campaign.protocols import Approved, require_approved
from campaign.results import Property, ProtocolRun
from campaign.state import State


def loaded(job: Job, items: Mapping[str, Mapping[str, Any]]) -> dict[str, Approved]:
    """The protocols that items name; a missing, changed or unusable one ends the job at once."""
    names = sorted({str(item["protocol"]) for item in items.values() if "protocol" in item})
    protocols = {name: require_approved(job.campaign.folder, name) for name in names}
    for approved in protocols.values():
        require_plumed(approved.protocol)
    return protocols


def watchdog(job: Job, atoms: Atoms, protocol: StagedProtocol, state: State) -> Watchdog:
    """The watchdog of plain MD at the protocol's highest temperature, its density band widened.

    By the volume that imposed strain changes, and to half the start for a melt at free volume.

    Parameters
    ----------
    job : whose configuration sets the limits
    atoms : the structure as the run begins, Å
    protocol : K, strain
    state : distances (Å) and densities (g/cm3) that the reference has shown

    Returns
    -------
    the watchdog
    """
    limits = job.limits(atoms, protocol.highest, state)
    return Watchdog(replace(limits, density=widened(limits, protocol)))


def widened(limits: Limits, protocol: StagedProtocol) -> tuple[float, float] | None:
    """Density band (g/cm3) of a run whose stages change the volume on purpose."""
    if limits.density is None:
        return None
    low, high = limits.density
    normal = [s.strain for s in protocol.stages if isinstance(s, Strain) and len(s.direction) == 1]
    low /= math.prod(max(1.0, 1 + strain) for strain in normal)
    high /= math.prod(min(1.0, 1 + strain) for strain in normal)
    ramps = (s for s in protocol.stages if isinstance(s, (Anneal, MeltQuench)))
    return (low / 2 if any(s.ensemble == "npt" for s in ramps) else low), high


def summary(structure: str, approved: Approved, outcome: stages.StagedOutcome) -> dict[str, Any]:
    """What is kept of a run beside its frames, as plain data."""
    return {
        "structure": structure,
        "protocol": approved.name,
        "protocol_sha256": approved.sha256,
        "steps": outcome.steps,
        "stop": outcome.stop,
        "detail": outcome.detail,
        "properties": outcome.properties,
        "hills": [stage.hills for stage in outcome.stages if stage.hills],
        "stages": [
            {"stage": s.stage, "steps": s.steps, "temperature": round(s.temperature, 3)}
            for s in outcome.stages
        ],
    }


def table(runs: Path, items: Iterable[str], whose: str) -> list[ProtocolRun] | None:
    """Rows of a result for the items that are protocol runs; None if there are none.

    `whose` is `model` or `reference`; a report may hold the other's values under `compared`.
    """
    rows = []
    for name in items:
        structure, plus, protocol = name.partition("+")
        if not plus:
            continue
        path, failed = runs / f"{name}.report.json", runs / f"{name}.failed.json"
        if not (runs / f"{name}.h5").is_file():
            rows.append(ProtocolRun(structure=structure, protocol=protocol, stop=failure(failed)))
            continue
        keys = ("structure", "protocol", "protocol_sha256", "steps")
        report = read_json(path, *keys, "properties", "stop")
        own = {key: report[key] for key in keys}
        properties = _properties(report["properties"], report.get("compared", []), whose)
        rows.append(ProtocolRun(**own, stop=report["stop"], properties=properties))
    return rows or None


def _properties(
    own: list[dict[str, Any]], other: list[dict[str, Any]], whose: str
) -> list[Property]:
    """Properties in the order of the protocol, so equal names of two stages stay apart."""
    rest = "reference" if whose == "model" else "model"
    properties = []
    for number, measured in enumerate(own):
        row = {key: measured.get(key) for key in ("name", "unit", "note")}
        for who, values in (
            (whose, measured),
            (rest, other[number] if number < len(other) else {}),
        ):
            row |= {who: values.get("value"), f"{who}_error": values.get("error")}
        properties.append(Property(**row))
    return properties


def of_reference(state: State, structure: str, approved: Approved) -> list[dict[str, Any]]:
    """Properties by the reference from the last run of this very file; none if there is no such."""
    for past in reversed(state.history):
        name = f"{structure}+{approved.name}.report.json"
        path = Path(f"../{past.iteration:03d}/reference_calc/runs") / name
        if past.action == "reference_calc" and path.is_file():
            report = read_json(path, "protocol_sha256", "stop", "properties")
            if report["protocol_sha256"] == approved.sha256 and not report["stop"]:
                return report["properties"]
    return []
