"""Whether a reference calculation is converged."""

import re

from ase.calculators.calculator import SCFError

from atomistics.errors import UserError

UNCONVERGED = re.compile(
    r"(not|n't|never)\W+(\w+\W+)?converg|convergence\W+(\w+\W+)?not|unconverged", re.I
)


class LabelFailedError(UserError):
    """A reference calculation without a usable result.

    `kind` is one of unconverged, nan, forces_too_large, crashed, timeout; `detail` says more.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.kind, self.detail)


def failure(error: Exception) -> LabelFailedError:
    """Classify what a calculator raised."""
    if isinstance(error, LabelFailedError):
        return error
    text = " ".join(str(error).split())[-300:] or type(error).__name__
    unconverged = isinstance(error, SCFError) or UNCONVERGED.search(text)
    return LabelFailedError("unconverged" if unconverged else "crashed", text)
