"""The user's own structure, with molecules soaked into it where asked."""
