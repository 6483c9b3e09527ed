"""Crystalline bulk and solid solutions."""
