"""The verdict asked for, and the one that stands."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from campaign.actions.section import Change, Cost, Fault, Section
from campaign.identifiers import CampaignOutcome, ModelId
from campaign.results import Verdict
from campaign.situation import Situation, unjudged
from campaign.state import State
from campaign.verdict import not_covered, open_targets


class End(Section):
    """The verdict asked for; code holds it against the targets before it stands."""

    result: ClassVar = Verdict
    always_asks: ClassVar = True

    outcome: CampaignOutcome
    model: ModelId | None = Field(default=None, description="the potential handed over")
    recommendation: str = Field(default="", max_length=2000, description="for people")

    def argument(self) -> str:
        """Without the free text, which never comes near a command line."""
        return self.model_dump_json(exclude={"recommendation"})

    def preconditions(self, sit: Situation) -> Iterator[Fault]:
        """Converged is not what a plan says but what the evaluations show."""
        if self.outcome == "fitted" and self.model is None:
            yield "deny", "outcome: fitted, but no model is named"
        if self.outcome == "converged":
            missed = open_targets(sit.state, self.model) if self.model else ["no model is named"]
            if missed := missed + unjudged(sit):
                yield "deny", f"outcome: converged is not reached: {'; '.join(missed[:3])}"

    def reduce(self, state: State, iteration: int, result: Verdict) -> Change:
        """With a verdict the campaign has ended."""
        del iteration
        changed = state.model_copy(update={"verdict": result})
        return Change(changed, "ok", f"{result.outcome}: {result.reasons[0]}")

    def project(self, iteration: int, sit: Situation, bound: Cost, well: bool) -> Verdict:
        """The verdict as it would stand."""
        del iteration, bound, well
        return conclude(sit.state, self)


def conclude(state: State, asked: End) -> Verdict:
    """The verdict that stands: 'converged' is granted only if no target is open."""
    missed = open_targets(state, asked.model)
    outcome = asked.outcome
    if outcome == "converged" and missed:
        outcome = "failed"
    reasons = missed or [f"{asked.model}: every target met on every target subsystem"]
    if outcome == "fitted":
        reasons = [*_held_out(state, asked.model), *reasons]
    if outcome != "converged" and asked.recommendation:
        reasons = [asked.recommendation, *reasons]
    reasons = [*reasons, *not_covered(state, asked.model)]
    return Verdict(outcome=outcome, asked=asked.outcome, reasons=reasons, model=asked.model)


def _held_out(state: State, model: ModelId | None) -> list[str]:
    """Errors on labelled frames that the fit has not seen, in words."""
    rows = [e for m in state.models if m.id == model for e in m.errors if e.split == "held_out"]
    return [
        f"{e.subsystem}: {e.frames} held-out frames, energy MAE {1000 * e.energy_mae:.3g} meV/atom,"
        f" force MAE {e.force_mae:.3g} eV/Å"
        for e in rows
    ] or ["no frame was held out: the fit was compared with nothing"]
