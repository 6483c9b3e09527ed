"""Which structures an action is the first to use, and what settling them may cost."""

from collections.abc import Iterable, Sequence

from atomistics.settling_effort import Effort
from campaign.actions.section import Section
from campaign.config import Settling
from campaign.situation import StructureInfo
from campaign.state import State


def unsettled(
    named: Iterable[tuple[str, str | None]], state: State, settling: Settling
) -> list[str]:
    """Structures among (structure, subsystem) that no action before has started MD from."""
    if not settling.packing and not settling.crystal:
        return []
    done = {s.structure for s in state.settled} | {r.structure for r in state.reference}
    # a campaign from before structures were settled goes on as it began
    begun = {s.name for s in state.subsystems if s.rounds or s.labels} if not state.settled else ()
    names = dict.fromkeys(name for name, subsystem in named if subsystem not in begun)
    return [name for name in names if name not in done]


def single_points(section: Section, state: State, structures: Sequence[StructureInfo]) -> list[str]:
    """Isolated atoms and dimers of what reference or explorer sample, not yet dealt with."""
    if section.held_out or getattr(section, "method", "model") == "model":
        return []
    sampled = {subsystem for _, subsystem in section.named_structures()}
    settled_names = {s.structure for s in state.settled}
    own = [s for s in structures if s.single_point and s.subsystem in sampled]
    return [s.id for s in own if s.id not in settled_names]


def effort(settling: Settling, held_out: bool) -> Effort:
    """What is held against MD must be at the temperature of use; see Effort."""
    return Effort(
        crystal=settling.crystal,
        packing=settling.packing,
        warm=settling.warm,
        warm_packing=settling.warm_packing,
        warm_crystal=held_out,
    )


def calls_at_most(settling: Settling) -> int:
    """Reference calls of settling one structure, taken for a packing."""
    return 2 + settling.packing + max(settling.warm, settling.warm_packing)
