"""Molecules at solids."""
