"""Held-out error against number of labels, for several ways to choose them."""
