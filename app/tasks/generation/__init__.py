"""How models write text: beam search, sampling, and the memory of a stream."""
