"""Treebanks."""
