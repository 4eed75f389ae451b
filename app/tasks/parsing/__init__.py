"""Dependency parsers: scorers, transitions, trees."""
