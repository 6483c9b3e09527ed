"""Physics on ASE: MD, references, structures, analysis; knows no campaign."""
