"""The paper's own system: the campaign beside the ways that the paper compares it with."""
