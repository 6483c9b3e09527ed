"""Finite particles."""
