"""Who learns faster from the same number of labels: rules, a model, chance, or a fixed schedule."""
