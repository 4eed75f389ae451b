"""Which examples are in which batch: the batch plan, and the loader that follows it."""
