"""Whether a reference calculation is converged."""

import re

from ase.calculators.calculator import SCFError

from atomistics.reference.counting import LabelFailedError

UNCONVERGED = re.compile(
    r"(not|n't|never)\W+(\w+\W+)?converg|convergence\W+(\w+\W+)?not|unconverged", re.I
)


def failure(error: Exception) -> LabelFailedError:
    """Classify what a calculator raised."""
    if isinstance(error, LabelFailedError):
        return error
    text = " ".join(str(error).split())[-300:] or type(error).__name__
    unconverged = isinstance(error, SCFError) or UNCONVERGED.search(text)
    return LabelFailedError("unconverged" if unconverged else "crashed", text)
