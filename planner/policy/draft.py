"""What a rule hands back: parameters, a sentence, and the state keys it looked at."""

from collections.abc import Iterable
from dataclasses import dataclass

from atomistics.contract import Strict
from campaign.plan import Action, End, ModelEval, Prune, ReferenceCalc, Sample, SelectData, Train
from campaign.state import SubsystemState

ACTION_OF: dict[type[Strict], Action] = {
    ReferenceCalc: "reference_calc",
    Sample: "sample",
    SelectData: "select_data",
    Train: "train",
    ModelEval: "model_eval",
    Prune: "prune",
    End: "end",
}


@dataclass(frozen=True)
class Draft:
    """A decision before it becomes a plan."""

    parameters: Strict
    reason: str
    keys: Iterable[str]

    @property
    def action(self) -> Action:
        """The action these are parameters of."""
        return ACTION_OF[type(self.parameters)]


def keys_of(subsystems: Iterable[SubsystemState], *fields: str) -> tuple[str, ...]:
    """State keys of some fields of some subsystems."""
    return tuple(f"subsystems.{s.name}.{field}" for s in subsystems for field in fields)
