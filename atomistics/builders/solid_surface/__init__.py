"""Crystal surfaces."""
