"""Pages of the results on matrix groups."""
