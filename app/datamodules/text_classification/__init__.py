"""Text classification: sentences with one class each."""
