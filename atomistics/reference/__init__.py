"""Reference methods, the labels they give, and the count of their calls."""
