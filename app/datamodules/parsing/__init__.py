"""Dependency parsing: treebanks, sentences with a tree each."""
