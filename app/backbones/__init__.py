"""Hugging Face models with the norm of the experiment put in."""
