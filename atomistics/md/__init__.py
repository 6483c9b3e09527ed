"""Molecular dynamics: plain, staged, watched, biased."""
