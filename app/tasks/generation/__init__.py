"""Text generation: beam search, sampling, and the memory of a stream."""
