"""Products of features beside each other: what they reach, what they cost, and the page that says so."""
