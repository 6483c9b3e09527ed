"""The decision benchmark: states, what is acceptable in them and why, and who decides how well."""
