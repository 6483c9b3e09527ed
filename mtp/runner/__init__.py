"""Running any `mlp` program: embedded, MLIP-2, MLIP-3."""
