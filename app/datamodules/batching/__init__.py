"""Which examples are in which batch: the batch plan, the loader that follows it, and padding."""
