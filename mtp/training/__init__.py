"""Fitting: objective, optimisers, start, checkpoints."""
