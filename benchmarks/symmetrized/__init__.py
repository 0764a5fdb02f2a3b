"""Pages of the results on symmetrised networks."""
