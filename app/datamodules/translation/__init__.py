"""Translation: pairs of sentences in two languages."""
