"""One module per group of verbs of the `mlp` command; each lists its own as VERBS."""
