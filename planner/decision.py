"""A decision: the plan, who gave it, what was said on the way; or a halt, and its remedy."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from campaign.errors import UserError
from campaign.plan import Plan

if TYPE_CHECKING:
    from planner.llm.consult import Consultation

REMEDIES = {
    "authentication": "the server refuses the key: check ANTHROPIC_API_KEY",
    "billing": "the account cannot pay: see to it, or set planner: rules",
    "permission": "the key may not use this model: check llm.model",
    "not_found": "no such model or address: check llm.model and llm.base_url",
    "bad_request": "the server refuses the request: see `planner doctor`; llm.effort: null or"
    " llm.structured: false may help",
    "proxy": "a proxy or portal answers in the server's place: check HTTPS_PROXY, NO_PROXY and"
    " llm.base_url",
    "redirected": "the address answers with a redirect: check llm.base_url",
}


@dataclass
class Decision:
    """A plan and how it came about."""

    plan: Plan
    source: str
    consultation: "Consultation | None" = None
    failure: str | None = None
    detail: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    timing: list[dict[str, Any]] = field(default_factory=list)


class HaltError(UserError):
    """No plan, by configuration or because only a person can mend it."""

    status = 4

    def __init__(self, text: str, decision: Decision | None = None) -> None:
        super().__init__(text)
        self.decision = decision
