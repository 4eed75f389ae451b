"""Studies: many runs of train.py, started as any user would, and what they wrote, read and told."""
