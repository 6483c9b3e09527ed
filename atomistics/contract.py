"""What contracts are made of: strict records and the words their keys may hold."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Strict(BaseModel):
    """Immutable record that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Element = Annotated[str, StringConstraints(pattern=r"^[A-Z][a-z]?$")]
Temperature = Annotated[int, Field(ge=1, le=10000, description="K")]
Scale = Annotated[float, Field(ge=0.8, le=1.25)]
Positive = Annotated[float, Field(gt=0)]
Keep = Literal["failed", "all", "none"]  # whose outputs stay
Ensemble = Literal["nvt", "npt"]
