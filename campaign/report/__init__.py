"""report.html and the model card: one reading of a whole campaign."""
