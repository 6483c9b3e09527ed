"""Reference methods, the labels they give, and the count of their calls."""

from atomistics.reference.methods import label, reference_calculator

__all__ = ["label", "reference_calculator"]
