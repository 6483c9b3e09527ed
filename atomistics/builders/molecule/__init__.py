"""Molecular systems."""
