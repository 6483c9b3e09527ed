"""What a plan costs at most, before it runs."""

import math
from collections.abc import Mapping

from atomistics.contract import Strict
from campaign.plan import ModelEval, Plan, ReferenceCalc, Sample, SelectData, SelectGroup
from campaign.protocol_files import ProtocolInfo
from campaign.situation import Situation
from campaign.state import State


class Cost(Strict):
    """Upper bounds; `core_seconds` is that of the reference calls and an estimate."""

    reference_calls: int = 0
    labels: int = 0
    md_steps: int = 0
    runs: int = 0
    core_seconds: float = 0.0


def cost(plan: Plan, situation: Situation) -> Cost:
    """Upper bounds of a plan, with the price of a reference call as it has been so far."""
    bare = price(plan.parameters, situation.state, situation.protocols)
    seconds = bare.reference_calls * seconds_per_call(situation)
    steps = bare.md_steps + _repeated(plan.parameters, situation)
    return bare.model_copy(update={"core_seconds": seconds, "md_steps": steps})


def _repeated(section: Strict, situation: Situation) -> int:
    """Steps of an evaluation that repeat, with the model, the reference run it is held against."""
    if not isinstance(section, ModelEval):
        return 0
    usual = situation.config.reference_calc
    frames = {r.structure: r.frames for r in situation.state.reference}
    return sum(max(usual.steps, frames.get(s, 0) * usual.interval) for s in section.structures)


def price(
    section: Strict, state: State, protocols: Mapping[str, ProtocolInfo] | None = None
) -> Cost:
    """Upper bounds of an action's parameters."""
    known = protocols or {}
    if isinstance(section, ReferenceCalc):
        ready = {r.structure for r in state.reference if r.status == "ok"}
        plain = len(section.plain(ready))
        staged = len(section.structures) if section.protocol else 0
        steps = plain * section.steps + staged * _length(section.protocol, known)
        runs = plain + staged
        return Cost(reference_calls=steps + runs, md_steps=steps, runs=runs)
    if isinstance(section, Sample):
        return _sample(section, known)
    if isinstance(section, SelectData):
        labels = labels_at_most(section, state)
        calls = candidates(section, state) if section.method == "error" else labels
        return Cost(reference_calls=calls, labels=labels)
    if isinstance(section, ModelEval):
        runs = len(section.structures)
        return Cost(
            reference_calls=runs * section.fresh_frames,
            md_steps=runs * (section.steps + _length(section.protocol, known)),
            runs=2 * runs if section.protocol else runs,
        )
    return Cost()


def _length(protocol: str | None, known: Mapping[str, ProtocolInfo]) -> int:
    """MD steps of a protocol; none of one that a gate refuses."""
    return known[protocol].steps if protocol in known else 0


def seconds_per_call(situation: Situation) -> float:
    """Core-seconds of a reference call: the configured guess, or less once the bill shows it."""
    guess, calls = (
        situation.config.reference.seconds_per_call,
        situation.state.spent.reference_calls,
    )
    seen = situation.core_seconds / calls if calls else 0.0
    return min(guess, seen) if seen else guess


def _sample(section: Sample, known: Mapping[str, ProtocolInfo]) -> Cost:
    runs = section.runs()
    kinds = [leaf["kind"] for leaf in runs.values()]
    md = sum(kind in ("nvt", "npt") for kind in kinds)
    staged = [_length(str(r["protocol"]), known) for r in runs.values() if "protocol" in r]
    steps = md * section.steps + sum(staged)
    if section.method == "model":
        return Cost(md_steps=steps, runs=len(runs))
    frames = section.steps // section.interval + 1
    own_frames = sum(length // section.interval + 1 for length in staged)
    scaled = kinds.count("compression") * len(section.compression)
    rattled = kinds.count("rattle") * section.rattle
    return Cost(
        reference_calls=steps + md + len(staged) + scaled + rattled * (section.relax_steps + 1),
        labels=md * frames + own_frames + scaled + rattled * (2 if section.relax_steps else 1),
        md_steps=steps,
        runs=len(runs),
    )


def snapshots(section: SelectData, state: State) -> dict[str, int]:
    """Snapshots on offer by subsystem."""
    found: dict[str, int] = {}
    for record in state.samples:
        if record.id in section.samples:
            for group in record.groups:
                found[group.subsystem] = found.get(group.subsystem, 0) + group.snapshots
    return found


def candidates(section: SelectData, state: State) -> int:
    """Snapshots of the chosen subsystems: what ranking by error has to label."""
    offered = snapshots(section, state)
    return sum(offered.get(g.subsystem, 0) for g in section.groups)


def labels_at_most(section: SelectData, state: State) -> int:
    """Labels a selection keeps at most."""
    offered = snapshots(section, state)
    wanted = sum(
        offered.get(g.subsystem, 0)
        if section.method == "all"
        else quota(g, offered.get(g.subsystem, 0))
        for g in section.groups
    )
    return min(section.max_labels, wanted)


def quota(group: SelectGroup, candidates: int) -> int:
    """Labels a group may have of so many candidates (at least one if there is any)."""
    if group.count is not None:
        return min(group.count, candidates)
    return min(max(1, round((group.fraction or 0) * candidates)), candidates)


def steps_for(picoseconds: float, timestep: float) -> int:
    """MD steps that make so many ps at a time step in fs."""
    return max(2, math.ceil(picoseconds * 1000 / timestep - 1e-9))
