"""Polymers."""
