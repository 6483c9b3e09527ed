"""What the jobs compute with: references, MD, labels, data sets, observables."""
