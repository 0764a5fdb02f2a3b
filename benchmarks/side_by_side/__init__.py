"""Ours and its peers on the same inputs: environments, worker processes, and the driver that alternates them."""
