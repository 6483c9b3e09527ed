"""Properties of materials, by a reference or a model through the very same code."""
