"""Layers of any kind in one cell."""
