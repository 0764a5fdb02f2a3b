"""Pages of the results on groups and networks on them."""
