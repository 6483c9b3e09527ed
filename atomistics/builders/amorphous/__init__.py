"""Disordered inorganic solids."""
