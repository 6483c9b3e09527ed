"""Isolated atoms and dimers."""
