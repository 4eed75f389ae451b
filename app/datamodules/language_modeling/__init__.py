"""A text as bytes."""
