"""How plans, results and states refer to things; nothing else can reach a path or a shell."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from atomistics.contract import Name

SampleId = Annotated[str, StringConstraints(pattern=r"^s\d{3,4}$")]
DatasetId = Annotated[str, StringConstraints(pattern=r"^d\d{3,4}$")]
ModelId = Annotated[str, StringConstraints(pattern=r"^m\d{3,4}$")]
ProtocolName = Annotated[
    Name | None,
    Field(
        description="an approved file of protocols/ to run besides; null for none",
        exclude_if=lambda name: name is None,  # a plan without one stays what it was
    ),
]
CampaignOutcome = Literal["converged", "fitted", "budget_exhausted", "blocked", "failed"]
Seed = Annotated[
    int, Field(ge=0, lt=2**31, description="seed of every random number of the action")
]


def iteration_of(identifier: str) -> int:
    """Iteration that made a sample, data set or model."""
    return int(identifier[1:])
