"""What a rule hands back: parameters, a sentence, and the state keys it looked at."""

from collections.abc import Iterable
from dataclasses import dataclass

from campaign.actions import Action
from campaign.actions.section import Section
from campaign.plan import ACTION_OF
from campaign.state import SubsystemState


@dataclass(frozen=True)
class Draft:
    """A decision before it becomes a plan."""

    parameters: Section
    reason: str
    keys: Iterable[str]

    @property
    def action(self) -> Action:
        """The action these are parameters of."""
        return ACTION_OF[type(self.parameters)]


def keys_of(subsystems: Iterable[SubsystemState], *fields: str) -> tuple[str, ...]:
    """State keys of some fields of some subsystems."""
    return tuple(f"subsystems.{s.name}.{field}" for s in subsystems for field in fields)
