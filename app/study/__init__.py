"""Studies: start many runs as a user would, follow them, and compare their results."""
