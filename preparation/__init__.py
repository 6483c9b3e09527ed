"""From a sentence to a campaign: dialogue, task, structure plan, structures."""
