"""The preparation phase: from a sentence to a folder of structures and a task."""
