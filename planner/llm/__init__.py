"""The planner LLM: digest, prompts, the dialogue with a server, and what it may cost."""
