"""Pages of the results on symmetry that is broken."""
