"""Pages on symmetry that is looked for in data."""
