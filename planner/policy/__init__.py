"""The rules planner: the first rule that fires decides."""
