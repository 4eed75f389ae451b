"""Sentences with a class each."""
