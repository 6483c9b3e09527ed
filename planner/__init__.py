"""From a sentence to decisions: plans, state, rules and the audit of both."""
