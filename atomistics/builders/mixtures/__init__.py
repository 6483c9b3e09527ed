"""Molecules, ions and atoms packed at a density, for every family that has some."""
