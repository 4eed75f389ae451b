"""Change the norm, hold the rest, watch the gap: a workbench for normalization in transformers."""
