"""Deterministic structure builders: a family is the schema of its parameters and its builder."""
