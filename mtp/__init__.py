"""Moment tensor potentials: kernel, formats, training and the `mlp` command."""
