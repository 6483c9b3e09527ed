"""Files of configurations and potentials, as MLIP writes them."""
