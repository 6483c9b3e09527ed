"""The plan: one action with its parameters, its reason and the state keys it rests on.

`planner next` writes it, a person may edit it, the Snakefile materializes it. Nothing in it but
enums, bounded numbers and names from a strict pattern can reach a shell or a path.
"""

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from atomistics.contract import Strict
from campaign.actions import ACTIONS, Action
from campaign.actions.end import End
from campaign.actions.model_eval import ModelEval
from campaign.actions.prune import Prune
from campaign.actions.reference_calc import ReferenceCalc
from campaign.actions.sample import Sample
from campaign.actions.section import Section
from campaign.actions.select_data import SelectData
from campaign.actions.train import Train
from campaign.files import canonical_json, sha256


class Evidence(Strict):
    """A state key and the value the decision saw there."""

    key: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.-]{1,128}$")]
    value: str | bool | int | float


class Plan(Strict):
    """One iteration's action. Exactly the section named by `action` is present."""

    iteration: int = Field(ge=1, le=9999)
    action: Action
    reason: str = Field(max_length=600, description="why, for people; never interpreted")
    rule: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")] | None = None
    evidence: list[Evidence] = Field(max_length=40)
    state_sha256: str = Field(pattern=r"^([0-9a-f]{64}|start)$", description="state decided from")
    reference_calc: ReferenceCalc | None = None
    sample: Sample | None = None
    select_data: SelectData | None = None
    train: Train | None = None
    model_eval: ModelEval | None = None
    prune: Prune | None = None
    end: End | None = None

    @model_validator(mode="after")
    def _one_section(self) -> "Plan":
        present = [action for action in ACTIONS if getattr(self, action) is not None]
        if present != [self.action]:
            raise ValueError(
                f"sections {present}: exactly the section '{self.action}' must be given"
            )
        return self

    @property
    def parameters(self) -> Section:
        """The section of the action."""
        return getattr(self, self.action)

    @property
    def fingerprint(self) -> str:
        """Hash of action and parameters without the seed: equal for a repetition."""
        section = self.parameters.model_dump(mode="json", exclude={"seed"})
        return sha256(canonical_json({self.action: section}))[:16]


SECTIONS: dict[Action, type[Section]] = {
    action: Plan.model_fields[action].annotation.__args__[0] for action in ACTIONS
}
ACTION_OF: dict[type[Section], Action] = {section: name for name, section in SECTIONS.items()}
